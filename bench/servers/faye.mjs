// `faye-websocket`, with its usual callbacks.

import * as Http from "node:http"
import WebSocket from "faye-websocket"

const server = Http.createServer()
server.on("upgrade", (request, socket, head) => {
  const connection = new WebSocket(request, socket, head, [], { maxLength: 64 * 1024 * 1024 })
  connection.on("message", ({ data }) => connection.send(data))
  connection.on("error", () => {})
})
server.listen(0, "127.0.0.1", 4096, () => {
  process.on("message", () => process.send({ cpu: process.cpuUsage() }))
  process.on("disconnect", () => process.exit())
  process.send({ port: server.address().port })
})
