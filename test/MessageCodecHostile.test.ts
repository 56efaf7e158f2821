import { describe, expect, it } from "@effect/vitest"
import { Arbitrary, Effect, Either, Schema } from "effect"
import { MessageCodec } from "effect-websocket"
import * as fc from "fast-check"

interface Tree {
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Schema<Tree> = Schema.Struct({ children: Schema.Array(Schema.suspend(() => Tree)) })

/** The same, but not done at once. */
const LateTree = Schema.transformOrFail(Schema.Any, Tree, {
  strict: true,
  decode: (value) => Effect.as(Effect.yieldNow(), value),
  encode: Effect.succeed
})

const Person = Schema.Struct({ name: Schema.String, age: Schema.Int, tags: Schema.Array(Schema.String) })
const Bag = Schema.Record({ key: Schema.String, value: Schema.Unknown })

const both = <A, I, R>(schema: Schema.Schema<A, I, R>) => ({ incoming: schema, outgoing: schema })

/** What becomes of a message: a value, or why there is none. Anything else is a defect, and thrown. */
const outcome = <In>(
  codec: MessageCodec.MessageCodec<In, never, never, unknown>,
  message: string | Uint8Array
): Either.Either<In, MessageCodec.DecodeError> => Effect.runSync(Effect.either(codec.decode(message)))

const reasonOf = (...of: Parameters<typeof outcome>) =>
  Either.match(outcome(...of), { onLeft: ({ reason }) => reason, onRight: () => "decoded" })

const anything = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.uint8Array({ maxLength: 40 }),
  fc.json(),
  fc.json().map((text) => text.slice(0, -1)),
  Arbitrary.make(Person).map((person) => JSON.stringify(person)),
  Arbitrary.make(Person).map((person) => JSON.stringify({ ...person, age: String(person.age) }))
)

describe("MessageCodec: whatever a peer sends", () => {
  for (const [name, codec, own] of [
    ["json", MessageCodec.json(both(Person)), "string"],
    ["msgPack", MessageCodec.msgPack(both(Person)), "object"]
  ] as const) {
    it(`${name} ends with a value of the schema, or with an error of the right code, never with a defect`, () => {
      fc.assert(
        fc.property(anything, (message) => {
          const decoded = outcome(codec, message)
          if (Either.isRight(decoded)) {
            expect(Schema.is(Person)(decoded.right)).toBe(true)
            return
          }
          const { closeCode, excerpt, issue } = decoded.left
          expect(closeCode).toBe(typeof message === own ? 1007 : 1003)
          expect(issue).not.toBe("")
          expect(Math.max(issue.length, excerpt.length)).toBeLessThanOrEqual(201)
        }),
        { numRuns: 1000 }
      )
    })
  }

  it("any bytes at all are MessagePack that is refused or unpacked", () => {
    const codec = MessageCodec.msgPack(both(Schema.Unknown))
    const tokens = fc.constantFrom(
      0x81,
      0x92,
      0xa3,
      0xc4,
      0xc7,
      0xd4,
      0xd5,
      0xd6,
      0xd7,
      0xd9,
      0xdc,
      0xdd,
      0xdf,
      0x72,
      0xff,
      0,
      1
    )
    const bytes = fc.array(fc.oneof(tokens, fc.nat(255)), { maxLength: 24 }).map((all) => Uint8Array.from(all))
    fc.assert(
      fc.property(bytes, (message) => {
        expect(["decoded", "malformed"]).toContain(reasonOf(codec, message))
      }),
      { numRuns: 5000 }
    )
  })
})

describe("MessageCodec: nesting", () => {
  const depth = 100_000
  const nested = `${'{"children":['.repeat(depth)}${"]}".repeat(depth)}`

  it("deeper than a recursive schema can follow is malformed", () => {
    const codec = MessageCodec.json(both(Tree))
    expect(reasonOf(codec, '{"children":[{"children":[]}]}')).toBe("decoded")
    expect(outcome(codec, nested)).toMatchObject({ left: { reason: "malformed", closeCode: 1007 } })
  })

  it("nor is it a defect where the schema isn't done at once", async () => {
    const codec = MessageCodec.json(both(LateTree))
    const decoded = await Effect.runPromise(Effect.either(codec.decode(nested)))
    expect(decoded).toMatchObject({ left: { reason: "malformed", closeCode: 1007 } })
  })

  it("is no matter where the schema doesn't look", () => {
    expect(reasonOf(MessageCodec.json(both(Schema.Unknown)), nested)).toBe("decoded")
  })

  it("of MessagePack deeper than the stack is malformed, and the next message is unharmed", () => {
    const codec = MessageCodec.msgPack(both(Schema.Unknown))
    expect(reasonOf(codec, new Uint8Array(1024 * 1024).fill(0x91).fill(0xc0, -1))).toBe("malformed")
    expect(outcome(codec, Uint8Array.of(0x91, 7))).toEqual(Either.right([7]))
  })
})

describe("MessageCodec: __proto__", () => {
  const codec = MessageCodec.json(both(Bag))

  it("as a key is malformed, however it is written and however deep", () => {
    for (const key of [
      "__proto__",
      "\\u005f_proto__",
      "__\\u0070roto__",
      "\\u005F\\u005F\\u0070\\u0072\\u006f\\u0074\\u006F\\u005f_"
    ]) {
      expect(outcome(codec, `{"a":[{"b":{"${key}":{"admin":true}}}]}`)).toMatchObject({
        left: { reason: "malformed", issue: 'it has a key "__proto__"' }
      })
    }
    expect(Object.hasOwn(Object.prototype, "admin")).toBe(false)
  })

  it("is why: what Schema copies would inherit from it", () => {
    const copy = Schema.decodeUnknownSync(Bag)(JSON.parse('{"__proto__":{"admin":true}}'))
    expect(copy["admin"]).toBe(true)
  })

  it("in a text, and keys that look like it, are nobody's business", () => {
    for (const text of [
      '{"a":"__proto__"}',
      '["__proto__"]',
      '{"__proto":1}',
      '{"\\u005fa":"\\u0061"}',
      '{"constructor":{}}'
    ]) {
      expect(reasonOf(MessageCodec.json(both(Schema.Unknown)), text)).toBe("decoded")
    }
  })

  it("of MessagePack makes nothing inherit", () => {
    // {"__proto__": {"admin": true}}
    const key = (text: string) => [0xa0 | text.length, ...Buffer.from(text)]
    const message = Uint8Array.of(0x81, ...key("__proto__"), 0x81, ...key("admin"), 0xc3)
    const decoded = Either.getOrThrow(outcome(MessageCodec.msgPack(both(Bag)), message))
    expect(decoded["admin"]).toBe(undefined)
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype)
  })
})

describe("MessageCodec: numbers", () => {
  const number = MessageCodec.json(both(Schema.Number))

  it("beyond 2^53 lose digits in JSON, which Schema.Int refuses, and Schema.BigInt avoids", () => {
    expect(outcome(number, "9007199254740993")).toEqual(Either.right(9007199254740992))
    expect(reasonOf(MessageCodec.json(both(Schema.Int)), "9007199254740993")).toBe("mismatch")
    const big = MessageCodec.json(both(Schema.BigInt))
    expect(Effect.runSync(big.encode(2n ** 64n))).toBe('"18446744073709551616"')
    expect(outcome(big, '"18446744073709551616"')).toEqual(Either.right(2n ** 64n))
  })

  it("beyond the range become infinite, which Schema.Finite refuses", () => {
    expect(outcome(number, "1e999")).toEqual(Either.right(Number.POSITIVE_INFINITY))
    const finite = MessageCodec.json(both(Schema.Finite))
    expect(reasonOf(finite, "1e999")).toBe("mismatch")
    expect(Effect.runSync(number.encode(Number.NaN))).toBe("null")
    expect(Effect.runSync(Effect.flip(finite.encode(Number.NaN)))).toBeInstanceOf(MessageCodec.EncodeError)
  })

  it("of 64 bits come as bigint from MessagePack", () => {
    const message = Uint8Array.of(0xcf, 0, 0, 1, 0, 0, 0, 0, 0)
    expect(reasonOf(MessageCodec.msgPack(both(Schema.Number)), message)).toBe("mismatch")
    const either = Schema.Union(Schema.Number, Schema.BigIntFromSelf)
    expect(outcome(MessageCodec.msgPack(both(either)), message)).toEqual(Either.right(2n ** 40n))
  })

  it("as long as a message may be cost no more than the message", () => {
    expect(outcome(number, "1".repeat(1024 * 1024))).toEqual(Either.right(Number.POSITIVE_INFINITY))
    const big = MessageCodec.json(both(Schema.BigInt))
    expect(reasonOf(big, `"${"x".repeat(1024 * 1024)}"`)).toBe("mismatch")
  })
})
