// The frame on the wire (RFC 6455 5.2):
//
//   byte 0: FIN, RSV1-3, opcode      byte 1: MASK, 7 bits of length
//   then 0, 2 or 8 bytes of length, 0 or 4 bytes of masking key, the payload.
//
// `readHeader` and `writeHeader` are the only places that know this layout. The
// Schema codec, the channels and the read loop all stand on this one pair.

import * as CloseCode from "../CloseCode.js"
import { byteAt, uint32At, writeUint32 } from "./bytes.js"
import { mask } from "./mask.js"
import { type Breach, breach } from "./violation.js"

/** The opcodes of RFC 6455 11.8. The others are reserved, and no extension in use defines one. */
export type OpcodeValue = 0x0 | 0x1 | 0x2 | 0x8 | 0x9 | 0xa

export const continuation = 0x0
export const text = 0x1
export const binary = 0x2
export const close = 0x8
export const ping = 0x9
export const pong = 0xa

export const isOpcode = (value: number): value is OpcodeValue =>
  (value >= continuation && value <= binary) || (value >= close && value <= pong)

export const isControl = (opcode: number): boolean => opcode >= 0x8

/** RFC 6455 5.5: all control frames must have a payload length of 125 bytes or less. */
export const maxControlPayload = 125

/** The longest header: two bytes, eight of length, four of key. */
export const maxHeaderSize = 14

export interface Frame {
  readonly opcode: OpcodeValue
  /** RSV1 to RSV3 as one number, 0 to 7, RSV1 being 4. */
  readonly rsv: number
  readonly fin: boolean
  readonly payload: Uint8Array
}

/** `client` masks what it sends and expects unmasked frames; `server` the reverse. */
export type Role = "client" | "server"

/** How much of a header is known; each step includes those before it. */
export const Known = { nothing: 0, start: 1, length: 2, all: 3 } as const

/** A header as far as it has been read. Reused for each frame. */
export class Header {
  known: number = Known.nothing
  fin = false
  rsv = 0
  opcode = 0
  masked = false
  length = 0
  key = 0
  /** Size of the header itself, once all is known. */
  size = 0
}

/**
 * Reads as much of a header as `bytes[start..end)` holds. May be called again
 * from the start when there is more. `masked` is what the frame has to be, if it
 * matters. Answers a breach as soon as one is certain.
 */
export const readHeader = (
  bytes: Uint8Array,
  start: number,
  end: number,
  masked: boolean | undefined,
  header: Header
): Breach | undefined => {
  header.known = Known.nothing
  const available = end - start
  if (available < 1) return undefined
  const first = byteAt(bytes, start)
  header.fin = (first & 0x80) !== 0
  header.rsv = (first >>> 4) & 0x7
  header.opcode = first & 0xf
  header.known = Known.start
  if (available < 2) return undefined
  const second = byteAt(bytes, start + 1)
  header.masked = (second & 0x80) !== 0
  if (masked !== undefined && header.masked !== masked) {
    return breach(
      CloseCode.protocolError,
      masked
        ? "a client must mask every frame it sends (RFC 6455 5.1)"
        : "a server must not mask any frame it sends (RFC 6455 5.1)"
    )
  }
  let length = second & 0x7f
  // 126 and 127 announce a longer length, so that these are enough to tell.
  if (isControl(header.opcode) && length > maxControlPayload) return longControl
  let size = 2
  if (length === 126) {
    if (available < 4) return undefined
    length = (byteAt(bytes, start + 2) << 8) | byteAt(bytes, start + 3)
    size = 4
    if (length < 126) return notMinimal
  } else if (length === 127) {
    // RFC 6455 5.2: the most significant bit of a 64-bit length must be 0.
    if (available > 2 && (byteAt(bytes, start + 2) & 0x80) !== 0) {
      return breach(CloseCode.protocolError, "the top bit of a 64-bit payload length must be 0 (RFC 6455 5.2)")
    }
    if (available < 10) return undefined
    const high = uint32At(bytes, start + 2)
    length = high * 0x1_0000_0000 + uint32At(bytes, start + 6)
    size = 10
    if (length < 0x1_0000) return notMinimal
    // Above 2^53 - 1 a number no longer tells every length apart.
    if (high > 0x1f_ffff) {
      return breach(CloseCode.messageTooBig, "a payload length above 2^53 - 1 can't be represented")
    }
  }
  header.length = length
  header.known = Known.length
  if (header.masked) {
    if (available < size + 4) return undefined
    header.key = uint32At(bytes, start + size)
    size += 4
  }
  header.size = size
  header.known = Known.all
  return undefined
}

const notMinimal = breach(
  CloseCode.protocolError,
  "a payload length must be encoded in the fewest bytes that hold it (RFC 6455 5.2)"
)

/** The size of the header that `writeHeader` writes. */
export const headerSize = (length: number, masked: boolean): number =>
  (length < 126 ? 2 : length < 0x1_0000 ? 4 : 10) + (masked ? 4 : 0)

/** Writes a header at `at`; `key` is undefined for an unmasked frame. Answers where the payload begins. */
export const writeHeader = (
  bytes: Uint8Array,
  at: number,
  fin: boolean,
  rsv: number,
  opcode: number,
  length: number,
  key: number | undefined
): number => {
  const maskBit = key === undefined ? 0 : 0x80
  bytes[at] = (fin ? 0x80 : 0) | (rsv << 4) | opcode
  if (length < 126) {
    bytes[at + 1] = maskBit | length
    at += 2
  } else if (length < 0x1_0000) {
    bytes[at + 1] = maskBit | 126
    bytes[at + 2] = length >>> 8
    bytes[at + 3] = length
    at += 4
  } else {
    bytes[at + 1] = maskBit | 127
    writeUint32(bytes, at + 2, Math.floor(length / 0x1_0000_0000))
    writeUint32(bytes, at + 6, length >>> 0)
    at += 10
  }
  if (key === undefined) return at
  writeUint32(bytes, at, key)
  return at + 4
}

/** A whole frame as bytes of its own. `key` is undefined for an unmasked frame. */
export const encodeFrame = (frame: Frame, key: number | undefined): Uint8Array => {
  const { length } = frame.payload
  const bytes = new Uint8Array(headerSize(length, key !== undefined) + length)
  const start = writeHeader(bytes, 0, frame.fin, frame.rsv, frame.opcode, length, key)
  bytes.set(frame.payload, start)
  if (key !== undefined) mask(bytes, start, bytes.length, key, 0)
  return bytes
}

/** The rules that a single frame keeps whatever the connection, or undefined if it does. */
export const checkStart = (fin: boolean, opcode: number): Breach | undefined => {
  if (!isOpcode(opcode)) {
    return breach(CloseCode.protocolError, `opcode 0x${opcode.toString(16)} is reserved (RFC 6455 5.2)`)
  }
  if (isControl(opcode) && !fin) return fragmentedControl
  return undefined
}

export const checkLength = (opcode: number, length: number): Breach | undefined =>
  isControl(opcode) && length > maxControlPayload ? longControl : undefined

const fragmentedControl = breach(CloseCode.protocolError, "a control frame must not be fragmented (RFC 6455 5.5)")

const longControl = breach(
  CloseCode.protocolError,
  "a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)"
)
