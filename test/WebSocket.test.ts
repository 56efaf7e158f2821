import * as Net from "node:net"
import { describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Scope } from "effect"
import { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { leaksOf, testInMemory, testsOn } from "./fixtures/leaks.js"
import * as overTls from "./fixtures/overTls.js"
import { rawServer, upgradedServer } from "./fixtures/rawPeer.js"
import { closingSuite } from "./suites/closing.js"
import { connectionSuite } from "./suites/connection.js"
import { flowControlSuite } from "./suites/flowControl.js"
import { lifetimeSuite } from "./suites/lifetime.js"
import { resetSuite } from "./suites/reset.js"

const networks = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer],
  ["over TLS", overTls.layer]
] as const

for (const [name, network] of networks) {
  connectionSuite(name, network)
  closingSuite(name, network)
  lifetimeSuite(name, network)
  flowControlSuite(name, network)
}

resetSuite("in memory", TestNetwork.layer)
resetSuite("over TCP", NodeNetwork.layer)

describe("over a network that cuts the bytes anywhere", () => {
  const cut: Layer.Layer<Network> = Layer.effectDiscard(
    Effect.flatMap(TestNetwork.TestNetwork, (network) => network.set({ fragmentation: TestNetwork.randomSizes(7) }))
  ).pipe(Layer.provideMerge(TestNetwork.layer))
  closingSuite("cut into pieces", cut)
  lifetimeSuite("cut into pieces", cut)
})

describe("a connection as a layer", () => {
  testInMemory(
    "is open while the layer is in use",
    Effect.gen(function* () {
      const server = yield* rawServer()
      const using = yield* Effect.flatMap(WebSocket.WebSocket, ({ url }) => Effect.succeed(url)).pipe(
        Effect.provide(WebSocket.layer(server.url)),
        Effect.fork
      )
      const peer = yield* upgradedServer(server)
      expect(yield* peer.closeCode).toBe(1000)
      yield* peer.destroy
      expect(yield* Fiber.join(using)).toBe(server.url)
    })
  )
})

describe("a socket that was opened by somebody else", () => {
  testsOn(NodeNetwork.layer)(
    "has no listener of ours left after the connection, not even for errors",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make()
      yield* server.serve((socket) => socket.run((message) => socket.send(message)))
      const port = server.address._tag === "TcpAddress" ? server.address.port : 0
      const socket = Net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
      const count = () => socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0)
      const before = count()
      const network = Network.of({
        ...(yield* Network),
        connect: () => Effect.sync(() => NodeNetwork.fromDuplex(socket))
      })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* WebSocket.connect(server.url)
          expect(count()).toBeGreaterThan(before)
          yield* connection.send("hello")
          expect(yield* connection.receive).toBe("hello")
        })
      ).pipe(Effect.provideService(Network, network))
      expect(socket.destroyed).toBe(true)
      yield* settle
      expect(count()).toBeLessThanOrEqual(before)
      expect(socket.listenerCount("error")).toBe(0)
    })
  )
})

describe("the check for leaks", () => {
  const finds = (
    what: string,
    pattern: RegExp,
    layer: Layer.Layer<Network>,
    leak: Effect.Effect<unknown, unknown, Network>
  ) =>
    it.live(`finds ${what}`, () =>
      Effect.gen(function* () {
        const leaks = yield* Effect.ignoreLogged(leak).pipe(leaksOf)
        expect(leaks.join("\n")).toMatch(pattern)
      }).pipe(Effect.provide(layer))
    )

  const cleanups: Array<() => void> = []
  it.live("finds nothing where nothing is left", () =>
    Effect.gen(function* () {
      expect(yield* leaksOf(Effect.fork(Effect.yieldNow()))).toEqual([])
    })
  )
  finds("a fiber", /^a fiber that runs: #\d+$/, TestNetwork.layer, Effect.forkDaemon(Effect.never))
  finds(
    "a connection and a listener in memory",
    /a connection in memory, open at client and server\na listener in memory/,
    TestNetwork.layer,
    Effect.gen(function* () {
      const { connect, listen } = yield* Network
      const address = { _tag: "TcpAddress", hostname: "127.0.0.1", port: 80 } as const
      const neverClosed = yield* Scope.make()
      yield* Scope.extend(
        listen({ address }, () => {}),
        neverClosed
      )
      yield* Scope.extend(connect({ address }), neverClosed)
    })
  )
  finds(
    "sockets, listeners and handles of Node",
    /a socket that isn't destroyed[\s\S]*handles of the operating system/,
    NodeNetwork.layer,
    Effect.async<void>((resume) => {
      const server = Net.createServer((socket) => void cleanups.push(() => socket.destroy()))
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        const socket: Net.Socket = Net.connect(port, "127.0.0.1", () => resume(Effect.void))
        cleanups.push(
          () => socket.destroy(),
          () => server.close()
        )
      })
    })
  )
  finds(
    "a listener on a socket that is closed",
    /^a listener for data on a destroyed socket$/,
    NodeNetwork.layer,
    Effect.async<void>((resume) => {
      const socket = Net.connect(1, "127.0.0.1")
      socket.on("data", () => {})
      socket.once("error", () => resume(Effect.void))
    })
  )
  it("leaves nothing itself", () => {
    for (const cleanup of cleanups) cleanup()
  })
})
