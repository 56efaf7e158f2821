import { describe } from "@effect/vitest"
import { Chunk, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Frame, NodeNetwork, TestNetwork, type WebSocket, WebSocketShapes } from "effect-websocket"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { joined } from "./fixtures/joined.js"
import { testInMemory } from "./fixtures/leaks.js"
import { shapesSuite } from "./suites/shapes.js"

shapesSuite("in memory", TestNetwork.layer, "client", { many: 12, held: 4 })
// More than all buffers of the operating system between two sockets hold.
shapesSuite("over TCP", NodeNetwork.layer, "server", { many: 64, held: 64 })

const attempt = <A>(promise: () => PromiseLike<A>): Effect.Effect<A, unknown> =>
  Effect.tryPromise({ try: promise, catch: (error) => error })

/** Sends until that has to wait; answers the fiber that does. */
const fill = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    for (;;) {
      const sending = yield* Effect.fork(socket.send(new Uint8Array(50_000)))
      yield* settle
      if (sending.unsafePoll() === null) return sending
    }
  })

describe("toChannel", () => {
  testInMemory(
    "fails with its input's failure, behind what came until the peer's Close",
    Effect.gen(function* () {
      const { client, server } = yield* joined()
      const answering = yield* Effect.fork(server.run((message) => server.send(`${message}!`)))
      const got: Array<WebSocket.Message> = []
      const error = yield* Stream.make("a", "b").pipe(
        Stream.concat(Stream.fail("no more")),
        Stream.pipeThroughChannel(WebSocketShapes.toChannel<string>(client)),
        Stream.runForEach((message) => Effect.sync(() => got.push(message))),
        Effect.flip
      )
      expect({ error, got }).toEqual({ error: "no more", got: ["a!", "b!"] })
      expect(yield* server.closed).toMatchObject({ code: 1011 })
      expect(yield* Effect.flip(Fiber.join(answering))).toMatchObject({ _tag: "ConnectionClosed", code: 1011 })
    })
  )

  testInMemory(
    "fails with what must not be sent now, and closes",
    Effect.gen(function* () {
      const { client, server } = yield* joined()
      yield* client.sendFrame(Frame.make({ fin: false, payload: "begun" }))
      const error = yield* Stream.make("inside of it").pipe(
        Stream.pipeThroughChannel(WebSocketShapes.toChannel(client)),
        Stream.runDrain,
        Effect.flip
      )
      expect(error).toMatchObject({ _tag: "ProtocolError", side: "local" })
      expect(yield* server.closed).toMatchObject({ code: 1011 })
    })
  )

  testInMemory(
    "joins two connections, whose ends it passes on",
    Effect.gen(function* () {
      const one = yield* joined()
      const two = yield* joined()
      const there = one.server.messages.pipe(
        Stream.pipeThroughChannel(WebSocketShapes.toChannel<WebSocketShapesError>(two.client)),
        Stream.run(one.server.sink)
      )
      const running = yield* Effect.fork(there)
      yield* one.client.send("through")
      expect(yield* two.server.receive).toBe("through")
      yield* two.server.send("back")
      expect(yield* one.client.receive).toBe("back")
      yield* two.server.close()
      yield* Fiber.join(running)
      expect(yield* one.client.isOpen).toBe(true)
    })
  )
})

type WebSocketShapesError = Stream.Stream.Error<WebSocket.WebSocket["messages"]>

describe("byteStream", () => {
  testInMemory(
    "is the bytes of all messages, text as UTF-8, without empty pieces",
    Effect.gen(function* () {
      const { client, server } = yield* joined()
      yield* client.sendAll(["é", "", new Uint8Array(0), Uint8Array.of(0, 255), "🌍"])
      yield* client.close()
      const pieces = Chunk.toReadonlyArray(yield* Stream.runCollect(WebSocketShapes.byteStream(server)))
      expect(pieces.map((piece) => Buffer.from(piece).toString("hex"))).toEqual(["c3a9", "00ff", "f09f8c8d"])
    })
  )

  testInMemory(
    "fails as messages does",
    Effect.gen(function* () {
      const { client, server } = yield* joined()
      yield* client.close(4000)
      expect(yield* Effect.flip(Stream.runDrain(WebSocketShapes.byteStream(server)))).toMatchObject({ code: 4000 })
    })
  )
})

describe("toWebStreams", () => {
  const opened = Effect.gen(function* () {
    const both = yield* joined()
    return { ...both, ...(yield* WebSocketShapes.toWebStreams(both.client)) }
  })

  testInMemory(
    "receives nothing before somebody reads",
    Effect.gen(function* () {
      const { client, readable, server } = yield* opened
      yield* server.send("for whoever comes first")
      yield* settle
      expect(yield* client.receive).toBe("for whoever comes first")
      const reader = readable.getReader()
      const reading = yield* Effect.fork(attempt(() => reader.read()))
      yield* server.send("for the reader")
      expect(yield* Fiber.join(reading)).toEqual({ done: false, value: "for the reader" })
    })
  )

  testInMemory(
    "has no room while the peer reads nothing",
    Effect.gen(function* () {
      const { client, server, writable } = yield* opened
      const writer = writable.getWriter()
      expect(writer.desiredSize).toBe(1)
      const filling = yield* fill(client)
      const written = writer.write("waits")
      expect(writer.desiredSize).toBe(0)
      yield* settle
      expect(writer.desiredSize).toBe(0)
      const taking = yield* Effect.fork(Effect.repeat(server.receive, { until: (message) => message === "waits" }))
      yield* attempt(() => writer.ready)
      expect(writer.desiredSize).toBe(1)
      yield* attempt(() => written)
      yield* Fiber.join(taking)
      yield* Fiber.join(filling)
    })
  )

  testInMemory(
    "sends all that was written before it closes",
    Effect.gen(function* () {
      const { readable, server, writable } = yield* opened
      const texts = Array.from({ length: 100 }, (_, index) => `${index}`)
      const writer = writable.getWriter()
      for (const text of texts) void writer.write(text)
      const closing = yield* Effect.fork(attempt(() => writer.close()))
      expect(Chunk.toReadonlyArray(yield* Stream.runCollect(server.messages))).toEqual(texts)
      yield* Fiber.join(closing)
      yield* attempt(() => writer.closed)
      expect(yield* attempt(() => readable.getReader().read())).toEqual({ done: true, value: undefined })
    })
  )

  for (const [what, reason, code, text] of [
    ["nothing", undefined, 1000, ""],
    ["a code of the application and a reason", { closeCode: 4001, reason: "done" }, 4001, "done"],
    ["a reason that is too long", { closeCode: 3000, reason: "é".repeat(100) }, 3000, "é".repeat(61)],
    ["a code that blames the peer", { closeCode: 1002, reason: "yours" }, 1000, ""],
    ["a code that can't be sent", { closeCode: 5000 }, 1000, ""],
    ["no code at all", { closeCode: "4000" }, 1000, ""]
  ] as const) {
    testInMemory(
      `cancelled with ${what} closes with ${code}, and errors the writable`,
      Effect.gen(function* () {
        const { readable, server, writable } = yield* opened
        const writer = writable.getWriter()
        yield* attempt(() => readable.cancel(reason))
        expect(yield* server.closed).toMatchObject({ code, reason: text, initiator: "remote" })
        expect(yield* Effect.flip(attempt(() => writer.closed))).toMatchObject({
          _tag: "ConnectionClosed",
          initiator: "local"
        })
      })
    )
  }

  testInMemory(
    "aborted while a write waits for the peer closes at once",
    Effect.gen(function* () {
      const { client, server, writable } = yield* opened
      const filling = yield* fill(client)
      const writer = writable.getWriter()
      const written = yield* Effect.fork(attempt(() => writer.write("never sent")))
      yield* settle
      const aborting = yield* Effect.fork(attempt(() => writer.abort({ closeCode: 4002, reason: "enough" })))
      yield* settle
      expect(yield* client.isOpen).toBe(false)
      expect(yield* Effect.flip(Fiber.join(filling))).toMatchObject({ _tag: "ConnectionClosed", sentCode: 4002 })
      yield* Stream.runDrain(server.messages).pipe(Effect.flip)
      expect(yield* server.closed).toMatchObject({ code: 4002, reason: "enough" })
      yield* Fiber.join(aborting)
      yield* Effect.exit(Fiber.join(written))
    })
  )

  testInMemory(
    "errors an idle writable when the peer closes, with what tells how",
    Effect.gen(function* () {
      const { server, writable } = yield* opened
      const writer = writable.getWriter()
      yield* server.close(1001, "restart")
      const error = yield* Effect.flip(attempt(() => writer.closed))
      expect(error).toBeInstanceOf(Error)
      expect(error).toMatchObject({ _tag: "ConnectionClosed", code: 1001, reason: "restart", initiator: "remote" })
      expect(yield* Effect.flip(attempt(() => writer.write("late")))).toBe(error)
    })
  )

  testInMemory(
    "belongs to its scope: what is left of the streams is errored, and the connection stays",
    Effect.gen(function* () {
      const { client, server } = yield* joined()
      const scope = yield* Scope.make()
      const { readable, writable } = yield* Scope.extend(WebSocketShapes.toWebStreams(client), scope)
      const reader = readable.getReader()
      const reading = yield* Effect.fork(attempt(() => reader.read()))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      expect(String(yield* Effect.flip(Fiber.join(reading)))).toBe("Error: the scope of this stream was closed")
      expect(String(yield* Effect.flip(attempt(() => writable.getWriter().write("late"))))).toContain("scope")
      yield* server.send("still here")
      expect(yield* client.receive).toBe("still here")
    })
  )

  testInMemory(
    "is piped into itself: an echo, until the peer closes",
    Effect.gen(function* () {
      const { readable, server, writable } = yield* opened
      const echoing = yield* Effect.fork(attempt(() => readable.pipeTo(writable)))
      yield* server.send("one")
      expect(yield* server.receive).toBe("one")
      yield* server.close()
      yield* Fiber.await(echoing)
    })
  )
})
