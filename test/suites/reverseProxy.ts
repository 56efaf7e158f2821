import { chmodSync } from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import { HttpMiddleware, HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Queue, Schedule, type Scope } from "effect"
import { Frame, NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import type { Network } from "effect-websocket/Network"
import { expect } from "vitest"
import { launch } from "../fixtures/browser.js"
import { httpServer } from "../fixtures/httpServer.js"
import { refusedBy } from "../fixtures/joined.js"
import { directory } from "../fixtures/proxies.js"
import { certificates, type ReverseProxy, type StartProxy } from "../fixtures/reverseProxy.js"

const tls = { ca: certificates.ca }
const silent = { pingInterval: Duration.infinity }

const connect = (url: string, options?: WebSocket.ConnectOptions) => WebSocket.connect(url, { tls, ...options })

const echo = (socket: WebSocket.WebSocket) => socket.run((message) => socket.send(message))

/** Says what the server knows of the request. */
const who = (socket: WebSocket.WebSocket) =>
  socket.send(
    JSON.stringify({
      address: socket.remoteAddress._tag === "TcpAddress" ? socket.remoteAddress.hostname : "unix",
      secure: socket.secure,
      url: socket.url
    })
  )

/** How a connection ended: its codes, or the tag of the error. */
const endOf = (socket: WebSocket.WebSocket) =>
  Effect.map(Effect.exit(Effect.zipRight(Effect.exit(socket.run(() => Effect.void)), socket.closed)), (exit) =>
    Exit.match(exit, {
      onFailure: (cause) => (cause._tag === "Fail" ? cause.error._tag : cause._tag),
      onSuccess: ({ code, reason }) => `${code} ${reason}`.trim()
    })
  )

/** Without a Close of the other end. */
const cut = /^(1006.*|IoError)$/

const portOf = ({ address }: WebSocketServer.WebSocketServer["Type"]) =>
  address._tag === "TcpAddress" ? address.port : 0

/** A server on TCP; each handler for its path. */
const standalone = (
  handlers: Readonly<Record<string, (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>>>,
  options: WebSocketServer.ServerOptions = {}
) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make({ drainTimeout: 0, ...options })
    for (const [path, handler] of Object.entries(handlers)) yield* server.serve(handler, { path })
    return server
  })

const onUnixSocket = (
  handlers: Readonly<Record<string, (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>>>,
  options: WebSocketServer.ServerOptions = {}
) =>
  Effect.gen(function* () {
    const path = join(yield* directory, "feed.sock")
    yield* standalone(handlers, { path, ...options })
    // The proxy may run as somebody else.
    chmodSync(path, 0o777)
    return path
  })

const page = HttpServerResponse.html("<p>ours</p>")

/** A server of @effect/platform, with a page and these routes. */
const withRoutes = (routes: Readonly<Record<`/${string}`, ReturnType<typeof WebSocketServer.upgrade>>>) => {
  let router = HttpRouter.empty.pipe(HttpRouter.get("/", Effect.succeed(page)))
  for (const [path, route] of Object.entries(routes)) router = HttpRouter.get(router, path as `/${string}`, route)
  return router
}
