import { describe } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, LogLevel, Scope, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { refusedBy } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { recording } from "../fixtures/logs.js"
import { withManualClock } from "../fixtures/manualClock.js"
import { type RawPeer, rawClient, upgradedClient, upgradeRequest } from "../fixtures/rawPeer.js"

/** How a server ends, whatever its peers and its handlers do. */
export const shutdownSuite = (name: string, network: Layer.Layer<Network>, crowd: number): void => {
  const test = testsOn(network)

  type Handler = (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>

  /** A server, and its handlers, that end when the test says so. */
  const serving = (handlers: Readonly<Record<string, Handler>>, options?: WebSocketServer.ServerOptions) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
      const { from, record } = recording()
      const server = yield* record(Scope.extend(WebSocketServer.make(options), scope))
      for (const [path, handler] of Object.entries(handlers)) {
        yield* record(Scope.extend(server.serve(handler, { path }), scope))
      }
      return {
        server,
        warnings: () => from(LogLevel.Warning),
        client: (path: string) => upgradedClient(server.address, upgradeRequest({}, `GET ${path} HTTP/1.1`)),
        shutdown: Effect.fork(Scope.close(scope, Exit.void))
      }
    })

  const isOver = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => Effect.map(settle, () => fiber.unsafePoll() !== null)

  /** Plays a peer that closes when it is asked to. */
  const closes = (peer: RawPeer) =>
    Effect.gen(function* () {
      expect(yield* peer.closeCode).toBe(1001)
      yield* peer.sendFrames(Frame.close(1001))
      yield* peer.ended
      yield* peer.end
    })

  const received = (socket: WebSocket.WebSocket) => Effect.ignore(Effect.forever(socket.receive))

  describe(`${name}: a server that shuts down`, () => {
    test(
      "accepts nobody any more while its handlers finish",
      Effect.gen(function* () {
        const { client, server, shutdown } = yield* serving({ "/": () => Effect.sleep("3 seconds") })
        const peer = yield* client("/")
        const closing = yield* shutdown
        yield* closes(peer)
        expect(yield* isOver(closing)).toBe(false)
        expect(yield* refusedBy(server.url)).toMatchObject({ _tag: "ConnectError", reason: "tcp" })
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(closing)
      })
    )

    test(
      "lets handlers finish what they have begun, for drainTimeout",
      Effect.gen(function* () {
        const log: Array<string> = []
        const { client, shutdown, warnings } = yield* serving({
          "/": (socket) =>
            Effect.gen(function* () {
              const order = yield* socket.receive
              yield* Effect.sleep("4999 millis")
              log.push(`${order} is written down`)
            })
        })
        const peers = yield* Effect.replicateEffect(client("/"), 3)
        for (const [index, peer] of peers.entries()) yield* peer.sendFrames(Frame.text(`order ${index}`))
        yield* settle
        const closing = yield* shutdown
        for (const peer of peers) yield* closes(peer)
        yield* TestClock.adjust("4998 millis")
        expect([log, yield* isOver(closing)]).toEqual([[], false])
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        expect(log.sort()).toEqual(["order 0 is written down", "order 1 is written down", "order 2 is written down"])
        expect(warnings()).toEqual([])
      })
    )

    test(
      "lets a handler send what it still has to say to whoever listens, but no message after the Close",
      Effect.gen(function* () {
        const sent = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const { client, shutdown } = yield* serving({
          "/": (socket) =>
            Effect.gen(function* () {
              yield* socket.sendAll(["one", "two"])
              yield* Effect.sleep("1 second")
              yield* Deferred.succeed(sent, yield* Effect.exit(socket.send("late")))
            })
        })
        const peer = yield* client("/")
        const closing = yield* shutdown
        yield* closes(peer)
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(closing)
        expect(peer.frames().map(({ opcode }) => opcode)).toEqual([1, 1, 8])
        expect(Exit.isFailure(yield* Deferred.await(sent))).toBe(true)
      })
    )

    test(
      "interrupts those that haven't finished after drainTimeout, not before",
      Effect.gen(function* () {
        let interrupted = 0
        const { client, shutdown, warnings } = yield* serving(
          { "/": () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)) },
          { drainTimeout: "2 seconds" }
        )
        const peers = yield* Effect.replicateEffect(client("/"), 3)
        const closing = yield* shutdown
        for (const peer of peers) yield* closes(peer)
        yield* settle
        yield* TestClock.adjust("1999 millis")
        expect([interrupted, yield* isOver(closing)]).toEqual([0, false])
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        expect([interrupted, warnings()]).toEqual([3, []])
      })
    )

    test(
      "leaves handlers behind that ignore interruption, says so, and takes their connections from them",
      Effect.gen(function* () {
        const release = yield* Deferred.make<void>()
        const ended = yield* Deferred.make<void>()
        const { client, server, shutdown, warnings } = yield* serving(
          {
            "/deaf": () =>
              Effect.zipRight(Effect.uninterruptible(Deferred.await(release)), Deferred.succeed(ended, undefined)),
            "/": received
          },
          { drainTimeout: "2 seconds", closeTimeout: "3 seconds" }
        )
        const deaf = yield* client("/deaf")
        const mute = yield* client("/")
        const closing = yield* shutdown
        expect([yield* deaf.closeCode, yield* mute.closeCode]).toEqual([1001, 1001])
        yield* settle
        yield* TestClock.adjust("4999 millis")
        expect([warnings(), yield* isOver(closing)]).toEqual([[], false])
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        expect(warnings()).toEqual([expect.stringContaining("left 1 WebSocket handlers behind")])
        yield* deaf.ended
        yield* mute.ended
        expect(yield* server.connections).toBe(1)
        yield* Deferred.succeed(release, undefined)
        while ((yield* server.connections) > 0) yield* settle
        // It was asked to end, and does so as soon as it can.
        expect(yield* Deferred.isDone(ended)).toBe(false)
      })
    )

    test(
      "takes no longer for many handlers than for one: all are told at once",
      Effect.gen(function* () {
        const { client, shutdown, server } = yield* serving(
          { "/a": () => Effect.never, "/b": received, "/c": (socket) => Effect.asVoid(socket.closed) },
          { drainTimeout: "2 seconds", closeTimeout: "3 seconds" }
        )
        const mute = yield* Effect.forEach(["/a", "/b", "/c"], client)
        const closing = yield* shutdown
        for (const peer of mute) expect(yield* peer.closeCode).toBe(1001)
        yield* settle
        yield* TestClock.adjust("4999 millis")
        yield* settle
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        expect(yield* server.connections).toBe(0)
        for (const peer of mute) yield* peer.ended
      })
    )

    test(
      "takes no longer for many layers of handlers than for one",
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const server = yield* Deferred.make<WebSocketServer.WebSocketServer["Type"]>()
        yield* Layer.mergeAll(
          WebSocketServer.serve(() => Effect.never, { path: "/a" }),
          WebSocketServer.serve(() => Effect.never, { path: "/b" }),
          Layer.effectDiscard(Effect.flatMap(WebSocketServer.WebSocketServer, (made) => Deferred.succeed(server, made)))
        ).pipe(
          Layer.provide(WebSocketServer.layer({ drainTimeout: "2 seconds", closeTimeout: "3 seconds" })),
          Layer.buildWithScope(scope)
        )
        const { address } = yield* Deferred.await(server)
        const mute = yield* Effect.forEach(["/a", "/b"], (path) =>
          upgradedClient(address, upgradeRequest({}, `GET ${path} HTTP/1.1`))
        )
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        for (const peer of mute) expect(yield* peer.closeCode).toBe(1001)
        yield* settle
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(closing)
        for (const peer of mute) yield* peer.ended
      })
    )

    test(
      "ends requests that are being decided on at once, even where a decision can't be interrupted",
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const release = yield* Deferred.make<void>()
        const server = yield* Scope.extend(WebSocketServer.make(), scope)
        const serve = (path: string, waiting: Effect.Effect<void>) =>
          Scope.extend(
            server.serveWith(
              () => Effect.as(waiting, { data: path }),
              () => Effect.void,
              { path }
            ),
            scope
          )
        yield* serve("/slow", Effect.never)
        yield* serve("/deaf", Effect.uninterruptible(Deferred.await(release)))
        const peers = yield* Effect.forEach(["/slow", "/deaf"], (path) =>
          Effect.tap(rawClient(server.address), (peer) => peer.send(upgradeRequest({}, `GET ${path} HTTP/1.1`)))
        )
        yield* settle
        yield* Scope.close(scope, Exit.void)
        for (const peer of peers) yield* peer.ended
        expect(yield* server.connections).toBe(0)
        yield* Deferred.succeed(release, undefined)
      })
    )

    test(
      `ends ${crowd} connections of every kind as soon as the last handlers have had their time`,
      // The test's own clock wakes its sleepers one by one, which takes long for so many.
      withManualClock((clock) =>
        Effect.gen(function* () {
          let finished = 0
          let interrupted = 0
          const { client, server, shutdown, warnings } = yield* serving(
            {
              "/": (socket) =>
                Effect.zipRight(
                  received(socket),
                  Effect.sync(() => finished++)
                ),
              "/busy": () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)),
              "/flood": (socket) => Effect.ignore(Effect.forever(socket.send("x".repeat(10_000))))
            },
            { drainTimeout: "5 seconds", closeTimeout: "4 seconds" }
          )
          const kinds: ReadonlyArray<() => Effect.Effect<unknown, unknown, Network | Scope.Scope>> = [
            // Polite: closes when asked to.
            () => WebSocket.connect(server.url, { pingInterval: "1 hour" }),
            () => WebSocket.connect(`${server.url}busy`, { pingInterval: "1 hour" }),
            // Mute: never answers the Close.
            () => client("/"),
            () => client("/busy"),
            // Stalled: doesn't read what it is sent.
            () => Effect.tap(client("/flood"), (peer) => Effect.sync(() => peer.flow.pause())),
            // In the middle of a message, and of a frame.
            () =>
              Effect.tap(client("/"), (peer) =>
                peer.sendFrames(Frame.make({ opcode: Frame.Opcode.text, fin: false, payload: "half" }))
              ),
            () => Effect.tap(client("/"), (peer) => peer.send(Uint8Array.of(0x82, 0xff, 0, 0))),
            // In the opening handshake.
            () => rawClient(server.address),
            () => Effect.tap(rawClient(server.address), (peer) => peer.send(upgradeRequest().slice(0, 50))),
            // Refused, and not gone yet.
            () => Effect.tap(client("/"), (peer) => peer.sendFrames({ ...Frame.text("x"), rsv: 7 }))
          ]
          const each = Math.ceil(crowd / kinds.length)
          yield* Effect.forEach(
            kinds.flatMap((kind) => Array.from({ length: each }, () => kind)),
            (kind) => kind(),
            { concurrency: 50, discard: true }
          )
          while ((yield* server.connections) < each * kinds.length) yield* settle
          yield* settle
          const closing = yield* shutdown
          yield* settle
          clock.advance(4999)
          expect(yield* isOver(closing)).toBe(false)
          clock.advance(1)
          yield* Fiber.join(closing)
          expect(yield* server.connections).toBe(0)
          expect([finished, interrupted]).toEqual([each * 5, each * 2])
          expect(warnings()).toEqual([])
          expect(clock.asleep).toBe(0)
        })
      )
    )
  })

  describe(`${name}: handlers and their connections`, () => {
    for (const [how, leave] of [
      ["is closed by the peer", (peer: RawPeer) => Effect.zipRight(peer.sendFrames(Frame.close(1000)), peer.end)],
      ["breaks a rule", (peer: RawPeer) => Effect.zipRight(peer.sendFrames({ ...Frame.text("x"), rsv: 7 }), peer.end)],
      ["just goes", (peer: RawPeer) => peer.destroy]
    ] as const) {
      test(
        `a handler whose connection ${how} has drainTimeout to finish, then it is interrupted`,
        Effect.gen(function* () {
          const interrupted = yield* Deferred.make<void>()
          const over = yield* Deferred.make<void>()
          const { client, server } = yield* serving(
            {
              "/": (socket) =>
                Effect.ignore(socket.closed).pipe(
                  Effect.zipRight(Deferred.succeed(over, undefined)),
                  Effect.zipRight(Effect.never),
                  Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
                )
            },
            { drainTimeout: "3 seconds" }
          )
          const peer = yield* client("/")
          yield* leave(peer)
          yield* Deferred.await(over)
          yield* settle
          yield* TestClock.adjust("2999 millis")
          yield* settle
          expect(yield* Deferred.isDone(interrupted)).toBe(false)
          expect(yield* server.connections).toBe(1)
          yield* TestClock.adjust("1 millis")
          yield* Deferred.await(interrupted)
          while ((yield* server.connections) > 0) yield* settle
        })
      )
    }

    test(
      "the first handler that is served for a path has it; when it goes, the next one has",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ drainTimeout: 0 })
        const scope = yield* Scope.make()
        const says = (text: string) => (socket: WebSocket.WebSocket) => socket.send(text)
        yield* Scope.extend(server.serve(says("first"), { path: "/twice" }), scope)
        yield* server.serve(says("second"), { path: "/twice" })
        const greeting = Effect.scoped(
          Effect.flatMap(WebSocket.connect(`${server.url}twice`), (socket) => socket.receive)
        )
        expect(yield* greeting).toBe("first")
        yield* Scope.close(scope, Exit.void)
        expect(yield* greeting).toBe("second")
      })
    )

    test(
      "a request after all handlers have gone is answered with 503, also while their last connections end",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ drainTimeout: "1 minute" })
        const scope = yield* Scope.make()
        yield* Scope.extend(
          server.serve(() => Effect.sleep("10 seconds")),
          scope
        )
        const peer = yield* upgradedClient(server.address)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* closes(peer)
        const refused = { _tag: "HandshakeError", status: 503, body: expect.stringContaining("the server is closing") }
        expect(yield* refusedBy(server.url)).toMatchObject(refused)
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(closing)
        expect(yield* refusedBy(server.url)).toMatchObject(refused)
      })
    )
  })
}
