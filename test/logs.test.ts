import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Duration, Effect, type Layer, LogLevel, TestClock } from "effect"
import * as Flow from "effect-websocket/Flow"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { ConnectionClosed } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "./fixtures/heard.js"
import { httpServer } from "./fixtures/httpServer.js"
import { refusedBy } from "./fixtures/joined.js"
import { testsOn } from "./fixtures/leaks.js"
import { type RawPeer, rawClient, upgradedClient, upgradeRequest } from "./fixtures/rawPeer.js"
import { type Line, recordingLogger } from "./fixtures/recordingLogger.js"

const networks: ReadonlyArray<readonly [string, Layer.Layer<Network>]> = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
]

type Handler = (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>

const serve = (handler: Handler, options?: WebSocketServer.ServerOptions) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make({ drainTimeout: 0, ...options })
    yield* server.serve(handler)
    return server
  })

/** Waits for a line of a server; the test's own limit ends what never comes. */
const line = (lines: () => ReadonlyArray<Line>, message: string) =>
  Effect.gen(function* () {
    for (;;) {
      const found = lines().find((each) => each.message === message && each.annotations["role"] !== "client")
      if (found !== undefined) return found
      yield* settle
    }
  })

const opened = "WebSocket connection opened"
const closed = "WebSocket connection closed"
const refused = "WebSocket handshake refused"
const failed = "WebSocket handler failed"

for (const [name, network] of networks) {
  const test = testsOn(network)

  /** A connection of a server that logs, in the hands of the test. */
  const visited = (handler: Handler = () => Effect.never, options?: WebSocketServer.ServerOptions) =>
    Effect.gen(function* () {
      const { lines, listening } = recordingLogger(LogLevel.Debug)
      const server = yield* listening(serve(handler, options))
      const peer = yield* upgradedClient(server.address, upgradeRequest({}, "GET /room?token=secret HTTP/1.1"))
      yield* line(lines, opened)
      return { lines, peer, address: Flow.formatAddress(server.address) }
    })

  describe(`${name}: the log`, () => {
    test(
      "tells at Debug where a server listens, and of both ends of each connection",
      Effect.gen(function* () {
        const { lines, listening } = recordingLogger(LogLevel.Debug)
        const server = yield* listening(serve(() => Effect.never))
        expect(lines()).toEqual([
          {
            level: "Debug",
            message: "WebSocket server listens",
            annotations: { address: Flow.formatAddress(server.address) },
            cause: ""
          }
        ])
        yield* Effect.gen(function* () {
          const socket = yield* WebSocket.connect(`${server.url.replace("//", "//user:secret@")}room?token=secret`)
          yield* TestClock.adjust("90 seconds")
          yield* socket.close(4000, "so long")
        }).pipe(Effect.scoped, listening)
        while (lines().length < 5) yield* settle
        const [, ...told] = lines()
        const address = Flow.formatAddress(server.address)
        const url = `ws://${address}/room`
        for (const role of ["client", "server"]) {
          const own = told.filter(({ annotations }) => annotations["role"] === role)
          expect(own).toMatchObject([
            { level: "Debug", message: opened, annotations: { url }, cause: "" },
            {
              level: "Debug",
              message: closed,
              annotations: {
                url,
                code: 4000,
                sentCode: 4000,
                initiator: role === "client" ? "local" : "remote",
                durationMs: 90_000
              },
              cause: ""
            }
          ])
          expect(own[1]?.annotations["reason"]).toBe(role === "server" ? "so long" : undefined)
          expect(own[0]?.annotations["address"]).toEqual(
            role === "client" ? address : expect.stringMatching(/^127\.0\.0\.1:\d+$/)
          )
        }
        expect(JSON.stringify(lines())).not.toContain("secret")
      })
    )

    const failures: ReadonlyArray<readonly [string, (peer: RawPeer) => Effect.Effect<unknown>, object]> = [
      ["broke", (peer) => peer.end, { code: 1006, failure: "1006 (abnormal closure)" }],
      [
        "broke a rule",
        (peer) => peer.send(Uint8Array.of(0x83, 0x80, 0, 0, 0, 0)),
        { code: 1002, sentCode: 1002, initiator: "local", failure: expect.stringContaining("opcode") }
      ],
      [
        "sent too much",
        (peer) => peer.sendFrames(Frame.text("x".repeat(101))),
        { code: 1009, sentCode: 1009, initiator: "local", failure: "frame size over 100" }
      ]
    ]
    for (const [what, act, annotations] of failures) {
      test(
        `tells at Debug why a connection is over that ${what}`,
        Effect.gen(function* () {
          const { lines, peer } = yield* visited(() => Effect.never, { maxPayloadSize: 100 })
          yield* act(peer)
          yield* peer.end
          expect(yield* line(lines, closed)).toMatchObject({ level: "Debug", annotations })
        })
      )
    }

    test(
      "tells at Debug of each request that was refused: which rule, which status, whose",
      Effect.gen(function* () {
        const { lines, listening } = recordingLogger(LogLevel.Debug)
        const server = yield* listening(serve(() => Effect.never))
        const peer = yield* rawClient(server.address)
        yield* peer.send(upgradeRequest({ Origin: "http://evil.example" }, "GET /?token=secret HTTP/1.1"))
        yield* peer.ended
        yield* peer.end
        expect(yield* line(lines, refused)).toEqual({
          level: "Debug",
          message: refused,
          annotations: {
            address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
            rule: "this origin is not the origin of this server",
            status: 403,
            path: "/",
            origin: "http://evil.example"
          },
          cause: ""
        })
        const gone = yield* rawClient(server.address)
        yield* gone.end
        while (lines().filter(({ message }) => message === refused).length < 2) yield* settle
        expect(lines().at(-1)?.annotations).toEqual({
          address: expect.any(String),
          rule: "the client ended the connection without a whole request"
        })
        expect(JSON.stringify(lines())).not.toContain("secret")
      })
    )

    const handlers: ReadonlyArray<readonly [string, Handler, string]> = [
      ["fails", () => Effect.fail(new Error("no such room")), "no such room"],
      ["dies", () => Effect.die(new Error("a bug")), "a bug"],
      [
        "fails because another connection ended",
        () => new ConnectionClosed({ code: 1006, reason: "", initiator: "remote", clean: false, address: "backend" }),
        "backend"
      ]
    ]
    for (const [what, handler, cause] of handlers) {
      test(
        `tells at Error of a handler that ${what}, with the cause`,
        Effect.gen(function* () {
          const { lines, peer } = yield* visited(handler)
          const { cause: told, ...rest } = yield* line(lines, failed)
          expect(told).toContain(cause)
          expect(rest).toMatchObject({
            level: "Error",
            annotations: { role: "server", url: "ws://server.example/room", address: expect.any(String) }
          })
          yield* peer.sendFrames(Frame.close(1011))
          yield* peer.end
          expect((yield* line(lines, closed)).annotations).toMatchObject({ code: 1011, initiator: "local" })
        })
      )
    }

    test(
      "tells at Debug only of a handler that failed because its connection ended",
      Effect.gen(function* () {
        const { lines, peer } = yield* visited((socket) => Effect.forever(socket.receive))
        yield* peer.sendFrames(Frame.close(1000))
        yield* peer.end
        const { level, cause } = yield* line(lines, failed)
        expect([level, cause]).toEqual(["Debug", expect.stringContaining("ConnectionClosed")])
      })
    )

    test(
      "is silent from Info on, unless something needs a hand",
      Effect.gen(function* () {
        const { lines, listening } = recordingLogger(LogLevel.Info)
        const server = yield* listening(serve((socket) => Effect.forever(socket.receive)))
        yield* listening(Effect.scoped(Effect.asVoid(WebSocket.connect(server.url))))
        const peer = yield* rawClient(server.address)
        yield* peer.send("GET\r\n\r\n")
        yield* peer.ended
        yield* peer.end
        while ((yield* server.connections) > 0) yield* settle
        expect(lines()).toEqual([])
      })
    )

    test(
      "warns once when a server is full, and again after a quiet minute; clients hear nothing of the option",
      Effect.gen(function* () {
        const { lines, listening } = recordingLogger(LogLevel.Info)
        const server = yield* listening(
          serve(() => Effect.never, { maxConnections: 1, pingInterval: Duration.infinity })
        )
        yield* upgradedClient(server.address)
        const turnedAway = Effect.gen(function* () {
          const peer = yield* rawClient(server.address)
          yield* peer.ended
          expect(peer.heard.text()).toContain(" 503 ")
          expect(peer.heard.text()).not.toContain("maxConnections")
          yield* peer.end
          yield* peer.closed
        })
        yield* Effect.repeatN(turnedAway, 4)
        expect(lines()).toEqual([
          {
            level: "Warning",
            message: "the server is full: WebSocket connections are turned away",
            annotations: { address: expect.any(String), maxConnections: 1 },
            cause: ""
          }
        ])
        for (let second = 0; second < 3; second++) {
          yield* Effect.zipRight(TestClock.adjust("59 seconds"), turnedAway)
        }
        expect(lines()).toHaveLength(1)
        yield* TestClock.adjust("61 seconds")
        yield* turnedAway
        expect(lines()).toHaveLength(2)
      })
    )

    test(
      "warns once when addresses have their share",
      Effect.gen(function* () {
        const { lines, listening } = recordingLogger(LogLevel.Info)
        const server = yield* listening(serve(() => Effect.never, { maxConnectionsPerAddress: 1, trustedProxies: 1 }))
        const from = (address: string) => upgradeRequest({ "X-Forwarded-For": address })
        for (const address of ["192.0.2.1", "192.0.2.2"]) {
          yield* upgradedClient(server.address, from(address))
          for (let times = 0; times < 2; times++) {
            const peer = yield* rawClient(server.address)
            yield* peer.send(from(address))
            expect(yield* peer.head).toContain(" 429 ")
            expect(peer.heard.text()).not.toContain("maxConnections")
            yield* peer.end
          }
        }
        expect(lines()).toMatchObject([
          { level: "Warning", annotations: { address: "192.0.2.1:0", maxConnectionsPerAddress: 1 } }
        ])
      })
    )
  })
}

describe("the log of routes of an HTTP server", () => {
  const test = testsOn(NodeNetwork.layer)

  test(
    "tells of connections, and of what was refused or declined",
    Effect.gen(function* () {
      const { lines, listening } = recordingLogger(LogLevel.Debug)
      const router = HttpRouter.empty.pipe(
        HttpRouter.get(
          "/echo",
          WebSocketServer.upgrade(() => Effect.void)
        ),
        HttpRouter.get(
          "/members",
          WebSocketServer.upgradeWith(
            () => Effect.fail(HttpServerResponse.text("no", { status: 401 })),
            () => Effect.void
          )
        )
      )
      const url = yield* listening(httpServer(router))
      const socket = yield* WebSocket.connect(`${url}echo?token=secret`)
      yield* socket.closed
      expect((yield* line(lines, opened)).annotations).toEqual({
        role: "server",
        address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        url: `${url}echo`
      })
      expect((yield* line(lines, closed)).annotations).toMatchObject({ code: 1000, initiator: "local" })
      expect(yield* refusedBy(`${url}members`)).toMatchObject({ status: 401 })
      expect(yield* line(lines, refused)).toMatchObject({
        level: "Debug",
        annotations: { address: expect.stringMatching(/^127\.0\.0\.1:\d+$/), status: 401, path: "/members" }
      })
      expect(JSON.stringify(lines())).not.toContain("secret")
    })
  )
})
