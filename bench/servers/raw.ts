// The limit of Node's sockets: it echoes bytes after a handshake that it doesn't read.

import { createHash } from "node:crypto"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { listen, settings } from "./common.js"

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

listen(
  settings.tls === undefined
    ? Net.createServer({ noDelay: true }, onSocket)
    : Tls.createServer({ ...settings.tls, noDelay: true }, onSocket)
)
