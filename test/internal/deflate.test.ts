import { constants, inflateRawSync } from "node:zlib"
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type DeflateOptions, deflate, type WindowBits } from "../../src/internal/deflate.js"
import type { MessageExtension } from "../../src/protocol/extension.js"
import {
  bomb,
  codecs,
  compressed,
  dictionaries,
  everyWindowBits,
  hex,
  joinedBytes,
  jsonText,
  noise,
  streaming,
  tail,
  takeover
} from "../fixtures/deflating.js"
import { inflateSlowly } from "../fixtures/inflater.js"

const MiB = 2 ** 20

const utf8 = (text: string) => new TextEncoder().encode(text)
const same = (left: unknown, right: Uint8Array) =>
  left instanceof Uint8Array && Buffer.from(left.buffer, left.byteOffset, left.length).equals(right)
const asText = (decoded: unknown) => (decoded instanceof Uint8Array ? new TextDecoder().decode(decoded) : decoded)
const tooLarge = (limit: number) => ({ _tag: "Excess", which: "message size", limit, size: limit + 1 })
const refused = { _tag: "Breach", closeCode: 1007, rule: expect.stringContaining("7.2.2") }

/** What a server makes of a message of a client that starts anew with each. */
const decode = (payload: Uint8Array, limit = MiB) => codecs().server.decode(payload, limit)

// First, so that the peak of memory is theirs.
describe("a bomb", () => {
  const grown = (run: () => void) => {
    const before = process.resourceUsage().maxRSS
    run()
    return (process.resourceUsage().maxRSS - before) * 1024
  }

  it("of 1 GiB in 1 MiB is refused in bounded memory", () => {
    const payload = bomb(1024)
    expect(payload.length).toBeLessThan(1.1 * MiB)
    // zlib's output up to the limit, and the copy of the input: a few MiB, where inflating would take 1 GiB.
    expect(
      grown(() => {
        expect(decode(payload)).toEqual(tooLarge(MiB))
      })
    ).toBeLessThan(64 * MiB)
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(128 * MiB)
  })

  it("of many streams is refused at the limit, too", () => {
    const part = new Uint8Array(compressed(new Uint8Array(64 * 1024), { level: 9 }))
    // Final blocks, each of 64 KiB: the sum is over the limit long before the streams are too many.
    part[0] = (part[0] ?? 0) | 1
    const zeros = inflateSlowly(joinedBytes(part, tail)).bytes
    expect(zeros.length).toBe(64 * 1024)
    const payload = joinedBytes(...new Array<Uint8Array>(100).fill(joinedBytes(part, tail)), hex("00"))
    expect(grown(() => expect(decode(payload)).toEqual(tooLarge(MiB)))).toBeLessThan(64 * MiB)
  })
})

describe("the examples of RFC 7692 7.2.3", () => {
  it("7.2.3.1: a message in one compressed block", () => {
    const { client, server } = codecs()
    expect(client.encode(utf8("Hello"))).toEqual(hex("f2 48 cd c9 c9 07 00"))
    expect(asText(server.decode(hex("f2 48 cd c9 c9 07 00"), MiB))).toBe("Hello")
  })

  it.runIf(dictionaries)("7.2.3.2: sharing the window, as we do", () => {
    const { client } = codecs(takeover)
    const first = client.encode(utf8("Hello"))
    const second = client.encode(utf8("Hello"))
    expect(first).toEqual(hex("f2 48 cd c9 c9 07 00"))
    // In the RFC the "H" is a literal, as it is to Node's zlib. Another may find all of it in the window.
    expect(second.length).toBeLessThan(first.length)
    expect(asText(inflateSlowly(joinedBytes(second, tail), utf8("Hello")).bytes)).toBe("Hello")
  })

  it("7.2.3.2: sharing the window, as a peer does", () => {
    const { server } = codecs(takeover)
    expect(asText(server.decode(hex("f2 48 cd c9 c9 07 00"), MiB))).toBe("Hello")
    expect(asText(server.decode(hex("f2 00 11 00 00"), MiB))).toBe("Hello")
  })

  it("7.2.3.3: a block with no compression", () => {
    expect(asText(decode(hex("00 05 00 fa ff 48 65 6c 6c 6f 00")))).toBe("Hello")
  })

  it("7.2.3.4: a block with BFINAL", () => {
    expect(asText(decode(hex("f3 48 cd c9 c9 07 00 00")))).toBe("Hello")
  })

  it("7.2.3.5: two blocks", () => {
    expect(asText(decode(hex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00")))).toBe("Hello")
  })

  it("7.2.3.6: an empty message", () => {
    expect(decode(hex("00"))).toEqual(new Uint8Array(0))
    expect(decode(hex("02 00"))).toEqual(new Uint8Array(0))
  })
})

describe("blocks with BFINAL", () => {
  const final = hex("f3 48 cd c9 c9 07 00")

  it("may stand anywhere in a message", () => {
    expect(asText(decode(joinedBytes(final, final, final, hex("00"))))).toBe("HelloHelloHello")
    expect(asText(decode(joinedBytes(final, hex("f2 48 cd c9 c9 07 00"))))).toBe("HelloHello")
    expect(asText(decode(joinedBytes(hex("01 05 00 fa ff 48 65 6c 6c 6f"), final, hex("00"))))).toBe("HelloHello")
  })

  it("don't empty the window, neither of the message nor of the connection", () => {
    const again = hex("f2 00 11 00 00")
    expect(asText(decode(joinedBytes(final, again)))).toBe("HelloHello")
    const { server } = codecs(takeover)
    expect(asText(server.decode(joinedBytes(final, hex("00")), MiB))).toBe("Hello")
    expect(asText(server.decode(again, MiB))).toBe("Hello")
  })

  it("are counted: 255 of them are decoded, one more is refused with 1008", () => {
    const empties = (count: number) => joinedBytes(...new Array<Uint8Array>(count).fill(hex("03 00")), hex("00"))
    expect(decode(empties(255))).toEqual(new Uint8Array(0))
    expect(decode(empties(256))).toMatchObject({ _tag: "Breach", closeCode: 1008 })
  })
})

describe("what isn't whole blocks of DEFLATE", () => {
  it("is refused, however it was cut: no prefix of a message passes for one", () => {
    const message = utf8(jsonText(3000))
    for (const options of [{ level: 1 }, { level: 9 }, { strategy: constants.Z_FIXED }, { level: 0 }]) {
      const payload = compressed(message, options)
      for (let end = 0; end < payload.length; end++) {
        const cut = payload.subarray(0, end)
        // The first byte of a stored message is an empty message.
        if (options.level === 0 && end === 1) continue
        expect(decode(cut)).toEqual(refused)
      }
      expect(same(decode(payload), message)).toBe(true)
    }
  })

  it("is told from a message that ends like it", () => {
    // What the decoder itself puts at the end of a message, as content: whole, and cut by as much.
    for (const content of [
      hex("01 00 fe ff"),
      hex("01 00 fe ff 07"),
      hex("01 00 fe ff 07 03 00"),
      hex("02 00 fd ff 07 07")
    ]) {
      for (const options of [{}, { level: 0 }]) {
        const message = joinedBytes(utf8("abc"), content)
        expect(decode(compressed(message, options))).toEqual(message)
      }
    }
    for (let missing = 1; missing <= 12; missing++) {
      expect(decode(joinedBytes(hex("00 20 00 df ff"), noise(32 - missing)))).toEqual(refused)
    }
  })

  it.each([
    ["nothing at all, where an empty message is one byte", ""],
    ["a message whose last four bytes weren't removed", "f2 48 cd c9 c9 07 00 00 00 ff ff"],
    ["a final block without the empty one behind it", "f3 48 cd c9 c9 07 00"],
    ["a kind of block that doesn't exist", "06"],
    ["a distance that reaches before the first message", "f2 00 11 00 00"],
    ["text", "48 65 6c 6c 6f"]
  ])("is refused with 1007: %s", (_, payload) => {
    expect(decode(hex(payload))).toEqual(refused)
    expect(codecs(takeover).server.decode(hex(payload), MiB)).toEqual(refused)
  })

  it("is just what a bitwise decoder refuses, too", () => {
    const slowly = (payload: Uint8Array) => {
      try {
        const { bytes, flushed } = inflateSlowly(joinedBytes(payload, tail))
        return flushed ? bytes : refused
      } catch {
        return refused
      }
    }
    const damaged = fc
      .tuple(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom(0, 1, 9),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { maxLength: 3 }),
        fc.nat()
      )
      .map(([message, level, flips, cut]) => {
        const payload = compressed(message, { level })
        for (const [at, bits] of flips) payload[at % payload.length] = (payload[at % payload.length] ?? 0) ^ bits
        return payload.subarray(0, payload.length - (cut % 3 === 0 ? cut % payload.length : 0))
      })
    const anything = fc.oneof(damaged, fc.uint8Array({ maxLength: 60 }))
    fc.assert(
      fc.property(anything, (payload) => {
        expect(decode(payload)).toEqual(slowly(payload))
      }),
      { numRuns: 3000 }
    )
  })
})

describe("the limit", () => {
  it("counts what comes out, to the byte", () => {
    for (const size of [0, 1, 100, 1024, 65_535, 65_536, 65_537, 300_000]) {
      for (const message of [new Uint8Array(size), noise(size)]) {
        const payload = compressed(message)
        expect(same(decode(payload, size), message)).toBe(true)
        expect(same(decode(payload, size + 1), message)).toBe(true)
        if (size > 0) expect(decode(payload, size - 1)).toEqual(tooLarge(size - 1))
      }
    }
  })

  it("counts all streams of a message together", () => {
    const payload = hex("f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00")
    expect(asText(decode(payload, 10))).toBe("HelloHello")
    for (const limit of [0, 1, 4, 5, 6, 9]) expect(decode(payload, limit)).toEqual(tooLarge(limit))
  })

  it("may be larger than any buffer", () => {
    for (const limit of [2 ** 32, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
      expect(asText(decode(hex("f2 48 cd c9 c9 07 00"), limit))).toBe("Hello")
    }
  })

  it("allows, before that, for what a compressor adds to what it can't compress", () => {
    for (const size of [0, 1, 100, 5000, 100_000]) {
      for (const options of [
        { level: 0, memLevel: 1 },
        { memLevel: 1, windowBits: 9 },
        { strategy: constants.Z_FIXED }
      ]) {
        const high = noise(size).map((byte) => byte | 0x90)
        expect(compressed(high, options).length).toBeLessThanOrEqual(codecs().server.bound(size))
      }
    }
  })
})

describe("the window", () => {
  /** Messages in which everything has been before, just within reach of some window and beyond that of others. */
  const conversation = Array.from({ length: 12 }, (_, index) => {
    const text = utf8(jsonText(700, 50))
    const filler = noise(180 * 2 ** Math.min(index, 7), index + 1)
    return joinedBytes(text, filler, text, filler.subarray(0, 100), text.subarray(0, index * 10))
  })

  const reachOf = (bits: WindowBits, options: DeflateOptions) => {
    const limits: DeflateOptions = { ...options, clientMaxWindowBits: bits, serverMaxWindowBits: bits }
    const { client, server } = codecs(limits)
    let farthest = 0
    for (const [from, to] of [
      [client, server],
      [server, client]
    ] as const) {
      let history: Uint8Array = new Uint8Array(0)
      for (const message of conversation) {
        const payload = joinedBytes(from.encode(message))
        // The judge knows of the past only what a window of that size holds.
        const known = options === takeover ? history.subarray(-(2 ** bits)) : new Uint8Array(0)
        const inflated = inflateSlowly(joinedBytes(payload, tail), known)
        expect(same(inflated.bytes, message)).toBe(true)
        farthest = Math.max(farthest, inflated.farthest)
        const zlib = inflateRawSync(joinedBytes(payload, tail), {
          windowBits: bits,
          chunkSize: 64,
          finishFlush: constants.Z_SYNC_FLUSH,
          ...(known.length === 0 ? {} : { dictionary: known })
        })
        expect(same(zlib, message)).toBe(true)
        expect(same(to.decode(payload, MiB), message)).toBe(true)
        history = joinedBytes(history, message)
      }
    }
    return farthest
  }

  it.each(everyWindowBits)("of %i bits is never left, nor needed to be larger", (bits) => {
    for (const options of [{}, takeover]) {
      const farthest = reachOf(bits, options)
      expect(farthest).toBeGreaterThan(0)
      expect(farthest).toBeLessThanOrEqual(bits === 8 ? 1 : 2 ** bits)
      // The conversation does put it to the test.
      if (bits > 8) expect(farthest).toBeGreaterThan(2 ** (bits - 2))
    }
  })

  it.runIf(dictionaries)("holds what was compressed before, and a smaller one less of it", () => {
    const { client, server } = codecs(takeover)
    const message = noise(1000)
    const first = client.encode(message)
    const second = client.encode(message)
    expect(second.length).toBeLessThan(first.length / 10)
    expect(same(server.decode(first, MiB), message)).toBe(true)
    expect(same(server.decode(second, MiB), message)).toBe(true)
    const small = codecs({ ...takeover, clientMaxWindowBits: 9 }).client
    small.encode(message)
    expect(small.encode(message).length).toBeGreaterThan(900)
  })

  it("is empty for each message without context takeover", () => {
    const { client, server } = codecs()
    const first = client.encode(utf8(jsonText(2000)))
    expect(client.encode(utf8(jsonText(2000)))).toEqual(first)
    server.decode(first, MiB)
    expect(server.decode(hex("f2 00 11 00 00"), MiB)).toEqual(refused)
  })

  it.runIf(dictionaries)("is one for each direction", () => {
    const { client, server } = codecs({ clientNoContextTakeover: true, serverNoContextTakeover: false })
    const message = utf8(jsonText(2000))
    const fromClient = [client.encode(message), client.encode(message)]
    const fromServer = [server.encode(message), server.encode(message)]
    expect(fromClient[1]).toEqual(fromClient[0])
    expect(fromServer[1]?.length).toBeLessThan((fromServer[0]?.length ?? 0) / 2)
    for (const payload of fromClient) expect(same(server.decode(payload, MiB), message)).toBe(true)
    for (const payload of fromServer) expect(same(client.decode(payload, MiB), message)).toBe(true)
    // What the server sent before is no context for what the client sends.
    server.encode(utf8("Hello"))
    expect(server.decode(hex("f2 00 11 00 00"), MiB)).toEqual(refused)
  })

  it("keeps bytes of its own: what the application does to a message afterwards changes nothing", () => {
    for (const size of [100, 5000, 40_000]) {
      const { client, server } = codecs(takeover)
      // A Buffer, whose slice would be a view.
      const message = Buffer.from(noise(size))
      const kept = Uint8Array.from(message)
      const first = client.encode(message)
      const decoded = server.decode(first, MiB)
      expect(same(decoded, kept)).toBe(true)
      message.fill(0)
      if (decoded instanceof Uint8Array) decoded.fill(0)
      expect(same(server.decode(client.encode(kept), MiB), kept)).toBe(true)
    }
  })
})

describe("which messages are compressed", () => {
  it("those of the threshold and above, unless the sender wishes otherwise", () => {
    const applies = (options: DeflateOptions, size: number, wish?: boolean) =>
      codecs(options).client.applies(size, wish)
    expect(applies({}, 1023)).toBe(false)
    expect(applies({}, 1024)).toBe(true)
    expect(applies({ threshold: 0 }, 0)).toBe(true)
    expect(applies({ threshold: 10 }, 9)).toBe(false)
    expect(applies({}, 1, true)).toBe(true)
    expect(applies({}, 5000, false)).toBe(false)
  })

  it("at the level that is wanted, 1 without a wish", () => {
    const message = utf8(jsonText(30_000))
    const size = (options: DeflateOptions) => codecs(options).client.encode(message).length
    expect(size({})).toBe(size({ level: 1 }))
    expect(size({ level: 9 })).toBeLessThan(size({ level: 1 }))
  })
})

describe("by default", () => {
  it("neither side takes its context over, so that nothing is kept", () => {
    expect(deflate({}).offers).toEqual([
      {
        name: "permessage-deflate",
        params: [
          ["server_no_context_takeover", undefined],
          ["client_no_context_takeover", undefined],
          ["client_max_window_bits", undefined]
        ]
      }
    ])
  })

  it("a decoded message keeps no more memory than twice its own", () => {
    for (const size of [1, 100, 1000, 5000, 100_000]) {
      const decoded = decode(compressed(noise(size)))
      if ("_tag" in decoded) throw new Error(decoded._tag)
      expect(decoded.constructor).toBe(Uint8Array)
      expect(decoded.buffer.byteLength).toBeLessThanOrEqual(2 * size)
      const encoded = codecs().client.encode(new Uint8Array(size))
      expect(encoded.buffer.byteLength).toBeLessThanOrEqual(2 * encoded.length)
    }
  })
})

const message = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.string({ unit: "grapheme", maxLength: 200 }).map(utf8),
  fc.tuple(fc.nat(40), fc.nat(5000)).map(([seed, size]) => utf8(jsonText(size, seed))),
  fc.tuple(fc.nat(3), fc.nat(40_000)).map(([seed, size]) => noise(size, seed + 1)),
  fc.nat(70_000).map((size) => new Uint8Array(size))
)

const bits = fc.constantFrom(...everyWindowBits)
const options: fc.Arbitrary<DeflateOptions> = fc.record({
  level: fc.constantFrom(1, 2, 6, 9),
  serverNoContextTakeover: fc.boolean(),
  clientNoContextTakeover: fc.boolean(),
  serverMaxWindowBits: bits,
  clientMaxWindowBits: bits
})

describe("properties", () => {
  it("what one end encodes the other decodes, whatever both want and however long they talk", () => {
    fc.assert(
      fc.property(options, options, fc.array(fc.tuple(fc.boolean(), message), { maxLength: 12 }), (a, b, messages) => {
        const { client, server } = codecs(a, b)
        for (const [up, content] of messages) {
          const [from, to]: readonly [MessageExtension, MessageExtension] = up ? [client, server] : [server, client]
          expect(same(to.decode(from.encode(content), MiB), content)).toBe(true)
        }
      }),
      { numRuns: 300 }
    )
  })

  it("what zlib's streams make is decoded, however they are flushed", async () => {
    const flush = fc.constantFrom(
      constants.Z_NO_FLUSH,
      constants.Z_PARTIAL_FLUSH,
      constants.Z_SYNC_FLUSH,
      constants.Z_FULL_FLUSH,
      constants.Z_FINISH
    )
    const piece = fc.tuple(fc.oneof(fc.uint8Array({ maxLength: 100 }), message), flush)
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, 1, 6, 9),
        fc.constantFrom(...everyWindowBits),
        fc.boolean(),
        fc.array(fc.array(piece, { maxLength: 4 }), { maxLength: 6 }),
        async (level, windowBits, taken, messages) => {
          // zlib's window is 512 bytes at least; what is beyond 256 of them it never reaches.
          const zlib = { level, windowBits: Math.max(9, windowBits) }
          const { server } = codecs({ clientNoContextTakeover: !taken, clientMaxWindowBits: windowBits })
          let sender = streaming(zlib)
          for (const pieces of messages) {
            if (!taken) sender = streaming(zlib)
            for (const [bytes, how] of pieces) await sender.write(bytes, how)
            await sender.write(new Uint8Array(0), constants.Z_SYNC_FLUSH)
            const flushed = sender.take()
            // A flush straight after another one is nothing; the empty block is then made by hand (7.2.3.6).
            const payload = flushed.length === 0 ? hex("00") : flushed.slice(0, -tail.length)
            expect(same(server.decode(payload, 4 * MiB), joinedBytes(...pieces.map(([bytes]) => bytes)))).toBe(true)
          }
        }
      ),
      { numRuns: 200 }
    )
  }, 60_000)
})
