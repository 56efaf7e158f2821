import { describe } from "@effect/vitest"
import { Duration, Effect, Fiber, Option, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { bothRolesOn, ends, joined, serverWith } from "./fixtures/joined.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"
import * as overTls from "./fixtures/overTls.js"
import { type RawPeer, rawServer, upgradedClient, upgradedServer } from "./fixtures/rawPeer.js"

const networks = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer],
  ["over TLS", overTls.layer]
] as const

const isPing = ({ opcode }: Frame.Frame) => opcode === Frame.Opcode.ping

/** A connection of each role whose peer is the test, and answers when it likes to. */
const silentPeer = (options: WebSocket.ConnectionOptions = {}) => ({
  server: Effect.gen(function* () {
    const { server, socket } = yield* serverWith(options)
    const peer = yield* upgradedClient(server.address)
    return { peer, socket: yield* socket }
  }),
  client: Effect.gen(function* () {
    const server = yield* rawServer()
    const connecting = yield* Effect.fork(WebSocket.connect(server.url, options))
    const peer = yield* upgradedServer(server)
    return { peer, socket: yield* Fiber.join(connecting) }
  })
})

/** Ends a connection in which the peer did its part. */
const finish = (peer: RawPeer, socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    yield* peer.sendFrames(Frame.close(1000))
    yield* peer.closeCode
    yield* peer.end
    yield* socket.closed
  })

/** How many pongs are awaited in the engine of the flow under a peer in memory. */
const awaited = Effect.gen(function* () {
  const [connection] = yield* Effect.flatMap(TestNetwork.TestNetwork, (network) => network.connections)
  const engine: unknown = Reflect.get(connection?.server ?? {}, "handler")
  const pings: unknown = typeof engine === "object" && engine !== null ? Reflect.get(engine, "pings") : undefined
  const pending: unknown = typeof pings === "object" && pings !== null ? Reflect.get(pings, "pending") : undefined
  return Array.isArray(pending) ? pending.length : Number.NaN
})

for (const [name, network] of networks) {
  const test = testsOn(network)
  const inBothRoles = bothRolesOn(network)

  describe(`${name}: a ping`, () => {
    inBothRoles("is answered by the peer's connection, and takes no message from it", (self, peer) =>
      Effect.gen(function* () {
        expect(Duration.isDuration(yield* self.ping)).toBe(true)
        yield* self.send("before")
        yield* Effect.all([self.ping, self.ping, peer.ping], { concurrency: "unbounded" })
        yield* self.send("after")
        expect([yield* peer.receive, yield* peer.receive]).toEqual(["before", "after"])
      })
    )

    inBothRoles("fails with what ended the connection", (self, peer) =>
      Effect.gen(function* () {
        yield* peer.close(4000, "bye")
        expect(yield* Effect.flip(self.ping)).toMatchObject({ _tag: "ConnectionClosed", code: 4000, reason: "bye" })
      })
    )

    for (const role of ["server", "client"] as const) {
      test(
        `waits for its own pong, and for no other (${role})`,
        Effect.gen(function* () {
          const { peer, socket } = yield* silentPeer()[role]
          const pinging = yield* Effect.fork(socket.ping)
          const { payload } = yield* peer.frame(isPing)
          yield* peer.sendFrames(Frame.pong(), Frame.pong("else"), Frame.pong(new Uint8Array([...payload, 0])))
          yield* settle
          expect(pinging.unsafePoll()).toBeNull()
          yield* peer.sendFrames(Frame.pong(payload))
          yield* Fiber.join(pinging)
          yield* finish(peer, socket)
        })
      )

      test(
        `is answered by the pong of a later one, too (${role})`,
        Effect.gen(function* () {
          const { peer, socket } = yield* silentPeer()[role]
          const first = yield* Effect.fork(socket.ping)
          yield* peer.frame(isPing)
          const second = yield* Effect.fork(socket.ping)
          yield* peer.heard.until(() => peer.frames().filter(isPing).length === 2)
          const third = yield* Effect.fork(socket.ping)
          yield* peer.heard.until(() => peer.frames().filter(isPing).length === 3)
          yield* peer.sendFrames(Frame.pong(peer.frames().filter(isPing)[1]?.payload))
          yield* Fiber.join(first)
          yield* Fiber.join(second)
          yield* settle
          expect(third.unsafePoll()).toBeNull()
          yield* peer.sendFrames(Frame.pong(peer.frames().filter(isPing)[2]?.payload))
          yield* Fiber.join(third)
          yield* finish(peer, socket)
        })
      )

      for (const [how, end, expected] of [
        [
          "is closed",
          (peer: RawPeer) => Effect.zipRight(peer.sendFrames(Frame.close(4001)), peer.end),
          { _tag: "ConnectionClosed", code: 4001 }
        ],
        ["just ends", (peer: RawPeer) => peer.end, { _tag: "ConnectionClosed", code: 1006 }],
        [
          "is failed",
          (peer: RawPeer) => Effect.zipRight(peer.sendFrames({ ...Frame.text("x"), rsv: 7 }), peer.end),
          { _tag: "ProtocolError", closeCode: 1002 }
        ]
      ] as const) {
        test(
          `fails when the connection ${how} before its pong comes (${role})`,
          Effect.gen(function* () {
            const { peer, socket } = yield* silentPeer()[role]
            const pinging = yield* Effect.all([socket.ping, socket.ping].map((ping) => Effect.fork(Effect.flip(ping))))
            yield* peer.heard.until(() => peer.frames().filter(isPing).length === 2)
            yield* end(peer)
            for (const fiber of pinging) expect(yield* Fiber.join(fiber)).toMatchObject(expected)
            yield* Effect.exit(socket.closed)
          })
        )
      }

      test(
        `that is interrupted leaves nothing, and its pong harms nothing (${role})`,
        Effect.gen(function* () {
          const { peer, socket } = yield* silentPeer()[role]
          const pinging = yield* Effect.fork(socket.ping)
          const { payload } = yield* peer.frame(isPing)
          yield* Fiber.interrupt(pinging)
          yield* peer.sendFrames(Frame.pong(payload), Frame.text("on we go"))
          expect(yield* socket.receive).toBe("on we go")
          yield* finish(peer, socket)
        })
      )
    }
  })
}

describe("in memory: the round trip", () => {
  for (const index of [0, 1] as const) {
    testInMemory(
      `is what a ping takes there, and its pong back (${index === 0 ? "client" : "server"})`,
      Effect.gen(function* () {
        const network = yield* TestNetwork.TestNetwork
        const both = yield* joined()
        const { self } = ends(both)[index]
        for (const latency of [5, 250, 1200]) {
          yield* network.set({ latency })
          const pinging = yield* Effect.fork(self.ping)
          yield* settle
          yield* TestClock.adjust(2 * latency)
          expect(Duration.toMillis(yield* Fiber.join(pinging))).toBe(2 * latency)
        }
        yield* network.set({ latency: 0 })
        yield* TestClock.adjust("2 seconds")
      })
    )

    testInMemory(
      `is what the heartbeat took last, once it has taken one (${index === 0 ? "client" : "server"})`,
      Effect.gen(function* () {
        const network = yield* TestNetwork.TestNetwork
        const both = yield* joined()
        const { self } = ends(both)[index]
        expect(yield* self.latency).toEqual(Option.none())
        for (const latency of [40, 70]) {
          yield* network.set({ latency })
          yield* TestClock.adjust(WebSocket.defaultPingInterval)
          yield* settle
          yield* TestClock.adjust("1 second")
          expect(Option.map(yield* self.latency, Duration.toMillis)).toEqual(Option.some(2 * latency))
        }
        // Who asks by hand learns it, and changes nothing.
        yield* network.set({ latency: 1 })
        const pinging = yield* Effect.fork(self.ping)
        yield* settle
        yield* TestClock.adjust("2 millis")
        yield* Fiber.join(pinging)
        expect(Option.map(yield* self.latency, Duration.toMillis)).toEqual(Option.some(140))
        yield* network.set({ latency: 0 })
        yield* TestClock.adjust("2 seconds")
      })
    )
  }

  testInMemory(
    "is each ping's own, of several that are under way at once",
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      const { client } = yield* joined()
      yield* network.set({ latency: "100 millis" })
      const pinging: Array<Fiber.RuntimeFiber<Duration.Duration, unknown>> = []
      for (let count = 0; count < 5; count++) {
        pinging.push(yield* Effect.fork(client.ping))
        yield* settle
        yield* TestClock.adjust("30 millis")
      }
      yield* TestClock.adjust("1 second")
      for (const fiber of pinging) expect(Duration.toMillis(yield* Fiber.join(fiber))).toBe(200)
      yield* network.set({ latency: 0 })
    })
  )

  testInMemory(
    "may be given a bound, which leaves nothing that waits",
    Effect.gen(function* () {
      const { peer, socket } = yield* silentPeer().server
      for (let count = 0; count < 3; count++) {
        const pinging = yield* Effect.fork(Effect.timeoutOption(socket.ping, "3 seconds"))
        yield* settle
        expect(yield* awaited).toBe(1)
        yield* TestClock.adjust("3 seconds")
        expect(yield* Fiber.join(pinging)).toEqual(Option.none())
        expect(yield* awaited).toBe(0)
      }
      expect(peer.frames().filter(isPing)).toHaveLength(3)
      yield* finish(peer, socket)
    })
  )
})
