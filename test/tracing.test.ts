import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { type Cause, Deferred, Effect, Fiber, Layer, Stream, TestClock } from "effect"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "./fixtures/heard.js"
import { httpServer } from "./fixtures/httpServer.js"
import { joined } from "./fixtures/joined.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"
import { rawClient, rawServer, upgradedClient, upgradeRequest, upgradeResponse } from "./fixtures/rawPeer.js"
import { recordingTracer } from "./fixtures/recordingTracer.js"

const networks: ReadonlyArray<readonly [string, Layer.Layer<Network>]> = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
]

const traceId = "0af7651916cd43dd8448eb211c80319c"
const spanId = "b7ad6b7169203331"

const serve = (handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make({ drainTimeout: 0 })
    yield* server.serve(handler)
    return server
  })

/** Looks until the condition holds; the test's own limit ends what never comes. */
const until = (condition: () => boolean) =>
  Effect.gen(function* () {
    while (!condition()) yield* settle
  })

const portOf = (url: string) => Number(new URL(url).port)

for (const [name, network] of networks) {
  const test = testsOn(network)

  describe(`${name}: traces`, () => {
    test(
      "hold the handshake and the connection of both ends, in the trace of the client",
      Effect.gen(function* () {
        const { within, span, spans } = recordingTracer()
        const server = yield* within(
          Effect.withSpan(
            serve(() => Effect.never),
            "startup"
          )
        )
        const port = portOf(server.url)
        const url = `ws://user:secret@127.0.0.1:${port}/room/1?token=secret&x=1&secret`
        yield* WebSocket.connect(url, { headers: { "user-agent": "tester/1" } }).pipe(
          Effect.tap((socket) => socket.close(1000, "enough")),
          Effect.scoped,
          Effect.withSpan("app"),
          within
        )
        yield* until(() => span("websocket.connection", "server").status !== "open")
        expect(
          spans()
            .map((each) => `${each.name} ${each.kind} ${each.status}`)
            .sort()
        ).toEqual([
          "app internal ok",
          "startup internal ok",
          "websocket.connection client ok",
          "websocket.connection server ok",
          "websocket.handshake client ok",
          "websocket.handshake server ok"
        ])
        const app = span("app")
        const asked = span("websocket.handshake", "client")
        expect(asked.parentId).toBe(app.spanId)
        expect(span("websocket.connection", "client").parentId).toBe(app.spanId)
        expect(span("websocket.handshake", "server").parentId).toBe(asked.spanId)
        expect(span("websocket.connection", "server").parentId).toBe(asked.spanId)
        const ours = spans().filter(({ name }) => name.startsWith("websocket"))
        expect(new Set(ours.map((each) => each.traceId))).toEqual(new Set([app.traceId]))

        const urlOf = {
          "server.address": "127.0.0.1",
          "server.port": port,
          "url.scheme": "ws",
          "url.path": "/room/1",
          "url.query": "token=REDACTED&x=REDACTED&REDACTED"
        }
        const closing = {
          "websocket.close.code": 1000,
          "websocket.close.initiator": "local"
        }
        const exchange = {
          "network.protocol.name": "http",
          "http.request.method": "GET",
          "http.response.status_code": 101
        }
        const visitor = {
          "client.address": "127.0.0.1",
          "client.port": expect.any(Number),
          "user_agent.original": "tester/1"
        }
        const peer = {
          "network.transport": "tcp",
          "network.peer.address": "127.0.0.1",
          "network.peer.port": expect.any(Number)
        }
        expect(asked.attributes).toEqual({ ...exchange, ...urlOf })
        expect(span("websocket.handshake", "server").attributes).toEqual({ ...exchange, ...peer, ...urlOf, ...visitor })
        expect(span("websocket.connection", "client").attributes).toEqual({
          "network.protocol.name": "websocket",
          ...peer,
          "network.peer.port": port,
          ...urlOf,
          ...closing
        })
        expect(span("websocket.connection", "server").attributes).toEqual({
          "network.protocol.name": "websocket",
          ...peer,
          ...urlOf,
          ...visitor,
          ...closing,
          "websocket.close.initiator": "remote",
          "websocket.close.reason": "enough"
        })
        expect(JSON.stringify(spans())).not.toMatch(/secret|dXNlcjpzZWNyZXQ|authorization/i)
      })
    )

    const parents: ReadonlyArray<readonly [string, Readonly<Record<string, string>>, boolean]> = [
      ["traceparent", { traceparent: `00-${traceId}-${spanId}-01` }, true],
      ["b3", { b3: `${traceId}-${spanId}-1` }, true],
      ["the B3 headers", { "X-B3-TraceId": traceId, "X-B3-SpanId": spanId }, true],
      ["no header", {}, false],
      ["a traceparent that is none", { traceparent: `00-${traceId}-1` }, false],
      ["a b3 that is none", { b3: "<script>-alert" }, false]
    ]
    for (const [what, headers, goesOn] of parents) {
      test(
        `${goesOn ? "go on from" : "begin anew with"} ${what}`,
        Effect.gen(function* () {
          const { within, span } = recordingTracer()
          const server = yield* within(
            Effect.withSpan(
              serve(() => Effect.never),
              "startup"
            )
          )
          yield* upgradedClient(server.address, upgradeRequest(headers))
          for (const name of ["websocket.handshake", "websocket.connection"]) {
            expect(span(name).parentId).toBe(goesOn ? spanId : undefined)
            expect(span(name).traceId === traceId).toBe(goesOn)
          }
        })
      )
    }

    test(
      "hold what a decision does in the handshake, and what a handler does in the connection",
      Effect.gen(function* () {
        const { within, span } = recordingTracer()
        const server = yield* within(WebSocketServer.make({ drainTimeout: 0 }))
        const handled = yield* Deferred.make<boolean, Cause.NoSuchElementException>()
        yield* server
          .serveWith(
            () => Effect.withSpan(Effect.succeed({ data: "ada" }), "decision"),
            (socket) =>
              Effect.zipRight(
                Effect.withSpan(Effect.void, "work"),
                Deferred.complete(
                  handled,
                  Effect.map(Effect.currentSpan, (current) => current === socket.span)
                )
              )
          )
          .pipe(Effect.withSpan("startup"), within)
        const peer = yield* upgradedClient(server.address)
        expect(yield* Deferred.await(handled)).toBe(true)
        expect(span("decision").parentId).toBe(span("websocket.handshake").spanId)
        expect(span("work").parentId).toBe(span("websocket.connection").spanId)
        yield* peer.destroy
      })
    )

    const refusals: ReadonlyArray<readonly [number, string, string]> = [
      [401, "/declines", "ok"],
      [403, "/evil", "ok"],
      [404, "/nowhere", "ok"],
      [426, "/plain", "ok"],
      [500, "/dies", "Refusal: the server failed to decide"],
      [503, "/overloaded", "Declined: the application declined"]
    ]
    for (const [status, path, expected] of refusals) {
      test(
        `tell that a request was refused with ${status}, as an error if it is the server's`,
        Effect.gen(function* () {
          const { within, span, spans } = recordingTracer()
          const server = yield* within(WebSocketServer.make({ drainTimeout: 0 }))
          const decide = ({ target }: WebSocketServer.Request) =>
            target.startsWith("/dies")
              ? Effect.die("oh")
              : Effect.fail(HttpServerResponse.text("secret", { status: target.startsWith("/declines") ? 401 : 503 }))
          for (const path of ["/declines", "/evil", "/plain", "/dies", "/overloaded"]) {
            yield* server.serveWith(decide, () => Effect.never, { path })
          }
          const peer = yield* rawClient(server.address)
          const changes =
            status === 403 ? { Origin: "http://evil.example" } : status === 426 ? { Upgrade: undefined } : {}
          yield* peer.send(upgradeRequest(changes, `GET ${path}?token=secret HTTP/1.1`))
          expect(yield* peer.head).toContain(` ${status} `)
          yield* peer.end
          yield* peer.closed
          const { attributes, ...refused } = span("websocket.handshake")
          expect(refused.status).toBe(expected)
          expect(attributes["http.response.status_code"]).toBe(status)
          expect(attributes["error.type"]).toBe(status < 500 ? undefined : String(status))
          expect(attributes["websocket.refusal"]).toEqual(expect.any(String))
          expect(JSON.stringify(spans())).not.toContain("secret")
          expect(spans()).toHaveLength(1)
        })
      )
    }

    test(
      "hold nothing of what is no request",
      Effect.gen(function* () {
        const { within, spans } = recordingTracer()
        const server = yield* within(serve(() => Effect.never))
        const peer = yield* rawClient(server.address)
        yield* peer.send("GET\r\n\r\n")
        yield* peer.ended
        yield* peer.end
        expect(spans()).toEqual([])
      })
    )

    test(
      "tell why a client has no connection",
      Effect.gen(function* () {
        const attempt = (url: string, options?: WebSocket.ConnectOptions) =>
          Effect.gen(function* () {
            const { within, span, spans } = recordingTracer()
            yield* within(Effect.exit(Effect.scoped(Effect.asVoid(WebSocket.connect(url, options)))))
            expect(spans()).toHaveLength(1)
            expect(JSON.stringify(spans())).not.toContain("secret")
            const { status, attributes } = span("websocket.handshake", "client")
            return [status, attributes["error.type"], attributes["http.response.status_code"]]
          })
        const server = yield* WebSocketServer.make({ drainTimeout: 0 })
        yield* server.serve(() => Effect.never, { path: "/here" })
        expect(yield* attempt(`${server.url}nowhere?token=secret`)).toEqual([
          "HandshakeError: the server answered 404 where 101 was due",
          "404",
          404
        ])
        expect(yield* attempt("ws://user:secret@127.0.0.1:1/?token=secret")).toEqual([
          expect.stringMatching(/^ConnectError: .*ECONNREFUSED/),
          "tcp",
          undefined
        ])
        const silent = yield* rawServer()
        const circle = yield* Effect.fork(attempt(`${silent.url}?token=secret`, { maxRedirects: 1 }))
        const sending = yield* silent.next
        yield* sending.send(upgradeResponse(yield* sending.head, { Location: "/?token=secret" }, "HTTP/1.1 302 Found"))
        yield* sending.end
        expect(yield* Fiber.join(circle)).toEqual([
          expect.stringMatching(/^HandshakeError: .* in a circle, back to ws:\/\/127\.0\.0\.1:\d+\/$/),
          "302",
          302
        ])
        const slow = yield* Effect.fork(attempt(silent.url))
        const asked = yield* silent.next
        yield* asked.head
        yield* TestClock.adjust("10 seconds")
        expect(yield* Fiber.join(slow)).toEqual(["ConnectError: no connection within 10s", "timeout", undefined])

        const { within, span } = recordingTracer()
        const leaving = yield* Effect.fork(within(Effect.scoped(WebSocket.connect(silent.url))))
        const other = yield* silent.next
        yield* other.head
        yield* Fiber.interrupt(leaving)
        expect(span("websocket.handshake").status).toBe("interrupted")
      })
    )

    test(
      "go along with the request, unless it says something else",
      Effect.gen(function* () {
        const { within, span, spans } = recordingTracer()
        const server = yield* rawServer()
        const requestOf = (headers: Readonly<Record<string, string>>, traced: boolean) =>
          Effect.gen(function* () {
            const connecting = WebSocket.connect(server.url, { headers })
            const fiber = yield* Effect.fork(Effect.scoped(traced ? within(connecting) : connecting))
            const peer = yield* server.next
            const head = yield* peer.head
            yield* Fiber.interrupt(fiber)
            return head.split("\r\n").filter((line) => /^(traceparent|b3|x-b3)/i.test(line))
          })
        const sent = yield* requestOf({}, true)
        const { traceId, spanId } = span("websocket.handshake")
        expect(sent.sort()).toEqual([`b3: ${traceId}-${spanId}-1`, `traceparent: 00-${traceId}-${spanId}-01`])
        expect(yield* requestOf({ Traceparent: "mine" }, true)).toEqual(["traceparent: mine"])
        expect(yield* requestOf({ b3: "mine" }, true)).toEqual(["b3: mine"])
        expect(spans()).toHaveLength(3)
        expect(yield* requestOf({}, false)).toEqual([])
      })
    )

    test(
      "name the client that trusted proxies tell of, and the proxy as the peer",
      Effect.gen(function* () {
        const { within, span } = recordingTracer()
        const server = yield* within(WebSocketServer.make({ drainTimeout: 0, trustedProxies: 1 }))
        yield* server.serve(() => Effect.never)
        const forwarded = {
          "X-Forwarded-For": "192.0.2.7:4711",
          "X-Forwarded-Proto": "https",
          "X-Forwarded-Host": "chat.example"
        }
        yield* upgradedClient(server.address, upgradeRequest(forwarded))
        for (const name of ["websocket.handshake", "websocket.connection"]) {
          expect(span(name).attributes).toMatchObject({
            "client.address": "192.0.2.7",
            "client.port": 4711,
            "network.peer.address": "127.0.0.1",
            "server.address": "chat.example",
            "server.port": 443,
            "url.scheme": "wss"
          })
        }
      })
    )
  })
}

describe("traces", () => {
  testInMemory(
    "tell of Unix sockets and subprotocols",
    Effect.gen(function* () {
      const { within, span } = recordingTracer()
      yield* joined({
        server: { path: "/run/chat.sock", subprotocols: ["chat.v1"] },
        client: { address: { _tag: "UnixAddress", path: "/run/chat.sock" }, subprotocols: ["chat.v1"] }
      }).pipe(within)
      expect(span("websocket.connection", "client").attributes).toMatchObject({
        "network.transport": "unix",
        "network.peer.address": "/run/chat.sock",
        "server.address": "unix.example",
        "server.port": 80,
        "websocket.subprotocol": "chat.v1"
      })
      expect(span("websocket.connection", "server").attributes).toMatchObject({
        "network.transport": "unix",
        "websocket.subprotocol": "chat.v1"
      })
    })
  )

  testInMemory(
    "are made by the tracer that a layer sets",
    Effect.gen(function* () {
      const { span, tracer } = recordingTracer()
      const Echo = WebSocketServer.serve((socket) => Stream.run(socket.messages, socket.sink))
      const Main = Echo.pipe(
        Layer.provide(WebSocketServer.layer({ port: 80, drainTimeout: 0 })),
        Layer.provide(Layer.setTracer(tracer))
      )
      yield* Layer.build(Main)
      const socket = yield* WebSocket.connect("ws://127.0.0.1/")
      yield* socket.send("hello")
      yield* socket.receive
      expect(span("websocket.connection", "server").status).toBe("open")
    })
  )
})

describe("traces of routes of an HTTP server", () => {
  const test = testsOn(NodeNetwork.layer)

  test(
    "hold the connection in the span of its request",
    Effect.gen(function* () {
      const { within, span, spans } = recordingTracer()
      const handled = yield* Deferred.make<string | undefined>()
      const router = HttpRouter.empty.pipe(
        HttpRouter.get(
          "/echo",
          WebSocketServer.upgrade((socket) => Deferred.succeed(handled, socket.span?.spanId))
        )
      )
      const url = yield* within(httpServer(router))
      const socket = yield* within(WebSocket.connect(`${url}echo`))
      expect(yield* Deferred.await(handled)).toBe(span("websocket.connection", "server").spanId)
      expect(span("websocket.connection", "server").parentId).toBe(span("http.server GET").spanId)
      expect(span("http.server GET").parentId).toBe(span("websocket.handshake", "client").spanId)
      yield* socket.closed
      yield* until(() => span("http.server GET").status !== "open")
      expect(span("http.server GET").attributes["http.response.status_code"]).toBe(101)
      expect(span("websocket.connection", "server")).toMatchObject({
        status: "ok",
        attributes: { "client.address": "127.0.0.1", "url.path": "/echo", "websocket.close.code": 1000 }
      })
      expect(spans()).toHaveLength(4)
    })
  )

  test(
    "hold it in the client's trace where the server's own tracing of requests is off",
    Effect.gen(function* () {
      const { within, span } = recordingTracer()
      const server = yield* TestNetwork.pair()
      const accepting = WebSocket.accept(server.server).pipe(Effect.withSpan("unrelated"), within, Effect.fork)
      const fiber = yield* accepting
      server.client.write(
        new TextEncoder().encode(upgradeRequest({ traceparent: `00-${traceId}-${spanId}-01` })),
        false
      )
      yield* Fiber.join(fiber)
      expect(span("websocket.connection").parentId).toBe(spanId)
      server.client.destroy()
    })
  )
})
