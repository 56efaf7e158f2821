// The limit of Node's sockets: it echoes bytes after a handshake that it doesn't read. As `shared` it reads into memory that
// all sockets share, as the library does.

import { createHash } from "node:crypto"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { shareAccepted } from "effect-websocket/internal/nodeReading"
import { form, listen, settings } from "./common.js"

// Computed once: what a client sends is always the same key.
const accept = createHash("sha1")
  .update("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
  .digest("base64")
const answer =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  `Sec-WebSocket-Accept: ${accept}\r\n\r\n`

const onSocket = (socket: Net.Socket) => {
  socket.on("error", () => {})
  socket.once("data", () => {
    socket.write(answer)
    socket.on("data", (bytes) => socket.write(bytes))
  })
}

const onShared = (accepted: Net.Socket) => {
  const { reading, socket } = shareAccepted(accepted)
  if (reading === undefined) throw new Error("this Node doesn't share what it reads into")
  socket.on("error", () => {})
  socket.setNoDelay(true)
  let echo = (_: Uint8Array) => {
    socket.write(answer)
    echo = (bytes) => socket.write(Buffer.from(bytes))
  }
  reading.taker = { take: (bytes) => echo(bytes) }
  socket.resume()
}

const server = () => {
  if (settings.tls !== undefined) return Tls.createServer({ ...settings.tls, noDelay: true }, onSocket)
  return form === "shared"
    ? Net.createServer({ pauseOnConnect: true }, onShared)
    : Net.createServer({ noDelay: true }, onSocket)
}

listen(server())
