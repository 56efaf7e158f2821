import { Cookies, type HttpApp, HttpMiddleware, HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Cause, Deferred, type Duration, Effect, Exit, Fiber, Layer, Logger, Queue, Stream } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "../fixtures/heard.js"
import { httpKinds, resettable } from "../fixtures/httpKinds.js"
import { rawClient, upgradedClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { serving, test } from "../fixtures/routes.js"

/** How a handler ended. */
const told = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.match(exit, {
    onSuccess: () => "success",
    onFailure: (cause) => (Cause.isInterruptedOnly(cause) ? "interrupted" : Cause.squash(cause))
  })

const request = (path: string, changes: Parameters<typeof upgradeRequest>[0] = {}) =>
  upgradeRequest(changes, `GET ${path} HTTP/1.1`)

const hi = Frame.text("hi")

for (const { create, kind, scheme, tls } of httpKinds) {
  /** A server with a route for each state in which a client may go away. */
  const started = Effect.gen(function* () {
    const events = yield* Queue.unbounded<unknown>()
    const note = (event: unknown) => Queue.offer(events, event)
    const stuck = (what: string) =>
      Effect.zipRight(note(`${what} begins`), Effect.never).pipe(Effect.onInterrupt(() => note(`${what} interrupted`)))
    const echo = WebSocketServer.upgrade(
      (socket) =>
        Effect.zipRight(note("open"), Stream.run(socket.messages, socket.sink)).pipe(
          Effect.onExit((exit) => note(told(exit)))
        ),
      { drainTimeout: "5 seconds" }
    )
    const server = yield* serving(
      HttpRouter.empty.pipe(
        HttpRouter.get("/echo", echo),
        HttpRouter.get("/middleware", Effect.zipRight(stuck("middleware"), echo)),
        HttpRouter.get(
          "/decide",
          WebSocketServer.upgradeWith(
            () => stuck("decide"),
            () => Effect.void
          )
        ),
        HttpRouter.get(
          "/closes",
          WebSocketServer.upgrade(() => note("closes"))
        ),
        HttpServer.serve()
      ),
      NodeNetwork.prepareServer(create())
    )
    const { port } = server.address
    const served = WebSocket.connect(`${scheme}://localhost:${port}/echo`, { tls: tls() }).pipe(
      Effect.flatMap((socket) => Effect.zipRight(socket.send("still there?"), socket.receive)),
      Effect.scoped
    )
    return {
      client: resettable(port, tls()),
      event: Queue.take(events),
      /** It serves on, and has no other connection. */
      serves: Effect.gen(function* () {
        expect(yield* served).toBe("still there?")
        while ((yield* server.connections) > 0) yield* Effect.sleep("10 millis")
      })
    }
  })

  describe(`a client of ${kind} harms its own connection and no other`, () => {
    test(
      "that resets it however soon after its request, whatever that is answered with",
      Effect.gen(function* () {
        const { client, serves } = yield* started
        const requests = [
          request("/echo"),
          request("/closes"),
          request("/missing"),
          request("/echo", { "Sec-WebSocket-Version": "12" }),
          request("/echo", { "Sec-WebSocket-Key": undefined }),
          request("/echo", { Origin: "https://elsewhere.example" })
        ]
        for (const asked of requests) {
          for (let turns = 0; turns < 8; turns++) {
            const { peer, reset } = yield* client
            yield* peer.send(asked)
            for (let turn = 0; turn < turns; turn++) yield* settle
            yield* reset
          }
        }
        yield* serves
      })
    )

    for (const what of ["middleware", "decide"] as const) {
      for (const how of ["resets", "ends"] as const) {
        test(
          `that ${how} it while ${what} runs, which is interrupted`,
          Effect.gen(function* () {
            const { client, event, serves } = yield* started
            const { peer, reset } = yield* client
            yield* peer.send(request(`/${what}`))
            expect(yield* event).toBe(`${what} begins`)
            yield* how === "resets" ? reset : peer.end
            expect(yield* event).toBe(`${what} interrupted`)
            yield* serves
          })
        )
      }
    }

    for (const [what, bytes] of [
      ["that resets it right behind the 101", new Uint8Array(0)],
      ["that resets it in the middle of a message", new Uint8Array([0x81, 0xfe])]
    ] as const) {
      test(
        `${what}, and the handler is told why`,
        Effect.gen(function* () {
          const { client, event, serves } = yield* started
          const { peer, reset } = yield* client
          yield* peer.send(request("/echo"))
          expect(yield* peer.head).toMatch(/^HTTP\/1\.1 101 /)
          expect(yield* event).toBe("open")
          yield* peer.sendFrames(hi)
          yield* peer.frame(({ payload }) => payload.length === 2)
          yield* peer.send(bytes)
          yield* settle
          yield* reset
          expect(yield* event).toMatchObject({ _tag: "IoError", code: "ECONNRESET" })
          yield* serves
        })
      )
    }

    test(
      "that resets it instead of answering the Close frame",
      Effect.gen(function* () {
        const { client, event, serves } = yield* started
        const { peer, reset } = yield* client
        yield* peer.send(request("/closes"))
        expect(yield* event).toBe("closes")
        expect(yield* peer.closeCode).toBe(1000)
        yield* reset
        yield* serves
      })
    )
  })
}

describe("a handler whose client has gone", () => {
  const gone = (drainTimeout: Duration.DurationInput) =>
    Effect.gen(function* () {
      const events = yield* Queue.unbounded<string>()
      const gate = yield* Deferred.make<void>()
      const { address } = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get(
            "/",
            WebSocketServer.upgrade(
              (socket) =>
                Effect.flip(socket.receive).pipe(
                  Effect.tap(({ _tag }) => Queue.offer(events, _tag)),
                  Effect.zipRight(Deferred.await(gate)),
                  Effect.onExit((exit) => Queue.offer(events, String(told(exit))))
                ),
              { drainTimeout }
            )
          ),
          HttpServer.serve()
        )
      )
      const { peer, reset } = yield* resettable(address.port, undefined)
      yield* peer.send(upgradeRequest())
      yield* peer.head
      yield* reset
      return { event: Queue.take(events), finish: Deferred.succeed(gate, undefined) }
    })

  test(
    "may finish what it is at within `drainTimeout`",
    Effect.gen(function* () {
      const { event, finish } = yield* gone("1 minute")
      expect(yield* event).toBe("IoError")
      for (let turn = 0; turn < 20; turn++) yield* settle
      yield* finish
      expect(yield* event).toBe("success")
    })
  )

  test(
    "is interrupted after `drainTimeout`",
    Effect.gen(function* () {
      const { event } = yield* gone(0)
      expect(yield* event).toBe("IoError")
      expect(yield* event).toBe("interrupted")
    })
  )
})

describe("an upgraded connection", () => {
  test(
    "has its 101 on the wire when the handler starts",
    Effect.gen(function* () {
      const { address } = yield* serving(
        HttpServer.serve(Effect.orDie(WebSocketServer.upgrade(() => Effect.never, { drainTimeout: 0 })))
      )
      const peer = yield* upgradedClient(address)
      yield* peer.sendFrames(Frame.close(1000))
      yield* peer.ended
      yield* peer.end
    })
  )

  const text = HttpServerResponse.text("nobody reads this")
  const then = (change: (response: HttpServerResponse.HttpServerResponse) => HttpServerResponse.HttpServerResponse) =>
    HttpMiddleware.make((app) => Effect.map(app, change))
  const unchanged = then((response) => response)
  for (const [what, answer, middleware] of [
    ["an answer with a text", text, unchanged],
    ["an answer with a stream", HttpServerResponse.stream(Stream.make(new Uint8Array(100_000))), unchanged],
    ["an answer with bytes", HttpServerResponse.uint8Array(new Uint8Array(100_000)), unchanged],
    ["a failure behind it", Effect.fail("too late"), unchanged],
    ["middleware that gives the answer a body", undefined, then(() => text)],
    [
      "middleware that gives the answer cookies and headers",
      undefined,
      then((response) =>
        HttpServerResponse.setHeader(
          HttpServerResponse.mergeCookies(response, Cookies.unsafeSetAll(Cookies.empty, [["a", "b", {}]])),
          "x-late",
          "yes"
        )
      )
    ]
  ] as const) {
    test(
      `gets nothing of ${what}, and its request ends`,
      Effect.gen(function* () {
        const over = yield* Deferred.make<void>()
        const upgraded = WebSocketServer.upgrade((socket) => socket.send("hi"))
        const { address, stop } = yield* serving(
          HttpRouter.empty.pipe(
            HttpRouter.get("/", answer === undefined ? upgraded : Effect.zipRight(upgraded, answer)),
            HttpRouter.use(middleware),
            // Round all, the end of this one is the end of the request.
            HttpServer.serve((app) => Effect.ensuring(app, Deferred.succeed(over, undefined)))
          )
        )
        const peer = yield* upgradedClient(address)
        expect(yield* peer.closeCode).toBe(1000)
        yield* peer.sendFrames(Frame.close(1000))
        yield* peer.ended
        yield* peer.end
        yield* Deferred.await(over)
        expect([...peer.body()]).toEqual([0x81, 2, 0x68, 0x69, 0x88, 2, 3, 0xe8])
        yield* stop
      })
    )
  }

  test(
    "gets nothing of an application that answers while the connection lives",
    Effect.gen(function* () {
      const { address } = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get(
            "/",
            WebSocketServer.upgrade((socket) => Stream.run(socket.messages, socket.sink))
          ),
          HttpRouter.use((app) => Effect.raceFirst(Effect.disconnect(app), Effect.delay(text, "50 millis"))),
          HttpServer.serve()
        )
      )
      const peer = yield* upgradedClient(address)
      expect(yield* peer.closeCode).toBe(1001)
      yield* peer.sendFrames(Frame.close(1001))
      yield* peer.ended
      yield* peer.end
      expect([...peer.body()]).toEqual([0x88, 2, 3, 0xe9])
    })
  )
})

describe("the end of an HTTP server", () => {
  type App = HttpApp.Default<never, Network>

  for (const [what, serve] of [
    ["a router", (app: App) => HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.get("/", app)))],
    // The platform runs such an app uninterruptibly.
    ["no router", (app: App) => HttpServer.serve(app)]
  ] as const) {
    test(
      `says 1001 to all at once, gives handlers time, and waits neither for mute peers nor for stuck handlers (${what})`,
      Effect.gen(function* () {
        const finished = yield* Deferred.make<string>()
        const gate = yield* Deferred.make<void>()
        const cleanup = ({ receive }: WebSocket.WebSocket) =>
          Effect.flip(receive).pipe(
            Effect.tap(() => settle),
            Effect.flatMap(({ message }) => Deferred.succeed(finished, message))
          )
        const handlers = new Map<string, (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>>([
          ["cleanup", cleanup],
          ["never", () => Effect.never],
          ["stuck", () => Effect.uninterruptible(Deferred.await(gate))]
        ])
        const app = WebSocketServer.upgradeWith(
          ({ headers }) =>
            headers["x-handler"] === "undecided"
              ? Effect.never
              : Effect.map(Effect.fromNullable(handlers.get(headers["x-handler"] ?? "")), (data) => ({ data })).pipe(
                  Effect.orDie
                ),
          (socket, handler) => handler(socket),
          { drainTimeout: "200 millis", closeTimeout: "200 millis" }
        )
        const { address, stop } = yield* serving(
          serve(Effect.orDie(app)).pipe(Layer.provide(Logger.remove(Logger.defaultLogger)))
        )
        const enter = (handler: string) => upgradedClient(address, upgradeRequest({ "X-Handler": handler }))
        const polite = yield* enter("cleanup")
        const mute = [yield* enter("never"), yield* enter("never"), yield* enter("stuck")]
        const undecided = yield* rawClient(address)
        yield* undecided.send(upgradeRequest({ "X-Handler": "undecided" }))
        yield* settle
        const closing = yield* Effect.fork(stop)
        for (const peer of [polite, ...mute]) expect(yield* peer.closeCode).toBe(1001)
        yield* polite.sendFrames(Frame.close(1001))
        expect(yield* Deferred.await(finished)).toContain("1001")
        expect(yield* undecided.head).toMatch(/^HTTP\/1\.1 503 /)
        yield* Effect.zipRight(undecided.ended, undecided.end)
        yield* Effect.zipRight(polite.ended, polite.end)
        yield* Fiber.join(closing)
        for (const peer of mute) yield* Effect.zipRight(peer.ended, peer.end)
        yield* Deferred.succeed(gate, undefined)
      })
    )
  }
})
