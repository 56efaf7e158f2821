import { describe, expect, it } from "@effect/vitest"
import { Arbitrary } from "effect"
import { Frame } from "effect-websocket"
import * as fc from "fast-check"
import { Decoder, type FrameSink } from "../../src/protocol/decoder.js"
import { encodeFrame } from "../../src/protocol/frame.js"
import { breach, type Violation } from "../../src/protocol/violation.js"
import { cutBy, everyCut, fromHex, join, pattern, retained, toHex, wire } from "../fixtures/bytes.js"

interface Seen {
  readonly fin: boolean
  readonly rsv: number
  readonly opcode: number
  readonly payload: string
}

/** Puts frames together in the plainest way, and checks the order of the calls. */
const collect = (refuse: Partial<FrameSink> = {}) => {
  const frames: Array<Seen> = []
  const calls: Array<string> = []
  let under: { header: Omit<Seen, "payload">; declared: number; pieces: Array<Uint8Array>; size: number } | undefined
  const sink: FrameSink = {
    frameStarts: (fin, rsv, opcode) => {
      expect(under).toBe(undefined)
      calls.push("starts")
      return refuse.frameStarts?.(fin, rsv, opcode)
    },
    frameDeclares: (opcode, length) => {
      expect(under).toBe(undefined)
      calls.push("declares")
      return refuse.frameDeclares?.(opcode, length)
    },
    frameBegins: (fin, rsv, opcode, declared) => {
      expect(under).toBe(undefined)
      calls.push("begins")
      under = { header: { fin, rsv, opcode }, declared, pieces: [], size: 0 }
    },
    framePayload: (bytes, start, end, left) => {
      const last = left === 0
      calls.push(last ? "last" : "piece")
      if (under === undefined) throw new Error("a payload without a frame")
      under.pieces.push(bytes.slice(start, end))
      under.size += end - start
      expect(left).toBe(under.declared - under.size)
      // An empty piece is the whole of an empty payload; nothing else is worth a call.
      if (start === end) expect(under.declared).toBe(0)
      if (last) {
        frames.push({ ...under.header, payload: toHex(join(...under.pieces)) })
        under = undefined
      }
      return refuse.framePayload?.(bytes, start, end, left)
    }
  }
  return { sink, frames, calls }
}

const decode = (chunks: ReadonlyArray<Uint8Array>, masked?: boolean) => {
  const { sink, frames } = collect()
  const decoder = new Decoder(masked, sink)
  let violation: Violation | undefined
  for (const chunk of chunks) violation ??= decoder.push(chunk)
  return violation === undefined ? { frames, atBoundary: decoder.atBoundary } : { frames, violation }
}

const seen = ({ fin, rsv, opcode, payload }: Frame.Frame): Seen => ({ fin, rsv, opcode, payload: toHex(payload) })

const frames = Arbitrary.make(Frame.Frame)
const keys = fc.integer({ min: 0, max: 0xffff_ffff })
const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 500, max: 100_000 })), {
  minLength: 1,
  maxLength: 8
})

describe("the decoder", () => {
  it("undoes the encoder in both roles, however the bytes are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(frames, keys), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        sizes,
        (sent, masked, cut) => {
          const bytes = join(...sent.map(([frame, key]) => encodeFrame(frame, masked ? key : undefined)))
          expect(decode(cutBy(bytes, cut), masked)).toEqual({
            frames: sent.map(([frame]) => seen(frame)),
            atBoundary: true
          })
        }
      ),
      { numRuns: 200 }
    )
  })

  it.each([false, true])("gives the same frames at every cut, between and inside of headers (masked: %s)", (masked) => {
    const key = masked ? 0x01020304 : undefined
    const bytes = join(
      wire(1, "", { key, fin: false }),
      wire(9, "ping", { key }),
      wire(0, pattern(126), { key, rsv: 5 }),
      wire(10, "", { key }),
      wire(2, "", { key })
    )
    const whole = decode([new Uint8Array(bytes)], masked)
    expect(whole.frames.map(({ opcode }) => opcode)).toEqual([1, 9, 0, 10, 2])
    for (const chunks of everyCut(bytes)) expect(decode(chunks, masked)).toEqual(whole)
  })

  it("passes empty chunks over, wherever they come", () => {
    const bytes = join(wire(1, "ab", { key: 7 }), wire(1, "", { key: 7 }), wire(2, pattern(200), { key: 7 }))
    const chunks = Array.from(bytes, (byte) => Uint8Array.of(byte)).flatMap((chunk) => [new Uint8Array(0), chunk])
    expect(decode(chunks)).toEqual(decode([bytes]))
  })

  it("takes 64-bit lengths that are cut anywhere", () => {
    const payload = pattern(65_536)
    const bytes = wire(2, payload, { key: 0xa1b2c3d4 })
    for (let at = 1; at <= 14; at++) {
      expect(decode([bytes.slice(0, at), bytes.slice(at, at + 1), bytes.slice(at + 1)])).toEqual({
        frames: [{ fin: true, rsv: 0, opcode: 2, payload: toHex(payload) }],
        atBoundary: true
      })
    }
  })

  it("unmasks in place, and leaves an unmasked chunk as it is", () => {
    const masked = wire(2, "secret", { key: 0x01020304 })
    new Decoder(true, collect().sink).push(masked)
    expect(Buffer.from(masked.subarray(6)).toString()).toBe("secret")
    const plain = wire(2, "secret")
    new Decoder(false, collect().sink).push(plain)
    expect(toHex(plain)).toBe(toHex(wire(2, "secret")))
  })

  it("takes masked and unmasked frames in turn where it doesn't matter which they are", () => {
    const bytes = join(wire(1, "masked", { key: 0x01020304 }), wire(1, "plain"), wire(1, "again", { key: 0xfffefdfc }))
    for (const chunks of everyCut(bytes)) {
      expect(decode(chunks).frames.map(({ payload }) => Buffer.from(payload, "hex").toString())).toEqual([
        "masked",
        "plain",
        "again"
      ])
    }
  })

  it("asks about a length only once it is known", () => {
    for (const [hex, calls] of [
      ["82", ["starts"]],
      ["82 7e 01", ["starts"]],
      ["82 7f 00000000000100", ["starts"]],
      ["82 fe 0100", ["starts", "declares"]],
      ["82 85 010203", ["starts", "declares"]],
      ["82 85 01020304", ["starts", "declares", "begins"]]
    ] as const) {
      const heard = collect()
      expect(new Decoder(undefined, heard.sink).push(fromHex(hex))).toBe(undefined)
      expect(heard.calls).toEqual(calls)
    }
  })

  it("tells whether the bytes end between two frames", () => {
    const bytes = join(wire(1, "abc"), wire(1, ""))
    const ends = Array.from({ length: bytes.length + 1 }, (_, end) => decode([bytes.slice(0, end)]).atBoundary)
    expect(ends).toEqual([true, false, false, false, false, true, false, true])
    // A frame whose header is complete, and nothing else.
    expect(decode([fromHex("8205")]).atBoundary).toBe(false)
    expect(decode([fromHex("82"), fromHex("05")]).atBoundary).toBe(false)
  })

  it("holds nothing of a payload, whatever length was declared", () => {
    const { sink, calls } = collect()
    const decoder = new Decoder(false, { ...sink, framePayload: () => undefined })
    decoder.push(wire(2, "x", { length: 2n ** 53n - 1n }))
    for (let index = 0; index < 1000; index++) decoder.push(pattern(1000))
    expect(calls).toEqual(["starts", "declares", "begins"])
    expect(retained(decoder).bytes).toBe(0)
    expect(decoder.atBoundary).toBe(false)
  })
})

describe("a violation", () => {
  const refusal = breach(1008, "not this one")

  it("is answered where the sink gives it, and stops the decoder for good", () => {
    const bytes = join(wire(1, "ab"), wire(2, "cd"), wire(1, "ef"))
    for (const stage of ["frameStarts", "frameDeclares", "framePayload"] as const) {
      const heard = collect({
        [stage]: () => {
          const begun = heard.calls.filter((call) => call === (stage === "framePayload" ? "last" : "begins")).length
          return begun === (stage === "framePayload" ? 2 : 1) ? refusal : undefined
        }
      })
      const decoder = new Decoder(false, heard.sink)
      expect(decoder.push(new Uint8Array(bytes))).toBe(refusal)
      const calls = [...heard.calls]
      expect(heard.frames.map(({ payload }) => payload)).toEqual(stage === "framePayload" ? ["6162", "6364"] : ["6162"])
      expect(decoder.push(wire(1, "more"))).toBe(undefined)
      expect(heard.calls).toEqual(calls)
    }
  })

  it("is found at the first byte that is wrong, before the sink is asked", () => {
    for (const [hex, calls] of [
      ["83", []],
      ["09", []],
      ["82 80", ["starts"]],
      ["89 7e", ["starts"]],
      ["82 7e 0001", ["starts"]],
      ["82 7f 80", ["starts"]]
    ] as const) {
      const heard = collect()
      expect(new Decoder(false, heard.sink).push(fromHex(hex))).toMatchObject({ _tag: "Breach", closeCode: 1002 })
      expect(heard.calls).toEqual(calls)
    }
  })

  it("of the sink's about the first byte goes before one about the second", () => {
    const heard = collect({ frameStarts: () => refusal })
    expect(new Decoder(true, heard.sink).push(wire(1, "not masked"))).toBe(refusal)
  })

  it("about the declared length comes before the key", () => {
    const heard = collect({ frameDeclares: () => refusal })
    expect(new Decoder(true, heard.sink).push(fromHex("82 fe 0100"))).toBe(refusal)
  })
})

describe("on noise", () => {
  // Noise whose first bytes are often those of a frame.
  const noise = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 20 }),
      fc
        .tuple(fc.constantFrom(0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a), fc.nat(255), fc.uint8Array())
        .map(([first, second, rest]) => join(Uint8Array.of(first, second), rest))
    ),
    { maxLength: 6 }
  )

  it("the decoder never throws, always ends, and takes nothing after a violation", () => {
    let violations = 0
    fc.assert(
      fc.property(noise, fc.constantFrom(true, false, undefined), (chunks, masked) => {
        const heard = collect()
        const decoder = new Decoder(masked, heard.sink)
        let stopped: number | undefined
        for (const chunk of chunks) {
          const violation = decoder.push(chunk)
          if (stopped !== undefined) {
            expect(violation).toBe(undefined)
            expect(heard.calls.length).toBe(stopped)
          } else if (violation !== undefined) {
            violations++
            stopped = heard.calls.length
          }
        }
        const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
        // A frame takes two bytes at least, and each chunk brings at most one piece to it, which asks for at most 4 calls.
        expect(heard.calls.length).toBeLessThanOrEqual(4 * (size + chunks.length))
      }),
      { numRuns: 10_000, seed: 20_250_101 }
    )
    expect(violations).toBeGreaterThan(1000)
  })

  it("the outcome doesn't depend on the cut", () => {
    fc.assert(
      fc.property(noise, fc.boolean(), sizes, (chunks, masked, cut) => {
        const bytes = join(...chunks)
        expect(decode(cutBy(bytes, cut), masked)).toEqual(decode([bytes], masked))
      }),
      { numRuns: 2000 }
    )
  })
})
