// Masking (RFC 6455 5.3): each payload byte is XORed with one byte of a four-byte key, in turn.
// A key is a 32-bit integer whose most significant byte is the first on the wire.

import { byteAt, writeUint32 } from "./bytes.js"

// The key as this machine reads it from memory, whatever its byte order.
const keyBytes = new Uint8Array(4)
const keyWord = new Int32Array(keyBytes.buffer)

// Below this, making a view of 32-bit words costs more than it saves.
const wordThreshold = 48

/**
 * Masks or unmasks `bytes[start..end)` in place. `phase` is the index (0 to 3)
 * of the key byte for the first of them; the answer is the phase after the last.
 */
export const mask = (bytes: Uint8Array, start: number, end: number, key: number, phase: number): number => {
  const next = (phase + end - start) & 3
  // A zero key changes nothing, and a peer may choose it.
  if (key === 0) return next
  let at = start
  if (end - start >= wordThreshold) {
    while (((bytes.byteOffset + at) & 3) !== 0) {
      bytes[at] = byteAt(bytes, at) ^ (key >>> (24 - 8 * phase))
      phase = (phase + 1) & 3
      at++
    }
    // JavaScript shifts by its operand modulo 32, so that phase 0 leaves the key as it is.
    writeUint32(keyBytes, 0, (key << (8 * phase)) | (key >>> (32 - 8 * phase)))
    const word = byteAt(keyWord, 0)
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (end - at) >> 2)
    for (let index = 0; index < words.length; index++) words[index] = byteAt(words, index) ^ word
    at += words.length * 4
  }
  for (; at < end; at++) {
    bytes[at] = byteAt(bytes, at) ^ (key >>> (24 - 8 * phase))
    phase = (phase + 1) & 3
  }
  return next
}
