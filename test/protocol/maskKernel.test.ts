import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { mask, maskWords } from "../../src/protocol/mask.js"
import { block, kernel, makeKernel, type Platform } from "../../src/protocol/maskKernel.js"

/** The rule itself: RFC 6455 5.3. */
const masked = (bytes: Uint8Array, start: number, end: number, key: number, phase = 0): Uint8Array =>
  bytes.map((byte, index) =>
    index < start || index >= end ? byte : byte ^ (key >>> (24 - 8 * ((index - start + phase) & 3)))
  )

const platform: { readonly WebAssembly?: Platform; readonly Array: unknown } = globalThis

const pattern = (size: number) => Uint8Array.from({ length: size }, (_, index) => (index * 7) % 251)

describe("masking much at once", () => {
  it("is by WebAssembly here, and once made it stays", () => {
    expect(kernel()).toBeDefined()
    expect(kernel()).toBe(kernel())
  })

  it("by WebAssembly changes the bytes it is given and none beside them, in one block or several", () => {
    const made = makeKernel(platform.WebAssembly)
    expect(made).toBeDefined()
    for (const size of [0, 1, 63, 64, 65, 256, 65_535, 65_536, 65_537, 131_072, 200_001]) {
      for (const before of [0, 3, 2048]) {
        const bytes = pattern(before + size + 70)
        made?.xor(bytes, before, before + size, 0x0403_0201)
        const expected = masked(pattern(before + size + 70), before, before + size, 0x0102_0304)
        expect(Buffer.compare(bytes, expected)).toBe(0)
      }
    }
  })

  it("is the same by WebAssembly and without it, wherever the bytes lie", () => {
    const sizes = fc.oneof(fc.nat(700), fc.constantFrom(65_535, 65_536, 65_537, 131_072, 200_001))
    fc.assert(
      fc.property(sizes, fc.nat(9), fc.nat(9), fc.integer(), fc.nat(3), (size, before, behind, key, phase) => {
        const bytes = pattern(before + size + behind).subarray(0)
        const expected = masked(bytes, before, before + size, key, phase)
        const own = bytes.slice()
        expect(mask(own, before, before + size, key, phase)).toBe((phase + size) & 3)
        expect(Buffer.compare(own, expected)).toBe(0)
        const words = bytes.slice()
        // Below four bytes there may be no word to begin with.
        if (size < 4) return
        maskWords(words, before, before + size, (key << (8 * phase)) | (key >>> (32 - 8 * phase)))
        expect(Buffer.compare(words, expected)).toBe(0)
      }),
      { numRuns: 200 }
    )
  })

  it("is the same in the memory of WebAssembly itself, and touches nothing around", () => {
    const { memory } = kernel() ?? expect.fail("no WebAssembly")
    const sizes = fc.oneof(fc.nat(300), fc.constantFrom(65_535, 65_536, 65_537, 69_632))
    fc.assert(
      fc.property(sizes, fc.nat(70), fc.nat(9), fc.integer(), fc.nat(3), (size, offset, before, key, phase) => {
        // The view doesn't begin where the memory does.
        const bytes = new Uint8Array(memory, block + offset, before + size + 80)
        bytes.set(pattern(bytes.length))
        const expected = masked(pattern(bytes.length), before, before + size, key, phase)
        expect(mask(bytes, before, before + size, key, phase)).toBe((phase + size) & 3)
        expect(Buffer.compare(bytes, expected)).toBe(0)
      }),
      { numRuns: 300 }
    )
  })

  it("leaves the memory behind its block to others", () => {
    const { memory, xor } = kernel() ?? expect.fail("no WebAssembly")
    const others = new Uint8Array(memory, block)
    others.fill(0x5a)
    for (let offset = 0; offset < 4096; offset += 16) {
      const bytes = new Uint8Array(offset + 65_537)
      xor(bytes, offset, bytes.length, 0x01020304)
    }
    expect(others.every((byte) => byte === 0x5a)).toBe(true)
  })

  it("does without WebAssembly where there is none, or none of its vectors", () => {
    expect(makeKernel(undefined)).toBeUndefined()
    class Module {
      constructor() {
        throw new Error("invalid opcode")
      }
    }
    class Instance {
      readonly exports = { m: { buffer: new ArrayBuffer(0) }, f: () => {} }
    }
    expect(makeKernel({ Module, Instance })).toBeUndefined()
  })
})
