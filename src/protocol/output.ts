// Frames on their way out, as few pieces of memory.

import { byteAt, uninitialized } from "./bytes.js"
import { binary, headerSize, maxHeaderSize, text, writeHeader } from "./frame.js"
import { mask } from "./mask.js"

const slabSize = 64 * 1024

// For whoever writes while another connection holds the large one: a message to ten thousand
// connections in one turn must not take ten thousand large ones.
const smallSlab = 1024

// An unmasked payload of this size or more goes out as it is, behind its header,
// instead of being copied: at 64 KiB the copy would be most of the cost of a send.
const copyLimit = 16 * 1024

// A string this short is written by a loop: entering the encoder costs about 80 ns.
const shortText = 24

const empty: Uint8Array = new Uint8Array(0)

/** In place of a list that has nothing in it; it is never appended to. */
const nothing: Array<Uint8Array> = []

/** What is left of the last slab, from `spareAt` on, for whoever writes next. A slab is open for one connection at a time. */
let spare = empty
let spareAt = 0
let holder: Output | undefined

/** Whose bytes, taken just now, are the last that were written into the spare slab. */
let lastTaker: Output | undefined

const encoder = new TextEncoder()

/**
 * Frames waiting to be written. Small ones lie one after another in a slab, so
 * that all of a turn leave in one write. A slab is only ever appended to: what
 * was handed out is never touched again, unless it is given back.
 */
export class Output {
  /** The list is used again: V8 takes one that is made for each write for long-lived, and a dead one keeps messages alive. */
  private ready = nothing
  /** Free from `end` on; before it, from `start` on, lies the run that isn't sealed yet. */
  private slab = empty
  private start = 0
  private end = 0
  private sealed = 0
  /** The size of the slabs that it took beside the large one since the last `take`. */
  private beside = 0
  /** Where it began to write into the large slab that it holds. */
  private heldFrom = 0

  /** Bytes waiting. */
  get size(): number {
    return this.sealed + this.end - this.start
  }

  /** Appends a frame. `key` is undefined for an unmasked one. The payload must not change afterwards. */
  frame(fin: boolean, rsv: number, opcode: number, payload: Uint8Array, key: number | undefined): void {
    const { length } = payload
    if (key === undefined && length >= copyLimit) {
      this.reserve(maxHeaderSize)
      this.end = writeHeader(this.slab, this.end, fin, rsv, opcode, length, undefined)
      this.seal()
      this.push(payload)
      return
    }
    this.reserve(headerSize(length, key !== undefined) + length)
    const at = writeHeader(this.slab, this.end, fin, rsv, opcode, length, key)
    if (length < 32) {
      for (let index = 0; index < length; index++) this.slab[at + index] = byteAt(payload, index)
    } else {
      this.slab.set(payload, at)
    }
    this.end = at + length
    if (key !== undefined) mask(this.slab, at, this.end, key, 0)
  }

  /** Appends a string as one text frame; lone surrogates become U+FFFD, as in every encoder of the web. */
  text(content: string, key: number | undefined): void {
    // No UTF-16 unit takes more than three bytes.
    const most = content.length * 3
    if (most > copyLimit) {
      this.frame(true, 0, text, encoder.encode(content), key)
      return
    }
    this.reserve(maxHeaderSize + most)
    // Most text is ASCII, where the header's size follows from the string's; else the bytes are moved.
    const guess = this.end + headerSize(content.length, key !== undefined)
    const length = this.writeText(content, guess)
    const at = this.end + headerSize(length, key !== undefined)
    if (at !== guess) this.slab.copyWithin(at, guess, guess + length)
    writeHeader(this.slab, this.end, true, 0, text, length, key)
    this.end = at + length
    if (key !== undefined) mask(this.slab, at, this.end, key, 0)
  }

  /** Appends bytes as one binary frame. */
  binary(content: Uint8Array, key: number | undefined): void {
    this.frame(true, 0, binary, content, key)
  }

  /** Appends frames that are made already, and may be in use elsewhere too. */
  made(frames: Uint8Array): void {
    this.seal()
    this.push(frames)
  }

  /** What waits, in order, up to a limit; from now on it belongs to the caller. */
  take(limit = Number.POSITIVE_INFINITY): Array<Uint8Array> {
    lastTaker = holder === this && this.size <= limit ? this : undefined
    this.release()
    this.seal()
    this.leave()
    this.beside = 0
    if (this.sealed > limit) return this.takeSome(limit)
    const { ready } = this
    this.sealed = 0
    this.ready = nothing
    return ready
  }

  /** Gives back the list of what was just taken, which nobody looks at any more. */
  giveBack(taken: Array<Uint8Array>): void {
    while (taken.length > 0) taken.pop()
    if (this.ready === nothing) this.ready = taken
  }

  /**
   * Gives back the bytes of what was just taken, too. So all connections write into the same memory again and
   * again, which stays in the processor's cache, and leaves nothing to collect.
   */
  giveBackBytes(): void {
    if (lastTaker !== this) return
    spareAt = this.heldFrom
    lastTaker = undefined
  }

  private takeSome(limit: number): Array<Uint8Array> {
    const taken: Array<Uint8Array> = []
    let room = limit
    let rest: Uint8Array = empty
    for (const piece of this.ready) {
      if (room <= 0) break
      taken.push(piece.subarray(0, room))
      rest = piece.subarray(room)
      room -= piece.length
    }
    this.ready.splice(0, taken.length, ...(rest.length > 0 ? [rest] : []))
    this.sealed -= limit
    return taken
  }

  /** Leaves the large slab to others, for it may be long until the next `take`. */
  release(): void {
    if (holder !== this) return
    this.seal()
    holder = undefined
    spare = this.slab
    spareAt = this.end
    this.leave()
  }

  private leave(): void {
    this.slab = empty
    this.start = 0
    this.end = 0
  }

  /** Drops all that waits. */
  clear(): void {
    this.giveBack(this.take())
    this.giveBackBytes()
  }

  private writeText(content: string, at: number): number {
    const { length } = content
    if (length <= shortText) {
      let index = 0
      for (; index < length; index++) {
        const unit = content.charCodeAt(index)
        if (unit >= 0x80) break
        this.slab[at + index] = unit
      }
      if (index === length) return length
    }
    return encoder.encodeInto(content, this.slab.subarray(at)).written
  }

  private reserve(size: number): void {
    if (this.slab.length - this.end >= size) return
    this.seal()
    this.leave()
    if (holder === undefined) holder = this
    if (holder !== this) {
      // Each as large as all before it: little for one message, and few for many.
      this.slab = new Uint8Array(Math.max(Math.min(slabSize, Math.max(smallSlab, this.beside)), size))
      this.beside += this.slab.length
      return
    }
    if (spare.length - spareAt < size) {
      spare = uninitialized(Math.max(slabSize, size))
      spareAt = 0
    }
    this.slab = spare
    this.start = spareAt
    this.end = spareAt
    this.heldFrom = spareAt
    spare = empty
    lastTaker = undefined
  }

  /** Closes the run of bytes in the slab, and leaves the rest of it for the next run. */
  private seal(): void {
    if (this.end === this.start) return
    this.push(this.slab.subarray(this.start, this.end))
    this.start = this.end
  }

  private push(piece: Uint8Array): void {
    if (this.ready === nothing) this.ready = [piece]
    else this.ready.push(piece)
    this.sealed += piece.length
  }
}
