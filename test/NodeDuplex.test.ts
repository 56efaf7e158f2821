import { once } from "node:events"
import { type Duplex, Readable, Writable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { describe, expect } from "@effect/vitest"
import { Chunk, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { NodeDuplex, TestNetwork, type WebSocket } from "effect-websocket"
import { closed, pattern, reading, settle } from "./fixtures/heard.js"
import { joined } from "./fixtures/joined.js"
import { testInMemory } from "./fixtures/leaks.js"

// The laws that it shares with other shapes are in suites/shapes.ts, run by WebSocketShapes.test.ts.

const attempt = <A>(promise: () => PromiseLike<A>): Effect.Effect<A, unknown> =>
  Effect.tryPromise({ try: promise, catch: (error) => error })

const whenClosed = (duplex: Duplex) =>
  Effect.async<void>((resume) => {
    if (duplex.closed) resume(Effect.void)
    else duplex.once("close", () => resume(Effect.void))
  })

const opened = (options?: NodeDuplex.DuplexOptions) =>
  Effect.gen(function* () {
    const both = yield* joined()
    return { ...both, duplex: yield* NodeDuplex.fromWebSocket(both.client, options) }
  })

const bytesOf = (messages: Iterable<WebSocket.Message>) =>
  Buffer.concat(Array.from(messages, (each) => Buffer.from(each)))

describe("a connection as a stream of bytes", () => {
  testInMemory(
    "takes what a pipeline brings as binary messages, and closes behind it",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened()
      const content = pattern(300_000)
      const pieces = Array.from({ length: 30 }, (_, index) => content.subarray(index * 10_000, (index + 1) * 10_000))
      const receiving = yield* Effect.fork(Stream.runCollect(server.messages))
      yield* attempt(() => pipeline(Readable.from(pieces), duplex.resume()))
      const received = Chunk.toReadonlyArray(yield* Fiber.join(receiving))
      expect(received.every((message) => message instanceof Uint8Array)).toBe(true)
      expect(bytesOf(received).equals(content)).toBe(true)
      expect(yield* server.closed).toMatchObject({ code: 1000, initiator: "remote" })
    })
  )

  testInMemory(
    "brings the bytes of all messages, text as UTF-8, and passes empty ones over",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened()
      const received: Array<Buffer> = []
      const collect = new Writable({
        write(chunk: Buffer, _, done) {
          received.push(chunk)
          done()
        }
      })
      const piping = yield* Effect.fork(attempt(() => pipeline(duplex, collect)))
      yield* server.send("")
      yield* settle
      yield* server.sendAll(["é", new Uint8Array(0), Uint8Array.of(0, 255)])
      yield* server.close()
      yield* Fiber.join(piping)
      expect(bytesOf(received).toString("hex")).toBe("c3a900ff")
    })
  )

  testInMemory(
    "writes strings as bytes",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened()
      duplex.write("é")
      expect(yield* server.receive).toEqual(Uint8Array.of(0xc3, 0xa9))
    })
  )
})

describe("a connection as a Duplex", () => {
  testInMemory(
    "receives nothing before somebody reads",
    Effect.gen(function* () {
      const { client, duplex, server } = yield* opened({ objectMode: true })
      yield* server.send("for whoever comes first")
      yield* settle
      expect(yield* client.receive).toBe("for whoever comes first")
      const data = yield* Effect.fork(attempt((): Promise<unknown> => once(duplex, "data")))
      yield* settle
      yield* server.send("for the stream")
      expect(yield* Fiber.join(data)).toEqual(["for the stream"])
    })
  )

  testInMemory(
    "answers false while the peer is slow, and drains when it isn't",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened()
      const chunk = Buffer.alloc(50_000)
      while (duplex.write(chunk)) yield* settle
      // Not all of it is gone, for the peer has taken nothing.
      for (let turn = 0; turn < 20; turn++) {
        duplex.write(chunk)
        yield* settle
      }
      expect(duplex.writableNeedDrain).toBe(true)
      const draining = yield* Effect.fork(attempt((): Promise<unknown> => once(duplex, "drain")))
      const taking = yield* Effect.fork(Stream.runDrain(server.messages))
      yield* Fiber.join(draining)
      expect(duplex.writableLength).toBe(0)
      duplex.end()
      yield* Fiber.join(taking)
    })
  )

  testInMemory(
    "closes when it has sent everything, and says so by finish and close",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened({ objectMode: true })
      const events: Array<string> = []
      for (const event of ["finish", "end", "close"]) duplex.once(event, () => void events.push(event))
      const texts = Array.from({ length: 100 }, (_, index) => `${index}`)
      for (const text of texts) duplex.write(text)
      duplex.resume().end("last")
      expect(Chunk.toReadonlyArray(yield* Stream.runCollect(server.messages))).toEqual([...texts, "last"])
      yield* whenClosed(duplex)
      expect(events.sort()).toEqual(["close", "end", "finish"])
      expect(duplex.errored).toBeNull()
    })
  )

  testInMemory(
    "still receives what the peer sends before its own Close",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened({ objectMode: true })
      yield* server.sendAll(["a", "b"])
      duplex.end("question")
      const all: Array<unknown> = []
      yield* attempt(async () => {
        for await (const message of duplex) all.push(message)
      })
      expect(all).toEqual(["a", "b"])
    })
  )

  for (const [what, error, code, reason] of [
    ["no error", undefined, 1000, ""],
    ["an error", new Error("mine"), 1011, ""],
    ["an error with a code", Object.assign(new Error("mine"), { closeCode: 4003, reason: "busy" }), 4003, "busy"]
  ] as const) {
    testInMemory(
      `destroyed with ${what} closes with ${code}`,
      Effect.gen(function* () {
        const { duplex, server } = yield* opened()
        duplex.destroy(error)
        expect(yield* server.closed).toMatchObject({ code, reason, clean: true })
        yield* whenClosed(duplex)
        expect(duplex.errored).toBe(error ?? null)
      })
    )
  }

  testInMemory(
    "fails with the typed error, which ends no process that doesn't listen",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened()
      expect(duplex.listenerCount("error")).toBe(1)
      duplex.resume()
      yield* server.close(4000)
      yield* whenClosed(duplex)
      expect(duplex.errored).toMatchObject({ _tag: "ConnectionClosed", code: 4000 })
    })
  )

  testInMemory(
    "is over on both sides when the peer has closed, for it is never half open",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened()
      const finished = yield* Effect.fork(attempt((): Promise<unknown> => once(duplex, "finish")))
      yield* settle
      duplex.resume()
      yield* server.close()
      yield* Fiber.join(finished)
      yield* whenClosed(duplex)
      expect(duplex.errored).toBeNull()
    })
  )

  testInMemory(
    "that is given no message fails, and closes with 1011",
    Effect.gen(function* () {
      const { duplex, server } = yield* opened({ objectMode: true })
      const error = yield* Effect.async<unknown>((resume) => {
        duplex.write({ not: "a message" }, (error) => resume(Effect.succeed(error)))
      })
      expect(String(error)).toBe("TypeError: a message must be a string or a Uint8Array")
      expect(yield* server.closed).toMatchObject({ code: 1011 })
    })
  )

  testInMemory(
    "belongs to its scope: it is destroyed, and the connection stays",
    Effect.gen(function* () {
      const { client, server } = yield* joined()
      const scope = yield* Scope.make()
      const duplex = yield* Scope.extend(NodeDuplex.fromWebSocket(client, { objectMode: true }), scope)
      duplex.resume()
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* settle
      expect({ closed: duplex.closed, errored: duplex.errored }).toEqual({ closed: true, errored: null })
      yield* server.send("still here")
      expect(yield* client.receive).toBe("still here")
    })
  )
})

describe("a flow as a Duplex", () => {
  testInMemory(
    "carries bytes both ways, and destroys the flow",
    Effect.gen(function* () {
      const { client, open, server } = yield* TestNetwork.pair()
      const duplex = NodeDuplex.fromFlow(client)
      const there = reading(server, { data: (bytes) => void server.write(bytes, false) })
      duplex.write("through")
      expect(String(yield* attempt((): Promise<unknown> => once(duplex, "data")))).toBe("through")
      duplex.destroy()
      server.end()
      yield* closed(there)
      expect(yield* open).toEqual([])
    })
  )
})
