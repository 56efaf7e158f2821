import { describe, expect, it, vi } from "@effect/vitest"
import { Deferred, Effect, Layer, Queue } from "effect"
import { NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const file = "examples/echo-client.ts"

const serve = (handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>) =>
  Layer.build(
    WebSocketServer.serve(handler).pipe(Layer.provideMerge(WebSocketServer.layer()), Layer.provide(NodeNetwork.layer))
  ).pipe(Effect.flatMap((context) => Effect.provide(WebSocketServer.WebSocketServer, context)))

const echo = (socket: WebSocket.WebSocket) => socket.run((message) => socket.send(message))

describe("examples/echo-client.ts", () => {
  it.scopedLive("prints the echo of each argument, closes with 1000 and exits with 0", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<number>()
      const { url } = yield* serve((socket) =>
        Effect.zipRight(
          echo(socket),
          Effect.flatMap(socket.closed, ({ code }) => Deferred.succeed(closed, code))
        )
      )
      const client = yield* tsx(file, ["hello", "grüße 👋"], { URL: url })
      const { code, stdout, stderr } = yield* client.exit
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: ["hello", "grüße 👋"], stderr: [] })
      expect(yield* Deferred.await(closed)).toBe(1000)
    })
  )

  it.scopedLive("takes the lines from stdin where there are no arguments", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(echo)
      const client = yield* tsx(file, [], { URL: url })
      yield* client.input("one\ntwo\n")
      expect(yield* client.exit).toEqual({ code: 0, signal: null, stdout: ["one", "two"], stderr: [] })
    })
  )

  it.scopedLive("closes with 1001 on SIGINT, and exits with 0", () =>
    Effect.gen(function* () {
      const closes = yield* Queue.unbounded<number>()
      const { url } = yield* serve((socket) =>
        Effect.zipRight(
          echo(socket),
          Effect.flatMap(socket.closed, ({ code }) => Queue.offer(closes, code))
        )
      )
      // Its stdin stays open, so it waits for the next line.
      const client = yield* tsx(file, [], { URL: url })
      yield* client.input("one\n", "open")
      yield* client.line(/one/)
      yield* client.kill("SIGINT")
      expect(yield* Queue.take(closes)).toBe(1001)
      expect(yield* client.exit).toMatchObject({ code: 0, stderr: [] })
    })
  )

  for (const [name, url, line] of [
    ["nobody listens", "ws://127.0.0.1:1/", /^connecting to 127\.0\.0\.1:1 failed \(tcp\): .*ECONNREFUSED/],
    ["the URL is none", "nonsense", /^connecting to .* failed \(url\): /]
  ] as const) {
    it.scopedLive(`says in one line that ${name}, and exits with 1`, () =>
      Effect.gen(function* () {
        const client = yield* tsx(file, ["hello"], { URL: url })
        const { code, stdout, stderr } = yield* client.exit
        expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: [], stderr: [expect.stringMatching(line)] })
      })
    )
  }

  it.scopedLive("says in one line that it was refused, and exits with 1", () =>
    Effect.gen(function* () {
      const { url } = yield* Layer.build(
        WebSocketServer.serve(echo, { path: "/elsewhere" }).pipe(
          Layer.provideMerge(WebSocketServer.layer()),
          Layer.provide(NodeNetwork.layer)
        )
      ).pipe(Effect.flatMap((context) => Effect.provide(WebSocketServer.WebSocketServer, context)))
      const client = yield* tsx(file, ["hello"], { URL: url })
      const { code, stderr } = yield* client.exit
      expect({ code, stderr }).toEqual({ code: 1, stderr: [expect.stringMatching(/^opening handshake .* HTTP 404/)] })
    })
  )

  it.scopedLive("says in one line that the server closed in the middle, and exits with 1", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) => Effect.zipRight(socket.receive, socket.close(4000, "enough")))
      const client = yield* tsx(file, ["hello"], { URL: url })
      const { code, stdout, stderr } = yield* client.exit
      expect({ code, stdout }).toEqual({ code: 1, stdout: [] })
      expect(stderr).toEqual([expect.stringMatching(/closed by the peer with 4000 "enough"/)])
    })
  )
})
