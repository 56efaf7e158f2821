// `ws`, with its usual callbacks. Whether it uses `bufferutil` is told by WS_NO_BUFFER_UTIL.

import * as Http from "node:http"
import * as Https from "node:https"
import { type WebSocket, WebSocketServer } from "ws"
import { counted, listen, maxPayloadSize, settings } from "./common.js"

const server = settings.tls === undefined ? Http.createServer() : Https.createServer(settings.tls)
const { task = "echo" } = settings
const alone = settings.deflate === "alone"
new WebSocketServer({
  server,
  maxPayload: maxPayloadSize,
  perMessageDeflate:
    settings.deflate === undefined
      ? false
      : { threshold: 0, serverNoContextTakeover: alone, clientNoContextTakeover: alone }
}).on("connection", (socket) => {
  socket.on("error", () => {})
  if (task === "echo") {
    socket.on("message", (data, binary) => socket.send(data, { binary }))
  } else if (task === "streamed") {
    socket.on("message", (data) => sendPieces(socket, Number(String(data)) / pieceSize))
  } else {
    const isLast = counted(task.ackEach)
    socket.on("message", () => {
      if (isLast()) socket.send("ack")
    })
  }
})
listen(server)

const pieceSize = 256 * 1024

/** A message in pieces, each sent when the one before has gone. */
const sendPieces = (socket: WebSocket, left: number): void => {
  const piece = Buffer.alloc(pieceSize, 0x5a)
  socket.send(piece, { fin: left === 1, binary: true }, () => {
    if (left > 1) sendPieces(socket, left - 1)
  })
}
