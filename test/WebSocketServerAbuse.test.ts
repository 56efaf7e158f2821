import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { serverWith } from "./fixtures/joined.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"
import { withManualClock } from "./fixtures/manualClock.js"
import * as overTls from "./fixtures/overTls.js"
import { rawClient, upgradedClient, upgradeRequest } from "./fixtures/rawPeer.js"
import { abuseSuite } from "./suites/abuse.js"
import { limitsSuite } from "./suites/limits.js"

const networks = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
] as const

for (const [name, network] of [...networks, ["over TLS", overTls.layer] as const]) {
  abuseSuite(name, network)
  limitsSuite(name, network)
}

const directory = mkdtempSync(join(tmpdir(), "effect-websocket-abuse-"))
afterAll(() => rmSync(directory, { recursive: true }))

for (const [name, network] of networks) {
  const test = testsOn(network)

  describe(`${name}: a full server`, () => {
    test(
      "has no answer for a crowd of more than a thousand at its door, and one again when they have gone",
      withManualClock((clock) =>
        Effect.gen(function* () {
          const server = yield* WebSocketServer.make({ drainTimeout: 0, maxConnections: 0, closeTimeout: "3 seconds" })
          yield* server.serve(() => Effect.void)
          const crowd = yield* Effect.forEach(
            Array.from({ length: 1000 }),
            () => Effect.tap(rawClient(server.address), (peer) => Effect.zipRight(peer.head, peer.ended)),
            { concurrency: 50 }
          )
          expect(crowd.every((peer) => peer.heard.text().startsWith("HTTP/1.1 503 "))).toBe(true)
          const dropped = yield* rawClient(server.address)
          yield* dropped.heard.until(({ events }) => events.includes("end") || events.includes("close"))
          expect(dropped.heard.size()).toBe(0)
          expect(yield* server.connections).toBe(0)
          // They needn't close: the server has a bound for that.
          clock.advance(3000)
          const [first] = crowd
          yield* first?.end ?? Effect.void
          yield* first?.closed ?? Effect.void
          yield* settle
          const refused = yield* rawClient(server.address)
          expect(yield* refused.head).toContain(" 503 ")
        })
      )
    )

    test(
      "has no limit by address for Unix sockets",
      Effect.gen(function* () {
        const path = join(directory, "server.sock")
        const server = yield* WebSocketServer.make({ drainTimeout: 0, path, maxConnectionsPerAddress: 0 })
        yield* server.serve(() => Effect.never)
        for (let count = 0; count < 3; count++) yield* upgradedClient(server.address)
      })
    )
  })
}

describe("in memory: a peer that reads slowly", () => {
  const beats = { pingInterval: "10 seconds", pingTimeout: "10 seconds", maxMissedPongs: 0 } as const

  testInMemory(
    "stays as long as it takes something between two pings, though it sends nothing and comes to no ping",
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      yield* network.set({ fragmentation: 500, capacity: 1000 })
      const { server, socket } = yield* serverWith(beats)
      const peer = yield* upgradedClient(server.address)
      const self = yield* socket
      // Takes half of what can be under way each time that it resumes: the network tells the writer of no less.
      const { heard } = peer
      peer.flow.attach({
        ...heard,
        data(bytes) {
          peer.flow.pause()
          heard.data(bytes)
        }
      })
      peer.flow.pause()
      yield* self.sendAll(Array.from({ length: 60 }, (_, index) => `${index}`.padEnd(500, ".")))
      yield* settle
      const before = peer.heard.size()
      for (let beat = 1; beat <= 50; beat++) {
        yield* TestClock.adjust("10 seconds")
        yield* Effect.zipRight(
          Effect.sync(() => peer.flow.resume()),
          settle
        )
        expect(peer.heard.size() - before).toBe(beat * 500)
      }
      expect(yield* self.isOpen).toBe(true)
      expect(peer.frames().every(({ opcode }) => opcode === Frame.Opcode.text)).toBe(true)
      yield* TestClock.adjust("30 seconds")
      expect(yield* Effect.flip(self.closed)).toMatchObject({ _tag: "IoError", code: "ETIMEDOUT" })
    })
  )

  testInMemory(
    "may stand still for as long as pings may be missed, and go on",
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      yield* network.set({ capacity: 1000 })
      const { server, socket } = yield* serverWith({ ...beats, maxMissedPongs: 2 })
      const peer = yield* upgradedClient(server.address)
      const self = yield* socket
      for (let round = 0; round < 3; round++) {
        yield* network.stall("toClient")
        yield* self.send("x".repeat(5000))
        yield* settle
        yield* TestClock.adjust("20 seconds")
        expect(yield* self.isOpen).toBe(true)
        yield* network.unstall("toClient")
        yield* settle
        yield* TestClock.adjust("10 seconds")
      }
      expect(peer.frames().filter(({ opcode }) => opcode === Frame.Opcode.text)).toHaveLength(3)
      yield* network.stall("toClient")
      yield* self.send("x".repeat(5000))
      yield* TestClock.adjust("50 seconds")
      expect(yield* Effect.flip(self.closed)).toMatchObject({ _tag: "IoError", code: "ETIMEDOUT" })
    })
  )

  testInMemory(
    "isn't kept alive by what it takes before it is asked",
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      const { server, socket } = yield* serverWith(beats)
      const peer = yield* upgradedClient(server.address)
      const self = yield* socket
      yield* self.send("taken at once")
      yield* peer.frame(() => true)
      yield* network.stall("toServer")
      yield* TestClock.adjust("20 seconds")
      expect(yield* Effect.flip(self.closed)).toMatchObject({ _tag: "IoError", code: "ETIMEDOUT" })
    })
  )
})

describe("in memory: a slow head", () => {
  testInMemory(
    "is bounded in time from its first byte, however it is cut",
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      yield* network.set({ latency: "1 second", fragmentation: 1 })
      const server = yield* WebSocketServer.make({ drainTimeout: 0, handshakeTimeout: "3 seconds" })
      yield* server.serve(() => Effect.void)
      const connecting = yield* Effect.fork(rawClient(server.address))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const peer = yield* Fiber.join(connecting)
      yield* peer.send(upgradeRequest().slice(0, -1))
      yield* TestClock.adjust("4 seconds")
      expect(yield* peer.head).toContain("HTTP/1.1 408 ")
    })
  )
})
