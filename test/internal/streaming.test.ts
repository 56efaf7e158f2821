import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { key } from "../fixtures/rawPeer.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

// What happens to a stream that is sent, in orders that no network produces on demand.

const accepted = Effect.gen(function* () {
  const flow = new ScriptedFlow()
  const socket = yield* WebSocket.accept(flow, { key, sendBufferSize: 1000 })
  yield* Effect.addFinalizer(() => Effect.sync(() => flow.close()))
  yield* settle
  const head = flow.written.length
  return { flow, socket, sent: () => Buffer.concat(flow.written.slice(head)).toString("latin1") }
})

describe("a stream that has the floor, and waits for room for its first frame", () => {
  /** The buffer is full in the turn in which the floor is taken. */
  const waiting = Effect.gen(function* () {
    const { flow, sent, socket } = yield* accepted
    flow.takes = false
    yield* socket.send("x".repeat(2000))
    const piece = yield* Deferred.make<string>()
    const streaming = yield* Effect.fork(socket.sendTextStream(Stream.fromEffect(Deferred.await(piece))))
    yield* settle
    yield* Deferred.succeed(piece, "piece")
    yield* settle
    expect(streaming.unsafePoll()).toBeNull()
    expect(sent()).not.toContain("piece")
    return { flow, sent, socket, streaming }
  })

  it.scoped("sends it when there is room", () =>
    Effect.gen(function* () {
      const { flow, sent, streaming } = yield* waiting
      flow.takes = true
      flow.drain()
      yield* Fiber.join(streaming)
      yield* settle
      expect(sent().slice(-9)).toBe("\x01\x05piece\x80\x00")
    })
  )

  it.scoped("harms nothing when it is interrupted", () =>
    Effect.gen(function* () {
      const { flow, sent, socket, streaming } = yield* waiting
      yield* Fiber.interrupt(streaming)
      expect(yield* socket.isOpen).toBe(true)
      flow.takes = true
      flow.drain()
      yield* socket.send("unharmed")
      yield* settle
      expect(sent().slice(-14)).toBe("xxxx\x81\x08unharmed")
    })
  )

  it.scoped("fails when the connection ends", () =>
    Effect.gen(function* () {
      const { flow, streaming } = yield* waiting
      flow.close()
      expect(yield* Effect.flip(Fiber.join(streaming))).toMatchObject({ _tag: "ConnectionClosed", code: 1006 })
    })
  )
})

describe("a stream that waits for the floor", () => {
  it.scoped("gets it when what waits for a full socket has left, and not before", () =>
    Effect.gen(function* () {
      const { flow, sent, socket } = yield* accepted
      flow.takes = false
      yield* socket.send("first")
      yield* settle
      yield* socket.send("second")
      const streaming = yield* Effect.fork(socket.sendTextStream(Stream.make("third")))
      yield* settle
      expect(streaming.unsafePoll()).toBeNull()
      // The socket is full again at once: what waits behind isn't overtaken.
      flow.drain()
      yield* settle
      expect(streaming.unsafePoll()).toBeNull()
      flow.takes = true
      flow.drain()
      yield* Fiber.join(streaming)
      yield* settle
      expect(sent()).toBe("\x81\x05first\x81\x06second\x01\x05third\x80\x00")
    })
  )
})
