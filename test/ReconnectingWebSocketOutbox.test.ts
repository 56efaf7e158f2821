import { describe } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { Frame, TestNetwork } from "effect-websocket"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { testInMemory } from "./fixtures/leaks.js"
import {
  accepted,
  closeWith,
  nextAttempt,
  pass,
  reconnecting,
  refused,
  server,
  textsOf
} from "./fixtures/reconnecting.js"

describe("ReconnectingWebSocket: the outbox", () => {
  testInMemory(
    "keeps what is sent without a connection, in order, and sends each message once",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting({ outbox: { capacity: 10 } })
      const first = yield* accepted(listening, history)
      expect(yield* socket.send("a")).toBe("kept")
      yield* first.frame(() => true)
      // Closing: it takes nothing any more.
      yield* first.sendFrames(Frame.close(1012))
      yield* first.closeCode
      for (const message of ["b", "c", "d"]) expect(yield* socket.send(message)).toBe("kept")
      yield* settle
      yield* first.end
      yield* history.until("Waiting", 1)
      expect(yield* socket.send("e")).toBe("kept")
      yield* nextAttempt(history, 1)
      const second = yield* accepted(listening, history)
      yield* socket.send("f")
      yield* settle
      expect([textsOf(first), textsOf(second)]).toEqual([["a"], ["b", "c", "d", "e", "f"]])
    })
  )

  for (const [strategy, results, sent] of [
    ["dropping", ["kept", "kept", "dropped", "dropped"], ["1", "2"]],
    ["sliding", ["kept", "kept", "dropped", "dropped"], ["3", "4"]]
  ] as const) {
    testInMemory(
      `that is full, and ${strategy}, tells of each message that it drops`,
      Effect.gen(function* () {
        const { history, socket } = yield* reconnecting({ outbox: { capacity: 2, strategy } })
        yield* history.until("Waiting", 1)
        const told = yield* Effect.forEach(["1", "2", "3", "4"], (message) =>
          Effect.tap(socket.send(message), () => settle)
        )
        expect(told).toEqual(results)
        const listening = yield* server
        yield* nextAttempt(history, 1)
        const peer = yield* accepted(listening, history)
        yield* settle
        expect(textsOf(peer)).toEqual(sent)
        expect(yield* socket.send("5")).toBe("kept")
        yield* settle
        expect(textsOf(peer)).toEqual([...sent, "5"])
      })
    )
  }

  testInMemory(
    "that is full makes senders wait in turn, and forgets the one that is interrupted",
    Effect.gen(function* () {
      const { history, socket } = yield* reconnecting({ outbox: { capacity: 1, strategy: "suspend" } })
      yield* history.until("Waiting", 1)
      expect(yield* socket.send("1")).toBe("kept")
      const waiting = yield* Effect.forEach(["2", "3", "4"], (message) =>
        Effect.tap(Effect.fork(socket.send(message)), () => settle)
      )
      expect(waiting.map((fiber) => fiber.unsafePoll())).toEqual([null, null, null])
      for (const fiber of waiting.slice(1, 2)) yield* Fiber.interrupt(fiber)
      const listening = yield* server
      yield* nextAttempt(history, 1)
      const peer = yield* accepted(listening, history)
      yield* settle
      expect(textsOf(peer)).toEqual(["1", "2", "4"])
      expect((yield* Effect.forEach(waiting, Fiber.await)).map(Exit.isSuccess)).toEqual([true, false, true])
    })
  )

  testInMemory(
    "holds at least one message",
    Effect.gen(function* () {
      const { history, socket } = yield* reconnecting({ outbox: { capacity: 0, strategy: "dropping" } })
      yield* history.until("Waiting", 1)
      expect([yield* socket.send("1"), yield* socket.send("2")]).toEqual(["kept", "dropped"])
    })
  )

  testInMemory(
    "keeps what a slow peer doesn't take, and gives it to the next connection before anything newer",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting({
        connect: { sendBufferSize: 1000 },
        outbox: { capacity: 3, strategy: "sliding" }
      })
      const first = yield* accepted(listening, history)
      first.flow.pause()
      // As much as the network and the connection hold; then the outbox fills.
      const told: Array<string> = []
      for (let index = 0; told.at(-1) !== "dropped"; index++) {
        told.push(yield* socket.send(`${index} ${"x".repeat(10_000)}`))
        yield* settle
      }
      const { length } = told
      yield* Effect.flatMap(TestNetwork.TestNetwork, (network) => network.reset)
      yield* nextAttempt(history, 1)
      const second = yield* accepted(listening, history)
      yield* settle
      yield* socket.send("newer")
      yield* settle
      const numbers = textsOf(second).map((text) => text.split(" ")[0])
      // One was on its way, one more than the capacity; the one after it gave way to the last.
      expect(numbers).toEqual([`${length - 5}`, `${length - 3}`, `${length - 2}`, `${length - 1}`, "newer"])
    })
  )

  testInMemory(
    "is emptied before the Close when the scope is left with success",
    Effect.gen(function* () {
      const listening = yield* server
      const scope = yield* Scope.make()
      const { history, socket } = yield* Scope.extend(reconnecting({ outbox: { capacity: 10 } }), scope)
      const peer = yield* accepted(listening, history)
      for (const message of ["1", "2", "3"]) yield* socket.send(message)
      const leaving = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* closeWith(peer, yield* peer.closeCode)
      yield* Fiber.join(leaving)
      expect(textsOf(peer)).toEqual(["1", "2", "3"])
    })
  )

  testInMemory(
    "is empty only when the message that is on its way has left, too",
    Effect.gen(function* () {
      const listening = yield* server
      const scope = yield* Scope.make()
      const { history, socket } = yield* Scope.extend(
        reconnecting({ connect: { sendBufferSize: 1000 }, outbox: { capacity: 10 } }),
        scope
      )
      const peer = yield* accepted(listening, history)
      peer.flow.pause()
      // Seven fill the network, which holds 64 KiB; the eighth waits for room.
      for (let index = 0; index < 8; index++) yield* Effect.zipRight(socket.send("x".repeat(10_000)), settle)
      const leaving = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* settle
      peer.flow.resume()
      yield* closeWith(peer, yield* peer.closeCode)
      yield* Fiber.join(leaving)
      expect(textsOf(peer)).toHaveLength(8)
    })
  )

  for (const [title, exit, breaks, seconds] of [
    ["doesn't hold up the scope for more than 5 seconds", Exit.void, false, 5],
    ["doesn't hold up the scope for longer than the connection lasts", Exit.void, true, 0],
    ["doesn't hold up a scope that is left with a failure", Exit.fail("broken"), false, 0]
  ] as const) {
    testInMemory(
      title,
      Effect.gen(function* () {
        const listening = yield* server
        const scope = yield* Scope.make()
        const { history, socket } = yield* Scope.extend(
          reconnecting({ outbox: { capacity: 2, strategy: "dropping" } }),
          scope
        )
        const peer = yield* accepted(listening, history)
        peer.flow.pause()
        for (let told = ""; told !== "dropped"; yield* settle) told = yield* socket.send("x".repeat(50_000))
        const leaving = yield* Effect.fork(Scope.close(scope, exit))
        yield* settle
        if (breaks) yield* peer.destroy
        else {
          // Then the closing handshake has its own 5 seconds.
          yield* pass(`${seconds} seconds`)
          yield* pass("4999 millis")
          expect(leaving.unsafePoll()).toBeNull()
          yield* pass("1 millis")
        }
        yield* Fiber.join(leaving)
      })
    )
  }

  testInMemory(
    "fails who waits for room, and who comes later, with the end",
    Effect.gen(function* () {
      const { history, socket } = yield* reconnecting({ outbox: { capacity: 1 } })
      yield* history.until("Waiting", 1)
      yield* socket.send("1")
      const waiting = yield* Effect.fork(Effect.flip(socket.send("2")))
      yield* settle
      const listening = yield* server
      yield* nextAttempt(history, 1)
      yield* refused(listening, 403)
      expect(yield* Fiber.join(waiting)).toMatchObject({ status: 403 })
      expect(yield* Effect.flip(socket.send("3"))).toMatchObject({ status: 403 })
    })
  )

  testInMemory(
    "drops what this side must not send, and goes on",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting({ outbox: { capacity: 5 } })
      const peer = yield* accepted(listening, history)
      const connection = yield* socket.connection
      yield* connection.sendFrame(Frame.make({ opcode: Frame.Opcode.text, fin: false, payload: "fragment" }))
      yield* socket.send("in between")
      yield* settle
      yield* connection.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, payload: "" }))
      yield* socket.send("behind")
      yield* settle
      expect(textsOf(peer)).toEqual(["fragment", "behind"])
    })
  )
})
