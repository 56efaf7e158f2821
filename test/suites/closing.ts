import { describe } from "@effect/vitest"
import { Deferred, Effect, Either, Exit, Fiber, type Layer, type Scope, Stream } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { bothRolesOn, ends, joined } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { type RawPeer, rawServer, upgradedClient, upgradedServer } from "../fixtures/rawPeer.js"

/** How a connection ends, and what everyone is told of it. */
export const closingSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)
  const inBothRoles = bothRolesOn(network)

  describe(`${name}: closing`, () => {
    for (const initiator of ["client", "server"] as const) {
      test(
        `tells both sides the codes, the reason, who began and that it was clean (${initiator} began)`,
        Effect.gen(function* () {
          const both = yield* joined()
          const [{ self, peer }] = initiator === "client" ? [ends(both)[0]] : [ends(both)[1]]
          expect(yield* self.isOpen).toBe(true)
          yield* self.close(4321, "see you")
          expect(yield* self.isOpen).toBe(false)
          const mine = yield* self.closed
          expect(mine).toMatchObject({ code: 4321, reason: "", sentCode: 4321, initiator: "local", clean: true })
          const theirs = yield* peer.closed
          expect(theirs).toMatchObject({
            code: 4321,
            reason: "see you",
            sentCode: 4321,
            initiator: "remote",
            clean: true
          })
          expect(theirs.message).toMatch(/closed by the peer with 4321.*"see you", sent 4321/)
          expect(theirs.message).toContain("127.0.0.1")
          expect(yield* peer.isOpen).toBe(false)
        })
      )
    }

    inBothRoles("is 1000 unless another code is given", (self, peer) =>
      Effect.gen(function* () {
        yield* self.close()
        expect((yield* peer.closed).code).toBe(1000)
        // A second time it does nothing but wait.
        yield* self.close(4000)
        expect((yield* self.closed).sentCode).toBe(1000)
      })
    )

    inBothRoles("refuses codes and reasons that can't be sent, and harms nothing", (self, peer) =>
      Effect.gen(function* () {
        for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 1000.5, Number.NaN]) {
          const error = yield* Effect.flip(self.close(code))
          expect(error).toMatchObject({ _tag: "ProtocolError", side: "local" })
          expect(error.message).toContain(String(code))
        }
        expect((yield* Effect.flip(self.close(1000, "é".repeat(62)))).message).toContain("123 bytes")
        yield* self.send("unharmed")
        expect(yield* peer.receive).toBe("unharmed")
        yield* self.close(1000, "é".repeat(61))
        expect((yield* peer.closed).reason).toBe("é".repeat(61))
      })
    )

    inBothRoles("delivers what was sent before, then fails", (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendAll(["first", "second"])
        yield* self.close(1000, "done")
        expect(yield* peer.receive).toBe("first")
        expect(yield* peer.receive).toBe("second")
        expect(yield* Effect.flip(peer.receive)).toMatchObject({ _tag: "ConnectionClosed", code: 1000, clean: true })
      })
    )

    inBothRoles("makes every operation fail at once with what ended the connection", (self, peer) =>
      Effect.gen(function* () {
        yield* self.close(4002, "gone")
        yield* peer.closed
        const operations: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          peer.send("late"),
          peer.sendText("late"),
          peer.sendBinary(Uint8Array.of(1)),
          peer.sendAll(["late"]),
          peer.sendPing(),
          peer.sendPong(),
          peer.sendFrame(Frame.text("late")),
          peer.receive,
          peer.receiveAll,
          peer.receiveFrame,
          Stream.runDrain(peer.messages),
          Stream.run(Stream.make("late"), peer.sink),
          peer.run(() => Effect.void)
        ]
        for (const operation of operations) {
          const exit = yield* Effect.exit(Effect.flip(operation))
          expect(Exit.isSuccess(exit) && exit.value).toMatchObject({ _tag: "ConnectionClosed", code: 4002 })
        }
      })
    )

    inBothRoles("wakes all who wait to receive", (self, peer) =>
      Effect.gen(function* () {
        const waiting = yield* Effect.forEach(
          [peer.receive, peer.receive, peer.receiveAll, peer.run(() => Effect.void), Stream.runDrain(peer.messages)],
          (each: Effect.Effect<unknown, unknown>) => Effect.fork(Effect.flip(each))
        )
        yield* settle
        yield* self.close(4003)
        const errors = yield* Effect.forEach(waiting, Fiber.join)
        for (const error of errors) expect(error).toMatchObject({ _tag: "ConnectionClosed", code: 4003 })
      })
    )
  })

  describe(`${name}: errors`, () => {
    /** A connection of each role whose peer is a test, and may break the rules. */
    const withRawPeer = <E>(
      title: string,
      options: WebSocket.ConnectionOptions,
      body: (socket: WebSocket.WebSocket, peer: RawPeer) => Effect.Effect<unknown, E, Network | Scope.Scope>
    ) => {
      test(
        `${title} (client)`,
        Effect.gen(function* () {
          const server = yield* rawServer()
          const connecting = yield* Effect.fork(WebSocket.connect(server.url, options))
          const peer = yield* upgradedServer(server)
          yield* body(yield* Fiber.join(connecting), peer)
        })
      )
      test(
        `${title} (server)`,
        Effect.gen(function* () {
          const server = yield* WebSocketServer.make({ drainTimeout: 0, ...options })
          const accepted = yield* Deferred.make<WebSocket.WebSocket>()
          yield* server.serve((socket) => Effect.zipRight(Deferred.succeed(accepted, socket), Effect.never))
          const peer = yield* upgradedClient(server.address)
          yield* body(yield* Deferred.await(accepted), peer)
          yield* peer.end
        })
      )
    }

    const breaks = (
      title: string,
      frames: ReadonlyArray<Frame.Frame>,
      expected: { readonly closeCode: number; readonly message: RegExp }
    ) =>
      withRawPeer(title, {}, (socket, peer) =>
        Effect.gen(function* () {
          yield* peer.sendFrames(Frame.text("valid"), ...frames)
          expect(yield* peer.closeCode).toBe(expected.closeCode)
          expect(yield* socket.receive).toBe("valid")
          const error = yield* Effect.flip(socket.receive)
          expect(error).toMatchObject({ _tag: "ProtocolError", side: "remote", closeCode: expected.closeCode })
          expect(error.message).toMatch(expected.message)
          expect(error.message).toContain("127.0.0.1")
          expect(yield* Effect.flip(socket.send("late"))).toBe(error)
          // Who fails the connection doesn't wait for a Close: the end follows at once.
          yield* peer.ended
          yield* peer.end
          expect(yield* Effect.flip(socket.closed)).toBe(error)
        })
      )

    breaks(
      "a frame out of place fails with ProtocolError and 1002",
      [{ opcode: Frame.Opcode.continuation, rsv: 0, fin: true, payload: new Uint8Array(0) }],
      { closeCode: 1002, message: /continuation frame must follow.*RFC 6455 5\.4/ }
    )
    breaks("a reserved bit fails with ProtocolError and 1002", [{ ...Frame.text("x"), rsv: 4 }], {
      closeCode: 1002,
      message: /RSV bits/
    })
    breaks(
      "text that isn't UTF-8 fails with ProtocolError and 1007",
      [{ ...Frame.text(""), payload: Uint8Array.of(0xc0) }],
      {
        closeCode: 1007,
        message: /UTF-8/
      }
    )

    const exceeds = (
      title: string,
      options: WebSocket.ConnectionOptions,
      frames: ReadonlyArray<Frame.Frame>,
      expected: { readonly which: string; readonly limit: number; readonly size: number }
    ) =>
      withRawPeer(title, options, (socket, peer) =>
        Effect.gen(function* () {
          yield* peer.sendFrames(...frames)
          expect(yield* peer.closeCode).toBe(1009)
          const error = yield* Effect.flip(socket.receive)
          expect(error).toMatchObject({ _tag: "PayloadTooLarge", ...expected })
          expect(error.message).toContain(`${expected.which} ${expected.size} is over the limit of ${expected.limit}`)
          expect(error.message).toContain("127.0.0.1")
          yield* peer.ended
          yield* peer.end
          yield* Effect.flip(socket.closed)
        })
      )
    const fragments = (count: number, size: number) =>
      Array.from({ length: count }, (_, index) =>
        Frame.make({
          opcode: index === 0 ? Frame.Opcode.text : Frame.Opcode.continuation,
          fin: false,
          payload: "x".repeat(size)
        })
      )

    exceeds(
      "too large a frame fails with PayloadTooLarge and 1009",
      { maxFrameSize: 100 },
      [Frame.text("x".repeat(101))],
      {
        which: "frame size",
        limit: 100,
        size: 101
      }
    )
    exceeds("too large a message fails with PayloadTooLarge and 1009", { maxPayloadSize: 100 }, fragments(3, 40), {
      which: "message size",
      limit: 100,
      size: 120
    })
    exceeds("too many fragments fail with PayloadTooLarge and 1009", { maxFragments: 5 }, fragments(6, 0), {
      which: "fragments per message",
      limit: 5,
      size: 6
    })

    withRawPeer("a message of exactly the limit is accepted", { maxPayloadSize: 100 }, (socket, peer) =>
      Effect.gen(function* () {
        yield* peer.sendFrames(Frame.text("x".repeat(100)))
        expect(yield* socket.receive).toBe("x".repeat(100))
        yield* peer.sendFrames(Frame.close(1000))
        yield* peer.closeCode
        yield* peer.end
        yield* socket.closed
      })
    )

    withRawPeer("a FIN without a Close fails with ConnectionClosed 1006", {}, (socket, peer) =>
      Effect.gen(function* () {
        yield* peer.sendFrames(Frame.text("last"))
        yield* peer.end
        expect(yield* socket.receive).toBe("last")
        const error = yield* Effect.flip(socket.receive)
        expect(error).toMatchObject({ _tag: "ConnectionClosed", code: 1006, initiator: "remote", clean: false })
        expect(error.message).toContain("closed by the peer without a Close frame")
        expect(yield* Effect.flip(Stream.runDrain(socket.messages))).toBe(error)
        expect(yield* socket.closed).toBe(error)
      })
    )

    withRawPeer("a FIN in the middle of a frame says so", {}, (socket, peer) =>
      Effect.gen(function* () {
        const [whole] = [Either.getOrThrow(Frame.encode(Frame.text("cut short"), peer.role))]
        yield* peer.send(whole.subarray(0, whole.length - 1))
        yield* peer.end
        const error = yield* Effect.flip(socket.receive)
        expect(error).toMatchObject({ _tag: "ConnectionClosed", code: 1006, reason: "the stream ended inside a frame" })
      })
    )
  })
}
