import { describe } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, FiberId, type Layer, Scope, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { joined, serverWith } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import {
  type RawPeer,
  rawClient,
  rawServer,
  upgradedClient,
  upgradedServer,
  upgradeRequest
} from "../fixtures/rawPeer.js"

/** How long connections live, and how they die (RFC 6455 section 7). */
export const lifetimeSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  /** A client whose server is the test, in a scope that the test closes. */
  const clientInScope = (options?: WebSocket.ConnectOptions) =>
    Effect.gen(function* () {
      const server = yield* rawServer()
      const scope = yield* Scope.make()
      const connecting = yield* Effect.fork(Scope.extend(WebSocket.connect(server.url, options), scope))
      const peer = yield* upgradedServer(server)
      const socket = yield* Fiber.join(connecting)
      return { peer, socket, leave: (exit: Exit.Exit<unknown, unknown>) => Scope.close(scope, exit) }
    })

  const answerClose = (peer: RawPeer) => Effect.tap(peer.closeCode, (code) => peer.sendFrames(Frame.close(code)))

  const hasNotEnded = (peer: RawPeer) =>
    Effect.map(settle, () =>
      expect(peer.heard.events.filter((event) => event !== "data" && event !== "drain")).toEqual([])
    )

  describe(`${name}: leaving the scope`, () => {
    const exits: ReadonlyArray<readonly [string, Exit.Exit<void, string>, number]> = [
      ["success", Exit.void, 1000],
      ["failure", Exit.fail("broken"), 1011],
      ["a defect", Exit.die(new Error("bug")), 1011],
      ["interruption", Exit.interrupt(FiberId.none), 1001],
      [
        "a defect beside an interruption",
        Exit.failCause(Cause.parallel(Cause.interrupt(FiberId.none), Cause.die("bug"))),
        1011
      ]
    ]
    for (const [what, exit, code] of exits) {
      test(
        `closes with ${code} after ${what} (client)`,
        Effect.gen(function* () {
          const { peer, leave } = yield* clientInScope()
          const leaving = yield* Effect.fork(leave(exit))
          expect(yield* answerClose(peer)).toBe(code)
          yield* peer.end
          yield* Fiber.join(leaving)
          yield* peer.ended
        })
      )
      test(
        `closes with ${code} after ${what} (server)`,
        Effect.gen(function* () {
          const { server, end } = yield* serverWith()
          const peer = yield* upgradedClient(server.address)
          yield* end(exit)
          expect(yield* answerClose(peer)).toBe(code)
          yield* peer.ended
          yield* peer.end
          yield* peer.closed
          // The server serves on.
          const next = yield* upgradedClient(server.address)
          yield* next.destroy
        })
      )
    }

    test(
      "performs the closing handshake even right after the opening one",
      Effect.gen(function* () {
        const { server, socket } = yield* serverWith()
        for (let round = 0; round < 5; round++) yield* Effect.scoped(WebSocket.connect(server.url))
        expect(yield* (yield* socket).closed).toMatchObject({ code: 1000, clean: true, initiator: "remote" })
      })
    )

    test(
      "by a real interruption closes with 1001",
      Effect.gen(function* () {
        const server = yield* rawServer()
        const program = yield* Effect.fork(Effect.scoped(Effect.zipRight(WebSocket.connect(server.url), Effect.never)))
        const peer = yield* upgradedServer(server)
        yield* settle
        const interrupting = yield* Effect.fork(Fiber.interrupt(program))
        expect(yield* answerClose(peer)).toBe(1001)
        yield* peer.end
        expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      })
    )

    test(
      "before the opening handshake is over leaves nothing",
      Effect.gen(function* () {
        const server = yield* rawServer()
        const program = yield* Effect.fork(Effect.scoped(WebSocket.connect(server.url)))
        const peer = yield* server.next
        yield* peer.head
        yield* Fiber.interrupt(program)
        yield* peer.ended
      })
    )

    test(
      "drops what was not taken, and still sees the peer's Close",
      Effect.gen(function* () {
        const { peer, socket, leave } = yield* clientInScope({ receiveBufferSize: 1000 })
        for (let index = 0; index < 50; index++) yield* peer.sendFrames(Frame.text("x".repeat(500)))
        yield* settle
        const leaving = yield* Effect.fork(leave(Exit.void))
        expect(yield* answerClose(peer)).toBe(1000)
        yield* peer.end
        yield* Fiber.join(leaving)
        expect((yield* socket.closed).clean).toBe(true)
      })
    )
  })

  describe(`${name}: shutting a server down`, () => {
    test(
      "closes all connections at once with 1001, and waits for a mute peer no longer than closeTimeout",
      Effect.gen(function* () {
        const { server, shutdown } = yield* serverWith({ closeTimeout: "3 seconds" })
        const peers = yield* Effect.replicateEffect(upgradedClient(server.address), 20)
        const mute = peers.slice(0, 3)
        expect(yield* server.connections).toBe(20)
        const closing = yield* Effect.fork(shutdown)
        for (const peer of peers) expect(yield* peer.closeCode).toBe(1001)
        for (const peer of peers.slice(3)) {
          yield* peer.sendFrames(Frame.close(1001))
          yield* peer.ended
          yield* peer.end
          yield* peer.closed
        }
        yield* settle
        yield* TestClock.adjust("2999 millis")
        for (const peer of mute) yield* hasNotEnded(peer)
        expect(yield* server.connections).toBe(3)
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        for (const peer of mute) yield* peer.ended
        expect(yield* server.connections).toBe(0)
      })
    )

    test(
      "ends connections in their opening handshake, and those that are refused",
      Effect.gen(function* () {
        const { server, shutdown } = yield* serverWith()
        const silent = yield* rawClient(server.address)
        const halfway = yield* rawClient(server.address)
        yield* halfway.send(upgradeRequest().slice(0, 40))
        const refused = yield* rawClient(server.address)
        yield* refused.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n")
        yield* refused.ended
        yield* settle
        expect(yield* server.connections).toBe(3)
        yield* shutdown
        yield* silent.ended
        yield* halfway.ended
        expect(yield* server.connections).toBe(0)
      })
    )
  })

  describe(`${name}: the end of TCP`, () => {
    test(
      "comes from the server first, which began to close",
      Effect.gen(function* () {
        const { server, end } = yield* serverWith()
        const peer = yield* upgradedClient(server.address)
        yield* end(Exit.void)
        yield* peer.closeCode
        yield* hasNotEnded(peer)
        yield* peer.sendFrames(Frame.close(1000))
        yield* peer.ended
        expect(peer.frames()).toEqual([Frame.close(1000)])
        yield* peer.end
        yield* peer.closed
      })
    )

    test(
      "comes from the server first, which was asked to close",
      Effect.gen(function* () {
        const { server, socket } = yield* serverWith()
        const peer = yield* upgradedClient(server.address)
        yield* peer.sendFrames(Frame.close(4000, "bye"), Frame.text("after the end"))
        expect(yield* peer.closeCode).toBe(4000)
        yield* peer.ended
        yield* peer.end
        expect(yield* (yield* socket).closed).toMatchObject({
          code: 4000,
          reason: "bye",
          initiator: "remote",
          clean: true
        })
        expect(yield* Effect.flip((yield* socket).receive)).toMatchObject({ code: 4000 })
      })
    )

    test(
      "is waited for by a client",
      Effect.gen(function* () {
        const { peer, socket } = yield* clientInScope()
        yield* peer.sendFrames(Frame.close(1000, "done"))
        expect(yield* peer.closeCode).toBe(1000)
        yield* hasNotEnded(peer)
        // The application knows already.
        expect(yield* Effect.flip(socket.receive)).toMatchObject({ code: 1000, reason: "done" })
        const closed = yield* Effect.fork(socket.closed)
        yield* settle
        expect(closed.unsafePoll()).toBeNull()
        yield* peer.end
        yield* peer.ended
        expect(yield* Fiber.join(closed)).toMatchObject({ code: 1000, clean: true })
      })
    )

    /** Waits for the connection to be given up, and not before the time is over. */
    const givesUpAfter = (timeout: Duration.DurationInput, closing: Fiber.Fiber<unknown, unknown>, peer: RawPeer) =>
      Effect.gen(function* () {
        yield* settle
        yield* TestClock.adjust(Duration.millis(Duration.toMillis(timeout) - 1))
        yield* settle
        expect((yield* Fiber.poll(closing))._tag).toBe("None")
        yield* TestClock.adjust("1 millis")
        yield* Fiber.await(closing)
        yield* peer.closed
      })

    for (const [what, options, timeout] of [
      ["after 5 seconds", {}, "5 seconds"],
      ["after closeTimeout", { closeTimeout: "70 millis" }, "70 millis"]
    ] as const) {
      test(
        `is forced ${what} when the peer never answers the Close (client)`,
        Effect.gen(function* () {
          const { peer, socket } = yield* clientInScope(options)
          const closing = yield* Effect.fork(socket.close(4000))
          expect(yield* peer.closeCode).toBe(4000)
          // So that our own half is over, and the rest is up to the client.
          yield* givesUpAfter(
            timeout,
            closing,
            yield* Effect.as(Effect.fork(Effect.zipRight(peer.ended, peer.end)), peer)
          )
          expect(yield* socket.closed).toMatchObject({ code: 1006, sentCode: 4000, initiator: "local", clean: false })
        })
      )

      test(
        `is forced ${what} when the peer never answers the Close (server)`,
        Effect.gen(function* () {
          const { server, socket } = yield* serverWith(options)
          const peer = yield* upgradedClient(server.address)
          const closing = yield* Effect.fork((yield* socket).close(4000))
          expect(yield* peer.closeCode).toBe(4000)
          yield* givesUpAfter(
            timeout,
            closing,
            yield* Effect.as(Effect.fork(Effect.zipRight(peer.ended, peer.end)), peer)
          )
          expect((yield* (yield* socket).closed).clean).toBe(false)
        })
      )

      test(
        `is forced ${what} when the server never closes TCP (client)`,
        Effect.gen(function* () {
          const { peer, leave, socket } = yield* clientInScope(options)
          const closing = yield* Effect.fork(leave(Exit.void))
          yield* answerClose(peer)
          yield* givesUpAfter(
            timeout,
            closing,
            yield* Effect.as(Effect.fork(Effect.zipRight(peer.ended, peer.end)), peer)
          )
          expect(yield* socket.closed).toMatchObject({ code: 1000, clean: true })
        })
      )

      test(
        `is forced ${what} when the client never closes TCP (server)`,
        Effect.gen(function* () {
          const { server, socket } = yield* serverWith(options)
          const peer = yield* upgradedClient(server.address)
          yield* peer.sendFrames(Frame.close(1000))
          yield* peer.ended
          const closed = yield* Effect.fork((yield* socket).closed)
          yield* settle
          yield* TestClock.adjust(Duration.millis(Duration.toMillis(timeout) - 1))
          yield* settle
          expect(closed.unsafePoll()).toBeNull()
          yield* TestClock.adjust("1 millis")
          expect(yield* Fiber.join(closed)).toMatchObject({ code: 1000, clean: true })
        })
      )
    }
  })

  describe(`${name}: interruption`, () => {
    test(
      "of receive takes nothing: all messages arrive, in order",
      Effect.gen(function* () {
        const { client, server } = yield* joined()
        const count = 300
        const sending = yield* Effect.fork(
          Effect.forEach(Array.from({ length: count }).keys(), (index) =>
            Effect.zipRight(
              server.send(`${index}`),
              index % 7 === 0 ? settle : index % 3 === 0 ? Effect.yieldNow() : Effect.void
            )
          )
        )
        const received: Array<string> = []
        let interrupted = 0
        for (let round = 0; received.length < count; round++) {
          const receiving = yield* Effect.fork(client.receive)
          for (let turn = 0; turn < round % 4; turn++) yield* Effect.yieldNow()
          if (round % 5 === 0) yield* settle
          const exit = yield* Fiber.interrupt(receiving)
          if (Exit.isSuccess(exit)) received.push(String(exit.value))
          else interrupted++
        }
        yield* Fiber.join(sending)
        expect(interrupted).toBeGreaterThan(0)
        expect(received).toEqual(Array.from({ length: count }, (_, index) => `${index}`))
      })
    )

    test(
      "of receive by a timeout harms nothing",
      Effect.gen(function* () {
        const { client, server } = yield* joined()
        const received: Array<WebSocket.Message> = []
        for (let index = 0; index < 20; index++) {
          const receiving = yield* Effect.fork(Effect.timeoutOption(client.receive, "1 second"))
          yield* settle
          if (index % 3 === 0) yield* TestClock.adjust("1 second")
          else yield* server.send(`${index}`)
          const result = yield* Fiber.join(receiving)
          if (result._tag === "Some") received.push(result.value)
          else yield* server.send(`${index}`)
          if (index % 3 === 0) received.push(yield* client.receive)
        }
        expect(received).toEqual(Array.from({ length: 20 }, (_, index) => `${index}`))
      })
    )

    test(
      "of a send that waits sends nothing of it",
      Effect.gen(function* () {
        const { server, socket } = yield* serverWith()
        const peer = yield* upgradedClient(server.address)
        peer.flow.pause()
        const self = yield* socket
        const sent: Array<number> = []
        let waiting: Fiber.RuntimeFiber<unknown, unknown> | undefined
        for (let index = 0; waiting === undefined; index++) {
          const sending = yield* Effect.fork(self.send(new Uint8Array(50_000).fill(index)))
          yield* settle
          if (sending.unsafePoll() === null) waiting = sending
          else sent.push(index)
        }
        yield* Fiber.interrupt(waiting)
        peer.flow.resume()
        yield* self.send("the last")
        yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.text)
        const frames = peer.frames()
        expect(frames.map(({ payload }) => payload.length)).toEqual([...sent.map(() => 50_000), 8])
        expect(frames.slice(0, -1).map(({ payload }) => payload[0])).toEqual(sent.map((index) => index % 256))
      })
    )

    test(
      "of close leaves the closing to go on",
      Effect.gen(function* () {
        const { peer, socket } = yield* clientInScope()
        const closing = yield* Effect.fork(socket.close(4000))
        yield* peer.closeCode
        yield* Fiber.interrupt(closing)
        yield* peer.sendFrames(Frame.close(4000))
        yield* peer.end
        expect(yield* socket.closed).toMatchObject({ code: 4000, clean: true })
      })
    )
  })
}
