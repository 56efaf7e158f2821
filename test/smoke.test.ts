import { it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { NodeNetwork, TestNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import { expect } from "vitest"
import { WebSocket as Ws } from "ws"

const Echo = WebSocketServer.serve((socket) => Stream.run(socket.messages, socket.sink)).pipe(
  Layer.provideMerge(WebSocketServer.layer())
)

for (const [name, net] of [
  ["memory", TestNetwork.layer],
  ["node", NodeNetwork.layer]
] as const) {
  it.scopedLive(name, () =>
    Effect.gen(function* () {
      const server = yield* WebSocketServer.WebSocketServer
      const socket = yield* WebSocket.connect(server.url)
      yield* socket.send("hello")
      expect(yield* socket.receive).toBe("hello")
      yield* socket.send(new Uint8Array([1, 2, 3]))
      expect(yield* socket.receive).toEqual(new Uint8Array([1, 2, 3]))
      yield* socket.close(4000, "bye")
      const closed = yield* socket.closed
      expect(closed.code).toBe(4000)
      console.log(closed.message, closed)
      const error = yield* Effect.flip(socket.send("x"))
      console.log(error.message)
      const refused = yield* Effect.flip(WebSocket.connect("ws://127.0.0.1:1/"))
      console.log(refused.message)
    }).pipe(Effect.provide(Echo.pipe(Layer.provideMerge(net))))
  )
}
it.scopedLive("ws client", () =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.WebSocketServer
    const result = yield* Effect.promise(
      () =>
        new Promise((resolve, reject) => {
          const ws = new Ws(server.url)
          ws.on("open", () => {
            ws.send("a")
            ws.send(Buffer.alloc(100000, 1))
          })
          let n = 0
          ws.on("message", (d, b) => {
            n++
            if (n === 2) ws.close(1000, "done")
          })
          ws.on("close", (code, reason) => resolve([code, String(reason), n]))
          ws.on("error", reject)
        })
    )
    expect(result).toEqual([1000, "", 2])
  }).pipe(Effect.provide(Echo.pipe(Layer.provideMerge(NodeNetwork.layer))))
)
