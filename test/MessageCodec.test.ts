import { describe, expect, it } from "@effect/vitest"
import { Arbitrary, Cause, Context, Data, Effect, Either, Exit, ParseResult, Schema } from "effect"
import { MessageCodec } from "effect-websocket"
import * as fc from "fast-check"

const Shape = Schema.Union(
  Schema.TaggedStruct("Say", { text: Schema.String, at: Schema.DateFromNumber.pipe(Schema.validDate()) }),
  Schema.TaggedStruct("Move", { x: Schema.JsonNumber, y: Schema.optionalWith(Schema.JsonNumber, { exact: true }) }),
  Schema.TaggedStruct("Many", { ids: Schema.Array(Schema.BigInt), flags: Schema.HashSet(Schema.Boolean) })
)

const same = Schema.equivalence(Shape)
const shapes = Arbitrary.make(Shape)
const json = MessageCodec.json({ incoming: Shape, outgoing: Shape })
const msgPack = MessageCodec.msgPack({ incoming: Shape, outgoing: Shape })

/** What a codec of one schema says of a message. */
const refusalOf = <In, Out, RIn extends never, ROut>(
  codec: MessageCodec.MessageCodec<In, Out, RIn, ROut>,
  message: string | Uint8Array
): MessageCodec.DecodeError => Effect.runSync(Effect.flip(codec.decode(message)))

const both = <A, I, R>(schema: Schema.Schema<A, I, R>) => ({ incoming: schema, outgoing: schema })
const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"))

describe("MessageCodec: round trips", () => {
  for (const [name, codec] of [
    ["json", json],
    ["msgPack", msgPack]
  ] as const) {
    it(`${name} gives back any value, transformed ones included`, () => {
      fc.assert(
        fc.property(shapes, (value) => {
          const message = Effect.runSync(codec.encode(value))
          expect(typeof message).toBe(name === "json" ? "string" : "object")
          expect(same(Effect.runSync(codec.decode(message)), value)).toBe(true)
        })
      )
    })

    it(`${name} is done at once where the schema is: an Either, whatever comes out`, () => {
      const right = codec.decode(Effect.runSync(codec.encode({ _tag: "Move", x: 1 })))
      expect(Either.isEither(right) && Either.isRight(right)).toBe(true)
      const left = codec.decode("{")
      expect(Either.isEither(left) && Either.isLeft(left)).toBe(true)
    })
  }

  it("msgPack has what JSON has not: bytes, dates, undefined, bigint", () => {
    const Rich = Schema.Struct({
      bytes: Schema.Uint8ArrayFromSelf,
      at: Schema.DateFromSelf,
      nothing: Schema.Undefined,
      big: Schema.BigIntFromSelf
    })
    const codec = MessageCodec.msgPack(both(Rich))
    const value = { bytes: hex("00ff"), at: new Date(1_700_000_000_123), nothing: undefined, big: 2n ** 63n - 1n }
    const decoded = Effect.runSync(Effect.flatMap(codec.encode(value), codec.decode))
    expect({ ...decoded, bytes: Buffer.from(decoded.bytes).toString("hex") }).toEqual({ ...value, bytes: "00ff" })
  })

  it("what the schema needs of the context is needed to decode, or to encode", () => {
    class Key extends Context.Tag("Key")<Key, string>() {}
    const Signed = Schema.transformOrFail(Schema.String, Schema.String, {
      strict: true,
      decode: (text, _, ast) =>
        Effect.flatMap(Key, (key) =>
          text.endsWith(key)
            ? Effect.succeed(text.slice(0, -key.length))
            : Effect.fail(new ParseResult.Type(ast, text, "not signed"))
        ),
      encode: (text) => Effect.map(Key, (key) => text + key)
    })
    const codec = MessageCodec.json(both(Signed))
    const withKey = Effect.provideService(Key, "#s3")
    expect(Effect.runSync(withKey(codec.encode("hello")))).toBe('"hello#s3"')
    expect(Effect.runSync(withKey(codec.decode('"hello#s3"')))).toBe("hello")
    expect(Effect.runSync(withKey(Effect.flip(codec.decode('"hello"'))))).toMatchObject({
      reason: "mismatch",
      issue: "not signed"
    })
  })
})

describe("MessageCodec: what can't be decoded", () => {
  it.each([
    ["binary where text is due", json, hex("00"), "unsupported", 1003, "it is binary, and text is due"],
    ["text where binary is due", msgPack, "{}", "unsupported", 1003, "it is text, and binary is due"],
    ["what is no JSON", json, '{"a"', "malformed", 1007, "it is no JSON"],
    ["an empty text", json, "", "malformed", 1007, "it is no JSON"],
    ["what is no MessagePack", msgPack, hex("c1"), "malformed", 1007, /^it is no MessagePack: it has a token/],
    ["no bytes at all", msgPack, hex(""), "malformed", 1007, /it ends in the middle of a value$/],
    ["two values in one message", msgPack, hex("c0c0"), "malformed", 1007, /it goes on behind the value$/],
    ["a value of another type", json, "1", "mismatch", 1007, /^expected /],
    ["a wrong field", json, '{"_tag":"Say","text":7,"at":0}', "mismatch", 1007, 'at ["text"]: expected string'],
    ["a missing field", json, '{"_tag":"Say","text":"x"}', "mismatch", 1007, 'at ["at"]: is missing'],
    ["an unknown tag", json, '{"_tag":"Shout"}', "mismatch", 1007, 'at ["_tag"]: expected "Say" | "Move" | "Many"']
  ] as const)("%s", (_, codec, message, reason, closeCode, issue) => {
    const error = refusalOf(codec, message)
    expect(error).toBeInstanceOf(MessageCodec.DecodeError)
    expect({ reason: error.reason, closeCode: error.closeCode }).toEqual({ reason, closeCode })
    expect(error.issue).toEqual(typeof issue === "string" ? issue : expect.stringMatching(issue))
    expect(error.message).toBe(`${reason} message: ${error.issue}`)
  })

  it("an excess property is an issue if the schema says so, and an invalid date is one of a refinement", () => {
    const Exact = Schema.Struct({ a: Schema.Number }).annotations({ parseOptions: { onExcessProperty: "error" } })
    expect(refusalOf(MessageCodec.json(both(Exact)), '{"a":1,"b":2}').issue).toBe('at ["b"]: is not expected')
    expect(refusalOf(json, '{"_tag":"Say","text":"","at":1e300}').issue).toMatch(/^at \["at"\]: expected /)
  })

  it("an error holds 64 characters of the message, or 32 bytes in hex, and is itself short", () => {
    const secret = "s3cret".repeat(1000)
    const Short = Schema.Struct({ text: Schema.String.pipe(Schema.maxLength(5)) })
    const error = refusalOf(MessageCodec.json(both(Short)), JSON.stringify({ text: secret }))
    expect(error.excerpt).toBe(`${JSON.stringify({ text: secret }).slice(0, 64)}…`)
    expect(Cause.pretty(Cause.fail(error))).not.toContain("s3cret")
    const key = "k".repeat(100_000)
    const Deep = Schema.Record({
      key: Schema.String,
      value: Schema.Record({ key: Schema.String, value: Schema.Number })
    })
    const deep = refusalOf(MessageCodec.json(both(Deep)), JSON.stringify({ [key]: { [key]: "x" } }))
    expect(deep.issue).toMatch(/^at \["k{39}…\]\["k{39}…\]: expected number$/)
    expect(refusalOf(msgPack, new Uint8Array(100).fill(1)).excerpt).toBe(`${"01".repeat(32)}…`)
    expect(refusalOf(msgPack, hex("c1 ff")).excerpt).toBe("c1ff")
  })

  it("an error is one line, whatever the peer or the schema puts into it", () => {
    const Line = Schema.Struct({}).annotations({ message: () => "two\r\nlines" })
    const Told = Schema.transformOrFail(Schema.String, Schema.String, {
      strict: true,
      decode: (text, _, ast) => ParseResult.fail(new ParseResult.Type(ast, text, `bad: ${text}`)),
      encode: ParseResult.succeed
    })
    expect(refusalOf(MessageCodec.json(both(Told)), '"a\\nb\\u001b[31m"').issue).toBe("bad: a b [31m")
    expect(refusalOf(MessageCodec.json(both(Told)), JSON.stringify("x".repeat(1000))).issue).toHaveLength(201)
    const named = refusalOf(MessageCodec.json({ incoming: Line, outgoing: Line }), "null\n")
    expect(`${named.issue}${named.excerpt}`).not.toMatch(/\p{Cc}/u)
  })

  it("none of several alternatives names them, and not what was received", () => {
    const Either = Schema.Union(Schema.Struct({ a: Schema.String }), Schema.Struct({ a: Schema.Boolean }))
    expect(refusalOf(MessageCodec.json(both(Either)), '{"a":123456}').issue).toBe(
      "expected { readonly a: string } | { readonly a: boolean }"
    )
  })
})

describe("MessageCodec: what can't be encoded", () => {
  const failureOf = <Out>(codec: MessageCodec.MessageCodec<unknown, Out>, value: Out) =>
    Effect.runSync(Effect.flip(codec.encode(value)))

  it("a value that isn't one of the schema, with where and why", () => {
    const Age = Schema.Struct({ age: Schema.Int })
    for (const codec of [MessageCodec.json(both(Age)), MessageCodec.msgPack(both(Age))]) {
      const error = failureOf(codec, { age: 1.5 })
      expect(error).toBeInstanceOf(MessageCodec.EncodeError)
      expect(error.message).toBe('refused to send a value: at ["age"]: expected Int')
    }
  })

  it("a value that the format has nothing for", () => {
    const anything = MessageCodec.json(both(Schema.Unknown))
    const circular: Array<unknown> = []
    circular.push(circular)
    expect(failureOf(anything, undefined).issue).toBe("it has no JSON")
    expect(failureOf(anything, { big: 1n }).issue).toMatch(/^it has no JSON: .*BigInt/)
    expect(failureOf(anything, circular).issue).toMatch(/^it has no JSON: .*circular/)
    expect(failureOf(MessageCodec.msgPack(both(Schema.Unknown)), 2n ** 64n).issue).toMatch(/too large/i)
  })

  it("a value that is nested deeper than the stack", () => {
    let deep: unknown = null
    for (let depth = 0; depth < 200_000; depth++) deep = [deep]
    // Up to Node 24 the stack is too small for JSON of this depth; Node 26 prints it without a stack.
    const json = Effect.runSync(Effect.either(MessageCodec.json(both(Schema.Unknown)).encode(deep)))
    if (Either.isLeft(json)) expect(json.left).toBeInstanceOf(MessageCodec.EncodeError)
    else expect(json.right.length).toBe("[]".length * 200_000 + "null".length)
    expect(failureOf(MessageCodec.msgPack(both(Schema.Unknown)), deep)).toBeInstanceOf(MessageCodec.EncodeError)
  })
})

describe("MessageCodec: codecs of one's own", () => {
  class Odd extends Data.TaggedError("Odd")<{ readonly message: string }> {}

  const pairs = MessageCodec.text({
    decode: (text) =>
      text.length % 2 === 0
        ? Effect.succeed(text.length / 2)
        : Effect.fail(new Odd({ message: `${text.length} is odd` })),
    encode: (pairs: number) =>
      pairs >= 0 ? Effect.succeed("ab".repeat(pairs)) : Effect.fail(new Odd({ message: "negative" }))
  })

  const words = MessageCodec.binary({
    decode: (bytes) => Effect.sync(() => new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint16(0)),
    encode: (word: number) => Effect.succeed(new Uint8Array([word >> 8, word]))
  })

  it("take text or binary, and what they fail with is the issue", () => {
    expect(Effect.runSync(pairs.decode("abab"))).toBe(2)
    expect(Effect.runSync(pairs.encode(2))).toBe("abab")
    expect(refusalOf(pairs, "aba")).toMatchObject({ reason: "malformed", issue: "3 is odd", excerpt: "aba" })
    expect(refusalOf(pairs, hex("61"))).toMatchObject({ reason: "unsupported" })
    expect(Effect.runSync(Effect.flip(pairs.encode(-1)))).toMatchObject({ _tag: "EncodeError", issue: "negative" })
    expect(Effect.runSync(Effect.flatMap(words.encode(0x1234), words.decode))).toBe(0x1234)
    expect(refusalOf(words, "text")).toMatchObject({ reason: "unsupported" })
  })

  it("a RangeError, of bytes that aren't there, is no defect; any other throw is one", () => {
    expect(refusalOf(words, hex("12"))).toMatchObject({
      reason: "malformed",
      issue: expect.stringContaining("outside the bounds")
    })
    const broken = MessageCodec.text({
      decode: (): Effect.Effect<never> => {
        throw new TypeError("a bug")
      },
      encode: () => Effect.succeed("")
    })
    expect(() => broken.decode("")).toThrow("a bug")
    const brokenLater = MessageCodec.text({
      decode: () => Effect.die(new TypeError("a bug")),
      encode: () => Effect.succeed("")
    })
    expect(Effect.runSyncExit(brokenLater.decode(""))).toEqual(Exit.die(new TypeError("a bug")))
  })

  it("the reason of a failure is found where there is one", () => {
    const failing = (failure: unknown) =>
      refusalOf(MessageCodec.text({ decode: () => Effect.fail(failure), encode: () => Effect.succeed("") }), "x")
    const thrown = Effect.try(() => {
      throw new Error("thrown inside")
    })
    const own = new MessageCodec.DecodeError({ reason: "unsupported", issue: "not now", excerpt: "" })
    expect(failing(Effect.runSync(Effect.flip(thrown))).issue).toBe("thrown inside")
    expect(failing("in words").issue).toBe("in words")
    expect(failing({ code: 7 }).issue).toBe("the codec gives no reason")
    expect(failing(own)).toBe(own)
    const parse = Schema.decodeUnknownEither(Schema.Struct({ a: Schema.Number }))({})
    expect(Either.isLeft(parse) && failing(parse.left)).toMatchObject({
      reason: "mismatch",
      issue: 'at ["a"]: is missing'
    })
    const encoding = new MessageCodec.EncodeError({ issue: "no room" })
    const codec = MessageCodec.text({
      decode: Effect.succeed,
      encode: (): Effect.Effect<string, unknown> => Effect.fail(encoding)
    })
    expect(Effect.runSync(Effect.flip(codec.encode("")))).toBe(encoding)
  })
})

describe("MessageCodec.either", () => {
  it("makes values of undecodable messages, at once where the codec is", () => {
    const codec = MessageCodec.either(json)
    const decoding = codec.decode('{"_tag":"Move"}')
    expect(Either.isEither(decoding)).toBe(true)
    expect(Effect.runSync(decoding)).toMatchObject({ left: { reason: "mismatch" } })
    expect(Effect.runSync(codec.decode('{"_tag":"Move","x":1}'))).toMatchObject({ right: { x: 1 } })
    expect(Effect.runSync(codec.encode({ _tag: "Move", x: 1 }))).toBe('{"_tag":"Move","x":1}')
  })

  it.effect("and of those that take longer", () =>
    Effect.gen(function* () {
      const slow = MessageCodec.text({
        decode: (text) => Effect.zipRight(Effect.yieldNow(), text === "" ? Effect.fail("empty") : Effect.succeed(text)),
        encode: (text: string) => Effect.succeed(text)
      })
      const codec = MessageCodec.either(slow)
      expect(yield* codec.decode("a")).toEqual(Either.right("a"))
      expect(yield* codec.decode("")).toMatchObject({ left: { issue: "empty" } })
    })
  )
})
