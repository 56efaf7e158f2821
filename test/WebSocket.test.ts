import * as Net from "node:net"
import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import type { Flow } from "effect-websocket/Flow"
import * as Frame from "effect-websocket/Frame"
import { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { leaksOf, testInMemory, testsOn } from "./fixtures/leaks.js"
import * as overTls from "./fixtures/overTls.js"
import { rawClient, rawServer, upgradedServer, upgradeRequest } from "./fixtures/rawPeer.js"
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

describe("accept", () => {
  const address = { _tag: "TcpAddress", hostname: "127.0.0.1", port: 80 } as const

  /** What `accept` makes of a flow whose client is the test. */
  const accepting = (options?: WebSocket.AcceptOptions) =>
    Effect.gen(function* () {
      const flows = yield* Deferred.make<Flow>()
      const { listen } = yield* Network
      yield* listen({ address }, (flow) => void Deferred.unsafeDone(flows, Exit.succeed(flow)))
      const peer = yield* rawClient(address)
      const accepted = yield* Effect.fork(WebSocket.accept(yield* Deferred.await(flows), options))
      return { peer, accepted: Fiber.join(accepted) }
    })

  testInMemory(
    "makes a connection of a flow, of which the request tells the URL",
    Effect.gen(function* () {
      const { accepted, peer } = yield* accepting({ subprotocols: ["b"] })
      yield* peer.send(upgradeRequest({ "Sec-WebSocket-Protocol": "a, b" }, "GET /path?query HTTP/1.1"))
      const socket = yield* accepted
      expect(socket).toMatchObject({ role: "server", url: "ws://server.example/path?query", subprotocol: "b" })
      yield* peer.sendFrames(Frame.text("hello"))
      expect(yield* socket.receive).toBe("hello")
      yield* peer.destroy
    })
  )

  testInMemory(
    "answers what is no upgrade, ends the flow, and fails with what it answered",
    Effect.gen(function* () {
      const { accepted, peer } = yield* accepting()
      yield* peer.send(upgradeRequest({ "Sec-WebSocket-Version": "12" }))
      expect(yield* peer.head).toMatch(/^HTTP\/1\.1 426 /)
      yield* peer.ended
      yield* peer.end
      const error = yield* Effect.flip(accepted)
      expect(error).toMatchObject({ _tag: "HandshakeError", status: 426, headers: { "sec-websocket-version": "13" } })
      expect(error.message).toMatch(/opening handshake with 127\.0\.0\.1:\d+ failed with HTTP 426: /)
    })
  )

  testInMemory(
    "fails when the client goes, or takes too long",
    Effect.gen(function* () {
      const gone = yield* Effect.scoped(
        Effect.gen(function* () {
          const { accepted, peer } = yield* accepting()
          yield* peer.send("GET / HT")
          yield* peer.end
          return yield* Effect.flip(accepted)
        })
      )
      expect(gone.message).toContain("the client ended the connection without a whole request")
      const { accepted, peer } = yield* accepting({ handshakeTimeout: "1 second" })
      yield* settle
      yield* TestClock.adjust("1 second")
      expect(yield* peer.head).toMatch(/^HTTP\/1\.1 408 /)
      yield* peer.end
      expect(yield* Effect.flip(accepted)).toMatchObject({ status: 408 })
    })
  )

  testInMemory(
    "with a key reads no request, and refuses what is no key",
    Effect.gen(function* () {
      const { accepted, peer } = yield* accepting({ key: "short" })
      expect(yield* peer.head).toMatch(/^HTTP\/1\.1 400 /)
      yield* peer.end
      expect((yield* Effect.flip(accepted)).message).toContain("16 bytes in base64")
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
