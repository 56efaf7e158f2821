// Frames of a byte stream, read as RFC 6455 5.2 draws them and judged by nothing:
// slow, plain, and shared with neither side of the comparison.

export interface Walked {
  readonly start: number
  readonly fin: boolean
  readonly rsv: number
  readonly opcode: number
  readonly masked: boolean
  /** Of the payload, as it was declared; 0 while that isn't known. */
  readonly length: number
  /** Unmasked, as far as it is there. */
  readonly payload: Uint8Array
}

export interface Partial extends Walked {
  /** How many bytes of the header are there. */
  readonly header: number
  /** Whether the length is among them. */
  readonly sized: boolean
  /** How many more it needs, as far as that is known; and the payload. */
  readonly missing: number
}

/** The frame that begins at `start`; without `partial` if it is whole. */
const frameAt = (
  bytes: Uint8Array,
  start: number
): { readonly end: number; readonly frame: Walked; readonly partial?: Partial } => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const has = bytes.length - start
  const first = view.getUint8(start)
  const second = has > 1 ? view.getUint8(start + 1) : 0
  const masked = second >= 0x80
  const short = second & 0x7f
  const lengthSize = short === 126 ? 2 : short === 127 ? 8 : 0
  const headerSize = 2 + lengthSize + (masked ? 4 : 0)
  const lengthKnown = has >= 2 + lengthSize
  const length = !lengthKnown
    ? 0
    : lengthSize === 0
      ? short
      : lengthSize === 2
        ? view.getUint16(start + 2)
        : Number(view.getBigUint64(start + 2))
  const size = headerSize + length
  const end = start + Math.min(has, size)
  const payload = bytes.slice(Math.min(start + headerSize, end), end)
  if (masked) {
    for (let at = 0; at < payload.length; at++) {
      payload[at] = (payload[at] ?? 0) ^ view.getUint8(start + headerSize - 4 + (at % 4))
    }
  }
  const frame = { start, fin: first >= 0x80, rsv: (first >> 4) & 7, opcode: first & 15, masked, length, payload }
  return has >= size && has > 1
    ? { end, frame }
    : {
        end,
        frame,
        partial: { ...frame, header: Math.min(has, headerSize), sized: lengthKnown && has > 1, missing: size - has }
      }
}

export const walk = (
  bytes: Uint8Array
): { readonly frames: ReadonlyArray<Walked>; readonly partial: Partial | undefined } => {
  const frames: Array<Walked> = []
  let at = 0
  while (at < bytes.length) {
    const { end, frame, partial } = frameAt(bytes, at)
    if (partial !== undefined) return { frames, partial }
    frames.push(frame)
    at = end
  }
  return { frames, partial: undefined }
}

/** Whether the length of a frame is written in more bytes than it needs. */
export const isLong = (bytes: Uint8Array, { start }: Walked): boolean => {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start)
  const form = view.getUint8(1) & 127
  return form === 126 ? view.getUint16(2) < 126 : form === 127 && view.getBigUint64(2) < 65_536n
}
