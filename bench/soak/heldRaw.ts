// A client made of a bare socket, so that ten thousand of them cost little: it answers pings, and reads small frames.

import { connect, type Socket } from "node:net"

const request = (port: number) =>
  `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/** A masked frame. A key of zeros leaves the bytes as they are, and the server unmasks them all the same. */
export const frame = (opcode: number, payload: Uint8Array): Buffer => {
  const size = payload.length
  const head = Buffer.alloc(size < 126 ? 6 : size < 65_536 ? 8 : 14)
  head[0] = 0x80 | opcode
  head[1] = 0x80 | (size < 126 ? size : size < 65_536 ? 126 : 127)
  if (head.length === 8) head.writeUInt16BE(size, 2)
  if (head.length === 14) head.writeBigUInt64BE(BigInt(size), 2)
  return Buffer.concat([head, payload])
}

const [binary, ping, pong] = [2, 9, 10]

export class RawClient {
  pings = 0
  echoes = 0
  over = false
  /** Called with each message that comes. */
  heard: () => void = () => {}
  private rest: Buffer = Buffer.alloc(0)

  private constructor(private readonly socket: Socket) {
    socket.on("data", (bytes) => this.data(bytes))
    socket.on("error", () => {})
    socket.on("close", () => {
      this.over = true
    })
  }

  static open(port: number): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true })
      const ended = () => reject(new Error("the server closed in the opening handshake"))
      socket.once("error", reject)
      socket.once("close", ended)
      socket.once("connect", () => socket.write(request(port)))
      let head = Buffer.alloc(0)
      const onData = (bytes: Buffer) => {
        head = Buffer.concat([head, bytes])
        const end = head.indexOf("\r\n\r\n")
        if (end < 0) return
        socket.off("data", onData)
        socket.off("error", reject)
        socket.off("close", ended)
        if (!head.toString("latin1").startsWith("HTTP/1.1 101 ")) return reject(new Error("refused"))
        const client = new RawClient(socket)
        client.data(head.subarray(end + 4))
        resolve(client)
      }
      socket.on("data", onData)
    })
  }

  send(payload: Uint8Array): void {
    this.socket.write(frame(binary, payload))
  }

  private data(bytes: Buffer): void {
    let from = this.rest.length === 0 ? bytes : Buffer.concat([this.rest, bytes])
    for (;;) {
      const size = (from[1] ?? 0) & 0x7f
      if (size > 125) throw new Error("a frame that is larger than any that was sent")
      if (from.length < 2 || from.length < 2 + size) break
      const opcode = (from[0] ?? 0) & 0x0f
      const payload = from.subarray(2, 2 + size)
      if (opcode === ping) {
        this.pings++
        this.socket.write(frame(pong, payload))
      } else if (opcode === binary) {
        this.echoes++
        this.heard()
      }
      from = from.subarray(2 + size)
    }
    this.rest = from
  }
}
