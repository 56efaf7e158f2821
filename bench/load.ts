// Raw sockets and frames made by hand: the other side of every server, which knows nothing of the library.

import { randomBytes } from "node:crypto"
import * as Net from "node:net"
import * as Tls from "node:tls"

const request = (more = ""): string =>
  "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`

// What a browser says beside that.
const browserHeaders = (scheme: string): string =>
  `Origin: ${scheme}://bench\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n` +
  "Accept-Encoding: gzip, deflate, br, zstd\r\n" +
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
  "Accept-Language: en-US,en;q=0.9\r\nCookie: session=c2Vzc2lvbiBvZiBzb21lYm9keQ; theme=dark\r\n"

/** A socket whose opening handshake is done. */
export const connect = (port: number): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
    socket.once("error", reject)
    socket.write(request())
    let head = ""
    const onData = (bytes: Buffer) => {
      head += bytes.toString("latin1")
      if (!head.includes("\r\n\r\n")) return
      socket.off("data", onData)
      resolve(socket)
    }
    socket.on("data", onData)
  })

export interface DialOptions {
  readonly port: number
  /** Speak TLS, and believe any certificate. */
  readonly tls?: boolean | undefined
  /** The extensions that are offered. */
  readonly extensions?: string | undefined
  /** Send the headers that a browser sends. */
  readonly browser?: boolean | undefined
  /** What comes behind the handshake. The bytes are another's with the next call. */
  readonly onBytes: (bytes: Buffer) => void
}

// All sockets read into the same memory, one after the other, so that the load makes no garbage.
const memory = Buffer.allocUnsafeSlow(256 * 1024)

/** Like `connect`, and cheaper to read from. Answers with the head of the server's response, too. */
export const dial = ({ browser, port, tls, extensions, onBytes }: DialOptions): Promise<Dialled> =>
  new Promise((resolve, reject) => {
    let head: string | undefined = ""
    const onData = (bytes: Buffer) => {
      if (head === undefined) return onBytes(bytes)
      head += bytes.toString("latin1")
      if (!head.includes("\r\n\r\n")) return
      if (head.startsWith("HTTP/1.1 101 ")) resolve({ socket, head })
      else reject(new Error(head))
      head = undefined
    }
    const callback = (size: number, into: Uint8Array): boolean => {
      onData(Buffer.from(into.buffer, into.byteOffset, size))
      return true
    }
    const to = { port, host: "127.0.0.1" }
    const socket =
      tls === true
        ? Tls.connect({ ...to, rejectUnauthorized: false }).on("data", onData)
        : Net.connect({ ...to, onread: { buffer: memory, callback } })
    socket.setNoDelay(true)
    socket.on("error", reject)
    socket.on("close", () => reject(new Error("closed in the opening handshake")))
    const offer = extensions === undefined ? "" : `Sec-WebSocket-Extensions: ${extensions}\r\n`
    socket.write(request(browser === true ? browserHeaders(tls === true ? "https" : "http") + offer : offer))
  })

export interface Dialled {
  readonly socket: Net.Socket
  readonly head: string
}

/** Does something so many times, not more than some hundred at once: the queue of a listener holds no more. */
export const many = async <A>(count: number, make: (index: number) => Promise<A>): Promise<Array<A>> => {
  const made: Array<A> = []
  while (made.length < count) {
    const more = Math.min(200, count - made.length)
    made.push(...(await Promise.all(Array.from({ length: more }, (_, index) => make(made.length + index)))))
  }
  return made
}

export const opcodes = { text: 1, binary: 2 } as const

/** A whole message as one frame; masked as a client's has to be, unless it is a server's. */
export const frame = (opcode: number, payload: Uint8Array, role: "client" | "server", compressed = false): Buffer => {
  const { length } = payload
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const masked = role === "client"
  const header = Buffer.alloc(2 + extended + (masked ? 4 : 0))
  header[0] = 0x80 | (compressed ? 0x40 : 0) | opcode
  header[1] = (masked ? 0x80 : 0) | (extended === 0 ? length : extended === 2 ? 126 : 127)
  if (extended === 2) header.writeUInt16BE(length, 2)
  if (extended === 8) header.writeBigUInt64BE(BigInt(length), 2)
  if (!masked) return Buffer.concat([header, payload])
  const key = randomBytes(4)
  header.set(key, 2 + extended)
  return Buffer.concat([header, payload.map((byte, index) => byte ^ (key[index & 3] ?? 0))])
}

/** Finds the ends of frames, masked or not, in a stream of bytes, and tells each when it is complete. */
export const frameCounter = (onFrame: () => void): ((bytes: Uint8Array) => void) => {
  let header: Array<number> = []
  let left = -1
  return (bytes) => {
    let at = 0
    while (at < bytes.length) {
      if (left < 0) {
        header.push(bytes[at++] ?? 0)
        left = behindHeader(header)
        if (left < 0) continue
        header = []
      }
      const size = Math.min(left, bytes.length - at)
      left -= size
      at += size
      if (left > 0) return
      left = -1
      onFrame()
    }
  }
}

/** What follows a header of a frame up to its end, the key included; -1 while the length isn't known. */
export const behindHeader = (header: ReadonlyArray<number>): number => {
  const second = header[1]
  if (second === undefined) return -1
  const short = second & 0x7f
  const key = second >= 0x80 ? 4 : 0
  if (short < 126) return short + key
  if (header.length < (short === 126 ? 4 : 10)) return -1
  return header.slice(2).reduce((length, byte) => length * 256 + byte, 0) + key
}
