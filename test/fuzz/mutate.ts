// Inputs made of inputs: a few random changes of bytes, or of two inputs one.

import type { Random } from "./random.js"

type Bytes = Uint8Array

const join = (...parts: ReadonlyArray<Bytes>): Bytes => new Uint8Array(Buffer.concat(parts))

// What lengths, counts and characters have at their edges.
const edges = [0, 1, 9, 10, 13, 32, 125, 126, 127, 128, 129, 254, 255] as const

const change = (random: Random, bytes: Bytes, other: Bytes, words: ReadonlyArray<Bytes>): Bytes => {
  const at = random.int(bytes.length + 1)
  const span = 1 + random.int(random.oneIn(4) ? 64 : 8)
  const word = words[random.int(Math.max(1, words.length))] ?? bytes
  const set = (byte: number) => {
    const changed = bytes.slice()
    changed[Math.min(at, bytes.length - 1)] = byte
    return changed
  }
  switch (random.int(10)) {
    case 0:
      return set((bytes[at] ?? 0) ^ (1 << random.int(8)))
    case 1:
      return set(random.pick(edges))
    case 2:
      return set(random.uint32())
    case 3:
      return join(bytes.subarray(0, at), random.bytes(span), bytes.subarray(at))
    case 4:
      return join(bytes.subarray(0, at), bytes.subarray(at + span))
    case 5:
      return join(bytes.subarray(0, at), bytes.subarray(Math.max(0, at - span)))
    case 6:
      return join(bytes.subarray(0, at), other.subarray(random.int(other.length + 1)))
    case 7: {
      const from = random.int(other.length + 1)
      return join(bytes.subarray(0, at), other.subarray(from, from + span), bytes.subarray(at))
    }
    case 8:
      return join(bytes.subarray(0, at), word, bytes.subarray(at))
    default:
      return join(bytes.subarray(0, at), word, bytes.subarray(at + word.length))
  }
}

/** A few changes to an input; `other` is another one to take parts from, `words` are what stands in such inputs. */
export const mutate = (
  random: Random,
  input: Bytes,
  other: Bytes,
  words: ReadonlyArray<Bytes>,
  maxSize: number
): Bytes => {
  let bytes = input
  for (let count = 2 ** random.int(4); count > 0; count--) bytes = change(random, bytes, other, words)
  return bytes.slice(0, maxSize)
}

/** A smaller input for which the condition still holds: parts are left out, as large as possible. */
export const smallest = async (
  input: Bytes,
  holds: (input: Bytes) => Promise<boolean>,
  most = 2000
): Promise<Bytes> => {
  let found = input
  let asked = 0
  for (let size = 2 ** Math.ceil(Math.log2(input.length + 1)); size >= 1; size /= 2) {
    for (let end = found.length; end > 0 && asked < most; end -= size) {
      const candidate = join(found.subarray(0, Math.max(0, end - size)), found.subarray(end))
      asked++
      if (candidate.length < found.length && (await holds(candidate))) found = candidate
    }
  }
  return found
}
