import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Assembly, own } from "../../src/protocol/assembly.js"
import { join, pattern, retained, toHex } from "../fixtures/bytes.js"

const append = (assembly: Assembly, piece: Uint8Array): void => assembly.append(piece, 0, piece.length, 0, false)

/** What may be held for so many bytes of which nobody knows how many more will come: twice as much, and at first a little. */
const allowance = (size: number): number => 2 * size + 256

const memoriesOf = (assembly: Assembly): ReadonlyArray<unknown> =>
  Object.values(assembly).filter((value) => value instanceof Uint8Array)

const pieces = fc.array(
  fc.oneof(fc.nat(3), fc.nat(300), fc.constantFrom(255, 256, 257, 1023, 1024, 1025), fc.nat(70_000)).map(pattern),
  { maxLength: 20 }
)

describe("an assembly", () => {
  it("gives back what it was given, in one piece, and holds no more than twice of it", () => {
    fc.assert(
      fc.property(pieces, (given) => {
        const assembly = new Assembly()
        let size = 0
        for (const piece of given) {
          append(assembly, piece)
          size += piece.length
          expect(assembly.size).toBe(size)
          expect(retained(assembly).bytes).toBeLessThanOrEqual(allowance(size))
          expect(retained(assembly).arrays).toBeLessThanOrEqual(1)
        }
        const taken = assembly.take()
        expect(Buffer.compare(taken, join(...given))).toBe(0)
        expect(taken.buffer.byteLength).toBeLessThanOrEqual(2 * size)
        expect(assembly.size).toBe(0)
        expect(retained(assembly).bytes).toBe(0)
        expect(assembly.take()).toEqual(new Uint8Array(0))
      }),
      { numRuns: 200 }
    )
  })

  it("takes a range of a chunk, and can be used again", () => {
    const assembly = new Assembly()
    assembly.append(pattern(100), 10, 20, 0, false)
    assembly.append(pattern(5000), 100, 4000, 0, false)
    expect(toHex(assembly.take())).toBe(toHex(join(pattern(100).slice(10, 20), pattern(5000).slice(100, 4000))))
    assembly.append(pattern(10), 3, 5, 0, true)
    expect(toHex(assembly.take())).toBe(toHex(pattern(10).slice(3, 5)))
  })

  it("forgets all when it is cleared", () => {
    const assembly = new Assembly()
    append(assembly, pattern(3000))
    append(assembly, pattern(30))
    assembly.clear()
    expect(assembly.size).toBe(0)
    expect(retained(assembly).bytes).toBe(0)
    append(assembly, pattern(1))
    expect(toHex(assembly.take())).toBe("00")
  })

  it("of what is declared holds no more than four times what has arrived, and hands out the whole as it is", () => {
    const sizes = fc.oneof(fc.nat(3000), fc.nat(300_000))
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 100 }), fc.boolean(), (size, pieces, ends) => {
        const all = pattern(size)
        const step = Math.ceil(size / pieces)
        const assembly = new Assembly()
        for (let at = 0; at < size; at += step) {
          const piece = all.slice(at, at + step)
          assembly.append(piece, 0, piece.length, size - at - piece.length, ends)
          const { arrays, bytes } = retained(assembly)
          expect(arrays).toBe(1)
          expect(bytes).toBeLessThanOrEqual(Math.max(256, 4 * (at + piece.length)))
          if (ends) expect(bytes).toBeLessThanOrEqual(size)
        }
        const taken = assembly.take()
        expect(Buffer.compare(taken, all)).toBe(0)
        if (ends) expect(taken.buffer.byteLength).toBe(size)
      }),
      { numRuns: 200 }
    )
  })

  it("shows nobody memory that others have used: what is handed out in part was cleared first", () => {
    for (let turn = 0; turn < 50; turn++) {
      const assembly = new Assembly()
      assembly.append(new Uint8Array(3000).fill(0xff), 0, 3000, 2000, false)
      const taken = assembly.take()
      const behind = new Uint8Array(taken.buffer, taken.byteOffset + taken.length)
      expect(behind.every((byte) => byte === 0)).toBe(true)
    }
  })

  it("moves 200,000 single bytes a few times only", () => {
    const assembly = new Assembly()
    const all = pattern(200_000)
    const memories = new Set<unknown>()
    all.forEach((_, index) => {
      assembly.append(all.slice(index, index + 1), 0, 1, 0, false)
      if (index % 97 === 0) for (const memory of memoriesOf(assembly)) memories.add(memory)
      if (memories.size > 11) expect.fail(`moved for the ${memories.size}th time at ${index}`)
    })
    expect(Buffer.compare(assembly.take(), all)).toBe(0)
  })

  it("doesn't keep a chunk alive of which it got a part, nor one that it copied from", () => {
    const chunk = new Uint8Array(65_536)
    for (const size of [1, 1023, 1024, 20_000, 32_767]) {
      const assembly = new Assembly()
      assembly.append(chunk, 100, 100 + size, 0, false)
      expect(retained(assembly).bytes).toBeLessThanOrEqual(allowance(size))
      expect(assembly.take().buffer).not.toBe(chunk.buffer)
    }
  })

  it("doesn't copy a piece that is most of its chunk", () => {
    const chunk = pattern(65_536)
    const assembly = new Assembly()
    assembly.append(chunk, 14, 65_536, 0, true)
    expect(assembly.take().buffer).toBe(chunk.buffer)
  })

  it("leaves room that it filled alone once it was handed out", () => {
    const assembly = new Assembly()
    append(assembly, pattern(200))
    const first = assembly.take()
    append(assembly, new Uint8Array(40).fill(0xff))
    assembly.take()
    expect(toHex(first)).toBe(toHex(pattern(200)))
  })
})

describe("own", () => {
  it("is a view of memory that is half used or more, and else a copy", () => {
    const chunk = pattern(200)
    expect(own(chunk, 100, 200).buffer).toBe(chunk.buffer)
    expect(own(chunk, 101, 200).buffer.byteLength).toBe(99)
    expect(own(chunk.subarray(0, 10), 0, 10).buffer.byteLength).toBe(10)
    for (const start of [100, 101]) expect(toHex(own(chunk, start, 200))).toBe(toHex(pattern(200).slice(start)))
  })

  it("is a copy if it is small, and plain if it is part of a Buffer", () => {
    for (const [size, isView] of [
      [0, false],
      [1, false],
      [64, false],
      [65, true]
    ] as const) {
      const chunk = Buffer.from(pattern(size).buffer)
      const mine = own(chunk, 0, size)
      expect(mine.constructor).toBe(Uint8Array)
      expect(toHex(mine)).toBe(toHex(pattern(size)))
      expect(mine.buffer === chunk.buffer).toBe(isView)
    }
    const large = Buffer.from(pattern(1000).buffer, 100, 200)
    expect(own(large, 1, 90).constructor).toBe(Uint8Array)
    expect(toHex(own(large, 1, 90))).toBe(toHex(pattern(1000).slice(101, 190)))
  })
})
