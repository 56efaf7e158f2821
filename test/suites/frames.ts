import { describe } from "@effect/vitest"
import { Deferred, Effect, Fiber, type Layer, Stream } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import type * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { compressed } from "../fixtures/deflating.js"
import { settle } from "../fixtures/heard.js"
import { bothRolesOn, joined, serverWith } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { type RawPeer, upgradedClient, upgradeRequest } from "../fixtures/rawPeer.js"

const begin = (payload: string | Uint8Array) => part(Frame.Opcode.text, payload, false)
const middle = (payload: string | Uint8Array) => part(Frame.Opcode.continuation, payload, false)
const last = (payload: string | Uint8Array) => part(Frame.Opcode.continuation, payload, true)
const part = (opcode: Frame.Opcode, payload: string | Uint8Array, fin: boolean): Frame.Frame =>
  Frame.make({ opcode, payload, fin })

const textOf = ({ payload }: Frame.Frame) => Buffer.from(payload).toString()

/** The rules of `receiveFrame` and `sendFrame`: what comes, what is automatic, what may be sent when, and beside what. */
export const framesSuite = (name: string, network: Layer.Layer<Network>, fragments: number): void => {
  const test = testsOn(network)
  const inBothRoles = bothRolesOn(network)

  /** A server's end, and a client in the hands of the test. */
  const opened = (options?: Parameters<typeof serverWith>[0], request?: Readonly<Record<string, string>>) =>
    Effect.gen(function* () {
      const { end, server, socket } = yield* serverWith(options)
      const peer = yield* upgradedClient(server.address, upgradeRequest(request))
      return { peer, socket: yield* socket, end }
    })

  const finish = (peer: RawPeer) =>
    Effect.gen(function* () {
      yield* peer.sendFrames(Frame.close(1000))
      yield* peer.ended
      yield* peer.end
    })

  describe(`${name}: frames received`, () => {
    test(
      "pings come, and are answered all the same, once",
      Effect.gen(function* () {
        const { peer, socket } = yield* opened()
        const taking = yield* Effect.fork(socket.receiveFrame)
        yield* settle
        yield* peer.sendFrames(Frame.ping("there?"))
        expect(yield* Fiber.join(taking)).toEqual(Frame.ping("there?"))
        yield* socket.send("behind it")
        yield* peer.frame((frame) => textOf(frame) === "behind it")
        expect(peer.frames()).toEqual([Frame.pong("there?"), Frame.text("behind it")])
        yield* finish(peer)
      })
    )

    inBothRoles("pongs come, and whoever asked for them is told all the same", (self) =>
      Effect.gen(function* () {
        const taking = yield* Effect.fork(self.receiveFrame)
        yield* settle
        yield* self.ping
        expect((yield* Fiber.join(taking)).opcode).toBe(Frame.Opcode.pong)
      })
    )

    test(
      "a Close comes, and is answered with its code",
      Effect.gen(function* () {
        const { peer, socket } = yield* opened()
        const taking = yield* Effect.fork(socket.receiveFrame)
        yield* settle
        yield* peer.sendFrames(Frame.close(4000, "enough"))
        expect(yield* Fiber.join(taking)).toEqual(Frame.close(4000, "enough"))
        expect(yield* peer.closeCode).toBe(4000)
        yield* peer.end
        expect(yield* Effect.flip(socket.receiveFrame)).toMatchObject({ _tag: "ConnectionClosed", code: 4000 })
      })
    )

    for (const [what, frames, code, good] of [
      ["text that stops being UTF-8", [begin("fine"), middle(Uint8Array.of(0xff))], 1007, 1],
      ["a fragment of nothing", [Frame.text("fine"), last("stray")], 1002, 1],
      ["a message inside another", [begin("fine"), Frame.ping(), Frame.text("inside")], 1002, 2],
      ["a reserved bit", [Frame.text("fine"), { ...Frame.text("bit"), rsv: 2 }], 1002, 1]
    ] as const) {
      test(
        `${what} doesn't come: it fails the connection, behind what came before`,
        Effect.gen(function* () {
          const { peer, socket } = yield* opened()
          const taking = yield* Effect.fork(socket.receiveFrame)
          yield* settle
          yield* peer.sendFrames(...frames)
          const received = [yield* Fiber.join(taking)]
          while (received.length < good) received.push(yield* socket.receiveFrame)
          expect(received).toEqual(frames.slice(0, good))
          const failure = { _tag: "ProtocolError", side: "remote", closeCode: code }
          expect(yield* Effect.flip(socket.receiveFrame)).toMatchObject(failure)
          expect(yield* peer.closeCode).toBe(code)
          yield* peer.end
        })
      )
    }

    test(
      "limits hold for a whole message, whatever was taken of it",
      Effect.gen(function* () {
        const { peer, socket } = yield* opened({ maxPayloadSize: 10 })
        const taking = yield* Effect.fork(socket.receiveFrame)
        yield* settle
        yield* peer.sendFrames(begin("12345"))
        yield* Fiber.join(taking)
        yield* peer.sendFrames(middle("67890"))
        yield* socket.receiveFrame
        yield* peer.sendFrames(last("1"))
        const failure = { _tag: "PayloadTooLarge", which: "message size", limit: 10, size: 11 }
        expect(yield* Effect.flip(socket.receiveFrame)).toMatchObject(failure)
        expect(yield* peer.closeCode).toBe(1009)
        yield* peer.end
      })
    )

    test(
      "a compressed message comes as one frame, decompressed, and a frame goes out as it is",
      Effect.gen(function* () {
        const { peer, socket } = yield* opened(
          { deflate: { threshold: 0 } },
          { "Sec-WebSocket-Extensions": "permessage-deflate" }
        )
        const text = "again and again ".repeat(10)
        const bytes = compressed(text)
        const taking = yield* Effect.fork(socket.receiveFrame)
        yield* settle
        yield* peer.sendFrames(
          { ...begin(bytes.subarray(0, 5)), rsv: 4 },
          Frame.ping("between"),
          last(bytes.subarray(5))
        )
        expect([yield* Fiber.join(taking), yield* socket.receiveFrame]).toEqual([
          Frame.ping("between"),
          Frame.text(text)
        ])
        yield* socket.sendFrame(Frame.text(text))
        expect(yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.text)).toEqual(Frame.text(text))
        yield* finish(peer)
      })
    )

    test(
      "hold the peer back while nobody takes them, however long the message is",
      Effect.gen(function* () {
        const { client, server } = yield* joined({
          server: { maxPayloadSize: Number.MAX_SAFE_INTEGER, maxFrameSize: 1024 * 1024 }
        })
        const taking = yield* Effect.fork(server.receiveFrame)
        yield* settle
        const piece = Buffer.alloc(1024 * 1024)
        let accepted = 0
        const sending = yield* Effect.fork(
          Effect.gen(function* () {
            yield* client.sendFrame(part(Frame.Opcode.binary, piece, false))
            while (++accepted < fragments) yield* client.sendFrame(middle(piece))
            yield* client.sendFrame(last(""))
          })
        )
        yield* Fiber.join(taking)
        for (let before = -1, rounds = 0; rounds < 20; rounds++) {
          if (accepted !== before) rounds = 0
          before = accepted
          yield* settle
        }
        expect(sending.unsafePoll()).toBeNull()
        expect(accepted).toBeLessThan(fragments)
        for (let index = 1; index < fragments; index++) {
          const { fin, payload } = yield* server.receiveFrame
          if (fin || payload.length !== piece.length) expect.fail(`frame ${index} is another one`)
        }
        expect(yield* server.receiveFrame).toEqual(last(""))
        yield* Fiber.join(sending)
      })
    )
  })

  describe(`${name}: frames and messages beside each other`, () => {
    inBothRoles("receive begins with the next message where a frame of one was taken", (self, peer) =>
      Effect.gen(function* () {
        const taking = yield* Effect.fork(peer.receiveFrame)
        yield* settle
        for (const frame of [begin("taken"), middle("dropped"), last("dropped")]) yield* self.sendFrame(frame)
        expect(yield* Fiber.join(taking)).toEqual(begin("taken"))
        yield* self.send("next")
        expect(yield* peer.receive).toBe("next")
      })
    )

    inBothRoles("receiveFrame begins with what an interrupted receive had seen, as one frame", (self, peer) =>
      Effect.gen(function* () {
        const taking = yield* Effect.fork(peer.receiveFrame)
        yield* settle
        yield* self.send("turns it to frames")
        yield* Fiber.join(taking)
        const receiving = yield* Effect.fork(peer.receive)
        yield* self.sendFrame(begin("a"))
        yield* self.sendFrame(middle("b"))
        yield* self.ping
        yield* Fiber.interrupt(receiving)
        yield* self.sendFrame(last("c"))
        expect([yield* peer.receiveFrame, yield* peer.receiveFrame]).toEqual([begin("ab"), last("c")])
      })
    )
  })

  describe(`${name}: frames sent`, () => {
    inBothRoles("nothing but control frames goes between those of a message", (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendFrame(begin("a"))
        for (const other of [
          self.send("b"),
          self.offer("b"),
          self.sendAll(["b"]),
          self.sendTextStream(Stream.make("b")),
          self.sendFrame(Frame.binary(Uint8Array.of(1)))
        ]) {
          expect(yield* Effect.flip<unknown, WebSocketError, never>(other)).toMatchObject({
            _tag: "ProtocolError",
            side: "local",
            rule: "a message must end before the next one begins (RFC 6455 5.4)"
          })
        }
        yield* self.ping
        yield* self.sendFrame(last("c"))
        yield* self.send("d")
        expect([yield* peer.receive, yield* peer.receive]).toEqual(["ac", "d"])
      })
    )

    inBothRoles("data frames wait for a message that is sent as a stream, control frames don't", (self, peer) =>
      Effect.gen(function* () {
        const more = yield* Deferred.make<string>()
        const streaming = yield* Effect.fork(
          self.sendTextStream(Stream.concat(Stream.make("a"), Stream.fromEffect(Deferred.await(more))))
        )
        yield* settle
        const sending = yield* Effect.fork(self.sendFrame(Frame.text("c")))
        yield* self.ping
        expect(sending.unsafePoll()).toBeNull()
        yield* Deferred.succeed(more, "b")
        expect([yield* peer.receive, yield* peer.receive]).toEqual(["ab", "c"])
        yield* Fiber.join(streaming)
        yield* Fiber.join(sending)
      })
    )

    for (const slowConsumer of ["suspend", "dropNewest"] as const) {
      test(
        `data frames wait for room, are never dropped (${slowConsumer}), and a ping overtakes them`,
        Effect.gen(function* () {
          const { peer, socket } = yield* opened({ slowConsumer, sendBufferSize: 100_000 })
          peer.flow.pause()
          const frame = (index: number) => Frame.text(`${index}`.padEnd(20_000, "."))
          let sent = 0
          const sendNext = Effect.suspend(() => Effect.fork(socket.sendFrame(frame(sent++))))
          let sending = yield* sendNext
          for (yield* settle; sending.unsafePoll() !== null; yield* settle) sending = yield* sendNext
          yield* socket.sendPing("first")
          expect(sending.unsafePoll()).toBeNull()
          peer.flow.resume()
          yield* Fiber.join(sending)
          yield* peer.frame((each) => each.payload.length > 0 && textOf(each).startsWith(`${sent - 1}.`))
          const order = peer.frames().map((each) => textOf(each).replaceAll(".", ""))
          expect(order.filter((text) => text !== "first")).toEqual(Array.from({ length: sent }, (_, at) => `${at}`))
          expect(order.at(-1)).toBe(`${sent - 1}`)
          expect(yield* socket.dropped).toBe(0)
          yield* finish(peer)
        })
      )
    }

    inBothRoles("a Close counts as close, also in the middle of a message", (self, peer) =>
      Effect.gen(function* () {
        for (const wrong of [
          Frame.make({ opcode: Frame.Opcode.close, payload: Uint8Array.of(3, 237) }),
          closeOf("x")
        ]) {
          expect(yield* Effect.flip(self.sendFrame(wrong))).toMatchObject({ _tag: "ProtocolError", side: "local" })
        }
        expect(yield* self.isOpen).toBe(true)
        yield* self.sendFrame(begin("half"))
        yield* self.sendFrame(Frame.close(4000, "enough"))
        expect(yield* self.isOpen).toBe(false)
        for (const late of [self.send("late"), self.sendFrame(last("late")), self.sendFrame(Frame.close(1000))]) {
          expect(yield* Effect.flip<unknown, WebSocketError, never>(late)).toMatchObject({
            _tag: "ConnectionClosed",
            sentCode: 4000
          })
        }
        expect(yield* peer.closed).toMatchObject({ code: 4000, reason: "enough", initiator: "remote" })
        expect(yield* self.closed).toMatchObject({ code: 4000, sentCode: 4000, initiator: "local", clean: true })
      })
    )
  })
}

type WebSocketError = Effect.Effect.Error<WebSocket.WebSocket["receive"]>

/** A Close with something that is no code. */
const closeOf = (payload: string) => Frame.make({ opcode: Frame.Opcode.close, payload })
