// UTF-8: bytes to strings, with the check that they are valid, and back.

import { isAscii, isUtf8 } from "node:buffer"
import { Output } from "../../src/protocol/output.js"
import { decodeUtf8, Utf8Validator } from "../../src/protocol/utf8.js"
import { type Part, repeat, type Work } from "./compare.js"

// Not documented, but there since ever.
declare global {
  interface Buffer {
    utf8Slice(start: number, end: number): string
    latin1Slice(start: number, end: number): string
    utf8Write(text: string, at: number, most: number): number
  }
}

const texts: Readonly<Record<string, string>> = {
  "16 ASCII": "quick brown foxe",
  "1 KiB ASCII": "quick brown foxes, ".repeat(60).slice(0, 1024),
  "64 KiB ASCII": "quick brown foxes, ".repeat(4000).slice(0, 65_536),
  "1 KiB mixed": "schnelle Füchse, 狐 🦊 ".repeat(60).slice(0, 700)
}
const columns = Object.keys(texts)

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

const decoding = (decode: (bytes: Buffer) => unknown): ReadonlyArray<Work> =>
  Object.values(texts).map((text) => {
    const bytes = Buffer.from(text)
    return repeat(() => decode(bytes))
  })

/** Whether no byte of it is above 0x7f, four at a time; where words can't be had, one at a time. */
const asciiByWords = (bytes: Buffer): boolean => {
  const whole = bytes.byteOffset % 4 === 0 ? bytes.length >> 2 : 0
  const words = new Int32Array(bytes.buffer, whole > 0 ? bytes.byteOffset : 0, whole)
  let seen = 0
  for (let index = 0; index < whole; index++) seen |= words[index] ?? 0
  for (let at = whole * 4; at < bytes.length; at++) seen |= bytes[at] ?? 0
  return (seen & 0x80808080) === 0
}

const encoding = (encode: (text: string) => unknown): ReadonlyArray<Work> =>
  // A string made of bytes, as messages are, not one that is joined of pieces.
  Object.values(texts).map((text) => {
    const flat = Buffer.from(text).toString()
    return repeat(() => encode(flat))
  })

const memory = Buffer.alloc(256 * 1024)
const output = new Output()

export const text: ReadonlyArray<Part> = [
  {
    title: "UTF-8 to a string, checked",
    why: "TextDecoder takes its time to begin; a check for ASCII is cheap, and makes of most text a copy of bytes",
    columns,
    alternatives: {
      "decodeUtf8 *": decoding((bytes) => decodeUtf8(bytes, 0, bytes.length)),
      "TextDecoder, fatal": decoding((bytes) => strict.decode(bytes)),
      "isUtf8, utf8Slice": decoding((bytes) => (isUtf8(bytes) ? bytes.utf8Slice(0, bytes.length) : undefined)),
      "isAscii, latin1Slice": decoding((bytes) =>
        isAscii(bytes) ? bytes.latin1Slice(0, bytes.length) : strict.decode(bytes)
      ),
      "ASCII by words, latin1Slice": decoding((bytes) =>
        asciiByWords(bytes) ? bytes.latin1Slice(0, bytes.length) : strict.decode(bytes)
      ),
      "utf8Slice, unchecked": decoding((bytes) => bytes.utf8Slice(0, bytes.length))
    }
  },
  {
    title: "UTF-8 validated, no string made",
    why: "the one that goes byte by byte is for text that comes in pieces, and for a failure at the first wrong byte",
    columns,
    alternatives: {
      "Utf8Validator *": decoding((bytes) => new Utf8Validator().push(bytes, 0, bytes.length)),
      isUtf8: decoding((bytes) => isUtf8(bytes))
    }
  },
  {
    title: "a string to UTF-8",
    why: "into memory that is there already; a loop for the shortest strings, as entering the encoder costs more",
    columns,
    alternatives: {
      "Output.text * (with its frame)": encoding((text) => {
        output.text(text, undefined)
        return output.take()
      }),
      "TextEncoder.encodeInto": encoding((text) => encoder.encodeInto(text, memory)),
      "TextEncoder.encode": encoding((text) => encoder.encode(text)),
      "Buffer.utf8Write": encoding((text) => memory.utf8Write(text, 0, memory.length)),
      "Buffer.from": encoding((text) => Buffer.from(text))
    }
  }
]
