// Frames as bytes, right and wrong ones. Nothing here is shared with the library.

import type { Role } from "effect-websocket/Frame"

/** What a peer sends; a client's frames are masked, so it depends on who the peer is. */
export type Bytes = (peer: Role) => Uint8Array

/** The key of the examples in RFC 6455 5.7. */
const exampleKey = "37fa213d"

export const op = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const

export const hex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits.replace(/\s/g, ""), "hex"))
export const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const bytesOf = (content: string | Uint8Array): Uint8Array => (typeof content === "string" ? utf8(content) : content)

/** Bytes that differ from place to place. */
export const pattern = (size: number): Uint8Array => {
  const bytes = new Uint8Array(size)
  for (let at = 0; at < size; at++) bytes[at] = at * 31
  return bytes
}

export interface Shape {
  /** Default true. */
  readonly fin?: boolean | undefined
  /** RSV1 to RSV3 as a number, 0 to 7. Default 0. */
  readonly rsv?: number | undefined
  /** How the length is encoded: in 7, 16 or 64 bits. Default: the shortest. */
  readonly form?: 7 | 16 | 64 | undefined
  /** The length that the header tells, if not the payload's. */
  readonly declares?: number | bigint | undefined
  /** The masking key in hexadecimal, of a client. */
  readonly key?: string | undefined
  /** Whether the mask bit is the reverse of what the peer's role asks for. */
  readonly wronglyMasked?: boolean | undefined
}

/** A frame's header as far as the end of its length. */
export const start = (opcode: number, length: number | bigint, shape: Shape = {}): Bytes => {
  const { fin = true, rsv = 0, form = length < 126 ? 7 : length < 65536 ? 16 : 64, wronglyMasked = false } = shape
  return (peer) => {
    const bytes = Buffer.alloc(form === 7 ? 2 : form === 16 ? 4 : 10)
    const mask = (peer === "client") !== wronglyMasked ? 0x80 : 0
    bytes[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode
    bytes[1] = mask | (form === 7 ? Number(length) : form === 16 ? 126 : 127)
    if (form === 16) bytes.writeUInt16BE(Number(length), 2)
    if (form === 64) bytes.writeBigUInt64BE(BigInt(length), 2)
    return bytes
  }
}

export const frame = (opcode: number, content: string | Uint8Array, shape: Shape = {}): Bytes => {
  const payload = bytesOf(content)
  return (peer) => {
    const begin = start(opcode, shape.declares ?? payload.length, shape)(peer)
    if ((peer === "client") === (shape.wronglyMasked ?? false)) return Buffer.concat([begin, payload])
    const key = hex(shape.key ?? exampleKey)
    return Buffer.concat([begin, key, masked(payload, key)])
  }
}

/** XOR with the key (RFC 6455 5.3). It is its own inverse. */
export const masked = (payload: Uint8Array, key: Uint8Array): Uint8Array => {
  const bytes = payload.slice()
  for (let at = 0; at < bytes.length; at++) bytes[at] = (payload[at] ?? 0) ^ (key[at % 4] ?? 0)
  return bytes
}

export const text = (content: string | Uint8Array, shape?: Shape): Bytes => frame(op.text, content, shape)
export const binary = (content: string | Uint8Array, shape?: Shape): Bytes => frame(op.binary, content, shape)
export const ping = (content: string | Uint8Array = "", shape?: Shape): Bytes => frame(op.ping, content, shape)
export const pong = (content: string | Uint8Array = "", shape?: Shape): Bytes => frame(op.pong, content, shape)

export const closePayload = (code: number, reason: string | Uint8Array = ""): Uint8Array =>
  new Uint8Array(Buffer.concat([Uint8Array.of(code >> 8, code & 255), bytesOf(reason)]))

/** A Close frame; without a code an empty one. */
export const close = (code?: number, reason?: string | Uint8Array): Bytes =>
  frame(op.close, code === undefined ? "" : closePayload(code, reason))

/** A message in several frames. */
export const fragments = (opcode: number, ...contents: ReadonlyArray<string | Uint8Array>): ReadonlyArray<Bytes> =>
  contents.map((content, index) =>
    frame(index === 0 ? opcode : op.continuation, content, { fin: index === contents.length - 1 })
  )

export const join = (...parts: ReadonlyArray<Bytes>): Bytes => {
  return (peer) => Buffer.concat(parts.map((part) => part(peer)))
}

/** Bytes that are the same whoever sends them. */
export const raw = (digits: string): Bytes => {
  const bytes = hex(digits)
  return () => bytes
}

/** Only the first byte of a frame. */
export const firstByte = (opcode: number, shape: Shape = {}): Bytes => {
  const bytes = start(opcode, 0, shape)
  return (peer) => bytes(peer).subarray(0, 1)
}

export const nothing: Bytes = () => new Uint8Array(0)

/** A frame on the wire, taken apart. */
export interface Piece {
  /** First byte, second byte without the mask bit, extended length. */
  readonly start: Uint8Array
  readonly key: Uint8Array | undefined
  /** Unmasked. */
  readonly payload: Uint8Array
}

/** The frames of a run of bytes; a last one that isn't whole has a payload that is too short. */
export const dissect = (bytes: Uint8Array): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = []
  const all = Buffer.from(bytes)
  for (let at = 0; at + 2 <= all.length; ) {
    const second = all.readUInt8(at + 1)
    const short = second & 0x7f
    const size = short === 126 ? 4 : short === 127 ? 10 : 2
    const length =
      short === 126 ? all.readUInt16BE(at + 2) : short === 127 ? Number(all.readBigUInt64BE(at + 2)) : short
    const begin = new Uint8Array(all.subarray(at, at + size))
    begin[1] = short
    const keyed = (second & 0x80) !== 0
    const key = keyed ? all.subarray(at + size, at + size + 4) : undefined
    const from = at + size + (keyed ? 4 : 0)
    const payload = all.subarray(from, from + length)
    pieces.push({ start: begin, key, payload: key === undefined ? payload : masked(payload, key) })
    at = from + length
  }
  return pieces
}
