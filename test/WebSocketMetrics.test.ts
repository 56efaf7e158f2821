import { readFileSync } from "node:fs"
import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Chunk, Duration, Effect, Either, Fiber, type Layer, Metric, type Scope, Stream, TestClock } from "effect"
import type { Address } from "effect-websocket/Flow"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketMetrics from "effect-websocket/WebSocketMetrics"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "./fixtures/heard.js"
import { httpServer } from "./fixtures/httpServer.js"
import { joined, refusedBy, serverWith } from "./fixtures/joined.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"
import { only, watchMetrics } from "./fixtures/metrics.js"
import {
  type RawPeer,
  rawClient,
  rawServer,
  resettableClient,
  upgradedClient,
  upgradedServer,
  upgradeRequest
} from "./fixtures/rawPeer.js"

type Role = "client" | "server"

const networks: ReadonlyArray<readonly [string, Layer.Layer<Network>]> = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
]

interface Party {
  readonly socket: WebSocket.WebSocket
  readonly peer: RawPeer
}

/** A connection in one role, whose other end is the test. */
const party = (
  role: Role,
  options: WebSocket.ConnectionOptions = {}
): Effect.Effect<Party, unknown, Network | Scope.Scope> =>
  Effect.gen(function* () {
    if (role === "server") {
      const { server, socket } = yield* serverWith(options)
      const peer = yield* upgradedClient(server.address)
      return { socket: yield* socket, peer }
    }
    const server = yield* rawServer()
    const connecting = yield* Effect.fork(WebSocket.connect(server.url, options))
    const peer = yield* upgradedServer(server)
    return { socket: yield* Fiber.join(connecting), peer }
  })

/** Looks until the changes are these; the test's own limit ends what never comes. */
const until = (look: Effect.Effect<Readonly<Record<string, number>>>, name: string, value: number | undefined) =>
  Effect.gen(function* () {
    while ((yield* look)[name] !== value) yield* settle
  })

const addressOf = (url: string): Address => ({
  _tag: "TcpAddress",
  hostname: "127.0.0.1",
  port: Number(new URL(url).port)
})

const sizeOf = (role: Role, ...frames: ReadonlyArray<Frame.Frame>): number =>
  frames.reduce((sum, frame) => sum + Either.getOrThrow(Frame.encode(frame, role)).length, 0)

for (const [name, network] of networks) {
  const test = testsOn(network)

  describe(`${name}: the metrics of connections`, () => {
    test(
      "count in both roles who is there, who came and who went",
      Effect.gen(function* () {
        const [atClient, atServer] = [yield* watchMetrics("client"), yield* watchMetrics("server")]
        const { client, server } = yield* joined()
        for (const changes of [yield* atClient, yield* atServer]) {
          expect(changes).toEqual({ connections_open: 1, connections_opened_total: 1 })
        }
        yield* client.close(1000)
        yield* server.closed
        for (const changes of [yield* atClient, yield* atServer]) {
          expect(only(changes, "connections")).toEqual({
            connections_opened_total: 1,
            "connections_closed_total{code=1000}": 1
          })
        }
      })
    )

    for (const role of ["client", "server"] as const) {
      const endings: ReadonlyArray<readonly [string, string, (party: Party) => Effect.Effect<unknown, unknown>]> = [
        ["a Close with 1000", "1000", ({ peer }) => peer.sendFrames(Frame.close(1000))],
        ["a Close without a code", "1005", ({ peer }) => peer.sendFrames(Frame.close())],
        ["a Close with 1011", "1011", ({ peer }) => peer.sendFrames(Frame.close(1011))],
        ["a code of a library", "3xxx", ({ peer }) => peer.sendFrames(Frame.close(3999))],
        ["a code of an application", "4xxx", ({ peer }) => peer.sendFrames(Frame.close(4000))],
        ["another of them", "4xxx", ({ peer }) => peer.sendFrames(Frame.close(4999))],
        ["our Close, answered", "1001", ({ peer, socket }) => answered(socket.close(1001), peer)],
        ["an end without a Close", "1006", ({ peer }) => peer.end],
        ["a peer that is gone", "1006", ({ peer }) => peer.destroy],
        ["an opcode that isn't one", "1002", ({ peer }) => peer.send(Uint8Array.of(0x83, 0x80, 0, 0, 0, 0))],
        [
          "text that isn't UTF-8",
          "1007",
          ({ peer }) => peer.sendFrames(Frame.make({ opcode: 1, payload: Uint8Array.of(0xff) }))
        ],
        ["a message beyond the limit", "1009", ({ peer }) => peer.sendFrames(Frame.text("x".repeat(101)))]
      ]
      const answered = (closing: Effect.Effect<unknown, unknown>, peer: RawPeer) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(closing)
          yield* peer.sendFrames(Frame.close(yield* peer.closeCode))
          yield* peer.end
          yield* Fiber.join(fiber)
        })
      for (const [what, code, end] of endings) {
        test(
          `count ${what} as ${code} (${role})`,
          Effect.gen(function* () {
            const changes = yield* watchMetrics(role)
            const both = yield* party(role, { maxPayloadSize: 100 })
            yield* end(both)
            yield* both.peer.end
            yield* Effect.exit(both.socket.closed)
            expect(only(yield* changes, "connections")).toEqual({
              connections_opened_total: 1,
              [`connections_closed_total{code=${code}}`]: 1
            })
          })
        )
      }

      test(
        `count a Close that nobody answers as 1006, when its time is over (${role})`,
        Effect.gen(function* () {
          const changes = yield* watchMetrics(role)
          const { socket } = yield* party(role, { closeTimeout: "5 seconds" })
          const closing = yield* Effect.fork(socket.close(1000))
          expect((yield* changes)["connections_open"]).toBe(1)
          while ((yield* Fiber.poll(closing))._tag === "None")
            yield* Effect.zipRight(TestClock.adjust("1 second"), settle)
          expect(only(yield* changes, "connections")).toEqual({
            connections_opened_total: 1,
            "connections_closed_total{code=1006}": 1
          })
        })
      )

      test(
        `count every byte and every whole message of the wire (${role})`,
        Effect.gen(function* () {
          const changes = yield* watchMetrics(role)
          const { socket, peer } = yield* party(role)
          const theirs = [
            Frame.text("hello"),
            Frame.make({ opcode: 2, fin: false, payload: new Uint8Array(300) }),
            Frame.ping("in between"),
            Frame.make({ opcode: 0, fin: false, payload: new Uint8Array(70_000) }),
            Frame.make({ opcode: 0, payload: new Uint8Array(1) }),
            Frame.pong("unasked")
          ]
          // Byte by byte at first: what was read counts, not what was whole.
          const [first, ...others] = theirs
          for (const byte of Either.getOrThrow(Frame.encode(first ?? Frame.ping(), peer.role))) {
            yield* peer.send(Uint8Array.of(byte))
          }
          yield* peer.sendFrames(...others)
          expect([yield* socket.receive, (yield* socket.receive).length]).toEqual(["hello", 70_301])
          yield* socket.sendAll(["a", new Uint8Array(70_000)])
          yield* socket.sendFrame(Frame.make({ opcode: 1, fin: false, payload: new TextEncoder().encode("in ") }))
          yield* socket.sendPing("x")
          yield* socket.sendFrame(Frame.make({ opcode: 0, payload: new TextEncoder().encode("parts") }))
          const closing = yield* Effect.fork(socket.close(1000))
          yield* peer.closeCode
          yield* peer.sendFrames(Frame.close(1000))
          yield* peer.end
          yield* Fiber.join(closing)
          yield* until(
            Effect.sync(() => ({ size: peer.body().length })),
            "size",
            (yield* changes)["sent_bytes_total"]
          )
          expect(only(yield* changes, "messages", "received", "sent")).toEqual({
            messages_received_total: 2,
            messages_sent_total: 3,
            received_bytes_total: sizeOf(peer.role, ...theirs, Frame.close(1000)),
            sent_bytes_total: peer.body().length
          })
        })
      )

      test(
        `count frames that are taken as frames, and what comes behind the handshake in one read (${role})`,
        Effect.gen(function* () {
          const changes = yield* watchMetrics(role)
          const { socket, peer } = yield* party(role)
          yield* peer.sendFrames(Frame.text("one"))
          yield* socket.receiveFrame
          const theirs = [
            Frame.make({ opcode: 1, fin: false, payload: new TextEncoder().encode("t") }),
            Frame.ping(),
            Frame.make({ opcode: 0, payload: new TextEncoder().encode("wo") })
          ]
          yield* peer.sendFrames(...theirs)
          for (const _ of theirs) yield* socket.receiveFrame
          expect(only(yield* changes, "messages_received", "received")).toEqual({
            messages_received_total: 2,
            received_bytes_total: sizeOf(peer.role, Frame.text("one"), ...theirs)
          })
          yield* peer.destroy
        })
      )

      test(
        `measure the send queue while a peer doesn't read, and how deep it was (${role})`,
        Effect.gen(function* () {
          const changes = yield* watchMetrics(role)
          const { socket, peer } = yield* party(role)
          const queue = Effect.map(changes, (all) => only(all, "send_queue"))
          expect(yield* queue).toEqual({})
          peer.flow.pause()
          let sent = 0
          while ((yield* socket.bufferedBytes) < 65_536 || (yield* queue)["send_queue_bytes"] === undefined) {
            // What the system has room for is its own; the queue is what it has none for.
            yield* Effect.raceFirst(
              Effect.zipRight(
                socket.send(new Uint8Array(50_000)),
                Effect.sync(() => sent++)
              ),
              Effect.repeatN(settle, 20)
            )
          }
          const waiting = yield* socket.bufferedBytes
          expect(yield* queue).toEqual({ send_queue_bytes: waiting })
          peer.flow.resume()
          yield* until(queue, "send_queue_bytes", undefined)
          expect(yield* queue).toEqual({ send_queue_peak_bytes_count: 1, send_queue_peak_bytes_sum: waiting })
          expect((yield* changes)["messages_sent_total"]).toBe(sent)
          yield* peer.destroy
        })
      )

      test(
        `forget the send queue of a peer that is gone (${role})`,
        Effect.gen(function* () {
          const changes = yield* watchMetrics(role)
          const { socket, peer } = yield* party(role)
          peer.flow.pause()
          const sending = yield* Effect.fork(Effect.forever(socket.send(new Uint8Array(50_000))))
          while ((yield* changes)["send_queue_bytes"] === undefined) yield* settle
          yield* peer.destroy
          yield* Fiber.await(sending)
          yield* Effect.exit(socket.closed)
          const left = only(yield* changes, "send_queue")
          expect(Object.keys(left)).toEqual(["send_queue_peak_bytes_count", "send_queue_peak_bytes_sum"])
          expect(left["send_queue_peak_bytes_count"]).toBe(1)
        })
      )

      test(
        `measure the pings that are asked for, and none that is never answered (${role})`,
        Effect.gen(function* () {
          const changes = yield* watchMetrics(role)
          const { socket, peer } = yield* party(role)
          const ping = yield* Effect.fork(socket.ping)
          const { payload } = yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.ping)
          expect((yield* changes)["ping_duration_seconds_count"]).toBeUndefined()
          yield* TestClock.adjust("250 millis")
          yield* peer.sendFrames(Frame.pong(payload))
          yield* Fiber.join(ping)
          const never = yield* Effect.fork(socket.ping)
          yield* Effect.yieldNow()
          yield* peer.destroy
          yield* Fiber.await(never)
          expect(only(yield* changes, "ping")).toEqual({
            ping_duration_seconds_count: 1,
            ping_duration_seconds_sum: 0.25
          })
        })
      )
    }

    test(
      "count a reset as 1006",
      Effect.gen(function* () {
        const changes = yield* watchMetrics("server")
        const { server, socket } = yield* serverWith()
        const { peer, reset } = yield* resettableClient(server.address)
        yield* peer.send(upgradeRequest())
        const accepted = yield* socket
        yield* reset
        yield* Effect.exit(accepted.closed)
        expect(only(yield* changes, "connections")).toEqual({
          connections_opened_total: 1,
          "connections_closed_total{code=1006}": 1
        })
      })
    )

    test(
      "count compressed messages by the bytes that travel, also where reading pauses within a read",
      Effect.gen(function* () {
        const [atClient, atServer] = [yield* watchMetrics("client"), yield* watchMetrics("server")]
        const options = { deflate: true, receiveBufferSize: 10_000 }
        const { client, server } = yield* joined({ client: options, server: options })
        const messages = Array.from({ length: 30 }, (_, index) => `${index}`.padStart(20_000, "abc"))
        yield* Effect.fork(client.sendAll(messages))
        const received = yield* Stream.runCollect(Stream.take(server.messages, 30))
        expect(Chunk.toReadonlyArray(received)).toEqual(messages)
        const [sent, got] = [yield* atClient, yield* atServer]
        expect(sent["messages_sent_total"]).toBe(30)
        expect(got["messages_received_total"]).toBe(30)
        expect(got["received_bytes_total"]).toBe(sent["sent_bytes_total"])
        expect(sent["sent_bytes_total"]).toBeLessThan(60_000)
      })
    )
  })
}

describe("the metrics of the heartbeat", () => {
  for (const role of ["client", "server"] as const) {
    testInMemory(
      `are the round trips of its pings (${role})`,
      Effect.gen(function* () {
        const changes = yield* watchMetrics(role)
        const beating = { pingInterval: "1 second", pingTimeout: "1 second" } as const
        const quiet = { pingInterval: Duration.infinity }
        const both = yield* joined({
          client: role === "client" ? beating : quiet,
          server: role === "server" ? beating : quiet
        })
        const network = yield* TestNetwork.TestNetwork
        yield* network.set({ latency: "25 millis" })
        while ((yield* changes)["ping_duration_seconds_count"] !== 3) {
          yield* Effect.zipRight(TestClock.adjust("25 millis"), Effect.yieldNow())
        }
        expect((yield* changes)["ping_duration_seconds_sum"]).toBeCloseTo(0.15, 6)
        expect(both[role].role).toBe(role)
        yield* network.set({ latency: 0 })
      })
    )
  }
})

describe("the metrics of routes of an HTTP server", () => {
  const test = testsOn(NodeNetwork.layer)
  const router = HttpRouter.empty.pipe(
    HttpRouter.get(
      "/echo",
      WebSocketServer.upgrade((socket) => Stream.run(socket.messages, socket.sink))
    ),
    HttpRouter.get(
      "/members",
      WebSocketServer.upgradeWith(
        () => Effect.fail(HttpServerResponse.text("no", { status: 403 })),
        () => Effect.void
      )
    )
  )

  test(
    "are those of a server",
    Effect.gen(function* () {
      const changes = yield* watchMetrics("server")
      const url = yield* httpServer(router)
      const socket = yield* WebSocket.connect(`${url}echo`)
      yield* socket.send("hello")
      yield* socket.receive
      expect(yield* changes).toEqual({
        connections_open: 1,
        connections_opened_total: 1,
        messages_received_total: 1,
        messages_sent_total: 1,
        received_bytes_total: sizeOf("client", Frame.text("hello")),
        sent_bytes_total: sizeOf("server", Frame.text("hello"))
      })
      yield* socket.close(4000)
      yield* until(changes, "connections_closed_total{code=4xxx}", 1)
      expect((yield* changes)["connections_open"]).toBeUndefined()
      const evil = yield* rawClient(addressOf(url))
      yield* evil.send(upgradeRequest({ Origin: "http://evil.example" }, "GET /echo HTTP/1.1"))
      yield* evil.ended
      yield* evil.end
      expect(yield* refusedBy(`${url}members`)).toMatchObject({ status: 403 })
      expect(only(yield* changes, "handshakes")).toEqual({ "handshakes_refused_total{status=403}": 2 })
    })
  )
})

describe("the metrics", () => {
  const all = { ...WebSocketMetrics.client, ...WebSocketMetrics.server }
  const names = (): ReadonlyArray<string> => {
    for (const metric of Object.values(all)) metric.unsafeValue([])
    const keys = Metric.unsafeSnapshot().map(({ metricKey }) => metricKey.name)
    return [...new Set(keys.filter((name) => name.startsWith("websocket_")))]
  }

  testInMemory(
    "are called as Prometheus wants it, and are all documented",
    Effect.sync(() => {
      const documentation = readFileSync("docs/observability.md", "utf8")
      expect(names()).toHaveLength(Object.keys(all).length)
      for (const name of names()) {
        expect(name).toMatch(/^websocket_[a-z_]+(_total|_bytes|_seconds|_open)$/)
        expect(documentation).toContain(`\`${name}\``)
      }
    })
  )

  testInMemory(
    "can be read by role and by code",
    Effect.gen(function* () {
      const closed = Metric.value(Metric.tagged(WebSocketMetrics.server.connectionsClosed, "code", "1000"))
      const [open, ended] = [yield* Metric.value(WebSocketMetrics.server.connectionsOpen), yield* closed]
      const { client, server } = yield* joined()
      expect((yield* Metric.value(WebSocketMetrics.server.connectionsOpen)).value).toBe(open.value + 1)
      yield* client.close()
      yield* server.closed
      expect((yield* Metric.value(WebSocketMetrics.server.connectionsOpen)).value).toBe(open.value)
      expect((yield* closed).count).toBe(ended.count + 1)
    })
  )
})
