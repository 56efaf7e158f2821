// A payload that lies in a chunk: a copy, or a view that keeps all of the chunk in memory.

import { type Part, repeat, type Work } from "./compare.js"

const sizes = [16, 128, 1024, 16_384, 65_536]
const chunk = Buffer.allocUnsafeSlow(128 * 1024).fill(0x5a)
const bare = new Uint8Array(chunk.buffer)

const over = (take: (size: number) => unknown): ReadonlyArray<Work> => sizes.map((size) => repeat(() => take(size)))

/** Short ones by a loop: `set` and `slice` cost more to enter. */
const byLoop = (size: number): Uint8Array => {
  const copy = new Uint8Array(size)
  for (let at = 0; at < size; at++) copy[at] = bare[100 + at] ?? 0
  return copy
}

// Two that begin at the same place within a page of memory, as large ones do.
const [source, target] = [new Uint8Array(1024 * 1024), new Uint8Array(1024 * 1024)]
const distances = [0, 16, 32, 48, 64, 2048]

const copyBy = (distance: number): Work => {
  const from = source.subarray(4096, 4096 + 65_536)
  return repeat(() => target.set(from, 4096 + distance))
}

export const copies: ReadonlyArray<Part> = [
  {
    title: "64 KiB copied, so many bytes further on in a page than where they come from",
    why: "some processors take many times as long where the addresses end in nearly the same twelve bits; the mask's kernel works half a page away",
    columns: distances.map(String),
    alternatives: { "set of a Uint8Array": distances.map(copyBy) }
  },
  {
    title: "a payload out of a chunk",
    why: "small ones are copied, so that they don't keep 64 KiB in memory for 16 bytes; large ones are views",
    columns: sizes.map(String),
    alternatives: {
      "subarray of a Uint8Array": over((size) => bare.subarray(100, 100 + size)),
      "slice of a Uint8Array": over((size) => bare.slice(100, 100 + size)),
      "a loop into a new Uint8Array": over(byLoop),
      "subarray of a Buffer": over((size) => chunk.subarray(100, 100 + size)),
      "Buffer.from": over((size) => Buffer.from(chunk.subarray(100, 100 + size))),
      "copied into a Buffer of the pool": over((size) => {
        const copy = Buffer.allocUnsafe(size)
        chunk.copy(copy, 0, 100, 100 + size)
        return copy
      })
    }
  }
]
