/**
 * Reading of plain TCP and Unix sockets into memory that all of them share.
 *
 * Node otherwise allocates 64 KiB for each read, gives most of it back, and hands an object for what
 * is left through a stream. Without that, an echo of 16 bytes over a hundred connections takes a fifth less
 * CPU time in all, and nothing is left to collect (`raw` and `raw+shared` in bench/).
 */
import * as Net from "node:net"
import { block, kernel } from "../protocol/maskKernel.js"

/** A little more than Node reads at once by itself, so that a message of 64 KiB comes whole, behind its header. */
const readSize = 68 * 1024

/** Half of a page. What follows in the heap, as the memory of messages does, begins a few bytes further on in a page than this. */
const apart = 2048

/**
 * Who gets bytes of it must use or copy them before it returns.
 *
 * It lies in the memory of the kernel that unmasks, which then has nothing to copy: a third less JavaScript and C++
 * for an echo of 64 KiB, a tenth at 1 KiB. It is a small part of that memory, so that no payload is ever taken for most of
 * it, and kept as a view. It doesn't begin where a page does, for some processors take fifteen times as long to copy
 * to nearly the same place within a page (bench/micro.ts).
 */
const memory = Buffer.from(kernel()?.memory ?? new ArrayBuffer(block + 2 * readSize), block + apart, readSize)

/** Where a socket's reads go. */
export class SharedReading {
  /** Whoever takes what is read; nobody reads before there is one. */
  taker: { readonly take: (bytes: Uint8Array) => void } | undefined = undefined

  get onread(): Net.OnReadOpts {
    return {
      buffer: memory,
      callback: (size) => {
        this.taker?.take(memory.subarray(0, size))
        return true
      }
    }
  }
}

/** A socket, and how it is read if it isn't read as a stream. */
export interface Read {
  readonly socket: Net.Socket
  readonly reading: SharedReading | undefined
}

/** Opens a socket that reads into the shared memory. It begins paused. */
export const connectShared = (options: Net.NetConnectOpts): Read => {
  const reading = new SharedReading()
  const socket = Net.connect({ ...options, onread: reading.onread })
  socket.pause()
  return { socket, reading }
}

/**
 * Lets an accepted socket, which was never read, read into the shared memory. A server of Node's has no option for that, so that
 * a new socket takes over what is under the accepted one; where Node doesn't let it, the socket stays as it is.
 */
export const shareAccepted = (accepted: Net.Socket): Read => {
  const asItIs = { socket: accepted, reading: undefined }
  if (!("_handle" in accepted)) return asItIs
  const { _handle: handle } = accepted
  if (typeof handle !== "object" || handle === null || !("useUserBuffer" in handle)) return asItIs
  const reading = new SharedReading()
  const options = { handle, onread: reading.onread, pauseOnCreate: true, allowHalfOpen: true }
  const socket = new Net.Socket(options)
  // Without what was under it, the accepted one can only be counted out by its server.
  accepted._handle = null
  accepted.destroy()
  return { socket, reading }
}
