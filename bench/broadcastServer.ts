// A server that tells all of its connections the same, in a process of its own: `broadcastServer.ts KIND`.
// Asked for `{ messages, size }` it sends so many, each of so many bytes of text, in one turn.

import { createServer } from "node:http"
import { createServer as createRaw, type Server, type Socket } from "node:net"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect, Either, Layer } from "effect"
import { Broadcast, Frame, NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import { WebSocketServer as Ws } from "ws"

const ready = (port: number) => process.send?.({ port })

/** Lets `tell` speak when the bench asks for it, and then tells the CPU time that was used in all. */
const listen = (tell: (message: string) => void) =>
  process.on("message", (asked: { readonly messages: number; readonly size: number }) => {
    // A string that is flat, as one is that was just made of a JSON document.
    const message = Buffer.alloc(asked.size, "abcdefghij").toString("latin1")
    for (let count = 0; count < asked.messages; count++) tell(message)
    process.send?.({ cpu: process.cpuUsage() })
  })

const listenOn = (server: Server) =>
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    if (typeof address === "object" && address !== null) ready(address.port)
  })

const ours = (
  tell: (message: string) => void,
  handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>
) =>
  WebSocketServer.serve((socket) => Effect.ignore(handler(socket))).pipe(
    Layer.merge(
      Layer.effectDiscard(
        Effect.map(WebSocketServer.WebSocketServer, ({ address }) => {
          listen(tell)
          ready(address._tag === "TcpAddress" ? address.port : 0)
        })
      )
    ),
    // The subscribers count bytes, and answer no pings.
    Layer.provide(WebSocketServer.layer({ maxConnections: 100_000, pingInterval: Number.POSITIVE_INFINITY })),
    Layer.provide(NodeNetwork.layer),
    Layer.launch,
    NodeRuntime.runMain
  )

const kinds: Record<string, () => void> = {
  broadcast: () => {
    const hub = Effect.runSync(Broadcast.make())
    ours(
      (message) => Effect.runSync(hub.publish("all", message)),
      (socket) => Effect.scoped(Effect.zipRight(hub.subscribe(socket, "all"), socket.closed))
    )
  },
  // What one writes without a hub.
  offer: () => {
    const sockets = new Set<WebSocket.WebSocket>()
    ours(
      (message) => {
        const prepared = WebSocket.prepare(message)
        Effect.runSync(Effect.forEach(sockets, (socket) => Effect.ignore(socket.offer(prepared)), { discard: true }))
      },
      (socket) => {
        sockets.add(socket)
        return Effect.ensuring(
          socket.closed,
          Effect.sync(() => sockets.delete(socket))
        )
      }
    )
  },
  ws: () => {
    const server = createServer()
    const sockets = new Ws({ server })
    sockets.on("connection", (socket) => socket.on("error", () => {}))
    listen((message) => {
      for (const socket of sockets.clients) socket.send(message)
    })
    listenOn(server)
  },
  // The limit of Node's sockets: the same bytes to all of them, and nothing else.
  raw: () => {
    const sockets = new Set<Socket>()
    const server = createRaw({ noDelay: true }, (socket) => {
      socket.on("error", () => {})
      socket.once("data", () => {
        socket.write("HTTP/1.1 101 Switching Protocols\r\n\r\n")
        sockets.add(socket)
        socket.resume()
      })
    })
    listen((message) => {
      const frame = Buffer.from(Either.getOrThrow(Frame.encode(Frame.text(message), "server")))
      for (const socket of sockets) socket.write(frame)
    })
    listenOn(server)
  }
}

kinds[process.argv[2] ?? ""]?.()
