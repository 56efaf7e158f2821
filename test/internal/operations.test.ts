import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Either, Exit, Fiber, FiberId } from "effect"
import * as Frame from "effect-websocket/Frame"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { key } from "../fixtures/rawPeer.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

// What happens within one turn, which no network produces on demand.

interface Accepted {
  readonly flow: ScriptedFlow
  readonly socket: WebSocket.WebSocket
  readonly arrives: (...frames: ReadonlyArray<Frame.Frame>) => void
}

/** Runs a test with a connection that is released at its end. */
const test = <E>(title: string, body: (accepted: Accepted) => Effect.Effect<unknown, E>) =>
  it.scoped(title, () =>
    Effect.gen(function* () {
      const flow = new ScriptedFlow()
      const socket = yield* WebSocket.accept(flow, { key })
      yield* settle
      const arrives = (...frames: ReadonlyArray<Frame.Frame>) =>
        flow.handler.data(Buffer.concat(frames.map((frame) => Either.getOrThrow(Frame.encode(frame, "client")))))
      yield* Effect.ensuring(
        body({ flow, socket, arrives }),
        Effect.sync(() => flow.close())
      )
    })
  )

/** How many wait in the engine behind a flow. */
const waiting = (flow: ScriptedFlow, what: "readers" | "writers"): number => {
  const [owner, name] = what === "readers" ? ["readers", "others"] : ["out", "writers"]
  const part: unknown = Reflect.get(flow.handler, owner)
  if (typeof part !== "object" || part === null) return Number.NaN
  const list: unknown = Reflect.get(part, name)
  // The first of the readers isn't in the list.
  const first = what === "readers" && Reflect.get(part, "first") !== undefined ? 1 : 0
  return Array.isArray(list) ? first + list.length : Number.NaN
}

describe("a receive that is interrupted in the turn in which its message comes", () => {
  for (const [what, receiving] of [
    ["receive", (socket: WebSocket.WebSocket) => socket.receive],
    ["receiveAll", (socket: WebSocket.WebSocket) => socket.receiveAll],
    ["receiveFrame", (socket: WebSocket.WebSocket) => socket.receiveFrame],
    ["run", (socket: WebSocket.WebSocket) => socket.run(() => Effect.die("taken"))]
  ] as const) {
    for (const order of ["before", "after"] as const) {
      test(`leaves it to the next one (${what}, interrupted ${order} it came)`, ({ arrives, socket }) =>
        Effect.gen(function* () {
          const fiber: Fiber.RuntimeFiber<unknown, unknown> = yield* Effect.fork(receiving(socket))
          yield* settle
          yield* Effect.sync(() => {
            if (order === "before") fiber.unsafeInterruptAsFork(FiberId.none)
            arrives(Frame.text("kept"))
            if (order === "after") fiber.unsafeInterruptAsFork(FiberId.none)
          })
          expect(Exit.isInterrupted(yield* Fiber.await(fiber))).toBe(true)
          expect(yield* socket.receive).toBe("kept")
        }))
    }
  }

  test("leaves no growing list of those that wait", ({ flow, socket }) =>
    Effect.gen(function* () {
      for (let round = 0; round < 10; round++) {
        const fibers = yield* Effect.forEach(
          [socket.receive, socket.receiveAll, socket.receiveFrame, socket.run(() => Effect.void)],
          (each: Effect.Effect<unknown, unknown>) => Effect.fork(each)
        )
        yield* settle
        expect(waiting(flow, "readers")).toBeGreaterThanOrEqual(4)
        expect(waiting(flow, "readers")).toBeLessThanOrEqual(12)
        yield* Fiber.interruptAll(fibers)
      }
    }))
})

describe("a send that is interrupted in the turn in which it gets room", () => {
  test("sends nothing, and leaves nothing in the list of those that wait", ({ flow, socket }) =>
    Effect.gen(function* () {
      flow.takes = false
      yield* socket.send(new Uint8Array(100_000))
      yield* settle
      const fiber = yield* Effect.fork(socket.send("too late"))
      yield* settle
      expect(waiting(flow, "writers")).toBe(1)
      const before = flow.written.length
      yield* Effect.sync(() => {
        flow.takes = true
        flow.drain()
        fiber.unsafeInterruptAsFork(FiberId.none)
      })
      expect(Exit.isInterrupted(yield* Fiber.await(fiber))).toBe(true)
      yield* settle
      expect(flow.written.length).toBe(before)
      expect(waiting(flow, "writers")).toBe(0)
      yield* socket.send("on we go")
      yield* settle
      expect(flow.written.length).toBe(before + 1)
    }))
})

describe("run, with a handler whose effects are done already", () => {
  test("takes all messages of a read without waking its fiber", ({ arrives, socket }) =>
    Effect.gen(function* () {
      const seen: Array<WebSocket.Message> = []
      const running = yield* Effect.fork(
        socket.run((message) => {
          seen.push(message)
          return Effect.void
        })
      )
      yield* settle
      yield* Effect.sync(() => {
        arrives(Frame.text("a"), Frame.text("b"))
        // Nothing else has run since.
        expect(seen).toEqual(["a", "b"])
      })
      yield* Fiber.interrupt(running)
    }))

  test("fails with what one of them failed with, and has taken its message", ({ arrives, socket }) =>
    Effect.gen(function* () {
      const running = yield* Effect.fork(
        socket.run((message) => (message === "bad" ? Effect.fail("no more") : Effect.void))
      )
      yield* settle
      yield* Effect.sync(() => arrives(Frame.text("good"), Frame.text("bad"), Frame.text("next")))
      expect(yield* Fiber.await(running)).toEqual(Exit.fail("no more"))
      expect(yield* socket.receive).toBe("next")
    }))

  test("handles nothing once it was interrupted, though its fiber isn't over yet", ({ arrives, socket }) =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const seen: Array<WebSocket.Message> = []
      const running = yield* Effect.fork(
        socket
          .run((message) => {
            seen.push(message)
            return Effect.void
          })
          .pipe(Effect.onInterrupt(() => Deferred.await(gate)))
      )
      yield* settle
      yield* Fiber.interruptFork(running)
      yield* settle
      yield* Effect.sync(() => arrives(Frame.text("kept")))
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      expect(Exit.isInterrupted(yield* Fiber.await(running))).toBe(true)
      expect(seen).toEqual([])
      expect(yield* socket.receive).toBe("kept")
    }))

  test("goes on where it can't be interrupted", ({ arrives, flow, socket }) =>
    Effect.gen(function* () {
      const seen: Array<WebSocket.Message> = []
      const running = yield* Effect.fork(
        Effect.uninterruptible(
          socket.run((message) => {
            seen.push(message)
            return Effect.void
          })
        )
      )
      yield* settle
      yield* Fiber.interruptFork(running)
      yield* settle
      yield* Effect.sync(() => arrives(Frame.text("a"), Frame.text("b")))
      yield* settle
      expect(seen).toEqual(["a", "b"])
      flow.close()
      yield* Fiber.await(running)
    }))
})
