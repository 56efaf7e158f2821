// Whether bytes are one MessagePack value that may be handed to an unpacker.
//
// The unpacker allocates what an array declares before it looks for the elements, so that five
// bytes may cost 256 MiB; and extensions of its own let values be shared, which makes small input
// exponentially large, jump back in the input, and build regular expressions. So the declared
// lengths are judged first by the bytes that are there, and only the extensions that stand for
// plain values pass. It is one loop over the tokens; strings and bytes are skipped.

type Shape =
  /** So many bytes follow the token. */
  | readonly ["value", number]
  /** A length of so many bytes follows, and then: as many bytes, elements, or pairs. */
  | readonly ["bytes" | "array" | "map", Width]
  /** A length of so many bytes, a type, and as many bytes; or the type, and the bytes that the token stands for. */
  | readonly ["extension", Width]
  | readonly ["fixed extension", number]

type Width = 1 | 2 | 4

/** The tokens from 0xc0 to 0xdf. */
const shapes: ReadonlyArray<Shape | undefined> = [
  ["value", 0], // nil
  undefined, // never used
  ["value", 0], // false
  ["value", 0], // true
  ["bytes", 1],
  ["bytes", 2],
  ["bytes", 4],
  ["extension", 1],
  ["extension", 2],
  ["extension", 4],
  ["value", 4], // float
  ["value", 8],
  ["value", 1], // unsigned
  ["value", 2],
  ["value", 4],
  ["value", 8],
  ["value", 1], // signed
  ["value", 2],
  ["value", 4],
  ["value", 8],
  ["fixed extension", 1],
  ["fixed extension", 2],
  ["fixed extension", 4],
  ["fixed extension", 8],
  ["fixed extension", 16],
  ["bytes", 1], // strings
  ["bytes", 2],
  ["bytes", 4],
  ["array", 2],
  ["array", 4],
  ["map", 2],
  ["map", 4]
]

const truncated = "it ends in the middle of a value"

/** The timestamps of the specification (type -1), and how `undefined` is commonly written. */
const isPlain = (type: number, length: number): boolean =>
  type === 0xff ? length === 4 || length === 8 || length === 12 : type === 0 && length === 1

const readLength = (view: DataView, at: number, width: Width): number =>
  width === 1 ? view.getUint8(at) : width === 2 ? view.getUint16(at) : view.getUint32(at)

/** What forbids to unpack the bytes, in words; undefined if nothing does. */
export const objection = (bytes: Uint8Array): string | undefined => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = bytes.length
  let at = 0
  /** Values still to come. Each is a byte at least, so no array can be longer than the rest. */
  let owed = 1
  while (owed > 0) {
    if (owed > end - at) return truncated
    owed--
    const token = view.getUint8(at++)
    if (token < 0x80 || token >= 0xe0) continue
    if (token < 0xc0) {
      if (token < 0x90) owed += 2 * (token & 15)
      else if (token < 0xa0) owed += token & 15
      else at += token & 31
      continue
    }
    const shape = shapes[token - 0xc0]
    if (shape === undefined) return "it has a token that means nothing"
    const [kind, size] = shape
    if (kind === "value") {
      at += size
      continue
    }
    const width = kind === "fixed extension" ? 0 : size
    const type = kind === "extension" || kind === "fixed extension" ? 1 : 0
    if (at + width + type > end) return truncated
    const length = kind === "fixed extension" ? size : readLength(view, at, size)
    at += width
    if (kind === "array") owed += length
    else if (kind === "map") owed += 2 * length
    else if (kind === "bytes") at += length
    else {
      if (!isPlain(view.getUint8(at), length)) return "it has an extension that stands for no plain value"
      at += 1 + length
    }
  }
  if (at > end) return truncated
  return at < end ? "it goes on behind the value" : undefined
}
