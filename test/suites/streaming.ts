import { describe } from "@effect/vitest"
import { Chunk, Deferred, Effect, Exit, Fiber, type Layer, Option, Ref, Stream } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import type * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { largestRead } from "../fixtures/counting.js"
import { pattern, settle } from "../fixtures/heard.js"
import { bothRolesOn, joined } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { finish, sendUntilFull, withPeerOn } from "../fixtures/withPeer.js"

const frameSize = 64 * 1024
const part = (opcode: Frame.Opcode, payload: string | Uint8Array, fin = false) => Frame.make({ opcode, payload, fin })
const begin = (payload: string | Uint8Array) => part(Frame.Opcode.text, payload)
const middle = (payload: string | Uint8Array) => part(Frame.Opcode.continuation, payload)
const last = (payload: string | Uint8Array) => part(Frame.Opcode.continuation, payload, true)
const isFin = ({ fin, opcode }: Frame.Frame) => fin && opcode < Frame.Opcode.close

const contentOf = (frames: ReadonlyArray<Frame.Frame>) =>
  Buffer.concat(frames.filter(({ opcode }) => opcode < Frame.Opcode.close).map(({ payload }) => payload))

/** All of a text message that arrives in pieces. */
const allText = (incoming: WebSocket.Incoming) =>
  incoming._tag === "Text" ? Stream.mkString(incoming.chunks) : Effect.dieMessage("it isn't text")

const allBytes = (incoming: WebSocket.Incoming) =>
  incoming._tag === "Binary"
    ? Effect.map(Stream.runCollect(incoming.chunks), (chunks) => Buffer.concat(Chunk.toReadonlyArray(chunks)))
    : Effect.dieMessage("it isn't binary")

/** The next chunk each time; none at the end. */
const pulling = (incoming: WebSocket.Incoming) => Stream.toPull(chunksOf(incoming))
const chunksOf = ({ chunks }: WebSocket.Incoming): Stream.Stream<string | Uint8Array, PullError> => chunks
type PullError = Effect.Effect.Error<WebSocket.WebSocket["receive"]>

const loneSurrogate = /\p{Surrogate}/u

/** A stream whose pieces come when the test says so. */
const gated = Effect.gen(function* () {
  const gates = yield* Effect.forEach(["a", "b"], () => Deferred.make<string>())
  const [first, second] = gates
  if (first === undefined || second === undefined) return yield* Effect.dieMessage("two gates")
  return { first, second, stream: Stream.mapEffect(Stream.make(first, second), Deferred.await) }
})

/** Messages in pieces, both ways. */
export const streamingSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)
  const inBothRoles = bothRolesOn(network)
  const withPeer = withPeerOn(network)

  describe(`${name}: sending a stream`, () => {
    inBothRoles("of text or bytes makes one message, whatever the pieces", (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendTextStream(Stream.make("he", "", "ll", "o"))
        yield* self.sendTextStream(Stream.empty)
        yield* self.sendTextStream(Stream.make("", ""))
        yield* self.sendTextStream(Stream.make("😀".slice(0, 1), "😀".slice(1), "é\ud83d", "", "\ude00"))
        yield* self.sendTextStream(Stream.make("lone \ud83d", "x", "\ude00", "\ud83d\ud83d", "\ud83d"))
        yield* self.sendBinaryStream(Stream.make(Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)))
        yield* self.sendBinaryStream(Stream.empty)
        expect(yield* peer.receive).toBe("hello")
        expect(yield* peer.receive).toBe("")
        expect(yield* peer.receive).toBe("")
        expect(yield* peer.receive).toBe("😀é😀")
        expect(yield* peer.receive).toBe("lone \ufffdx\ufffd\ufffd\ufffd\ufffd")
        expect(yield* peer.receive).toEqual(Uint8Array.of(1, 2, 3))
        expect(yield* peer.receive).toEqual(new Uint8Array(0))
      })
    )

    withPeer({})("cuts huge pieces into frames of 64 KiB, and sends none for an empty one", ({ peer, socket }) =>
      Effect.gen(function* () {
        const content = pattern(3 * frameSize + 5)
        yield* socket.sendBinaryStream(Stream.make(content.slice(), new Uint8Array(0), Uint8Array.of(9)))
        yield* peer.frame(isFin)
        expect(peer.frames().map(({ opcode, payload }) => [opcode, payload.length])).toEqual([
          [2, frameSize],
          [0, frameSize],
          [0, frameSize],
          [0, 5],
          [0, 1],
          [0, 0]
        ])
        expect(contentOf(peer.frames()).equals(Buffer.concat([content, Uint8Array.of(9)]))).toBe(true)
        yield* finish({ peer, socket })
      })
    )

    withPeer({})("sends each piece as it comes, text cut anywhere", ({ peer, socket }) =>
      Effect.gen(function* () {
        const { first, second, stream } = yield* gated
        const sending = yield* Effect.fork(socket.sendTextStream(stream))
        yield* Deferred.succeed(first, "early \ud83d")
        const early = yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.text)
        expect([early.fin, String(Buffer.from(early.payload))]).toEqual([false, "early "])
        yield* Deferred.succeed(second, "\ude00".padEnd(frameSize, "€"))
        yield* Fiber.join(sending)
        yield* peer.frame(isFin)
        expect(contentOf(peer.frames()).toString()).toBe(`early 😀${"€".repeat(frameSize - 1)}`)
        expect(peer.frames().length).toBeGreaterThan(4)
        yield* finish({ peer, socket })
      })
    )

    inBothRoles("other messages wait and come behind it, in order; pings don't wait", (self, peer) =>
      Effect.gen(function* () {
        const { first, second, stream } = yield* gated
        const streaming = yield* Effect.fork(self.sendTextStream(stream))
        yield* Deferred.succeed(first, "one")
        yield* settle
        const others: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
        const all: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          self.send("two"),
          self.sendAll(["three", "four"]),
          self.sendFrame(Frame.text("five")),
          self.sendTextStream(Stream.make("s", "i", "x")),
          self.send(Uint8Array.of(7))
        ]
        for (const other of all) {
          others.push(yield* Effect.fork(other))
          yield* settle
        }
        expect(yield* self.offer("no room")).toBe("dropped")
        yield* self.ping
        yield* self.sendPong("unasked")
        expect(others.map((fiber) => fiber.unsafePoll())).toEqual(others.map(() => null))
        yield* Deferred.succeed(second, "...")
        yield* Fiber.join(streaming)
        for (const fiber of others) yield* Fiber.join(fiber)
        const received = []
        while (received.length < 7) received.push(yield* peer.receive)
        expect(received).toEqual(["one...", "two", "three", "four", "five", "six", Uint8Array.of(7)])
      })
    )

    inBothRoles("that fails or is interrupted before its first piece harms nothing", (self, peer) =>
      Effect.gen(function* () {
        expect(yield* Effect.flip(self.sendTextStream(Stream.fail("nothing to send")))).toBe("nothing to send")
        expect(yield* Effect.flip(self.sendTextStream(Stream.concat(Stream.make(""), Stream.fail("empty"))))).toBe(
          "empty"
        )
        const { stream } = yield* gated
        const streaming = yield* Effect.fork(self.sendTextStream(stream))
        yield* settle
        const waiting = yield* Effect.fork(self.sendTextStream(Stream.make("never")))
        yield* settle
        yield* Fiber.interrupt(waiting)
        yield* Fiber.interrupt(streaming)
        yield* self.send("unharmed")
        yield* self.sendTextStream(Stream.make("streams", ", too"))
        expect([yield* peer.receive, yield* peer.receive]).toEqual(["unharmed", "streams, too"])
      })
    )

    for (const [how, end] of [
      [
        "fails",
        (fiber: Fiber.RuntimeFiber<void, unknown>, gate: Deferred.Deferred<string>) =>
          Effect.zipRight(Deferred.interrupt(gate), Fiber.await(fiber))
      ],
      ["is interrupted", (fiber: Fiber.RuntimeFiber<void, unknown>) => Fiber.interrupt(fiber)]
    ] as const) {
      inBothRoles(`that ${how} later closes with 1011, and is never taken for whole`, (self, peer) =>
        Effect.gen(function* () {
          const { first, second, stream } = yield* gated
          const streaming = yield* Effect.fork(self.sendTextStream(stream))
          yield* Deferred.succeed(first, "half")
          const incoming = yield* peer.receiveStream
          const chunks = yield* Ref.make("")
          const taking = yield* Effect.fork(
            Stream.runForEach(chunksOf(incoming), (chunk) => Ref.update(chunks, (all) => all + String(chunk)))
          )
          while ((yield* Ref.get(chunks)) === "") yield* settle
          const behind = yield* Effect.fork(self.send("behind it"))
          yield* settle
          expect(Exit.isFailure(yield* end(streaming, second))).toBe(true)
          const closed = { _tag: "ConnectionClosed", code: 1011, reason: "a message was broken off" }
          expect(yield* Effect.flip(Fiber.join(taking))).toMatchObject(closed)
          expect(yield* Ref.get(chunks)).toBe("half")
          expect(yield* Effect.flip(peer.receive)).toMatchObject(closed)
          expect(yield* Effect.flip(Fiber.join(behind))).toMatchObject({ _tag: "ConnectionClosed", sentCode: 1011 })
        })
      )
    }

    for (const [what, close] of [
      ["us", (self: WebSocket.WebSocket) => self.close()],
      ["the peer", (_: WebSocket.WebSocket, peer: WebSocket.WebSocket) => peer.close()]
    ] as const) {
      inBothRoles(
        `doesn't hold up a Close of ${what}, and ends with the connection, whatever it waits for`,
        (self, peer) =>
          Effect.gen(function* () {
            let released = false
            const silent = Stream.ensuring(
              Stream.concat(Stream.make("half"), Stream.never),
              Effect.sync(() => {
                released = true
              })
            )
            const streaming = yield* Effect.fork(self.sendTextStream(silent))
            const queued = yield* Effect.fork(Effect.zipRight(settle, self.sendTextStream(Stream.never)))
            const incoming = yield* peer.receiveStream
            yield* settle
            yield* close(self, peer)
            expect(yield* Effect.flip(Fiber.join(streaming))).toMatchObject({ _tag: "ConnectionClosed" })
            expect(yield* Effect.flip(Fiber.join(queued))).toMatchObject({ _tag: "ConnectionClosed" })
            expect(released).toBe(true)
            expect(yield* Effect.flip(Stream.runDrain(chunksOf(incoming)))).toMatchObject({
              _tag: "ConnectionClosed",
              code: 1000
            })
          })
      )
    }

    inBothRoles("is refused in the middle of a message that was begun in frames, and harms nothing", (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendFrame(begin("a"))
        expect(yield* Effect.flip(self.sendTextStream(Stream.make("b")))).toMatchObject({
          _tag: "ProtocolError",
          side: "local"
        })
        yield* self.sendFrame(last("c"))
        yield* self.sendTextStream(Stream.make("d"))
        expect([yield* peer.receive, yield* peer.receive]).toEqual(["ac", "d"])
      })
    )

    withPeer({ sendBufferSize: 100_000 })("waits while the peer doesn't read", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        let made = 0
        const pieces = Stream.map(Stream.rechunk(Stream.range(0, 1_000_000), 1), () => {
          made++
          return new Uint8Array(frameSize)
        })
        const streaming = yield* Effect.fork(socket.sendBinaryStream(pieces))
        for (let before = -1; before !== made; yield* settle) before = made
        expect(streaming.unsafePoll()).toBeNull()
        expect(yield* socket.bufferedBytes).toBeLessThan(100_000 + frameSize + 100)
        yield* Effect.fork(Fiber.interrupt(streaming))
        peer.flow.resume()
        expect(yield* peer.closeCode).toBe(1011)
        yield* finish({ peer, socket })
        // All that was made has left but for the piece that waited.
        expect(contentOf(peer.frames()).length).toBe((made - 1) * frameSize)
      })
    )
  })

  describe(`${name}: receiving in pieces`, () => {
    withPeer({})("gives what is there before the message is complete", ({ peer, socket }) =>
      Effect.gen(function* () {
        const receiving = yield* Effect.fork(socket.receiveStream)
        yield* peer.sendFrames(begin("a"))
        const incoming = yield* Fiber.join(receiving)
        expect(incoming._tag).toBe("Text")
        const pull = yield* pulling(incoming)
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["a"])
        yield* peer.sendFrames(middle("b"), Frame.ping())
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["b"])
        const half = Buffer.from(Effect.runSync(Frame.encode(last("cd"), peer.role)))
        yield* peer.send(half.subarray(0, half.length - 1))
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["c"])
        yield* peer.send(half.subarray(half.length - 1))
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["d"])
        expect(yield* Effect.flip(pull)).toEqual(Option.none())
        expect(peer.frames().map(({ opcode }) => opcode)).toEqual([Frame.Opcode.pong])
        yield* finish({ peer, socket })
      })
    )

    withPeer({})("begins with what had come before anybody asked", ({ peer, socket }) =>
      Effect.gen(function* () {
        yield* peer.sendFrames(
          Frame.text("whole"),
          part(Frame.Opcode.binary, Uint8Array.of(1, 2)),
          middle(Uint8Array.of(3))
        )
        yield* settle
        expect(yield* Effect.flatMap(socket.receiveStream, allText)).toBe("whole")
        // Nothing more comes, and yet the beginning is there.
        const incoming = yield* socket.receiveStream
        const pull = yield* pulling(incoming)
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual([Uint8Array.of(1, 2, 3)])
        yield* peer.sendFrames(last(Uint8Array.of(4)))
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual([Uint8Array.of(4)])
        yield* finish({ peer, socket })
      })
    )

    withPeer({})("never cuts a code point, however the bytes come", ({ peer, socket }) =>
      Effect.gen(function* () {
        const text = "aé€😀\ufeff\u0000z"
        const bytes = Effect.runSync(Frame.encode(Frame.text(text), peer.role))
        const receiving = yield* Effect.fork(socket.receiveStream)
        yield* peer.send(bytes.subarray(0, 7))
        const incoming = yield* Fiber.join(receiving)
        const seen: Array<string | Uint8Array> = []
        const taking = yield* Effect.fork(
          Stream.runForEach(chunksOf(incoming), (chunk) => Effect.sync(() => seen.push(chunk)))
        )
        const payload = Buffer.from(text)
        const header = bytes.length - payload.length
        for (let sent = 8; sent <= bytes.length; sent++) {
          yield* peer.send(bytes.subarray(sent - 1, sent))
          // All of it that is whole is seen before the next byte leaves.
          const due = new TextDecoder("utf-8", { ignoreBOM: true }).decode(payload.subarray(0, sent - header), {
            stream: true
          })
          while (seen.join("") !== due) yield* settle
        }
        yield* Fiber.join(taking)
        expect(seen.join("")).toBe(text)
        for (const chunk of seen)
          expect(typeof chunk === "string" && chunk.length > 0 && !loneSurrogate.test(chunk)).toBe(true)
        expect(seen.length).toBeGreaterThan(5)
        yield* finish({ peer, socket })
      })
    )

    withPeer({})("fails at the first byte that isn't UTF-8, behind what was", ({ peer, socket }) =>
      Effect.gen(function* () {
        const receiving = yield* Effect.fork(socket.receiveStream)
        yield* peer.sendFrames(begin("good"))
        const pull = yield* pulling(yield* Fiber.join(receiving))
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["good"])
        // The message is far from complete.
        yield* peer.sendFrames(middle(Uint8Array.of(0xe2, 0x28)))
        const failure = { _tag: "ProtocolError", side: "remote", closeCode: 1007 }
        expect(yield* Effect.flip(pull)).toMatchObject({ _tag: "Some", value: failure })
        expect(yield* peer.closeCode).toBe(1007)
        yield* peer.end
        expect(yield* Effect.flip(socket.closed)).toMatchObject(failure)
      })
    )

    withPeer({ maxPayloadSize: 10 })("holds maxPayloadSize over the whole message", ({ peer, socket }) =>
      Effect.gen(function* () {
        const receiving = yield* Effect.fork(socket.receiveStream)
        yield* peer.sendFrames(begin("12345"))
        const pull = yield* pulling(yield* Fiber.join(receiving))
        yield* pull
        yield* peer.sendFrames(middle("67890"))
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["67890"])
        yield* peer.sendFrames(last("1"))
        const failure = { _tag: "PayloadTooLarge", which: "message size", limit: 10, size: 11 }
        expect(yield* Effect.flip(pull)).toMatchObject({ _tag: "Some", value: failure })
        expect(yield* peer.closeCode).toBe(1009)
        yield* peer.end
        yield* Effect.exit(socket.closed)
      })
    )

    for (const [what, end, failure] of [
      ["a Close", "close", { _tag: "ConnectionClosed", code: 1000 }],
      ["FIN", "fin", { _tag: "ConnectionClosed", code: 1006 }]
    ] as const) {
      withPeer({})(`fails if ${what} comes before the message's end, behind what came`, ({ peer, socket }) =>
        Effect.gen(function* () {
          const receiving = yield* Effect.fork(socket.receiveStream)
          yield* peer.sendFrames(begin("half"))
          const incoming = yield* Fiber.join(receiving)
          yield* peer.sendFrames(middle(" of it"))
          yield* end === "close" ? peer.sendFrames(Frame.close(1000)) : peer.end
          yield* settle
          const seen: Array<string | Uint8Array> = []
          const taking = Stream.runForEach(chunksOf(incoming), (chunk) => Effect.sync(() => seen.push(chunk)))
          expect(yield* Effect.flip(taking)).toMatchObject(failure)
          expect(seen.join("")).toBe("half of it")
          yield* peer.end
          yield* Effect.exit(socket.closed)
        })
      )
    }

    for (const [what, next] of [
      ["receive", (socket: WebSocket.WebSocket) => socket.receive],
      ["receiveAll", (socket: WebSocket.WebSocket) => Effect.map(socket.receiveAll, ([first]) => first)],
      ["messages", (socket: WebSocket.WebSocket) => Effect.map(Stream.runHead(socket.messages), Option.getOrUndefined)],
      ["receiveStream", (socket: WebSocket.WebSocket) => Effect.flatMap(socket.receiveStream, allText)],
      [
        "receiveFrame",
        (socket: WebSocket.WebSocket) => Effect.map(socket.receiveFrame, ({ payload }) => String(Buffer.from(payload)))
      ]
    ] as const) {
      withPeer({})(`${what} drops what is left of a message, and the stream says so`, ({ peer, socket }) =>
        Effect.gen(function* () {
          const receiving = yield* Effect.fork(socket.receiveStream)
          yield* peer.sendFrames(begin("half"), middle("rest"))
          const left = yield* Fiber.join(receiving)
          const asking = yield* Effect.fork<string | Uint8Array | undefined, PullError, never>(next(socket))
          yield* settle
          expect(asking.unsafePoll()).toBeNull()
          yield* peer.sendFrames(middle("more"), last("of it"), Frame.text("next"))
          expect(yield* Fiber.join(asking)).toBe("next")
          yield* peer.sendFrames(begin("and"), last(" so on"))
          expect(yield* Effect.flip(Stream.runDrain(chunksOf(left)))).toMatchObject({
            _tag: "ProtocolError",
            side: "local",
            rule: "what is left of a message is dropped once the next one is taken"
          })
          expect(yield* socket.receive).toBe("and so on")
          yield* finish({ peer, socket })
        })
      )
    }

    withPeer({})("loses nothing by an interruption, of receiveStream or between two chunks", ({ peer, socket }) =>
      Effect.gen(function* () {
        const asking = yield* Effect.fork(socket.receiveStream)
        yield* settle
        yield* Fiber.interrupt(asking)
        yield* peer.sendFrames(begin("a"))
        const pull = yield* pulling(yield* socket.receiveStream)
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["a"])
        const waiting = yield* Effect.fork(pull)
        yield* settle
        yield* Fiber.interrupt(waiting)
        yield* peer.sendFrames(last("b"), Frame.text("c"))
        expect(Chunk.toReadonlyArray(yield* pull)).toEqual(["b"])
        expect(yield* socket.receive).toBe("c")
        yield* finish({ peer, socket })
      })
    )

    inBothRoles("takes many streams, one after the other", (self, peer) =>
      Effect.gen(function* () {
        yield* Effect.fork(
          Effect.forEach(
            Array.from({ length: 50 }, (_, index) => index),
            (index) => self.sendTextStream(Stream.map(Stream.range(1, index), (piece) => `${piece},`))
          )
        )
        for (let index = 0; index < 50; index++) {
          const text = yield* Effect.flatMap(peer.receiveStream, allText)
          expect(text).toBe(Array.from({ length: index }, (_, piece) => `${piece + 1},`).join(""))
        }
      })
    )

    test(
      "takes a compressed message as one chunk",
      Effect.gen(function* () {
        const { client, server } = yield* joined({ client: { deflate: { threshold: 0 } }, server: { deflate: true } })
        const receiving = yield* Effect.fork(server.receiveStream)
        yield* settle
        const text = "again and again ".repeat(10_000)
        yield* client.send(text)
        const incoming = yield* Fiber.join(receiving)
        expect(Chunk.toReadonlyArray(yield* Stream.runCollect(chunksOf(incoming)))).toEqual([text])
        yield* client.send(new Uint8Array(pattern(1000)))
        expect((yield* Effect.flatMap(server.receiveStream, allBytes)).equals(pattern(1000))).toBe(true)
      })
    )

    withPeer({ receiveBufferSize: 32 * 1024, maxPayloadSize: 2 ** 30 })(
      "holds the peer back while nobody takes",
      ({ peer, socket }) =>
        Effect.gen(function* () {
          const receiving = yield* Effect.fork(socket.receiveStream)
          yield* settle
          const piece = new Uint8Array(frameSize)
          const count = 512
          yield* peer.sendFrames(part(Frame.Opcode.binary, piece))
          for (let index = 1; index < count; index++) yield* peer.sendFrames(middle(piece))
          yield* peer.sendFrames(last(piece))
          const incoming = yield* Fiber.join(receiving)
          for (let before = -1; before !== peer.flow.bufferedBytes(); yield* settle) before = peer.flow.bufferedBytes()
          // The rest stays with the sender.
          expect(peer.flow.bufferedBytes()).toBeGreaterThan(0)
          let size = 0
          yield* Stream.runForEach(chunksOf(incoming), ({ length }) =>
            Effect.sync(() => {
              expect(length).toBeLessThan(32 * 1024 + frameSize + largestRead)
              size += length
            })
          )
          expect(size).toBe((count + 1) * frameSize)
          yield* finish({ peer, socket })
        })
    )

    inBothRoles("is fed by a sender that is full, to the last byte", (self, peer) =>
      Effect.gen(function* () {
        const { sending, sent } = yield* sendUntilFull(self, (index) => `${index}`.padEnd(frameSize, "."))
        const streaming = yield* Effect.fork(self.sendBinaryStream(Stream.make(new Uint8Array(pattern(100_000)))))
        for (let index = 0; index <= sent; index++) expect(Number.parseInt(String(yield* peer.receive), 10)).toBe(index)
        yield* Fiber.join(sending)
        expect((yield* Effect.flatMap(peer.receiveStream, allBytes)).equals(pattern(100_000))).toBe(true)
        yield* Fiber.join(streaming)
      })
    )
  })
}
