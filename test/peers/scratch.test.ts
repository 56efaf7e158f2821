import { HttpServer, HttpRouter, HttpServerResponse } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Effect, Layer, Deferred } from "effect"
import { WebSocket, WebSocketServer } from "effect-websocket"
import { serving, test } from "../fixtures/routes.js"

describe("scratch", () => {
  test("plain app, never", Effect.gen(function* () {
    const s = yield* serving(HttpServer.serve(Effect.orDie(WebSocketServer.upgrade(() => Effect.never, { drainTimeout: "200 millis", closeTimeout: "200 millis" }))))
    const socket = yield* WebSocket.connect(s.url)
    yield* s.stop
    expect(yield* socket.closed).toMatchObject({ code: 1001 })
  }))
  test("plain app, decide hangs", Effect.gen(function* () {
    const s = yield* serving(HttpServer.serve(Effect.orDie(WebSocketServer.upgradeWith(() => Effect.never, () => Effect.never, { handshakeTimeout: "200 millis" }))))
    const e = yield* Effect.flip(WebSocket.connect(s.url))
    expect(e).toMatchObject({ status: 503 })
  }))
  test("body after", Effect.gen(function* () {
    const s = yield* serving(HttpRouter.empty.pipe(HttpRouter.get("/", Effect.as(WebSocketServer.upgrade((socket) => socket.receive), HttpServerResponse.text("hello"))), HttpServer.serve()))
    const socket = yield* WebSocket.connect(s.url)
    yield* socket.send("x")
    expect(yield* socket.closed).toMatchObject({ code: 1000 })
    yield* s.stop
  }))
})
