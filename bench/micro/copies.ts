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

export const copies: ReadonlyArray<Part> = [
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
