import { describe, expect, it, vi } from "@effect/vitest"
import * as fc from "fast-check"
import { mask } from "../../src/protocol/mask.js"
import { fromHex, pattern, toHex, xor } from "../fixtures/bytes.js"

/** What masking `bytes[start..end)` from that phase on makes of all the bytes, one byte at a time. */
const naive = (bytes: Uint8Array, start: number, end: number, key: number, phase: number): Uint8Array => {
  const expected = new Uint8Array(bytes)
  const padded = new Uint8Array(phase + end - start)
  padded.set(bytes.subarray(start, end), phase)
  expected.set(xor(padded, key).subarray(phase), start)
  return expected
}

describe("mask", () => {
  it("makes the masked Hello of RFC 6455 5.7", () => {
    const bytes = fromHex("48656c6c6f")
    expect(mask(bytes, 0, 5, 0x37fa213d, 0)).toBe(1)
    expect(toHex(bytes)).toBe("7f9f4d5158")
  })

  it("agrees with a loop over bytes, at every alignment and phase, and touches nothing around", () => {
    for (const length of [0, 1, 2, 3, 4, 5, 47, 48, 49, 50, 51, 52, 64, 67, 130]) {
      for (let offset = 0; offset < 8; offset++) {
        for (let phase = 0; phase < 4; phase++) {
          for (const key of [0x37fa213d, 0x8000_0001, 0xff00_0000, 0x0000_00ff, 1]) {
            // The view doesn't begin where its memory does.
            const bytes = pattern(offset + length + 16).subarray(offset % 3)
            const start = offset - (offset % 3) + 4
            const expected = naive(bytes, start, start + length, key, phase)
            const next = mask(bytes, start, start + length, key, phase)
            expect(toHex(bytes)).toBe(toHex(expected))
            expect(next).toBe((phase + length) % 4)
          }
        }
      }
    }
  })

  it("goes on from piece to piece", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.array(fc.nat(300), { maxLength: 5 }),
        (original, key, places) => {
          const bytes = new Uint8Array(original)
          let phase = 0
          let at = 0
          for (const place of [...places, bytes.length].sort((a, b) => a - b)) {
            const end = Math.min(place, bytes.length)
            phase = mask(bytes, at, end, key, phase)
            at = end
          }
          expect(toHex(bytes)).toBe(toHex(xor(original, key)))
        }
      )
    )
  })

  it("leaves bytes as they are with a zero key, and tells the phase", () => {
    const bytes = pattern(67)
    expect(mask(bytes, 0, 67, 0, 2)).toBe(1)
    expect(toHex(bytes)).toBe(toHex(pattern(67)))
  })

  it("undoes itself", () => {
    const bytes = pattern(1000)
    mask(bytes, 3, 997, 0xdeadbeef, 1)
    expect(toHex(bytes)).not.toBe(toHex(pattern(1000)))
    mask(bytes, 3, 997, 0xdeadbeef, 1)
    expect(toHex(bytes)).toBe(toHex(pattern(1000)))
  })

  it("does without WebAssembly, large and small", async () => {
    vi.resetModules()
    vi.stubGlobal("WebAssembly", undefined)
    const plain = await import("../../src/protocol/mask.js")
    for (const length of [0, 47, 48, 255, 256, 1000, 70_000]) {
      const bytes = pattern(length + 8)
      expect(plain.mask(bytes, 3, 3 + length, 0x37fa213d, 1)).toBe((1 + length) % 4)
      expect(Buffer.compare(bytes, naive(pattern(length + 8), 3, 3 + length, 0x37fa213d, 1))).toBe(0)
    }
    vi.unstubAllGlobals()
    vi.resetModules()
  })
})
