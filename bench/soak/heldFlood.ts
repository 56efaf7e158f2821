// One connection that sends as much as the server takes, and reads all that comes back.

import { connect, type Socket } from "node:net"
import { Schema } from "effect"
import { answering, tell } from "./child.js"
import { frame } from "./heldRaw.js"
import { FloodOrder } from "./heldTally.js"

let socket: Socket | undefined
let received = 0

const flood = (port: number, size: number) => {
  const one = frame(2, Buffer.alloc(size, 0x61))
  const chunk = Buffer.concat(Array.from({ length: Math.max(1, Math.floor(65_536 / one.length)) }, () => one))
  const opened = connect(port, "127.0.0.1")
  socket = opened
  received = 0
  opened.on("error", () => {})
  opened.on("data", (bytes) => {
    received += bytes.length
  })
  const pump = () => {
    while (opened.writable && opened.write(chunk)) {}
  }
  opened.on("drain", pump)
  opened.write(
    `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
  )
  opened.once("data", pump)
}

const isOrder = Schema.is(FloodOrder)

answering((order) => {
  if (isOrder(order)) {
    flood(order.port, order.size)
    return {}
  }
  const sent = socket?.bytesWritten ?? 0
  socket?.resetAndDestroy()
  return { sent, received }
})
tell({})
