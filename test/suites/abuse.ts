import { HttpServerResponse } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Deferred, Effect, type Layer, LogLevel, Metric, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import type * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { echo, echoing, empty, knock, status } from "../fixtures/knocking.js"
import { testsOn } from "../fixtures/leaks.js"
import { recording } from "../fixtures/logs.js"
import { type RawPeer, rawClient, upgradedClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { always, listeningToStrangers } from "../fixtures/strangers.js"

/** What clients do to a server that mean no good, and what it costs them. */
export const abuseSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  describe(`${name}: a request`, () => {
    test(
      "of a byte now and then ends with 408 after handshakeTimeout, and its sender is let go, whatever it goes on to send",
      Effect.gen(function* () {
        const server = yield* echoing({ handshakeTimeout: "10 seconds", closeTimeout: "3 seconds" })
        const peer = yield* rawClient(server.address)
        const request = upgradeRequest({ "X-Long": "x".repeat(1000) })
        let at = 0
        const drip = Effect.suspend(() => peer.send(request.slice(at, ++at)))
        for (let second = 0; second < 10; second++) {
          expect(peer.heard.size()).toBe(0)
          yield* drip
          yield* settle
          yield* TestClock.adjust("1 second")
        }
        expect(yield* status(peer)).toBe(408)
        expect(yield* server.connections).toBe(1)
        for (let second = 0; second < 3; second++) {
          yield* drip
          yield* TestClock.adjust("1 second")
        }
        yield* empty(server)
        // Whoever sends to a connection that is gone hears of it, sooner or later.
        yield* Effect.race(peer.closed, Effect.forever(Effect.zipRight(drip, settle)))
      })
    )

    test(
      "has a head of maxHeadSize at the most, else it is answered with 431",
      Effect.gen(function* () {
        const least = upgradeRequest({ "X-Pad": "" }).length
        const server = yield* echoing({ maxHeadSize: least + 100 })
        const padded = (size: number) => upgradeRequest({ "X-Pad": "x".repeat(size) })
        expect((yield* knock(server, padded(100))).status).toBe(101)
        const refused = yield* knock(server, padded(101))
        expect(refused.status).toBe(431)
        yield* refused.peer.ended
        expect(String(refused.peer.body())).toContain(`${least + 100} bytes`)
        // It isn't waited for the end of a head that is too large already.
        const endless = yield* rawClient(server.address)
        yield* endless.send(`GET /${"x".repeat(least + 100)}`)
        expect(yield* status(endless)).toBe(431)
        for (const peer of [refused.peer, endless]) yield* peer.end
      })
    )

    test(
      "has a hundred header fields at the most, else it is answered with 431",
      Effect.gen(function* () {
        const server = yield* echoing()
        const fields = (count: number) => upgradeRequest({ "X-Many": Array.from({ length: count - 5 }, () => "x") })
        expect((yield* knock(server, fields(100))).status).toBe(101)
        expect((yield* knock(server, fields(101))).status).toBe(431)
      })
    )

    test(
      "that nobody decides on in time is answered with 503, and one whose decision dies with 500; others are served on",
      Effect.gen(function* () {
        const { from, record } = recording()
        const server = yield* record(WebSocketServer.make({ drainTimeout: 0, handshakeTimeout: "2 seconds" }))
        const release = yield* Deferred.make<void>()
        const deciding = (path: string, decision: Effect.Effect<unknown, HttpServerResponse.HttpServerResponse>) =>
          server.serveWith(
            () => Effect.map(decision, (data) => ({ data })),
            () => Effect.void,
            { path }
          )
        yield* deciding("/hangs", Effect.never)
        yield* deciding("/deaf", Effect.uninterruptible(Deferred.await(release)))
        yield* deciding("/dies", Effect.dieMessage("a bug"))
        yield* deciding("/declines", Effect.fail(HttpServerResponse.text("log in first", { status: 401 })))
        yield* server.serve(echo)
        for (const path of ["/hangs", "/deaf"]) {
          const peer = yield* rawClient(server.address)
          yield* peer.send(upgradeRequest({}, `GET ${path} HTTP/1.1`))
          yield* settle
          expect(peer.heard.size()).toBe(0)
          yield* TestClock.adjust("2 seconds")
          expect(yield* status(peer)).toBe(503)
          yield* peer.ended
          yield* peer.end
        }
        const at = (path: string) => knock(server, upgradeRequest({}, `GET ${path} HTTP/1.1`))
        expect((yield* at("/dies")).status).toBe(500)
        const declined = yield* at("/declines")
        expect(declined.status).toBe(401)
        yield* declined.peer.ended
        expect(String(declined.peer.body())).toBe("log in first")
        expect((yield* at("/")).status).toBe(101)
        expect(from(LogLevel.Error)).toEqual([expect.stringContaining("decision failed")])
        yield* Deferred.succeed(release, undefined)
      })
    )
  })

  describe(`${name}: a refused request`, () => {
    const refusals = (status: number | "aborted") =>
      Effect.map(
        Metric.value(Metric.tagged(WebSocketMetrics.server.handshakesRefused, "status", String(status))),
        ({ count }) => count
      )

    const cases: ReadonlyArray<{
      readonly status: number | "aborted"
      readonly rule: RegExp
      readonly options?: WebSocketServer.ServerOptions
      readonly request: string
      readonly later?: (peer: RawPeer) => Effect.Effect<void>
    }> = [
      { status: 400, rule: /method/, request: "nonsense\r\n\r\n" },
      { status: 403, rule: /origin/i, request: upgradeRequest({ Origin: "http://evil.example" }) },
      { status: 404, rule: /nothing is served/, request: upgradeRequest({}, "GET /nowhere HTTP/1.1") },
      { status: 405, rule: /is a GET/, request: upgradeRequest({}, "POST /here HTTP/1.1") },
      {
        status: 408,
        rule: /in time/,
        request: upgradeRequest().slice(0, 20),
        later: () => Effect.zipRight(settle, TestClock.adjust("10 seconds"))
      },
      { status: 426, rule: /Upgrade/, request: upgradeRequest({ Upgrade: undefined }) },
      { status: 429, rule: /as many connections/, options: { maxConnectionsPerAddress: 0 }, request: "" },
      { status: 431, rule: /bytes/, options: { maxHeadSize: 50 }, request: upgradeRequest() },
      { status: 500, rule: /given/, options: { headers: { connection: "close" } }, request: upgradeRequest() },
      { status: 503, rule: /no room/, options: { maxConnections: 0 }, request: "" },
      {
        status: "aborted",
        rule: /without a whole request/,
        request: upgradeRequest().slice(0, 20),
        later: (peer) => peer.end
      }
    ]
    for (const { status: expected, rule, options, request, later } of cases) {
      test(
        `is logged, and counted as ${expected}`,
        Effect.gen(function* () {
          const before = yield* refusals(expected)
          const { entries, record } = recording()
          const server = yield* listeningToStrangers(
            always("192.0.2.7"),
            record(WebSocketServer.make({ drainTimeout: 0, ...options }))
          )
          yield* server.serve(echo, { path: expected === 404 ? "/here" : undefined })
          const peer = yield* rawClient(server.address)
          yield* peer.send(request)
          yield* later?.(peer) ?? Effect.void
          if (expected !== "aborted") expect(yield* status(peer)).toBe(expected)
          yield* peer.ended
          yield* peer.end
          const refused = () => entries.filter(({ message }) => message === "WebSocket handshake refused")
          while (refused().length === 0) yield* settle
          expect(refused()).toEqual([
            {
              level: "DEBUG",
              message: "WebSocket handshake refused",
              annotations: expect.objectContaining({
                rule: expect.stringMatching(rule),
                address: "192.0.2.7:4711",
                ...(expected === "aborted" ? undefined : { status: expected })
              })
            }
          ])
          expect(yield* refusals(expected)).toBe(before + 1)
        })
      )
    }
  })

  describe(`${name}: an idle connection`, () => {
    const served = (options: WebSocketServer.ServerOptions) =>
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ drainTimeout: 0, pingInterval: "1 hour", ...options })
        const accepted = yield* Deferred.make<WebSocket.WebSocket>()
        yield* server.serve((socket) => Effect.zipRight(Deferred.succeed(accepted, socket), echo(socket)))
        const peer = yield* upgradedClient(server.address)
        return { peer, socket: yield* Deferred.await(accepted) }
      })
    const closesWith = (peer: RawPeer, code: number) =>
      Effect.gen(function* () {
        expect(yield* peer.closeCode).toBe(code)
        yield* peer.sendFrames(Frame.close(code))
        yield* peer.ended
        yield* peer.end
      })

    test(
      "is closed with 1001 after idleTimeout, whatever pings come and go",
      Effect.gen(function* () {
        const { peer, socket } = yield* served({ idleTimeout: "1 minute", pingInterval: "10 seconds" })
        for (let at = 0; at < 6; at++) {
          expect(yield* socket.isOpen).toBe(true)
          yield* peer.sendFrames(Frame.ping(), Frame.pong())
          yield* settle
          yield* TestClock.adjust("9 seconds")
        }
        yield* TestClock.adjust("21 seconds")
        yield* closesWith(peer, 1001)
      })
    )

    for (const [who, send] of [
      ["the client", (peer: RawPeer) => peer.sendFrames(Frame.text("x"))],
      ["the server", (_: RawPeer, socket: WebSocket.WebSocket) => socket.send("x")]
    ] as const) {
      test(
        `isn't one to which ${who} sends a message now and then`,
        Effect.gen(function* () {
          const { peer, socket } = yield* served({ idleTimeout: "1 minute" })
          for (let round = 0; round < 5; round++) {
            yield* settle
            yield* TestClock.adjust("45 seconds")
            expect(yield* socket.isOpen).toBe(true)
            yield* send(peer, socket)
          }
          yield* settle
          yield* TestClock.adjust("75 seconds")
          yield* closesWith(peer, 1001)
        })
      )
    }
  })

  describe(`${name}: a flood`, () => {
    test(
      "of pings is answered, and keeps nobody else waiting",
      Effect.gen(function* () {
        const server = yield* echoing()
        const flooding = yield* upgradedClient(server.address)
        const other = yield* upgradedClient(server.address)
        const count = 2000
        for (let index = 0; index < count; index++) yield* flooding.sendFrames(Frame.ping(`${index}`))
        yield* other.sendFrames(Frame.text("still there?"))
        yield* other.frame(({ opcode }) => opcode === Frame.Opcode.text)
        yield* flooding.frame(({ payload }) => String(Buffer.from(payload)) === `${count - 1}`)
        const pongs = flooding.frames()
        expect(pongs.every(({ opcode }) => opcode === Frame.Opcode.pong)).toBe(true)
        // While they all had room: each its pong, in order.
        const numbers = pongs.map(({ payload }) => Number(Buffer.from(payload)))
        expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
        for (const peer of [flooding, other]) yield* peer.destroy
      })
    )

    for (const [what, options, frames] of [
      ["large frames", { maxFrameSize: 1000 }, [Frame.text("x".repeat(1001))]],
      [
        "large messages",
        { maxPayloadSize: 1000 },
        [
          Frame.make({ opcode: 1, fin: false, payload: "x".repeat(900) }),
          Frame.make({ opcode: 0, payload: "xx".repeat(51) })
        ]
      ],
      [
        "fragments",
        { maxFragments: 3 },
        [
          Frame.make({ opcode: 1, fin: false }),
          ...Array.from({ length: 3 }, () => Frame.make({ opcode: 0, fin: false }))
        ]
      ]
    ] as const) {
      test(
        `of ${what} ends with 1009, as the server's options say`,
        Effect.gen(function* () {
          const server = yield* echoing(options)
          const peer = yield* upgradedClient(server.address)
          yield* peer.sendFrames(...frames)
          expect(yield* peer.closeCode).toBe(1009)
          yield* peer.ended
          yield* peer.end
          yield* empty(server)
        })
      )
    }
  })

  describe(`${name}: a peer that reads nothing`, () => {
    test(
      "costs no more memory than sendBufferSize and a message, and is gone once it has missed its pings",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({
          drainTimeout: 0,
          sendBufferSize: 100_000,
          pingInterval: "10 seconds",
          pingTimeout: "10 seconds"
        })
        const ended = yield* Deferred.make<unknown>()
        const accepted = yield* Deferred.make<WebSocket.WebSocket>()
        let sent = 0
        yield* server.serve((socket) =>
          Deferred.succeed(accepted, socket).pipe(
            Effect.zipRight(Effect.forever(Effect.tap(socket.send(new Uint8Array(50_000)), () => sent++))),
            Effect.tapError((error) => Deferred.succeed(ended, error))
          )
        )
        const peer = yield* upgradedClient(server.address)
        peer.flow.pause()
        const socket = yield* Deferred.await(accepted)
        for (let before = -1; before !== sent; ) {
          before = sent
          for (let rounds = 0; rounds < 20; rounds++) yield* settle
        }
        const waiting = yield* socket.bufferedBytes
        expect(waiting).toBeGreaterThan(0)
        expect(waiting).toBeLessThan(100_000 + 2 * 65_536)
        for (let beat = 0; beat < 4; beat++) {
          expect(yield* socket.isOpen).toBe(true)
          yield* TestClock.adjust("10 seconds")
          yield* settle
        }
        expect(yield* Deferred.await(ended)).toMatchObject({ _tag: "IoError", code: "ETIMEDOUT" })
        yield* empty(server)
        yield* peer.destroy
      })
    )
  })
}
