import { describe, expect, it } from "@effect/vitest"
import { Arbitrary, Either, Option, Schema } from "effect"
import { CloseCode, Frame, type WebSocketError } from "effect-websocket"
import * as fc from "fast-check"
import { Decoder } from "../src/protocol/decoder.js"
import { fromHex, join, pattern, toHex, utf8, wire, xor } from "./fixtures/bytes.js"

const frames = Arbitrary.make(Frame.Frame)
const roles = ["client", "server"] as const

const encoded = (frame: Frame.Frame, role: Frame.Role, key?: number): Uint8Array =>
  Either.getOrThrow(Frame.encode(frame, role, key))

/** What `decode` makes of bytes, in a form that can be compared. */
const decoded = (bytes: Uint8Array, options?: Frame.DecodeOptions) =>
  Either.match(Frame.decode(bytes, options), {
    onLeft: (error: WebSocketError.ProtocolError | WebSocketError.PayloadTooLarge) => ({ error }),
    onRight: Option.getOrUndefined
  })

const ruleOf = (result: ReturnType<typeof decoded>): string | undefined =>
  result !== undefined && "error" in result && result.error._tag === "ProtocolError" ? result.error.rule : undefined

describe("Opcode", () => {
  it("has the values of RFC 6455 11.8", () => {
    expect(Frame.Opcode).toEqual({ continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 })
  })
})

describe("the constructors", () => {
  it("make a final, empty text frame by default, and a binary one of bytes", () => {
    const empty = new Uint8Array(0)
    expect(Frame.make()).toEqual({ opcode: 1, rsv: 0, fin: true, payload: empty })
    expect(Frame.make({ payload: "hé" })).toEqual({ opcode: 1, rsv: 0, fin: true, payload: utf8("hé") })
    expect(Frame.make({ payload: pattern(3) })).toEqual({ opcode: 2, rsv: 0, fin: true, payload: pattern(3) })
    expect(Frame.make({ opcode: 0, rsv: 4, fin: false, payload: "x" })).toEqual({
      opcode: 0,
      rsv: 4,
      fin: false,
      payload: utf8("x")
    })
    expect(Frame.make({ opcode: Frame.Opcode.text, payload: pattern(2) }).opcode).toBe(1)
  })

  it("have a short form for each kind", () => {
    expect(Frame.text("a")).toEqual(Frame.make({ opcode: 1, payload: "a" }))
    expect(Frame.binary(pattern(2))).toEqual(Frame.make({ opcode: 2, payload: pattern(2) }))
    expect(Frame.ping()).toEqual(Frame.make({ opcode: 9 }))
    expect(Frame.ping("p")).toEqual(Frame.make({ opcode: 9, payload: "p" }))
    expect(Frame.pong(pattern(1))).toEqual(Frame.make({ opcode: 10, payload: pattern(1) }))
    expect(Frame.close()).toEqual(Frame.make({ opcode: 8 }))
    expect(Frame.close(undefined, "doesn't count")).toEqual(Frame.make({ opcode: 8 }))
    expect(toHex(Frame.close(CloseCode.normal, "ok").payload)).toBe("03e86f6b")
    expect(toHex(Frame.close(4000).payload)).toBe("0fa0")
  })

  it("judge nothing", () => {
    expect(toHex(Frame.close(1005, "x").payload)).toBe("03ed78")
    expect(Frame.ping("x".repeat(200)).payload.length).toBe(200)
  })
})

describe("format", () => {
  it("is one line without the payload", () => {
    expect(Frame.format(Frame.text("hello"))).toBe("text fin, 5 bytes")
    expect(Frame.format(Frame.make({ opcode: 0, fin: false }))).toBe("continuation, 0 bytes")
    expect(Frame.format(Frame.make({ opcode: 2, rsv: 4, payload: pattern(70_000) }))).toBe(
      "binary fin rsv=4, 70000 bytes"
    )
    expect([Frame.close(), Frame.ping(), Frame.pong()].map(Frame.format)).toEqual([
      "close fin, 0 bytes",
      "ping fin, 0 bytes",
      "pong fin, 0 bytes"
    ])
  })
})

describe("mask", () => {
  it("masks a copy, in both forms, and undoes itself", () => {
    const bytes = utf8("Hello")
    expect(toHex(Frame.mask(bytes, 0x37fa213d))).toBe("7f9f4d5158")
    expect(toHex(Frame.mask(0x37fa213d)(fromHex("7f9f4d5158")))).toBe(toHex(bytes))
    expect(toHex(bytes)).toBe(toHex(utf8("Hello")))
    expect(Frame.mask(bytes, 0)).not.toBe(bytes)
  })

  it("leaves a Buffer as it is", () => {
    const buffer = Buffer.from("Hello")
    expect(toHex(Frame.mask(buffer, 0x37fa213d))).toBe("7f9f4d5158")
    expect(buffer.toString()).toBe("Hello")
  })
})

describe("encode", () => {
  it("masks a client's frame with the given key, and never a server's", () => {
    expect(toHex(encoded(Frame.text("Hello"), "client", 0x37fa213d))).toBe("818537fa213d7f9f4d5158")
    expect(toHex(encoded(Frame.text("Hello"), "server", 0x37fa213d))).toBe("810548656c6c6f")
    expect(toHex(encoded(Frame.text("Hello"), "client", 0))).toBe("81850000000048656c6c6f")
  })

  it("takes another random key for each frame", () => {
    const keys = Array.from({ length: 100 }, () => toHex(encoded(Frame.text("Hello"), "client").subarray(2, 6)))
    expect(new Set(keys).size).toBeGreaterThan(98)
    for (const bytes of Array.from({ length: 5 }, () => encoded(Frame.text("Hello"), "client"))) {
      expect(decoded(bytes)).toEqual({ frame: Frame.text("Hello"), size: 11 })
    }
  })

  it("doesn't share memory with the payload", () => {
    const payload = pattern(100)
    const bytes = encoded(Frame.binary(payload), "server")
    bytes.fill(0)
    expect(toHex(payload)).toBe(toHex(pattern(100)))
  })

  it.each([
    [
      "a control frame without FIN",
      Frame.make({ opcode: 9, fin: false }),
      "a control frame must not be fragmented (RFC 6455 5.5)"
    ],
    [
      "a control frame of 126 bytes",
      Frame.ping(pattern(126)),
      "a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)"
    ],
    [
      "rsv 8, which would set FIN",
      Frame.make({ rsv: 8, fin: false }),
      "rsv must be a whole number from 0 to 7 (RFC 6455 5.2)"
    ],
    ["rsv -1", Frame.make({ rsv: -1 }), "rsv must be a whole number from 0 to 7 (RFC 6455 5.2)"],
    ["rsv 1.5", Frame.make({ rsv: 1.5 }), "rsv must be a whole number from 0 to 7 (RFC 6455 5.2)"]
  ])("refuses %s", (_, frame, rule) => {
    for (const role of roles) {
      const error = Either.getOrThrow(Either.flip(Frame.encode(frame, role)))
      expect(error).toMatchObject({ _tag: "ProtocolError", side: "local", rule, closeCode: 1002 })
    }
  })
})

describe("decode", () => {
  it("undoes encode in both roles, and tells the size", () => {
    fc.assert(
      fc.property(frames, fc.constantFrom(...roles), fc.uint8Array({ maxLength: 5 }), (frame, role, rest) => {
        const bytes = encoded(frame, role)
        const result = decoded(join(bytes, rest), { role })
        if (result === undefined || "error" in result) throw new Error("not decoded")
        expect(result.size).toBe(bytes.length)
        expect(Buffer.compare(result.frame.payload, frame.payload)).toBe(0)
        expect({ ...result.frame, payload: 0 }).toEqual({ ...frame, payload: 0 })
      }),
      { numRuns: 300 }
    )
  })

  it("wants more bytes until the frame is whole", () => {
    for (const bytes of [wire(1, "Hello"), wire(2, pattern(126), { key: 1 }), wire(2, pattern(65_536))]) {
      const ends = [...Array(20).keys(), bytes.length - 1]
      for (const end of ends.filter((one) => one < bytes.length)) expect(decoded(bytes.slice(0, end))).toBe(undefined)
      expect(decoded(bytes)).toMatchObject({ size: bytes.length })
    }
  })

  it("takes the first of several frames", () => {
    expect(decoded(join(wire(1, "one"), wire(1, "two")))).toEqual({ frame: Frame.text("one"), size: 5 })
  })

  it("changes nothing in the bytes, and shares no memory with them, even with a Buffer", () => {
    for (const bytes of [wire(1, "Hello", { key: 0x01020304 }), Buffer.from(wire(1, "Hello", { key: 0x01020304 }))]) {
      const before = toHex(bytes)
      const result = decoded(bytes)
      expect(toHex(bytes)).toBe(before)
      bytes.fill(0)
      expect(result).toEqual({ frame: Frame.text("Hello"), size: 11 })
    }
  })

  it("knows RSV bits and fragments, which a single frame may have", () => {
    expect(decoded(wire(0, "x", { fin: false, rsv: 7 }))).toEqual({
      frame: Frame.make({ opcode: 0, fin: false, rsv: 7, payload: "x" }),
      size: 3
    })
  })

  it("takes either masking by default, and only the sender's with a role", () => {
    const plain = wire(1, "a")
    const masked = wire(1, "a", { key: 9 })
    for (const bytes of [plain, masked]) expect(decoded(bytes)).toMatchObject({ frame: Frame.text("a") })
    expect(decoded(masked, { role: "client" })).toMatchObject({ frame: Frame.text("a") })
    expect(decoded(plain, { role: "server" })).toMatchObject({ frame: Frame.text("a") })
    expect(ruleOf(decoded(plain, { role: "client" }))).toBe("a client must mask every frame it sends (RFC 6455 5.1)")
    expect(ruleOf(decoded(masked, { role: "server" }))).toBe("a server must not mask any frame it sends (RFC 6455 5.1)")
  })

  it("holds frames to a limit, by their declared length and as soon as that is known", () => {
    expect(decoded(wire(2, pattern(10)), { maxFrameSize: 10 })).toMatchObject({ size: 12 })
    for (const bytes of [wire(2, pattern(11)), fromHex("820b"), fromHex("828b")]) {
      expect(decoded(bytes, { maxFrameSize: 10 })).toMatchObject({
        error: { _tag: "PayloadTooLarge", which: "frame size", limit: 10, size: 11 }
      })
    }
    expect(decoded(wire(2, "", { length: 2n ** 53n - 1n }))).toBe(undefined)
  })

  it.each([
    ["83", "opcode 0x3 is reserved (RFC 6455 5.2)"],
    ["8b7e0001", "opcode 0xb is reserved (RFC 6455 5.2)"],
    ["09", "a control frame must not be fragmented (RFC 6455 5.5)"],
    ["897e", "a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)"],
    ["827e0001", "a payload length must be encoded in the fewest bytes that hold it (RFC 6455 5.2)"],
    ["827f80", "the top bit of a 64-bit payload length must be 0 (RFC 6455 5.2)"],
    ["827f0020000000000000", "a payload length above 2^53 - 1 can't be represented"]
  ])("refuses %s", (hex, rule) => {
    const result = decoded(fromHex(hex))
    expect(ruleOf(result)).toBe(rule)
    expect(result).toMatchObject({ error: { side: "remote" } })
  })

  it("judges as the decoder of byte streams does, on any bytes", () => {
    const heads = fc.tuple(fc.nat(255), fc.nat(255)).map((pair) => Uint8Array.from(pair))
    const bytes = fc.tuple(heads, fc.uint8Array({ maxLength: 20 })).map(([head, rest]) => join(head, rest))
    fc.assert(
      fc.property(bytes, fc.constantFrom(undefined, ...roles), (input, role) => {
        const found: Array<string> = []
        const decoder = new Decoder(role === undefined ? undefined : role === "client", {
          frameStarts: () => undefined,
          frameDeclares: () => undefined,
          frameBegins: () => undefined,
          framePayload: (_bytes, _start, _end, left) => {
            if (left === 0) found.push("frame")
            return undefined
          }
        })
        const violation = decoder.push(new Uint8Array(input))
        const result = decoded(input, { role })
        if (found.length > 0) expect(result).toHaveProperty("frame")
        else if (violation?._tag === "Breach") expect(ruleOf(result)).toBe(violation.rule)
        else expect(result).toBe(undefined)
      }),
      { numRuns: 3000 }
    )
  })
})

describe("the Frame schema", () => {
  const isFrame = Schema.is(Frame.Frame)

  it("takes what can be encoded, and nothing else", () => {
    for (const frame of [
      Frame.text("a"),
      Frame.make({ rsv: 7, fin: false }),
      Frame.ping(pattern(125)),
      Frame.close(9)
    ]) {
      expect(isFrame(frame)).toBe(true)
    }
    for (const other of [
      { ...Frame.text("a"), opcode: 3 },
      { ...Frame.text("a"), rsv: 8 },
      { ...Frame.text("a"), rsv: 0.5 },
      { ...Frame.text("a"), payload: "a" },
      Frame.make({ opcode: 8, fin: false }),
      Frame.pong(pattern(126)),
      {},
      null
    ]) {
      expect(isFrame(other)).toBe(false)
    }
  })

  it("says which rule a frame breaks", () => {
    const result = Schema.validateEither(Frame.Frame)(Frame.ping(pattern(126)))
    expect(Either.isLeft(result) && result.left.message).toContain("a control frame must carry at most 125 bytes")
  })

  it("makes frames of every kind, all of them valid, at the lengths where the header grows", () => {
    const sample = fc.sample(frames, { numRuns: 1000, seed: 3 })
    expect(sample.every((frame) => isFrame(frame) && Either.isRight(Frame.encode(frame, "server")))).toBe(true)
    expect([...new Set(sample.map(({ opcode }) => opcode))].sort((a, b) => a - b)).toEqual([0, 1, 2, 8, 9, 10])
    expect(new Set(sample.map(({ rsv }) => rsv)).size).toBe(8)
    expect(new Set(sample.map(({ fin }) => fin)).size).toBe(2)
    const lengths = new Set(sample.map(({ payload }) => payload.length))
    for (const length of [0, 125, 126, 127, 65_535, 65_536]) expect(lengths).toContain(length)
  })
})

describe.each([
  ["FromBytes", Frame.FromBytes, undefined],
  ["FromMaskedBytes", Frame.FromMaskedBytes, 0x0badcafe]
] as const)("%s", (_, schema, key) => {
  const decode = Schema.decodeEither(schema)
  const encode = Schema.encodeEither(schema)
  const messageOf = <A, E extends { readonly message: string }>(result: Either.Either<A, E>): string =>
    Either.isLeft(result) ? result.left.message : "no error"

  it("decodes the bytes of one frame", () => {
    expect(decode(wire(1, "Hello", { key }))).toEqual(Either.right(Frame.text("Hello")))
    expect(decode(wire(9, "", { key }))).toEqual(Either.right(Frame.ping()))
  })

  it("encodes a frame so that it is read again, for every frame", () => {
    fc.assert(
      fc.property(frames, (frame) => {
        const bytes = Either.getOrThrow(encode(frame))
        expect(((bytes[1] ?? 0) & 0x80) !== 0).toBe(key !== undefined)
        const again = Either.getOrThrow(decode(bytes))
        expect(Buffer.compare(again.payload, frame.payload)).toBe(0)
        expect({ ...again, payload: 0 }).toEqual({ ...frame, payload: 0 })
      }),
      { numRuns: 100 }
    )
  })

  it("refuses anything but exactly one frame", () => {
    const bytes = wire(1, "Hello", { key })
    for (const wrong of [new Uint8Array(0), bytes.slice(0, 1), bytes.slice(0, -1), join(bytes, fromHex("00"))]) {
      expect(messageOf(decode(wrong))).toContain("the bytes are not exactly one frame")
    }
  })

  it("refuses what is no frame, with the rule it breaks", () => {
    const other = key === undefined ? 1 : undefined
    expect(messageOf(decode(wire(1, "x", { key: other })))).toMatch(/must (not )?mask/)
    expect(messageOf(decode(wire(3, "", { key })))).toContain("opcode 0x3 is reserved")
    expect(messageOf(encode(Frame.ping(pattern(126))))).toContain("at most 125 bytes")
    expect(messageOf(encode(Frame.make({ opcode: 8, fin: false })))).toContain("must not be fragmented")
  })
})

describe("FromMaskedBytes", () => {
  it("masks with another key each time", () => {
    const bytes = Array.from({ length: 20 }, () => Schema.encodeSync(Frame.FromMaskedBytes)(Frame.text("Hello")))
    const keys = bytes.map((one) => new DataView(one.buffer).getUint32(2))
    expect(new Set(keys).size).toBeGreaterThan(18)
    bytes.forEach((one, index) => {
      expect(Buffer.from(xor(one.subarray(6), keys[index] ?? 0)).toString()).toBe("Hello")
    })
  })
})
