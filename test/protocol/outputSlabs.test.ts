import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Output } from "../../src/protocol/output.js"
import { join, pattern, retained, toHex, wire } from "../fixtures/bytes.js"

/** The memory behind some pieces, each buffer counted once. */
const memoryOf = (pieces: ReadonlyArray<Uint8Array>): number => {
  const buffers = new Set(pieces.map(({ buffer }) => buffer))
  return [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0)
}

const kibibyte = 1024

describe("ten thousand outputs that are written to in the same turn", () => {
  it.each([
    ["a small message", 1, 100, 2 * kibibyte],
    ["a few small messages", 3, 500, 6 * kibibyte],
    ["many small messages", 30, 500, 40 * kibibyte]
  ])("take memory by what each of them writes: %s", (_, count, size, most) => {
    const outputs = Array.from({ length: 10_000 }, () => new Output())
    const content = "x".repeat(size)
    // By turns, so that nobody is done before the others begin.
    for (let index = 0; index < count; index++) for (const output of outputs) output.text(content, undefined)
    const pieces = outputs.flatMap((output) => output.take())
    expect(pieces.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(10_000 * count * size)
    expect(memoryOf(pieces)).toBeLessThan(10_000 * most + 64 * kibibyte)
  })

  it("take none for a message that was made already", () => {
    const outputs = Array.from({ length: 10_000 }, () => new Output())
    const made = wire(1, "made once")
    for (const output of outputs) output.made(made)
    const pieces = outputs.flatMap((output) => output.take())
    expect(pieces.every((piece) => piece === made)).toBe(true)
  })

  it("still put much into large pieces", () => {
    const [holder, other] = [new Output(), new Output()]
    holder.text("holds the large slab", undefined)
    for (let index = 0; index < 1000; index++) other.text("x".repeat(100), undefined)
    const pieces = other.take()
    expect(pieces.length).toBeLessThan(12)
    expect(memoryOf(pieces)).toBeLessThan(300 * kibibyte)
    holder.clear()
  })
})

describe("a long text", () => {
  it.each([undefined, 0x01020304])("takes memory for its bytes, not for what they could have been (%s)", (key) => {
    const output = new Output()
    output.text("x".repeat(100_000), key)
    expect(memoryOf(output.take())).toBeLessThan(100_000 + 65 * kibibyte)
  })
})

describe("an output that writes beside the one with the large slab", () => {
  it("leaves that to the other, whether it is released or taken from, and keeps nothing itself", () => {
    const [holder, other, third] = [new Output(), new Output(), new Output()]
    holder.text("holds the large slab", undefined)
    other.text("beside", undefined)
    other.release()
    third.text("beside, too", undefined)
    expect(memoryOf(third.take())).toBe(kibibyte)
    expect(join(...other.take())).toEqual(wire(1, "beside"))
    expect(retained(other).bytes).toBe(0)
    third.text("again", undefined)
    expect(memoryOf(third.take())).toBe(kibibyte)
    expect(memoryOf(holder.take())).toBe(64 * kibibyte)
  })
})

describe("an output that is released", () => {
  it("leaves the large slab to the next one, keeps what it has, and goes on", () => {
    const [stalled, next] = [new Output(), new Output()]
    stalled.text("first", undefined)
    stalled.release()
    stalled.release()
    next.text("next", undefined)
    stalled.text("second", undefined)
    const [written] = next.take()
    expect(written?.buffer.byteLength).toBe(64 * kibibyte)
    expect(stalled.size).toBe(5 + 6 + 2 * 2)
    expect(join(...stalled.take())).toEqual(join(wire(1, "first"), wire(1, "second")))
  })
})

describe("memory that is given back", () => {
  const memoryAfter = (output: Output, content: string): readonly [memory: ArrayBufferLike | undefined, at: number] => {
    output.text(content, undefined)
    const [piece] = output.take()
    return [piece?.buffer, piece?.byteOffset ?? -1]
  }

  it("is written into again, by whichever output", () => {
    const [one, other] = [new Output(), new Output()]
    const first = memoryAfter(one, "first")
    one.giveBackBytes()
    expect(memoryAfter(other, "other")).toEqual(first)
    other.giveBackBytes()
    expect(memoryAfter(one, "again")).toEqual(first)
  })

  it("is written into again where just that was taken which a limit allows, or all was dropped", () => {
    const output = new Output()
    const first = memoryAfter(output, "first")
    output.giveBackBytes()
    output.text("as much", undefined)
    output.take(output.size)
    output.giveBackBytes()
    expect(memoryAfter(output, "second")).toEqual(first)
    output.giveBackBytes()
    output.text("dropped", undefined)
    output.clear()
    expect(memoryAfter(output, "third")).toEqual(first)
  })

  it("is never what somebody still looks at", () => {
    const writes = fc.array(
      fc.record({
        by: fc.nat(2),
        size: fc.oneof(fc.nat(100), fc.nat(40_000)),
        limit: fc.oneof(fc.nat(200), fc.constant(1e6))
      }),
      { maxLength: 30 }
    )
    fc.assert(
      fc.property(
        writes,
        fc.infiniteStream(fc.constantFrom("kept", "back", "waits", "released", "cleared")),
        (script, fates) => {
          const outputs = [new Output(), new Output(), new Output()]
          /** What each output is still to hand out. */
          const due = outputs.map((): Uint8Array => new Uint8Array(0))
          const kept: Array<readonly [Uint8Array, string]> = []
          script.forEach(({ by, limit, size }, index) => {
            const output = outputs[by] ?? new Output()
            const payload = new Uint8Array(size).fill(index + 1)
            output.binary(payload, undefined)
            due[by] = join(due[by] ?? payload, wire(2, payload))
            const fate = fates.next().value
            if (fate === "released") output.release()
            if (fate === "cleared") {
              output.clear()
              due[by] = new Uint8Array(0)
            }
            if (fate !== "kept" && fate !== "back") return
            const taken = output.take(limit)
            const all = join(...taken)
            expect(Buffer.compare(all, (due[by] ?? all).subarray(0, all.length))).toBe(0)
            due[by] = (due[by] ?? all).slice(all.length)
            if (fate === "back") output.giveBackBytes()
            else for (const piece of taken) kept.push([piece, toHex(piece)])
          })
          for (const [piece, was] of kept) expect(toHex(piece)).toBe(was)
          outputs.forEach((output, by) => {
            expect(Buffer.compare(join(...output.take()), due[by] ?? new Uint8Array(1))).toBe(0)
          })
        }
      ),
      { numRuns: 300 }
    )
  })

  it("isn't what others have written since", () => {
    const [one, other] = [new Output(), new Output()]
    one.text("one", undefined)
    const [first] = one.take()
    other.text("other", undefined)
    one.giveBackBytes()
    const [second] = other.take()
    one.giveBackBytes()
    one.text("again", undefined)
    expect([first, second].map((piece) => piece && toHex(piece))).toEqual(
      ["one", "other"].map((text) => toHex(wire(1, text)))
    )
    one.clear()
  })
})

describe("taking up to a limit", () => {
  it("gives just as much, and the rest the next times, whatever the pieces", () => {
    const frames = fc.array(fc.record({ size: fc.oneof(fc.nat(50), fc.nat(20_000)), made: fc.boolean() }), {
      maxLength: 12
    })
    fc.assert(
      fc.property(frames, fc.integer({ min: 500, max: 50_000 }), (script, limit) => {
        const output = new Output()
        const expected = script.map(({ size }) => wire(2, pattern(size)))
        script.forEach(({ made, size }, index) => {
          const frame = expected[index]
          if (made && frame !== undefined) output.made(frame)
          else output.binary(pattern(size), undefined)
        })
        const all = join(...expected)
        const taken: Array<Uint8Array> = []
        for (let left = all.length; left > 0; left = output.size) {
          const pieces = output.take(limit)
          const size = pieces.reduce((sum, { length }) => sum + length, 0)
          expect(size).toBe(Math.min(left, limit))
          expect(pieces.every(({ length }) => length > 0)).toBe(true)
          expect(output.size).toBe(left - size)
          taken.push(...pieces)
        }
        expect(Buffer.compare(join(...taken), all)).toBe(0)
        expect(output.take(limit)).toEqual([])
      }),
      { numRuns: 100 }
    )
  })

  it("ends between two pieces where the limit is there", () => {
    const output = new Output()
    const [first, second] = [wire(2, pattern(1000)), wire(2, pattern(10))]
    output.made(first)
    output.made(second)
    expect([output.take(first.length), output.size]).toEqual([[first], second.length])
    expect(output.take(first.length)).toEqual([second])
  })

  it("puts what is written meanwhile behind the rest", () => {
    const output = new Output()
    output.binary(pattern(20_000), undefined)
    const first = output.take(1000)
    output.text("behind", undefined)
    expect(join(...first, ...output.take())).toEqual(join(wire(2, pattern(20_000)), wire(1, "behind")))
  })
})
