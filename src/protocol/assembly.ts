// The bytes of one message (or frame) that arrives in pieces.

import { concat, copyOf, smallCopy } from "./bytes.js"

// Pieces under this size are copied together: a part of its own costs about 100
// bytes of bookkeeping, which a peer that sends one byte at a time would multiply.
const smallPiece = 1024
const maxTail = 64 * 1024

/**
 * Collects pieces, and never holds much more than it was given: small pieces are
 * coalesced into a tail that doubles as it fills, and a piece that is but a part
 * of its chunk is copied, so that it doesn't keep the whole chunk alive.
 */
export class Assembly {
  private parts: Array<Uint8Array> = []
  private tail: Uint8Array | undefined
  private tailLength = 0
  /** Bytes held. */
  size = 0

  append(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start
    if (length === 0) return
    this.size += length
    if (length >= smallPiece) {
      this.seal()
      this.parts.push(own(bytes, start, end))
      return
    }
    this.tailFor(length).set(bytes.subarray(start, end), this.tailLength)
    this.tailLength += length
  }

  /** All bytes in one piece. The assembly is empty again. */
  take(): Uint8Array {
    this.seal()
    const { parts, size } = this
    this.clear()
    return concat(parts, size)
  }

  clear(): void {
    this.parts = []
    this.tail = undefined
    this.tailLength = 0
    this.size = 0
  }

  /** The tail, with room for `length` more bytes. */
  private tailFor(length: number): Uint8Array {
    if (this.tailLength + length > maxTail) this.seal()
    const needed = this.tailLength + length
    if (this.tail !== undefined && needed <= this.tail.length) return this.tail
    const grown = new Uint8Array(Math.max(256, 2 ** Math.ceil(Math.log2(needed))))
    if (this.tail !== undefined) grown.set(this.tail)
    this.tail = grown
    return grown
  }

  private seal(): void {
    if (this.tail === undefined) return
    this.parts.push(own(this.tail, 0, this.tailLength))
    this.tail = undefined
    this.tailLength = 0
  }
}

/** `bytes[start..end)` to keep: a view if it is most of its memory, else a copy. Plain, whatever kind of array it is part of. */
export const own = (bytes: Uint8Array, start: number, end: number): Uint8Array => {
  const size = end - start
  const isMost = size > smallCopy && size * 2 >= bytes.buffer.byteLength
  return isMost ? new Uint8Array(bytes.buffer, bytes.byteOffset + start, size) : copyOf(bytes, start, end)
}
