// Masking and unmasking, in place.

import { createRequire } from "node:module"
import { mask, maskWords } from "../../src/protocol/mask.js"
import { block, kernel } from "../../src/protocol/maskKernel.js"
import { type Part, repeat, type Work } from "./compare.js"

const sizes = [16, 125, 1024, 65_536, 1_048_576]
const key = 0x12345678
const keyBytes = Buffer.from([0x12, 0x34, 0x56, 0x78])

type Mask = (bytes: Uint8Array, start: number, end: number) => unknown

const bytewise: Mask = (bytes, start, end) => {
  for (let at = start; at < end; at++) bytes[at] = (bytes[at] ?? 0) ^ (keyBytes[(at - start) & 3] ?? 0)
}

const twice = new Uint8Array(8)
const long = new BigUint64Array(twice.buffer)

/** Words of 64 bits are BigInts to JavaScript. */
const bigwise: Mask = (bytes, start, end) => {
  const first = Math.min(start + (-(bytes.byteOffset + start) & 7), end)
  bytewise(bytes, start, first)
  for (let index = 0; index < 8; index++) twice[index] = keyBytes[(first - start + index) & 3] ?? 0
  const word = long[0] ?? 0n
  const words = new BigUint64Array(bytes.buffer, first === end ? 0 : bytes.byteOffset + first, (end - first) >> 3)
  for (let index = 0; index < words.length; index++) words[index] = (words[index] ?? 0n) ^ word
  for (let at = first + words.length * 8; at < end; at++)
    bytes[at] = (bytes[at] ?? 0) ^ (keyBytes[(at - start) & 3] ?? 0)
}

const addon: { readonly unmask: (bytes: Uint8Array, key: Uint8Array) => void } = createRequire(import.meta.url)(
  "bufferutil"
)

const over = (work: Mask): ReadonlyArray<Work> =>
  sizes.map((size) => {
    // As it lies behind a header of six bytes.
    const bytes = new Uint8Array(size + 6).fill(0x5a)
    return repeat(() => work(bytes, 6, size + 6))
  })

const shared = new Uint8Array(kernel()?.memory ?? new ArrayBuffer(2 * block), block + 2048)

/** No more at once than is read at once. */
const inside = (size: number): Work =>
  repeat(() => {
    for (let left = size; left > 0; left -= 65_536) mask(shared, 6, 6 + Math.min(left, 65_536), key, 0)
  })

export const masks: ReadonlyArray<Part> = [
  {
    title: "unmask in place",
    why: "bytes are cheapest where a view of words costs more than it saves; a WebAssembly kernel takes 16 bytes at once, but they have to be copied in and out, unless they are in its memory, as what is read from a plain socket is",
    columns: sizes.map(String),
    alternatives: {
      "mask *": over((bytes, start, end) => mask(bytes, start, end, key, 0)),
      "mask, in the kernel's memory *": sizes.map(inside),
      "bytes, one by one": over(bytewise),
      "words of 32 bits": over((bytes, start, end) => maskWords(bytes, start, end, key)),
      "words of 64 bits": over(bigwise),
      "bufferutil, a native addon": over((bytes, start, end) => addon.unmask(bytes.subarray(start, end), keyBytes))
    }
  }
]
