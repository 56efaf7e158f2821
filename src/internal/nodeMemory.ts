/**
 * What becomes of memory that large messages have left behind.
 *
 * Each has memory of its own, outside of V8's heap, and V8 frees some 32 MiB of it at a time. glibc gives what is then
 * free at the end of its heap back to the system, all but 128 KiB, and every page of the next messages is a page fault
 * again: half of the CPU time of an echo of 64 KiB ("Large messages" in docs/performance.md).
 *
 * But glibc learns (mallopt(3), M_MMAP_THRESHOLD): whoever has freed a large block is taken to need such blocks again,
 * and twice as much as that stays. So one is asked for, and left to the garbage collector. Nobody touches it, so that it is
 * never more than addresses. Where MALLOC_TRIM_THRESHOLD_ is set, glibc keeps to that and learns nothing; to other C
 * libraries a block is just a block.
 */
import { Buffer } from "node:buffer"

/** The most that a TLS connection hands over at once. Whoever gets so much may get large messages. */
const largeRead = 16 * 1024

/** glibc learns from blocks of up to 32 MiB, its own header included. With half of it V8 still frees more than is kept. */
const block = 32 * 1024 * 1024 - 64 * 1024

/** That block makes V8 collect at once. In a process that has just begun nearly all lives, and V8 would learn to take it for old. */
const enough = 4096

let large = 0

/** Is told of each read. */
export const expectMore = (read: number): void => {
  if (read < largeRead || large > enough) return
  if (++large <= enough) return
  try {
    Buffer.allocUnsafeSlow(block)
  } catch {
    // A process that can't have as much can't keep as much either.
  }
}
