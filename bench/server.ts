// One echo server in a process of its own: `server.ts KIND`. Tells its port, and its CPU time when asked.

import { createServer } from "node:http"
import * as Net from "node:net"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect, Layer, Stream } from "effect"
import { NodeNetwork, WebSocketServer } from "effect-websocket"
import { WebSocketServer as Ws } from "ws"

const ready = (port: number) => process.send?.({ port })

process.on("message", () => process.send?.({ cpu: process.cpuUsage(), memory: process.memoryUsage() }))

const maxPayloadSize = 64 * 1024 * 1024

const ours = (serve: Layer.Layer<never, never, WebSocketServer.WebSocketServer>) =>
  serve.pipe(
    Layer.merge(
      Layer.effectDiscard(
        Effect.map(WebSocketServer.WebSocketServer, ({ address }) =>
          ready(address._tag === "TcpAddress" ? address.port : 0)
        )
      )
    ),
    Layer.provide(WebSocketServer.layer({ maxPayloadSize, maxConnections: 100_000 })),
    Layer.provide(NodeNetwork.layer),
    Layer.launch,
    NodeRuntime.runMain
  )

const kinds: Record<string, () => void> = {
  run: () => ours(WebSocketServer.serve((socket) => socket.run((message) => socket.send(message)))),
  loop: () =>
    ours(
      WebSocketServer.serve((socket) =>
        Effect.gen(function* () {
          while (true) yield* socket.send(yield* socket.receive)
        })
      )
    ),
  batch: () =>
    ours(WebSocketServer.serve((socket) => Effect.forever(Effect.flatMap(socket.receiveAll, socket.sendAll)))),
  stream: () => ours(WebSocketServer.serve((socket) => Stream.run(socket.messages, socket.sink))),
  ws: () => {
    const server = createServer()
    new Ws({ server, maxPayload: maxPayloadSize }).on("connection", (socket) =>
      socket.on("message", (data, binary) => socket.send(data, { binary }))
    )
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      if (typeof address === "object" && address !== null) ready(address.port)
    })
  },
  // The limit of Node's sockets: it echoes bytes after a handshake that it doesn't read.
  raw: () => {
    const server = Net.createServer({ noDelay: true }, (socket) => {
      socket.on("error", () => {})
      socket.once("data", () => {
        socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n")
        socket.on("data", (bytes) => socket.write(bytes))
      })
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      if (typeof address === "object" && address !== null) ready(address.port)
    })
  }
}

kinds[process.argv[2] ?? ""]?.()
