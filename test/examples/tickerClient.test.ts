import { describe, expect, it, vi } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Queue, Scope } from "effect"
import { NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const file = "examples/ticker-client.ts"

type Handler = (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>

/** A feed that runs until it is stopped. */
const feed = (handler: Handler, options?: WebSocketServer.ServerOptions & WebSocketServer.ServeOptions) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { path, ...server } = options ?? {}
    const context = yield* Layer.buildWithScope(
      WebSocketServer.serve(handler, { path }).pipe(
        Layer.provideMerge(WebSocketServer.layer(server)),
        Layer.provide(NodeNetwork.layer)
      ),
      scope
    )
    const stop = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => stop)
    const { address, url } = yield* Effect.provide(WebSocketServer.WebSocketServer, context)
    return { url, port: address._tag === "TcpAddress" ? address.port : 0, stop }
  })

/** Gives each symbol that is subscribed to a price. */
const prices =
  (price: string): Handler =>
  (socket) =>
    socket.run((message) => socket.send(`${String(message).replace("subscribe ", "")} ${price}`))

describe("examples/ticker-client.ts", () => {
  it.scopedLive("subscribes again when the server is back, and prints on", () =>
    Effect.gen(function* () {
      const first = yield* feed(prices("1.08"))
      const client = yield* tsx(file, ["EURUSD", "GBPUSD"], { URL: first.url })
      yield* client.line(/^GBPUSD 1\.08$/)
      yield* first.stop
      const second = yield* feed(prices("1.09"), { port: first.port })
      yield* client.line(/^GBPUSD 1\.09$/)
      yield* client.kill("SIGTERM")
      const { code, stdout, stderr } = yield* client.exit
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: ["EURUSD 1.08", "GBPUSD 1.08", "EURUSD 1.09", "GBPUSD 1.09"]
      })
      expect(stderr.slice(0, 2)).toEqual(["connecting (attempt 1)", "connected (connection 1)"])
      expect(stderr[2]).toMatch(/closed by the peer with 1001 .*; trying again in \d/)
      expect(stderr[3]).toMatch(/^connecting \(attempt \d\)$/)
      expect(stderr).toContain("connected (connection 2)")
      yield* second.stop
    })
  )

  it.scopedLive("closes with 1001 on SIGINT, and exits with 0", () =>
    Effect.gen(function* () {
      const closes = yield* Queue.unbounded<number>()
      const { url } = yield* feed((socket) =>
        Effect.zipRight(
          prices("1.08")(socket),
          Effect.flatMap(socket.closed, ({ code }) => Queue.offer(closes, code))
        )
      )
      const client = yield* tsx(file, ["EURUSD"], { URL: url })
      yield* client.line(/^EURUSD/)
      yield* client.kill("SIGINT")
      expect(yield* Queue.take(closes)).toBe(1001)
      expect(yield* client.exit).toMatchObject({ code: 0 })
    })
  )

  it.scopedLive("ends with 0 when the feed says that all is done", () =>
    Effect.gen(function* () {
      const served = yield* Deferred.make<void>()
      const { url } = yield* feed((socket) =>
        Effect.zipRight(socket.send("that's all"), Deferred.succeed(served, undefined))
      )
      const client = yield* tsx(file, [], { URL: url })
      const { code, stdout } = yield* client.exit
      expect({ code, stdout }).toEqual({ code: 0, stdout: ["that's all"] })
      expect(yield* Deferred.isDone(served)).toBe(true)
    })
  )

  it.scopedLive("says in one line that it was refused for good, and exits with 1", () =>
    Effect.gen(function* () {
      const { url } = yield* feed(prices("1.08"), { path: "/elsewhere" })
      const client = yield* tsx(file, ["EURUSD"], { URL: url })
      const { code, stdout, stderr } = yield* client.exit
      expect({ code, stdout }).toEqual({ code: 1, stdout: [] })
      expect(stderr.at(-1)).toMatch(/^opening handshake .* HTTP 404/)
    })
  )
})
