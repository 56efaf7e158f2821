// Masking (RFC 6455 5.3): each payload byte is XORed with one byte of a four-byte key, in turn.
// A key is a 32-bit integer whose most significant byte is the first on the wire.

import { byteAt, writeUint32 } from "./bytes.js"
import { kernel } from "./maskKernel.js"

// The key as this machine reads it from memory, whatever its byte order.
const keyBytes = new Uint8Array(4)
const keyWord = new Int32Array(keyBytes.buffer)

// Below this, making a view of 32-bit words costs more than it saves.
const wordThreshold = 48

// From here on the way into the kernel's memory and back, where it is needed, costs less than it saves.
const kernelThreshold = 256

/**
 * Masks or unmasks `bytes[start..end)` in place. `phase` is the index (0 to 3)
 * of the key byte for the first of them; the answer is the phase after the last.
 */
export const mask = (bytes: Uint8Array, start: number, end: number, key: number, phase: number): number => {
  const size = end - start
  // A zero key changes nothing, and a peer may choose it.
  if (key !== 0) {
    // JavaScript shifts by its operand modulo 32, so that phase 0 leaves the key as it is.
    const rotated = (key << (8 * phase)) | (key >>> (32 - 8 * phase))
    if (size < wordThreshold) maskBytes(bytes, start, end, rotated)
    else {
      const fast = kernel()
      if (fast !== undefined && (size >= kernelThreshold || bytes.buffer === fast.memory))
        fast.xor(bytes, start, end, swap(rotated))
      else maskWords(bytes, start, end, rotated)
    }
  }
  return (phase + size) & 3
}

/** The same, where there is no WebAssembly. */
export const maskWords = (bytes: Uint8Array, start: number, end: number, key: number): void => {
  const unaligned = -(bytes.byteOffset + start) & 3
  maskBytes(bytes, start, start + unaligned, key)
  const at = start + unaligned
  writeUint32(keyBytes, 0, (key << (8 * unaligned)) | (key >>> (32 - 8 * unaligned)))
  const word = byteAt(keyWord, 0)
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (end - at) >> 2)
  for (let index = 0; index < words.length; index++) words[index] = byteAt(words, index) ^ word
  maskBytes(bytes, at + words.length * 4, end, (key << (8 * unaligned)) | (key >>> (32 - 8 * unaligned)))
}

const maskBytes = (bytes: Uint8Array, start: number, end: number, key: number): void => {
  for (let at = start, shift = 24; at < end; at++, shift -= 8) bytes[at] = byteAt(bytes, at) ^ (key >>> shift)
}

/** The same four bytes in the other order. */
const swap = (key: number): number =>
  ((key & 0xff) << 24) | ((key & 0xff00) << 8) | ((key >>> 8) & 0xff00) | (key >>> 24)
