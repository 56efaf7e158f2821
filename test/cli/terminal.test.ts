import { describe, expect, it, vi } from "@effect/vitest"
import { Deferred, Effect, Layer, Queue } from "effect"
import { NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import { pty } from "../fixtures/pty.js"

vi.setConfig({ testTimeout: 60_000 })

const command = (...args: ReadonlyArray<string>) => [process.execPath, "--import", "tsx", "src/cli/main.ts", ...args]

describe("x", () => {
  it.scopedLive("y", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(Layer.provide(WebSocketServer.layer(), NodeNetwork.layer))
      const server = yield* Effect.provide(WebSocketServer.WebSocketServer, context)
      const sockets = yield* Queue.unbounded<WebSocket.WebSocket>()
      yield* server.serve((socket) =>
        Effect.zipRight(
          Queue.offer(sockets, socket),
          socket.run((m) => socket.send(m))
        )
      )
      const terminal = yield* pty(command("connect", server.url))
      const socket = yield* Queue.take(sockets)
      yield* terminal.until((lines) => lines.includes(">"))
      yield* terminal.type("hello\r")
      console.log(yield* terminal.until((lines) => lines.includes("< hello")))
      yield* terminal.type("half a li")
      console.log(yield* terminal.until((lines) => lines.includes("> half a li")))
      yield* socket.send("news")
      console.log(yield* terminal.until((lines) => lines.includes("< news") && lines.includes("> half a li")))
      yield* terminal.type("x".repeat(200))
      console.log(yield* terminal.until((lines) => lines.at(-1)?.endsWith("x") && lines.length > 4))
      yield* Effect.sleep(300)
      yield* socket.send("more news")
      yield* Effect.sleep(300)
      console.log(yield* terminal.until((lines) => lines.includes("< more news")))
      yield* terminal.type("\u001b[D\u001b[D".repeat(60))
      yield* Effect.sleep(300)
      yield* socket.send("even more news")
      yield* socket.send(new Uint8Array([1, 2, 3, 4, 5, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78]))
      yield* Effect.sleep(300)
      console.log(yield* terminal.until((lines) => lines.includes("< even more news")))
      yield* terminal.type("\u0015\u000b/ping\r/close 4000 bye\r")
      console.log(yield* terminal.exit, JSON.stringify(yield* terminal.written))
    })
  )
})
