import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { decoderOn, decodeUtf8, decodeValid, Utf8Validator } from "../../src/protocol/utf8.js"
import { anyText, cutBy, everyCut, fromHex, join, utf8 } from "../fixtures/bytes.js"

/** The judgement of the platform's decoder on the whole. */
const isUtf8 = (bytes: Uint8Array): boolean => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

/** Whether some text begins with these bytes: no text needs more than three bytes to end a code point. */
const canGoOn = (bytes: Uint8Array): boolean =>
  [[], [0x80], [0xa0], [0x80, 0x80], [0x90, 0x80], [0xa0, 0x80], [0x80, 0x80, 0x80], [0x90, 0x80, 0x80]].some((rest) =>
    isUtf8(join(bytes, Uint8Array.from(rest)))
  )

const validate = (chunks: ReadonlyArray<Uint8Array>): boolean => {
  const validator = new Utf8Validator()
  return chunks.every((chunk) => validator.push(chunk, 0, chunk.length)) && validator.complete
}

/** How many bytes pass before the first that fails. */
const accepted = (bytes: Uint8Array): number => {
  const validator = new Utf8Validator()
  const at = bytes.findIndex((_, index) => !validator.push(bytes, index, index + 1))
  return at < 0 ? bytes.length : at
}

const valid: ReadonlyArray<readonly [string, string]> = [
  ["nothing", ""],
  ["ASCII, from NUL to DEL", "00 41 7f"],
  ["the first and last of two bytes", "c280 dfbf"],
  ["the first and last of three bytes", "e0a080 efbfbf"],
  ["around the surrogates", "ed9fbf ee8080"],
  ["the first and last of four bytes", "f0908080 f48fbfbf"],
  ["every lead byte of three with any second", "e18080 ecbfbf ee80bf"],
  ["non-characters", "efb790 efbfbe efbfbf f09fbfbe f48fbfbf"],
  ["a byte order mark", "efbbbf 41"]
]

/** The bytes, and how many of them could begin a text. */
const invalid: ReadonlyArray<readonly [string, string, number]> = [
  ["a stray continuation byte", "80", 0],
  ["another stray one, after text", "41 bf", 1],
  ["one continuation byte too many", "c2a9 a9", 2],
  ["overlong in two bytes", "c080", 0],
  ["overlong in two bytes, the last", "c1bf", 0],
  ["overlong in three bytes", "e08080", 1],
  ["overlong in three bytes, the last", "e09fbf", 1],
  ["overlong in four bytes", "f0808080", 1],
  ["overlong in four bytes, the last", "f08fbfbf", 1],
  ["the first surrogate", "eda080", 1],
  ["the last surrogate", "edbfbf", 1],
  ["a pair of surrogates", "eda081 edb080", 1],
  ["the first above U+10FFFF", "f4908080", 1],
  ["a lead byte above F4", "f5808080", 0],
  ["five bytes, as once upon a time", "f888808080", 0],
  ["FE", "fe", 0],
  ["FF", "ff", 0],
  ["ASCII in the place of a continuation byte", "c241", 1],
  ["a lead byte in the place of a continuation byte", "e282c2", 2],
  ["the third byte wrong", "f09f41", 2],
  ["the fourth byte wrong", "f09f98c0", 3]
]

const truncated = ["c2", "e0", "e0a0", "ed9f", "f0", "f090", "f09080", "f48fbf", "41c3"]

describe("Utf8Validator", () => {
  it.each(valid)("accepts %s", (_, hex) => {
    for (const chunks of everyCut(fromHex(hex))) expect(validate(chunks)).toBe(true)
    expect(isUtf8(fromHex(hex))).toBe(true)
  })

  it.each(invalid)("refuses %s, at its first bad byte", (_, hex, good) => {
    const bytes = fromHex(hex)
    for (const chunks of everyCut(bytes)) expect(validate(chunks)).toBe(false)
    expect(accepted(bytes)).toBe(good)
    expect(isUtf8(bytes)).toBe(false)
  })

  it.each(truncated)("knows that %s is cut in a code point", (hex) => {
    const bytes = fromHex(hex)
    const validator = new Utf8Validator()
    expect(validator.push(bytes, 0, bytes.length)).toBe(true)
    expect(validator.complete).toBe(false)
  })

  it("agrees with the platform on every sequence of up to two bytes, and on every lead with every second byte", () => {
    for (let first = 0; first < 256; first++) {
      expect(validate([Uint8Array.of(first)])).toBe(isUtf8(Uint8Array.of(first)))
      for (let second = 0; second < 256; second++) {
        // What is missing of a code point that begins so.
        const bytes = join(Uint8Array.of(first, second), fromHex(first < 0xe0 ? "" : first < 0xf0 ? "80" : "8080"))
        if (validate([bytes]) !== isUtf8(bytes)) expect.fail(`${first} ${second}`)
      }
    }
  })

  it("agrees with the platform on noise and on damaged text, and fails where no text can go on", () => {
    const leads = fc.constantFrom(0x41, 0x80, 0xbf, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5)
    const noise = fc.array(fc.oneof(leads, fc.nat(255)), { maxLength: 12 }).map((bytes) => Uint8Array.from(bytes))
    const damaged = fc.tuple(anyText(12), fc.nat(60), fc.nat(255)).map(([text, at, byte]) => {
      const bytes = utf8(text)
      if (at < bytes.length) bytes[at] = byte
      return bytes
    })
    fc.assert(
      fc.property(fc.oneof(noise, damaged), fc.array(fc.integer({ min: 1, max: 4 })), (bytes, sizes) => {
        expect(validate(cutBy(bytes, sizes))).toBe(isUtf8(bytes))
        const good = accepted(bytes)
        expect(canGoOn(bytes.subarray(0, good))).toBe(true)
        if (good < bytes.length) expect(canGoOn(bytes.subarray(0, good + 1))).toBe(false)
      }),
      { numRuns: 2000 }
    )
  })

  it("looks only at the range it is given", () => {
    expect(new Utf8Validator().push(fromHex("ff 41 ff"), 1, 2)).toBe(true)
    expect(new Utf8Validator().push(fromHex("41 ff 41"), 1, 2)).toBe(false)
  })

  it("goes back to the full range after a code point with a narrow one", () => {
    // U+1000 and U+CFFF have second bytes that E0 and ED would not allow.
    for (const before of ["e0a080", "ed9fbf", "f0908080", "f48fbfbf"]) {
      expect(validate([fromHex(before), fromHex("e18080 ecbfbf")])).toBe(true)
    }
  })

  it("can be copied in the middle of a code point, and the copy goes its own way", () => {
    for (const [start, good, bad] of [
      ["ed", "9fbf", "a0"],
      ["e0", "a080", "9f"],
      ["f0", "908080", "8f"]
    ] as const) {
      const validator = new Utf8Validator()
      validator.push(fromHex(start), 0, 1)
      const copy = validator.copy()
      expect(copy.push(fromHex(bad), 0, 1)).toBe(false)
      expect(validator.copy().push(fromHex(good), 0, good.length / 2)).toBe(true)
      expect(validator.complete).toBe(false)
      expect(validator.push(fromHex(good), 0, good.length / 2)).toBe(true)
      expect(validator.complete).toBe(true)
    }
  })
})

describe("decodeUtf8", () => {
  it("gives the text of a range, and undefined if that isn't UTF-8", () => {
    expect(decodeUtf8(fromHex("ff e282ac ff"), 1, 4)).toBe("€")
    expect(decodeUtf8(fromHex("ff"), 0, 0)).toBe("")
    for (const [, hex] of invalid) expect(decodeUtf8(fromHex(hex), 0, fromHex(hex).length)).toBe(undefined)
  })

  it("keeps nothing of a text that ended in a code point", () => {
    for (const hex of truncated) {
      expect(decodeUtf8(fromHex(hex), 0, fromHex(hex).length)).toBe(undefined)
      expect(decodeUtf8(fromHex("41"), 0, 1)).toBe("A")
    }
  })

  it("keeps a byte order mark", () => {
    expect(decodeUtf8(fromHex("efbbbf 41"), 0, 4)).toBe("\ufeffA")
    expect(decodeValid(fromHex("efbbbf 41"))).toBe("\ufeffA")
  })

  it("undoes the encoder, for every text", () => {
    fc.assert(
      fc.property(anyText(50), (text) => {
        const bytes = utf8(text)
        expect(decodeUtf8(bytes, 0, bytes.length)).toBe(text)
        expect(decodeValid(bytes)).toBe(text)
      })
    )
  })
})

describe("a decoder", () => {
  const decoders = { "with Node's Buffer": decoderOn(globalThis), "without it": decoderOn({ Array }) }
  const parts: fc.Arbitrary<Uint8Array> = fc
    .array(fc.oneof(anyText(20).map(utf8), fc.constant(utf8("\ufffd")), fc.uint8Array({ maxLength: 3 })), {
      maxLength: 4
    })
    .map((each) => join(...each))

  it.each(Object.entries(decoders))("makes the same of a Buffer as of other bytes: %s", (_, decode) => {
    fc.assert(
      fc.property(parts, fc.nat(10), (bytes, before) => {
        const expected = isUtf8(bytes) ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) : undefined
        const around = join(new Uint8Array(before).fill(0xff), bytes, Uint8Array.of(0xff))
        for (const memory of [around, Buffer.from(around)]) {
          expect(decode(memory, before, before + bytes.length)).toBe(expected)
        }
      }),
      { numRuns: 1000 }
    )
  })
})
