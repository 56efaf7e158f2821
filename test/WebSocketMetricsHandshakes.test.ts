import { HttpServerResponse } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Effect, Fiber, type Layer, TestClock } from "effect"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "./fixtures/heard.js"
import { refusedBy } from "./fixtures/joined.js"
import { testsOn } from "./fixtures/leaks.js"
import { watchMetrics } from "./fixtures/metrics.js"
import { rawClient, rawServer, upgradeRequest } from "./fixtures/rawPeer.js"

const networks: ReadonlyArray<readonly [string, Layer.Layer<Network>]> = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
]

/** Looks until the changes are these; the test's own limit ends what never comes. */
const until = (look: Effect.Effect<Readonly<Record<string, number>>>, name: string, value: number | undefined) =>
  Effect.gen(function* () {
    while ((yield* look)[name] !== value) yield* settle
  })

for (const [name, network] of networks) {
  const test = testsOn(network)

  describe(`${name}: the metrics of handshakes`, () => {
    const refusals: ReadonlyArray<readonly [string, string, string | undefined]> = [
      ["a client that goes without a word", "aborted", undefined],
      ["a request that is none", "400", "GET\r\n\r\n"],
      ["a page of another origin", "403", upgradeRequest({ Origin: "http://evil.example" }, "GET /here HTTP/1.1")],
      ["a path that nobody serves", "404", upgradeRequest({}, "GET /nowhere HTTP/1.1")],
      ["what is no upgrade", "426", "GET /here HTTP/1.1\r\nHost: a\r\n\r\n"],
      ["a head that is too large", "431", upgradeRequest({ "X-Large": "x".repeat(20_000) })],
      ["what the application declines", "401", upgradeRequest({}, "GET /here?declined HTTP/1.1")],
      ["a decision that dies", "500", upgradeRequest({}, "GET /here?dies HTTP/1.1")],
      ["an address that has its share", "429", upgradeRequest({ "X-Forwarded-For": "192.0.2.1" }, "GET /here HTTP/1.1")]
    ]
    for (const [what, status, request] of refusals) {
      test(
        `count ${what} as refused with ${status}, and as nothing else`,
        Effect.gen(function* () {
          const server = yield* WebSocketServer.make({
            drainTimeout: 0,
            trustedProxies: 1,
            maxConnectionsPerAddress: 0
          })
          yield* server.serveWith(
            ({ target }) =>
              target.includes("declined")
                ? Effect.fail(HttpServerResponse.text("no", { status: 401 }))
                : target.includes("dies")
                  ? Effect.die("oh")
                  : Effect.succeed({ data: undefined }),
            () => Effect.never,
            { path: "/here" }
          )
          const changes = yield* watchMetrics("server")
          const peer = yield* rawClient(server.address)
          if (request !== undefined) {
            yield* peer.send(request)
            expect(yield* peer.head).toContain(` ${status} `)
          }
          yield* peer.end
          yield* until(changes, `handshakes_refused_total{status=${status}}`, 1)
          expect(yield* changes).toEqual({ [`handshakes_refused_total{status=${status}}`]: 1 })
        })
      )
    }

    test(
      "count a crowd as 503, a client that is too slow as 408, and open connections as before",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ drainTimeout: 0, maxConnections: 1 })
        yield* server.serve(() => Effect.never)
        const changes = yield* watchMetrics("server")
        const slow = yield* rawClient(server.address)
        yield* slow.send("GET / HTTP/1.1\r\n")
        while ((yield* server.connections) < 1) yield* settle
        const crowd = yield* rawClient(server.address)
        yield* crowd.ended
        yield* crowd.end
        while (!slow.heard.text().includes("408")) yield* Effect.zipRight(TestClock.adjust("1 second"), settle)
        yield* slow.ended
        yield* slow.end
        yield* until(changes, "handshakes_refused_total{status=408}", 1)
        expect(yield* changes).toEqual({
          "handshakes_refused_total{status=503}": 1,
          "handshakes_refused_total{status=408}": 1
        })
      })
    )

    test(
      "count what `accept` refuses",
      Effect.gen(function* () {
        const changes = yield* watchMetrics("server")
        const { client, server } = yield* TestNetwork.pair()
        const accepting = yield* Effect.fork(Effect.flip(Effect.scoped(Effect.asVoid(WebSocket.accept(server)))))
        client.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), false)
        client.end()
        yield* Fiber.join(accepting)
        expect(yield* changes).toEqual({ "handshakes_refused_total{status=426}": 1 })
      })
    )

    test(
      "count nothing of a client that is refused, or gives up",
      Effect.gen(function* () {
        const changes = yield* watchMetrics("client")
        const server = yield* WebSocketServer.make({ drainTimeout: 0 })
        yield* server.serve(() => Effect.never, { path: "/here" })
        expect(yield* refusedBy(server.url)).toMatchObject({ status: 404 })
        const silent = yield* rawServer()
        const connecting = yield* Effect.fork(Effect.scoped(WebSocket.connect(silent.url)))
        const peer = yield* silent.next
        yield* peer.head
        yield* Fiber.interrupt(connecting)
        expect(yield* changes).toEqual({})
      })
    )
  })
}
