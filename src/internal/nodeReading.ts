/**
 * Reading of plain TCP and Unix sockets into memory that all of them share.
 *
 * Node otherwise allocates 64 KiB for each read, gives most of it back, and hands an object for what
 * is left through a stream. Without that, an echo of 16 bytes over a hundred connections takes a fifth less
 * CPU time in all, and nothing is left to collect (bench/micro/reads.ts).
 */
import * as Net from "node:net"

/** As much as Node reads at once. */
const readSize = 64 * 1024

/**
 * Who gets bytes of it must use or copy them before it returns. It is a part of twice as much memory as a read takes,
 * so that no payload is ever taken for most of its memory, and kept as a view.
 */
const memory = Buffer.from(new ArrayBuffer(2 * readSize + 1), 0, readSize)

/** Where a socket's reads go. */
export class SharedReading {
  /** Whoever takes what is read; nobody reads before there is one. */
  take: (bytes: Uint8Array) => void = () => {}

  readonly onread: Net.OnReadOpts = {
    buffer: memory,
    callback: (size) => {
      this.take(memory.subarray(0, size))
      return true
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
 * Where Node's sockets keep what `onread` gave them: two symbols of its own, found by what a socket keeps there, and
 * by nothing that their names say. `undefined` where it keeps it in another way.
 */
const places = (() => {
  const { onread } = new SharedReading()
  // Its declaration knows `onread` of `connect` only.
  const options = { onread, allowHalfOpen: true }
  const probe = new Net.Socket(options)
  const placeOf = (kept: unknown) => Object.getOwnPropertySymbols(probe).find((key) => Reflect.get(probe, key) === kept)
  const [buffer, callback] = [placeOf(onread.buffer), placeOf(onread.callback)]
  return buffer === undefined || callback === undefined ? undefined : { buffer, callback }
})()

/**
 * Lets an accepted socket, which was never read, read into the shared memory. A server of Node's has no option for that, so
 * it is done to the socket what its constructor would have; where Node keeps that in another way, the socket stays as it is.
 */
export const shareAccepted = (socket: Net.Socket): Read => {
  const asItIs = { socket, reading: undefined }
  if (places === undefined || !("_handle" in socket)) return asItIs
  const { _handle: handle } = socket
  if (typeof handle !== "object" || handle === null || !("useUserBuffer" in handle)) return asItIs
  const { useUserBuffer } = handle
  if (typeof useUserBuffer !== "function") return asItIs
  const reading = new SharedReading()
  Reflect.set(socket, places.buffer, reading.onread.buffer)
  Reflect.set(socket, places.callback, reading.onread.callback)
  Reflect.apply(useUserBuffer, handle, [reading.onread.buffer])
  return { socket, reading }
}
