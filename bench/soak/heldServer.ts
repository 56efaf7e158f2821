// The server of connections that are held: ours, or `ws` with the heartbeat that its README describes. Both echo.

import { createServer } from "node:http"
import { Effect, Logger, LogLevel } from "effect"
import { NodeNetwork, WebSocketServer } from "effect-websocket"
import { type WebSocket, WebSocketServer as WsServer } from "ws"
import { answering, tell } from "./child.js"

const [, , kind, interval] = process.argv
const pingInterval = Number(interval)

const ours = Effect.gen(function* () {
  const server = yield* WebSocketServer.make({ maxConnections: 20_000, pingInterval })
  yield* server.serve((socket) => socket.run((message) => socket.send(message)))
  if (server.address._tag === "TcpAddress") tell({ port: server.address.port })
  return yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer), Logger.withMinimumLogLevel(LogLevel.None))

const theirs = () => {
  const http = createServer()
  const server = new WsServer({ server: http, perMessageDeflate: false })
  const alive = new WeakSet<WebSocket>()
  server.on("connection", (socket) => {
    alive.add(socket)
    socket.on("error", () => {})
    socket.on("pong", () => alive.add(socket))
    socket.on("message", (data, binary) => socket.send(data, { binary }))
  })
  setInterval(() => {
    for (const socket of server.clients) {
      if (alive.delete(socket)) socket.ping()
      else socket.terminate()
    }
  }, pingInterval)
  http.listen(0, "127.0.0.1", () => {
    const address = http.address()
    if (typeof address === "object" && address !== null) tell({ port: address.port })
  })
}

answering((question) => {
  if (question === "collected") globalThis.gc?.()
  const { system, user } = process.cpuUsage()
  return { cpu: user + system, rss: process.memoryUsage.rss() }
})
if (kind === "ws") theirs()
else Effect.runFork(ours)
