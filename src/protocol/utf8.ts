// UTF-8 (RFC 3629), which text messages and close reasons must be (RFC 6455 8.1).

import { byteAt } from "./bytes.js"

// A byte order mark is content like any other (RFC 6455 says nothing of one), so it is kept.
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lenient = new TextDecoder("utf-8", { ignoreBOM: true })

/** What a decoder puts in place of bytes that are no UTF-8. */
const replacement = "\ufffd"

/** What is needed of Node's Buffer, which other platforms don't have; `Array` is named since some property must be known to be there. */
export interface Platform {
  readonly Buffer?: { readonly isBuffer: (value: unknown) => value is BufferLike }
  readonly Array: unknown
}

interface BufferLike extends Uint8Array {
  readonly toString: (encoding?: "utf8", start?: number, end?: number) => string
  /** Which no other Uint8Array has. */
  readonly write: (text: string) => number
}

/**
 * What Node reads are Buffers, and it makes a string of a short one in a third of the time that a `TextDecoder` takes
 * (bench/micro.ts). What is no UTF-8 is replaced, so that only a text in which nothing can have been replaced is known to be valid.
 */
export const decoderOn =
  ({ Buffer }: Platform) =>
  (bytes: Uint8Array, start: number, end: number): string | undefined => {
    if (Buffer?.isBuffer(bytes)) {
      const text = bytes.toString("utf8", start, end)
      if (!text.includes(replacement)) return text
    }
    try {
      return strict.decode(bytes.subarray(start, end))
    } catch {
      return undefined
    }
  }

/** The text of `bytes[start..end)`, or undefined if they are not UTF-8. */
export const decodeUtf8 = decoderOn(globalThis)

/** The text of bytes that were validated piece by piece. */
export const decodeValid = (bytes: Uint8Array): string => lenient.decode(bytes)

/**
 * Validates UTF-8 that arrives in pieces, and fails at the first byte that can't
 * be part of any valid text, however the pieces are cut.
 */
export class Utf8Validator {
  /** Continuation bytes still missing of the code point that is under way. */
  private missing = 0
  /** The range that the next continuation byte must lie in. */
  private low = 0x80
  private high = 0xbf

  /** Whether no code point is cut in the middle. */
  get complete(): boolean {
    return this.missing === 0
  }

  copy(): Utf8Validator {
    const copy = new Utf8Validator()
    copy.missing = this.missing
    copy.low = this.low
    copy.high = this.high
    return copy
  }

  /** Takes `bytes[start..end)`; false as soon as a byte can't be valid. */
  push(bytes: Uint8Array, start: number, end: number): boolean {
    for (let at = start; at < end; at++) {
      const byte = byteAt(bytes, at)
      if (this.missing > 0) {
        if (byte < this.low || byte > this.high) return false
        this.low = 0x80
        this.high = 0xbf
        this.missing--
      } else if (byte >= 0x80) {
        if (!this.lead(byte)) return false
      }
    }
    return true
  }

  /** The table of RFC 3629 section 4: what may follow each first byte. */
  private lead(byte: number): boolean {
    // 80..BF can't come first; C0 and C1 would be overlong.
    if (byte < 0xc2) return false
    if (byte < 0xe0) {
      this.missing = 1
    } else if (byte < 0xf0) {
      this.missing = 2
      // E0 80..9F would be overlong; ED A0..BF would be a surrogate.
      if (byte === 0xe0) this.low = 0xa0
      else if (byte === 0xed) this.high = 0x9f
    } else if (byte < 0xf5) {
      this.missing = 3
      // F0 80..8F would be overlong; F4 90.. would be above U+10FFFF.
      if (byte === 0xf0) this.low = 0x90
      else if (byte === 0xf4) this.high = 0x8f
    } else {
      return false
    }
    return true
  }
}
