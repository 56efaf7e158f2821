// Bytes, cut anywhere, into frames. It holds no payload: each piece goes on as it
// arrives, so what a peer declares costs nothing until it is sent.

import { checkStart, Header, Known, maxHeaderSize, readHeader } from "./frame.js"
import { mask } from "./mask.js"
import type { Violation } from "./violation.js"

/** Who hears of frames. Each answer other than undefined stops the decoder for good. */
export interface FrameSink {
  /** The first byte of a header is known. May be asked again for the same frame. */
  readonly frameStarts: (fin: boolean, rsv: number, opcode: number) => Violation | undefined
  /** The declared length is known. May be asked again for the same frame. */
  readonly frameDeclares: (opcode: number, length: number) => Violation | undefined
  /** The header is complete. Called once for each frame. */
  readonly frameBegins: (fin: boolean, rsv: number, opcode: number, length: number) => void
  /**
   * `bytes[start..end)` is the next piece of the payload, unmasked; `left` bytes of the
   * frame are still to come. An empty payload is one empty piece.
   */
  readonly framePayload: (bytes: Uint8Array, start: number, end: number, left: number) => Violation | undefined
}

export class Decoder {
  private readonly header = new Header()
  /** A header that is cut by the end of a chunk; at most 13 bytes. */
  private held: Uint8Array | undefined
  private heldLength = 0
  /** Payload bytes of the current frame still to come; -1 between frames. */
  private remaining = -1
  private phase = 0
  private stopped = false

  /** `masked` is what the frames have to be, if it matters. */
  constructor(
    private readonly masked: boolean | undefined,
    private readonly sink: FrameSink
  ) {}

  /** Whether the bytes so far end between two frames. */
  get atBoundary(): boolean {
    return this.remaining < 0 && this.held === undefined
  }

  /** Takes a chunk, and unmasks it in place. After a violation it takes nothing more. */
  push(chunk: Uint8Array): Violation | undefined {
    if (this.stopped) return undefined
    const violation = this.advance(chunk)
    this.stopped = violation !== undefined
    return violation
  }

  private advance(chunk: Uint8Array): Violation | undefined {
    const end = chunk.length
    let at = 0
    // Each turn consumes at least one byte or ends a frame whose payload is empty.
    while (at < end || this.remaining === 0) {
      if (this.remaining < 0) {
        const read = this.held === undefined ? this.readFrom(chunk, at, end) : this.readHeld(this.held, chunk, at, end)
        if (typeof read !== "number") return read
        at += read
        if (this.header.known !== Known.all) return undefined
        this.sink.frameBegins(this.header.fin, this.header.rsv, this.header.opcode, this.header.length)
        this.remaining = this.header.length
        this.phase = 0
      } else {
        const size = Math.min(this.remaining, end - at)
        if (this.header.masked) this.phase = mask(chunk, at, at + size, this.header.key, this.phase)
        const left = this.remaining - size
        this.remaining = left === 0 ? -1 : left
        const violation = this.sink.framePayload(chunk, at, at + size, left)
        if (violation !== undefined) return violation
        at += size
      }
    }
    return undefined
  }

  /** Reads a header that begins in this chunk; answers how many bytes it took. */
  private readFrom(chunk: Uint8Array, at: number, end: number): number | Violation {
    const violation = this.read(chunk, at, end)
    if (violation !== undefined) return violation
    if (this.header.known === Known.all) return this.header.size
    this.held = new Uint8Array(maxHeaderSize)
    this.held.set(chunk.subarray(at, end))
    this.heldLength = end - at
    return end - at
  }

  /** Goes on with a header that began in an earlier chunk. */
  private readHeld(held: Uint8Array, chunk: Uint8Array, at: number, end: number): number | Violation {
    const before = this.heldLength
    const size = Math.min(end - at, maxHeaderSize - before)
    held.set(chunk.subarray(at, at + size), before)
    const violation = this.read(held, 0, before + size)
    if (violation !== undefined) return violation
    if (this.header.known === Known.all) {
      this.held = undefined
      return this.header.size - before
    }
    this.heldLength = before + size
    return size
  }

  private read(bytes: Uint8Array, start: number, end: number): Violation | undefined {
    const { header } = this
    const malformed = readHeader(bytes, start, end, this.masked, header)
    if (header.known >= Known.start) {
      const violation =
        checkStart(header.fin, header.opcode) ?? this.sink.frameStarts(header.fin, header.rsv, header.opcode)
      if (violation !== undefined) return violation
    }
    if (malformed !== undefined) return malformed
    if (header.known < Known.length) return undefined
    return this.sink.frameDeclares(header.opcode, header.length)
  }
}
