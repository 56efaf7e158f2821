// The bytes of one message (or frame) that arrives in pieces.

import { copyOf, smallCopy, uninitialized } from "./bytes.js"

// The least that is asked for, so that a peer that sends one byte at a time isn't served one by one.
const leastCapacity = 256

// Room for so many times what has arrived, where so much was declared. With 4, a message of 1 MiB that comes in reads of
// 64 KiB is moved twice on the way, a third of it in all; with 2 it would be moved four times, all of it.
const growth = 4

const empty = new Uint8Array(0)

/**
 * Collects pieces in memory that grows with them, up to what was declared: never more than four times what has arrived,
 * and exactly the whole in the end, which is then handed out as it is.
 */
export class Assembly {
  private memory: Uint8Array = empty
  /** Bytes held. */
  size = 0

  /** Adds a piece. `left` bytes are sure to follow it; if it `ends`, no more than these. */
  append(bytes: Uint8Array, start: number, end: number, left: number, ends: boolean): void {
    const length = end - start
    if (this.size === 0 && left === 0 && isMost(bytes, length)) {
      this.memory = own(bytes, start, end)
    } else {
      this.reserve(this.size + length, left, ends)
      this.memory.set(bytes.subarray(start, end), this.size)
    }
    this.size += length
  }

  /** All bytes in one piece. The assembly is empty again. */
  take(): Uint8Array {
    const { memory, size } = this
    this.clear()
    return memory.length === size ? memory : own(memory, 0, size)
  }

  clear(): void {
    this.memory = empty
    this.size = 0
  }

  private reserve(needed: number, left: number, ends: boolean): void {
    if (needed <= this.memory.length) return
    const due = needed + left
    const most = Math.max(leastCapacity, growth * needed)
    // Only what will be full in the end may begin with what others have left behind.
    const grown = ends
      ? uninitialized(Math.min(due, most))
      : new Uint8Array(Math.max(leastCapacity, Math.min(Math.max(due, 2 * needed), most)))
    grown.set(this.memory.subarray(0, this.size))
    this.memory = grown
  }
}

const isMost = (bytes: Uint8Array, size: number): boolean => size > smallCopy && size * 2 >= bytes.buffer.byteLength

/** `bytes[start..end)` to keep: a view if it is most of its memory, else a copy. Plain, whatever kind of array it is part of. */
export const own = (bytes: Uint8Array, start: number, end: number): Uint8Array => {
  const size = end - start
  return isMost(bytes, size) ? new Uint8Array(bytes.buffer, bytes.byteOffset + start, size) : copyOf(bytes, start, end)
}
