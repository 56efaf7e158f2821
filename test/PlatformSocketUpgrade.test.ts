import { createServer } from "node:http"
import {
  Etag,
  HttpApp,
  HttpMiddleware,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse,
  Socket
} from "@effect/platform"
import { NodeFileSystem, NodeHttpPlatform, NodeHttpServer, NodePath, NodeSocket } from "@effect/platform-node"
import { RpcSerialization, RpcServer } from "@effect/rpc"
import { describe, expect } from "@effect/vitest"
import { Chunk, Deferred, Effect, Exit, Fiber, Layer, Queue, Scope, Stream } from "effect"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as PlatformSocket from "effect-websocket/PlatformSocket"
import * as WebSocket from "effect-websocket/WebSocket"
import { httpServer } from "./fixtures/httpServer.js"
import { refusedBy } from "./fixtures/joined.js"
import { testsOn } from "./fixtures/leaks.js"
import { rawClient, resettableClient, upgradeRequest } from "./fixtures/rawPeer.js"
import { handlers, Sums, sumsOver } from "./fixtures/rpc.js"

const test = testsOn(NodeNetwork.layer)

const addressOf = (url: string) =>
  ({ _tag: "TcpAddress", hostname: "127.0.0.1", port: Number(new URL(url).port) }) as const

const http = Layer.scoped(
  HttpServer.HttpServer,
  NodeHttpServer.make(() => NodeNetwork.prepareServer(createServer()), { host: "127.0.0.1", port: 0 })
)

/** An app that upgrades and echoes, until the client closes. */
const echo = Effect.gen(function* () {
  const socket = yield* HttpServerRequest.upgrade
  const write = yield* socket.writer
  yield* socket.runRaw((message) => write(message))
  return HttpServerResponse.text("nobody reads this")
})

/** Serves an application with the middleware round the whole server, and reports the statuses that go out. */
const serverOf = <E>(app: HttpApp.Default<E>, report: (status: number) => Effect.Effect<unknown> = () => Effect.void) =>
  Effect.gen(function* () {
    const context = yield* app.pipe(
      HttpServer.serve((inner) =>
        Effect.tap(PlatformSocket.upgradeMiddleware()(inner), ({ status }) => report(status))
      ),
      Layer.provideMerge(http),
      Layer.build
    )
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    return `ws://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}/`
  })

/** A router in a real HTTP server whose websocket route is that of RpcServer. */
const rpcServer = (waiting?: (event: "begun" | "over") => void) =>
  Effect.gen(function* () {
    const context = yield* HttpRouter.Default.unwrap(HttpServer.serve(PlatformSocket.upgradeMiddleware())).pipe(
      Layer.provide(RpcServer.layer(Sums)),
      Layer.provide(handlers(waiting)),
      Layer.provide(RpcServer.layerProtocolWebsocket({ path: "/rpc" })),
      Layer.provide(RpcSerialization.layerNdjson),
      Layer.provide([NodeHttpPlatform.layer, NodeFileSystem.layer, NodePath.layer, Etag.layerWeak]),
      Layer.provideMerge(http),
      Layer.build
    )
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    return `ws://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}/rpc`
  })

describe("upgradeMiddleware", () => {
  for (const [place, around] of [
    [
      "the server",
      (use: ReturnType<typeof PlatformSocket.upgradeMiddleware>) =>
        use(HttpRouter.empty.pipe(HttpRouter.get("/echo", echo)))
    ],
    [
      "a router",
      (use: ReturnType<typeof PlatformSocket.upgradeMiddleware>) =>
        HttpRouter.empty.pipe(
          HttpRouter.get("/echo", echo),
          HttpRouter.use((app) => use(app))
        )
    ],
    [
      "a route",
      (use: ReturnType<typeof PlatformSocket.upgradeMiddleware>) =>
        HttpRouter.empty.pipe(HttpRouter.get("/echo", use(echo)))
    ]
  ] as const) {
    test(
      `round ${place} gives sockets of ours, with close codes, and writes nothing of the answer`,
      Effect.gen(function* () {
        const url = yield* httpServer(around(PlatformSocket.upgradeMiddleware({ subprotocols: ["echo.v1"] })))
        const socket = yield* WebSocket.connect(`${url}echo`, { subprotocols: ["echo.v1"] })
        expect(socket.subprotocol).toBe("echo.v1")
        yield* socket.sendAll(["text", new Uint8Array([1, 2])])
        expect([yield* socket.receive, yield* socket.receive]).toEqual(["text", new Uint8Array([1, 2])])
        yield* socket.close(1000)
        expect(yield* socket.closed).toMatchObject({ code: 1000, clean: true })
        const raw = yield* rawClient(addressOf(url))
        yield* raw.send(upgradeRequest({}, "GET /echo HTTP/1.1"))
        expect(yield* raw.head).toMatch(/^HTTP\/1\.1 101 /)
        yield* raw.send(new Uint8Array([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]))
        yield* raw.ended
        expect([...raw.body()]).toEqual([0x88, 2, 0x03, 0xe8])
        yield* raw.end
        yield* raw.closed
      })
    )
  }

  test(
    "round the whole server, as HttpServer.serve takes it, closes with 1000 when the app has answered",
    Effect.gen(function* () {
      const statuses = yield* Queue.unbounded<number>()
      const app = Effect.gen(function* () {
        const socket = yield* HttpServerRequest.upgrade
        const write = yield* socket.writer
        yield* write("bye")
        return HttpServerResponse.text("nobody reads this")
      }).pipe(Effect.orDie)
      const router = HttpRouter.empty.pipe(
        HttpRouter.get("/", app),
        HttpRouter.get(
          "/beside",
          Effect.flatMap(Effect.fork(app), (fiber) =>
            Effect.as(Fiber.await(fiber), HttpServerResponse.text("nobody reads this"))
          )
        ),
        HttpRouter.get("/answered", Effect.zipRight(app, Effect.die(HttpServerResponse.text("nobody reads this")))),
        HttpRouter.get("/broken", Effect.zipRight(app, Effect.dieMessage("on purpose")))
      )
      const url = yield* serverOf(router, (status) => Queue.offer(statuses, status))
      const socket = yield* WebSocket.connect(url)
      expect(yield* socket.receive).toBe("bye")
      expect(yield* socket.closed).toMatchObject({ code: 1000, initiator: "remote", clean: true })
      expect(yield* Queue.take(statuses)).toBe(101)
      const beside = yield* WebSocket.connect(`${url}beside`)
      expect(yield* beside.receive).toBe("bye")
      expect(yield* beside.closed).toMatchObject({ code: 1000, initiator: "remote", clean: true })
      const answered = yield* WebSocket.connect(`${url}answered`)
      expect(yield* answered.receive).toBe("bye")
      expect(yield* answered.closed).toMatchObject({ code: 1000, initiator: "remote", clean: true })
      const broken = yield* WebSocket.connect(`${url}broken`)
      expect(yield* broken.receive).toBe("bye")
      expect(yield* broken.closed).toMatchObject({ code: 1011, initiator: "remote", clean: true })
    })
  )

  test(
    "has written the 101 when upgrade succeeds, before anybody runs the socket, and keeps what came early",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const failure = yield* Deferred.make<unknown>()
      const app = Effect.gen(function* () {
        const socket = yield* HttpServerRequest.upgrade
        yield* Deferred.await(gate)
        const write = yield* socket.writer
        const ended = socket.runRaw((message) =>
          Effect.zipRight(write(`late: ${message}`), write(new Socket.CloseEvent()))
        )
        yield* Deferred.succeed(failure, yield* Effect.flip(ended))
        return HttpServerResponse.empty()
      })
      const url = yield* httpServer(PlatformSocket.upgradeMiddleware({ closeCodeIsError: () => true })(app))
      const socket = yield* WebSocket.connect(url)
      yield* socket.send("hello")
      yield* Deferred.succeed(gate, undefined)
      expect(yield* socket.receive).toBe("late: hello")
      expect(yield* socket.closed).toMatchObject({ code: 1000 })
      expect(yield* Deferred.await(failure)).toMatchObject({ reason: "Close", code: 1000 })
    })
  )

  test(
    "lets pre-response handlers add to the 101, and nothing afterwards",
    Effect.gen(function* () {
      const seen: Array<number> = []
      const app = PlatformSocket.upgradeMiddleware()(
        Effect.zipRight(
          HttpApp.appendPreResponseHandler((_, response) => {
            seen.push(response.status)
            return Effect.orDie(HttpServerResponse.setCookie(response, "session", "1"))
          }),
          echo
        )
      )
      const url = yield* httpServer(app)
      const raw = yield* rawClient(addressOf(url))
      yield* raw.send(upgradeRequest())
      expect(yield* raw.head).toMatch(/\r\nset-cookie: session=1\r\n/i)
      yield* raw.send(new Uint8Array([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]))
      yield* raw.ended
      expect([...raw.body()]).toEqual([0x88, 2, 0x03, 0xe8])
      yield* raw.end
      yield* raw.closed
      expect(seen).toEqual([101])
    })
  )

  test(
    "answers refused requests with the status that says why, and lets apps catch the refusal",
    Effect.gen(function* () {
      const router = HttpRouter.empty.pipe(
        HttpRouter.get("/orDie", Effect.orDie(echo)),
        HttpRouter.get("/fails", echo),
        HttpRouter.get(
          "/caught",
          Effect.catchTag(echo, "RequestError", ({ message }) => HttpServerResponse.text(message, { status: 418 }))
        ),
        HttpRouter.get("/plain", HttpServerResponse.text("plain")),
        HttpRouter.use(PlatformSocket.upgradeMiddleware())
      )
      const url = yield* httpServer(router)
      const foreign = { headers: { origin: "https://elsewhere.example" } }
      for (const path of ["orDie", "fails"]) {
        expect(yield* refusedBy(`${url}${path}`, foreign)).toMatchObject({ _tag: "HandshakeError", status: 403 })
        const { status, headers } = yield* Effect.promise(() => fetch(`${url}${path}`.replace("ws:", "http:")))
        expect([status, headers.get("upgrade")]).toEqual([426, "websocket"])
      }
      expect(yield* refusedBy(`${url}caught`, foreign)).toMatchObject({
        status: 418,
        body: expect.stringContaining("origin")
      })
      const plain = yield* Effect.promise(() => fetch(`${url}plain`.replace("ws:", "http:")).then((got) => got.text()))
      expect(plain).toBe("plain")
    })
  )

  test(
    "stays with a request that other middleware changes, and judges what they made of it",
    Effect.gen(function* () {
      const inner = HttpRouter.empty.pipe(
        HttpRouter.get(
          "/echo",
          Effect.gen(function* () {
            const request = yield* HttpServerRequest.HttpServerRequest
            expect([request.url, request.originalUrl]).toEqual(["/echo", "/mounted/echo"])
            expect(request.headers["host"]).toBe("public.example")
            expect(request.cookies).toEqual({ a: "b" })
            return yield* echo
          })
        )
      )
      const router = HttpRouter.empty.pipe(HttpRouter.mount("/mounted", inner))
      const url = yield* httpServer(PlatformSocket.upgradeMiddleware()(HttpMiddleware.xForwardedHeaders(router)))
      const headers = { origin: "http://public.example", "x-forwarded-host": "public.example", cookie: "a=b" }
      const socket = yield* WebSocket.connect(`${url}mounted/echo`, { headers })
      yield* socket.send("through")
      expect(yield* socket.receive).toBe("through")
    })
  )

  test(
    "upgrades a request once",
    Effect.gen(function* () {
      const second = yield* Deferred.make<unknown>()
      const app = Effect.gen(function* () {
        const socket = yield* HttpServerRequest.upgrade
        yield* Deferred.succeed(second, yield* Effect.flip(HttpServerRequest.upgrade))
        const write = yield* socket.writer
        yield* write("first")
        return yield* Effect.die(HttpServerResponse.empty())
      })
      const url = yield* httpServer(PlatformSocket.upgradeMiddleware()(app))
      const socket = yield* WebSocket.connect(url)
      expect(yield* socket.receive).toBe("first")
      expect(yield* Deferred.await(second)).toMatchObject({
        _tag: "RequestError",
        reason: "Transport",
        cause: { _tag: "HandshakeError" }
      })
      // A response is an answer, however it is given.
      expect(yield* socket.closed).toMatchObject({ code: 1000 })
    })
  )

  test(
    "lets upgradeChannel speak over our connections",
    Effect.gen(function* () {
      const app = Effect.gen(function* () {
        const incoming = yield* Queue.unbounded<Uint8Array>()
        yield* Stream.fromQueue(incoming).pipe(
          Stream.pipeThroughChannel(HttpServerRequest.upgradeChannel()),
          Stream.runForEach((bytes) => Queue.offer(incoming, bytes))
        )
        return HttpServerResponse.empty()
      })
      const url = yield* httpServer(PlatformSocket.upgradeMiddleware()(app))
      const socket = yield* WebSocket.connect(url)
      for (const text of ["one", "two"]) {
        yield* socket.send(text)
        expect(yield* socket.receive).toEqual(new TextEncoder().encode(text))
      }
      yield* socket.close()
    })
  )

  for (const [place, serve] of [
    ["the app", httpServer(PlatformSocket.upgradeMiddleware()(echo))],
    ["the whole server", serverOf(HttpRouter.empty.pipe(HttpRouter.all("/", echo)))]
  ] as const) {
    test(
      `round ${place} closes with 1001 when the server shuts down`,
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const url = yield* Scope.extend(serve, scope)
        const socket = yield* WebSocket.connect(url)
        yield* socket.send("there?")
        expect(yield* socket.receive).toBe("there?")
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        expect(yield* socket.closed).toMatchObject({ code: 1001, initiator: "remote", clean: true })
        yield* Fiber.join(closing)
      })
    )
  }
})

describe("RpcServer.layerProtocolWebsocket", () => {
  const use = (layer: (url: string) => Layer.Layer<Socket.Socket, never, Network>) =>
    Effect.gen(function* () {
      const url = yield* rpcServer()
      const client = yield* sumsOver(layer(url))
      expect(yield* client.Double({ n: 4 })).toBe(8)
      const counted = yield* Stream.runCollect(client.Count({ to: 100 }))
      expect(Chunk.toReadonlyArray(counted)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1))
    })

  test("serves our client", use(PlatformSocket.layer))

  test(
    "serves the platform's own client",
    use((url) => Socket.layerWebSocket(url).pipe(Layer.provide(NodeSocket.layerWebSocketConstructor)))
  )

  test(
    "loses one connection to a reset in the middle of a call, and nothing else",
    Effect.gen(function* () {
      const events = yield* Queue.unbounded<string>()
      const url = yield* rpcServer((event) => void Queue.unsafeOffer(events, event))
      const client = yield* sumsOver(PlatformSocket.layer(url))
      expect(yield* client.Double({ n: 1 })).toBe(2)
      for (let round = 0; round < 5; round++) {
        const { peer, reset } = yield* resettableClient(addressOf(url))
        yield* peer.send(upgradeRequest({}, "GET /rpc HTTP/1.1"))
        yield* peer.head
        const request = { _tag: "Request", id: "1", tag: "Wait", payload: null, headers: [] }
        const text = new TextEncoder().encode(`${JSON.stringify(request)}\n`)
        yield* peer.send(new Uint8Array([0x81, 0x80 | text.length, 0, 0, 0, 0, ...text]))
        expect(yield* Queue.take(events)).toBe("begun")
        yield* reset
        expect(yield* Queue.take(events)).toBe("over")
      }
      expect(yield* client.Double({ n: 2 })).toBe(4)
    })
  )
})
