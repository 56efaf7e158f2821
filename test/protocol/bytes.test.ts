import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  byteAt,
  concat,
  copyOf,
  plain,
  smallCopy,
  uint32At,
  uninitialized,
  writeUint32
} from "../../src/protocol/bytes.js"
import { fromHex, pattern, toHex } from "../fixtures/bytes.js"

describe("32-bit integers", () => {
  it("are in network order, where they are told to be", () => {
    const bytes = new Uint8Array(6)
    writeUint32(bytes, 1, 0x89ab_cdef)
    expect(toHex(bytes)).toBe("0089abcdef00")
    expect(uint32At(bytes, 1)).toBe(0x89ab_cdef)
    expect(byteAt(bytes, 4)).toBe(0xef)
  })

  it("are unsigned, and read as they were written", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), fc.nat(9), (value, at) => {
        const bytes = new Uint8Array(13)
        writeUint32(bytes, at, value)
        expect(uint32At(bytes, at)).toBe(value)
        expect(new DataView(bytes.buffer).getUint32(at)).toBe(value)
      })
    )
  })
})

describe("plain", () => {
  it("leaves a Uint8Array as it is", () => {
    const bytes = fromHex("010203").subarray(1)
    expect(plain(bytes)).toBe(bytes)
  })

  it("makes a Buffer a Uint8Array over the same memory, whose slice is a copy", () => {
    const buffer = Buffer.from("abcdef").subarray(2, 5)
    const bytes = plain(buffer)
    expect(bytes.constructor).toBe(Uint8Array)
    expect(toHex(bytes)).toBe(toHex(buffer))
    bytes.slice()[0] = 0
    expect(buffer.toString()).toBe("cde")
    bytes[0] = 0x58
    expect(buffer.toString()).toBe("Xde")
  })
})

describe("copyOf", () => {
  const sizes = [0, 1, smallCopy - 1, smallCopy, smallCopy + 1, 1000]

  it.each(sizes)("takes %i bytes from wherever they lie, and memory for no more", (size) => {
    const memory = pattern(size + 30)
    for (const view of [memory, memory.subarray(10), Buffer.from(memory.buffer, 10)]) {
      for (const start of [0, 7]) {
        const copy = copyOf(view, start, start + size)
        expect(toHex(copy)).toBe(toHex(view.subarray(start, start + size)))
        expect(copy.constructor).toBe(Uint8Array)
        expect(copy.buffer.byteLength).toBe(size)
        copy.fill(0xee)
      }
    }
    expect(toHex(memory)).toBe(toHex(pattern(size + 30)))
  })
})

describe("concat", () => {
  it("joins pieces in order", () => {
    expect(toHex(concat([fromHex("01"), new Uint8Array(0), fromHex("0203")], 3))).toBe("010203")
    expect(concat([], 0)).toEqual(new Uint8Array(0))
  })

  it("doesn't copy a single piece", () => {
    const only = fromHex("0102")
    expect(concat([only], 2)).toBe(only)
  })
})

describe("memory that may hold anything", () => {
  it("is plain, and of its own, with and without Node's Buffer", () => {
    for (const platform of [globalThis, { Array }]) {
      for (const size of [0, 1, 64, 65, 5000]) {
        const memory = uninitialized(size, platform)
        expect(memory.constructor).toBe(Uint8Array)
        expect([memory.length, memory.buffer.byteLength]).toEqual([size, size])
      }
    }
  })

  it("is cleared where there is no other", () => {
    expect(uninitialized(5000, { Array }).every((byte) => byte === 0)).toBe(true)
  })
})
