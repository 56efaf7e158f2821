import { describe, expect } from "@effect/vitest"
import { Chunk, Context, Deferred, Effect, Either, Fiber, ParseResult, Ref, Schema, Stream, TestClock } from "effect"
import { Frame, MessageCodec, TestNetwork, TypedWebSocket } from "effect-websocket"
import * as WebSocket from "effect-websocket/WebSocket"
import * as fc from "fast-check"
import { settle } from "./fixtures/heard.js"
import { bothRolesOn, joined } from "./fixtures/joined.js"
import { testInMemory } from "./fixtures/leaks.js"
import { rawServer, upgradedServer } from "./fixtures/rawPeer.js"

const inBothRoles = bothRolesOn(TestNetwork.layer)

const Ask = Schema.TaggedStruct("Ask", { n: Schema.Int })
const Told = Schema.TaggedStruct("Told", { n: Schema.Int, at: Schema.DateFromNumber })
const asking = MessageCodec.json({ incoming: Told, outgoing: Ask })
const telling = MessageCodec.json({ incoming: Ask, outgoing: Told })
const numbers = MessageCodec.json({ incoming: Schema.Int, outgoing: Schema.Int })

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)
const binary = Uint8Array.of(1, 2, 3)

/** The ways to take values, until they fail. */
const takers = {
  receive: <A, E, R>(typed: TypedWebSocket.TypedWebSocket<A, never, R, unknown, E>, take: (value: A) => void) =>
    Effect.forever(Effect.map(typed.receive, take)),
  messages: <A, E, R>(typed: TypedWebSocket.TypedWebSocket<A, never, R, unknown, E>, take: (value: A) => void) =>
    Stream.runForEach(typed.messages, (value) => Effect.sync(() => take(value))),
  run: <A, E, R>(typed: TypedWebSocket.TypedWebSocket<A, never, R, unknown, E>, take: (value: A) => void) =>
    typed.run((value) => Effect.sync(() => take(value)))
}

describe("TypedWebSocket: values", () => {
  inBothRoles("go both ways, each side with a schema for what it receives and one for what it sends", (self, peer) =>
    Effect.gen(function* () {
      const client = TypedWebSocket.make(self, asking)
      const server = TypedWebSocket.make(peer, telling)
      expect(client.socket).toBe(self)
      const at = new Date(7)
      yield* client.send({ _tag: "Ask", n: 1 })
      const { n } = yield* server.receive
      yield* server.send({ _tag: "Told", n, at })
      expect(yield* client.receive).toEqual({ _tag: "Told", n: 1, at })
    })
  )

  inBothRoles("are text as JSON, and binary as MessagePack", (self, peer) =>
    Effect.gen(function* () {
      yield* TypedWebSocket.make(self, numbers).send(7)
      expect(yield* peer.receive).toBe("7")
      yield* TypedWebSocket.make(self, MessageCodec.msgPack({ incoming: Schema.Int, outgoing: Schema.Int })).send(7)
      expect(yield* peer.receive).toEqual(Uint8Array.of(7))
    })
  )

  inBothRoles("come in order, whether they are run, streamed or received", (self, peer) =>
    Effect.gen(function* () {
      const typed = TypedWebSocket.make(peer, numbers)
      yield* Effect.fork(
        Effect.gen(function* () {
          const sender = TypedWebSocket.make(self, numbers)
          yield* sender.sendAll(upTo(1000))
          yield* Stream.run(Stream.fromIterable(upTo(1000)), sender.sink)
          yield* Effect.forEach(upTo(1000), (n) => sender.send(n), { discard: true })
          yield* sender.close(1000, "done")
        })
      )
      const received: Array<number> = []
      while (received.length < 1000) received.push(yield* typed.receive)
      received.push(...(yield* Stream.runCollect(Stream.take(typed.messages, 1000))))
      yield* typed.run((n) => Effect.sync(() => void received.push(n)))
      // Whoever leaves the stream early leaves the rest of its chunk; here all that was read by then.
      expect(received.slice(0, 2000)).toEqual([...upTo(1000), ...upTo(1000)])
      expect(received.slice(2000)).toEqual(upTo(1000).slice(3000 - received.length))
      expect(yield* peer.closed).toMatchObject({ code: 1000, reason: "done" })
    })
  )

  inBothRoles("stay in the batches that the messages came in", (self, peer) =>
    Effect.gen(function* () {
      const chunks = yield* Effect.fork(
        Stream.runCollect(Stream.take(Stream.chunks(TypedWebSocket.make(peer, numbers).messages), 1))
      )
      yield* settle
      yield* self.sendAll(["1", "2", "3"])
      expect((yield* Fiber.join(chunks)).pipe(Chunk.toReadonlyArray, (all) => all.map(Chunk.toReadonlyArray))).toEqual([
        [1, 2, 3]
      ])
    })
  )

  testInMemory(
    "hold the sender back while they aren't taken",
    Effect.gen(function* () {
      const { client, server } = yield* joined({
        server: { receiveBufferSize: 1024 },
        client: { sendBufferSize: 1024 }
      })
      const text = "x".repeat(10_000)
      const texts = MessageCodec.json({ incoming: Schema.String, outgoing: Schema.String })
      const sent = yield* Ref.make(0)
      const sender = TypedWebSocket.make(client, texts)
      const sending = yield* Effect.fork(
        Effect.forEach(
          upTo(1000),
          () =>
            Effect.zipRight(
              sender.send(text),
              Ref.update(sent, (n) => n + 1)
            ),
          { discard: true }
        )
      )
      yield* settle
      expect(yield* Ref.get(sent)).toBeLessThan(500)
      const received = yield* Stream.runCount(Stream.take(TypedWebSocket.make(server, texts).messages, 1000))
      yield* Fiber.join(sending)
      expect(received).toBe(1000)
    })
  )

  inBothRoles("that can't be encoded fail for the sender, and nothing is sent", (self, peer) =>
    Effect.gen(function* () {
      const typed = TypedWebSocket.make(self, numbers)
      expect(yield* Effect.flip(typed.send(1.5))).toMatchObject({ _tag: "EncodeError", issue: "expected Int" })
      expect(yield* Effect.flip(typed.sendAll([1, 2, 2.5]))).toMatchObject({ _tag: "EncodeError" })
      expect(yield* Effect.flip(Stream.run(Stream.make(1, 2.5), typed.sink))).toMatchObject({ _tag: "EncodeError" })
      yield* typed.send(3)
      expect(yield* peer.receive).toBe("3")
    })
  )
})

describe("TypedWebSocket: a message that can't be decoded", () => {
  for (const [how, taking] of Object.entries(takers)) {
    inBothRoles(`closes the connection and fails who uses ${how}, once the values before it were taken`, (self, peer) =>
      Effect.gen(function* () {
        const typed = TypedWebSocket.make(peer, numbers)
        yield* self.sendAll(["1", "2", '{"secret":1}', "4"])
        const taken: Array<number> = []
        const error = yield* Effect.flip(taking(typed, (value) => taken.push(value)))
        expect(taken).toEqual([1, 2])
        expect(error).toMatchObject({
          _tag: "DecodeError",
          reason: "mismatch",
          issue: "expected number",
          excerpt: '{"secret":1}'
        })
        expect(yield* self.closed).toMatchObject({ code: 1007, reason: "unexpected message", initiator: "remote" })
        // And it stays so, for all.
        expect(yield* Effect.flip(typed.receive)).toBe(error)
        expect(yield* Effect.flip(Stream.runDrain(typed.messages))).toBe(error)
        expect(yield* Effect.flip(typed.run(() => Effect.void))).toBe(error)
        expect(yield* Effect.flip(typed.send(1))).toMatchObject({ _tag: "ConnectionClosed", sentCode: 1007 })
      })
    )
  }

  inBothRoles("of the other kind is answered with 1003, and one that isn't JSON with 1007", (self, peer) =>
    Effect.gen(function* () {
      yield* self.send(binary)
      expect(yield* Effect.flip(TypedWebSocket.make(peer, numbers).receive)).toMatchObject({ reason: "unsupported" })
      expect(yield* self.closed).toMatchObject({ code: 1003, reason: "unsupported kind of message" })
      const other = yield* joined({ path: "/other" })
      yield* other.client.send("{")
      expect(yield* Effect.flip(TypedWebSocket.make(other.server, numbers).receive)).toMatchObject({
        reason: "malformed"
      })
      expect(yield* other.client.closed).toMatchObject({ code: 1007, reason: "malformed message" })
    })
  )

  testInMemory(
    "is answered with the right code, whatever it is",
    Effect.gen(function* () {
      const garbage = fc.sample(
        fc.oneof(fc.string({ unit: "grapheme" }), fc.json(), fc.uint8Array({ maxLength: 20 })),
        { numRuns: 60, seed: 6455 }
      )
      const { listening } = yield* joined()
      for (const message of garbage) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const { client, server } = yield* joined({ server: { port: 0 } })
            yield* client.send(message)
            const received = yield* Effect.either(TypedWebSocket.make(server, numbers).receive)
            if (Either.isRight(received)) return expect(received.right).toBe(JSON.parse(String(message)))
            expect(received.left._tag).toBe("DecodeError")
            expect(yield* client.closed).toMatchObject({ code: typeof message === "string" ? 1007 : 1003 })
          })
        )
      }
      expect(listening.url).toMatch(/^ws:/)
    })
  )

  testInMemory(
    "of a peer that answers no Close fails after closeTimeout",
    Effect.gen(function* () {
      const listening = yield* rawServer({ address: { _tag: "TcpAddress", hostname: "server.example", port: 80 } })
      const connecting = yield* Effect.fork(WebSocket.connect("ws://server.example/", { closeTimeout: "3 seconds" }))
      const peer = yield* upgradedServer(listening)
      const typed = TypedWebSocket.make(yield* Fiber.join(connecting), numbers)
      const receiving = yield* Effect.fork(Effect.flip(typed.receive))
      yield* peer.sendFrames(Frame.make({ opcode: Frame.Opcode.text, payload: "no" }))
      expect(yield* peer.closeCode).toBe(1007)
      const next = yield* Effect.fork(Effect.flip(typed.receive))
      yield* TestClock.adjust("2900 millis")
      yield* settle
      expect(yield* Fiber.poll(receiving)).toMatchObject({ _tag: "None" })
      yield* TestClock.adjust("200 millis")
      expect(yield* Fiber.join(receiving)).toMatchObject({ _tag: "DecodeError" })
      expect(yield* Fiber.join(next)).toBe(yield* Fiber.join(receiving))
    })
  )

  inBothRoles("fails all who wait, also those whom a later message reached", (self, peer) =>
    Effect.gen(function* () {
      const typed = TypedWebSocket.make(peer, numbers)
      const waiting = yield* Effect.fork(
        Effect.all([Effect.either(typed.receive), Effect.either(typed.receive)], { concurrency: 2 })
      )
      yield* settle
      yield* self.sendAll(["no", "2", "3"])
      const [first, second] = yield* Fiber.join(waiting)
      expect(first).toMatchObject({ left: { _tag: "DecodeError", excerpt: "no" } })
      expect(second).toEqual(first)
    })
  )

  inBothRoles("is met by who comes after a stream that was left before it", (self, peer) =>
    Effect.gen(function* () {
      const typed = TypedWebSocket.make(peer, numbers)
      yield* self.sendAll(["1", "no", "2"])
      expect(yield* Stream.runCollect(Stream.take(typed.messages, 1))).toEqual(Chunk.of(1))
      expect(yield* self.isOpen).toBe(true)
      expect(yield* Effect.flip(typed.receive)).toMatchObject({ _tag: "DecodeError", excerpt: "no" })
      expect(yield* self.closed).toMatchObject({ code: 1007 })
    })
  )

  inBothRoles("is a value over MessageCodec.either, and nothing is closed", (self, peer) =>
    Effect.gen(function* () {
      const typed = TypedWebSocket.make(peer, MessageCodec.either(numbers))
      yield* self.sendAll(["1", "no", "2"])
      yield* self.send(binary)
      const values = yield* Stream.runCollect(Stream.take(typed.messages, 4))
      expect(Chunk.toReadonlyArray(values).map(Either.mapLeft(({ reason }) => reason))).toEqual([
        Either.right(1),
        Either.left("malformed"),
        Either.right(2),
        Either.left("unsupported")
      ])
      yield* typed.send(1)
      expect(yield* self.receive).toBe("1")
    })
  )
})

describe("TypedWebSocket: schemas that take their time", () => {
  class Gate extends Context.Tag("Gate")<Gate, Effect.Effect<void>>() {}

  /** Waits for the gate with even numbers, and refuses those below zero. */
  const Gated = Schema.transformOrFail(Schema.Int, Schema.Int, {
    strict: true,
    decode: (n, _, ast) =>
      Effect.flatMap(Gate, (gate) =>
        n < 0 ? ParseResult.fail(new ParseResult.Type(ast, n)) : n % 2 === 0 ? Effect.as(gate, n) : Effect.succeed(n)
      ),
    encode: (n) => Effect.as(Gate, n)
  })
  const gated = MessageCodec.json({ incoming: Gated, outgoing: Gated })
  const open = Effect.provideService(Gate, Effect.yieldNow())

  inBothRoles("keep the order, and get their services where they are used", (self, peer) =>
    Effect.gen(function* () {
      const typed = TypedWebSocket.make(peer, gated)
      const sender = TypedWebSocket.make(self, gated)
      yield* sender.send(0).pipe(open)
      yield* sender.sendAll(upTo(100)).pipe(open)
      expect(yield* open(typed.receive)).toBe(0)
      const first = yield* open(Stream.runCollect(Stream.take(typed.messages, 100)))
      expect(Chunk.toReadonlyArray(first)).toEqual(upTo(100))
      yield* self.sendAll(["1", "2", "3"])
      yield* Effect.fork(self.close())
      const ran: Array<number> = []
      yield* open(typed.run((n) => Effect.sync(() => ran.push(n))))
      expect(ran).toEqual([1, 2, 3])
    })
  )

  for (const [how, taking] of Object.entries(takers)) {
    inBothRoles(`fail like others (${how})`, (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendAll(["1", "2", "-1", "3"])
        const taken: Array<number> = []
        const all = taking(TypedWebSocket.make(peer, gated), (n) => taken.push(n))
        expect(yield* Effect.flip(open(all))).toMatchObject({ _tag: "DecodeError", excerpt: "-1" })
        expect(taken).toEqual([1, 2])
        expect(yield* self.closed).toMatchObject({ code: 1007 })
      })
    )
  }

  inBothRoles("lose nothing when whoever receives is interrupted meanwhile", (self, peer) =>
    Effect.gen(function* () {
      const typed = TypedWebSocket.make(peer, gated)
      const started = Effect.gen(function* () {
        const entered = yield* Deferred.make<void>()
        const shut = Effect.zipRight(Deferred.succeed(entered, undefined), Effect.never)
        const fiber = yield* Effect.fork(Effect.provideService(typed.receive, Gate, shut))
        yield* Deferred.await(entered)
        return fiber
      })
      const interrupted = Effect.flatMap(started, Fiber.interrupt)
      yield* self.sendAll(["2", "4", "6", "7"])
      yield* interrupted
      const [two, four] = [yield* started, yield* started]
      yield* Fiber.interrupt(four)
      yield* Fiber.interrupt(two)
      expect(yield* open(typed.receive)).toBe(2)
      yield* interrupted
      expect(yield* open(Stream.runCollect(Stream.take(typed.messages, 1)))).toEqual(Chunk.of(4))
      yield* interrupted
      yield* Effect.fork(self.close())
      const ran: Array<number> = []
      yield* open(typed.run((n) => Effect.sync(() => ran.push(n))))
      expect(ran).toEqual([6, 7])
    })
  )
})

describe("TypedWebSocket: subprotocols", () => {
  const Text = Schema.Struct({ text: Schema.String })
  const versions = {
    "echo.v1": TypedWebSocket.make(MessageCodec.json({ incoming: Schema.String, outgoing: Schema.String })),
    "echo.v2": TypedWebSocket.make(MessageCodec.json({ incoming: Text, outgoing: Text }))
  }

  const agreedOn = (...offered: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const { client, server } = yield* joined({
        server: { subprotocols: [...Object.keys(versions), "toString"] },
        client: { subprotocols: offered }
      })
      return { client: TypedWebSocket.choose(client, versions), server: TypedWebSocket.choose(server, versions) }
    })

  testInMemory(
    "choose the codec that was agreed on, on both sides",
    Effect.gen(function* () {
      const first = yield* Effect.flatMap(agreedOn("echo.v1"), Effect.all)
      if (first.client.subprotocol !== "echo.v1" || first.server.subprotocol !== "echo.v1") return expect.fail()
      yield* first.client.typed.send("hello")
      expect(yield* first.server.typed.receive).toBe("hello")
    }).pipe(Effect.orDie)
  )

  testInMemory(
    "are told apart by their name",
    Effect.gen(function* () {
      const { client, server } = yield* Effect.flatMap(agreedOn("other", "echo.v2"), Effect.all)
      if (client.subprotocol !== "echo.v2" || server.subprotocol !== "echo.v2") return expect.fail()
      yield* client.typed.send({ text: "hello" })
      expect(yield* server.typed.receive).toEqual({ text: "hello" })
    }).pipe(Effect.orDie)
  )

  testInMemory(
    "that nobody chose, or that aren't among the keys, lead to none",
    Effect.gen(function* () {
      for (const offered of [[], ["other"], ["toString"]]) {
        const { client, server } = yield* Effect.scoped(agreedOn(...offered))
        expect([client._tag, server._tag]).toEqual(["None", "None"])
      }
    })
  )
})
