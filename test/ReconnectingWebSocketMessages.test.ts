import { describe } from "@effect/vitest"
import { Chunk, Effect, Fiber, Schedule, Stream } from "effect"
import { Frame, ReconnectingWebSocket, WebSocket } from "effect-websocket"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { testInMemory } from "./fixtures/leaks.js"
import { upgradedServer } from "./fixtures/rawPeer.js"
import {
  accepted,
  closeWith,
  historyOf,
  nextAttempt,
  pass,
  reconnecting,
  server,
  textsOf,
  url
} from "./fixtures/reconnecting.js"

describe("ReconnectingWebSocket: sending", () => {
  testInMemory(
    "waits for a connection, and then for the next",
    Effect.gen(function* () {
      const { history, socket } = yield* reconnecting()
      yield* history.until("Waiting", 1)
      const early = yield* Effect.fork(socket.send("early"))
      const listening = yield* server
      yield* nextAttempt(history, 1)
      const first = yield* accepted(listening, history)
      expect(yield* Fiber.join(early)).toBe("sent")
      yield* settle
      // The connection is closing, and takes nothing any more.
      yield* first.sendFrames(Frame.close(1001))
      yield* first.closeCode
      const late = yield* Effect.fork(socket.send("late"))
      yield* settle
      expect(late.unsafePoll()).toBeNull()
      yield* first.end
      yield* nextAttempt(history, 2)
      const second = yield* accepted(listening, history)
      expect(yield* Fiber.join(late)).toBe("sent")
      yield* settle
      expect([textsOf(first), textsOf(second)]).toEqual([["early"], ["late"]])
    })
  )

  testInMemory(
    "and receiving ask a connection that is closing once, and not again and again",
    Effect.gen(function* () {
      const listening = yield* server
      const asked: Array<string> = []
      const asking = <A, E>(what: string, operation: Effect.Effect<A, E>) =>
        Effect.zipRight(
          Effect.sync(() => asked.push(what)),
          operation
        )
      const open = Effect.map(WebSocket.connect(url), (connection) => ({
        ...connection,
        send: (message: WebSocket.Message | WebSocket.Prepared) => asking("send", connection.send(message)),
        receive: asking("receive", connection.receive)
      }))
      const socket = yield* ReconnectingWebSocket.make(open, { schedule: Schedule.spaced("1 second") })
      const history = yield* historyOf(socket)
      const peer = yield* accepted(listening, history)
      yield* peer.sendFrames(Frame.close(1001))
      yield* peer.closeCode
      const sending = yield* Effect.fork(socket.send("late"))
      const receiving = yield* Effect.fork(socket.receive)
      yield* settle
      expect(asked).toEqual(["send", "receive"])
      yield* peer.end
      yield* nextAttempt(history, 1)
      yield* (yield* accepted(listening, history)).sendFrames(Frame.text("answer"))
      yield* Fiber.join(sending)
      expect(yield* Fiber.join(receiving)).toBe("answer")
      expect(asked).toHaveLength(4)
    })
  )

  testInMemory(
    "interrupted while it waits, sends nothing",
    Effect.gen(function* () {
      const { history, socket } = yield* reconnecting()
      yield* history.until("Waiting", 1)
      const sending = yield* Effect.fork(socket.send("never"))
      yield* settle
      yield* Fiber.interrupt(sending)
      const listening = yield* server
      yield* nextAttempt(history, 1)
      const peer = yield* accepted(listening, history)
      yield* socket.send("first")
      yield* settle
      expect(textsOf(peer)).toEqual(["first"])
    })
  )

  testInMemory(
    "fails with what this side must not send, and the connection stays",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      yield* accepted(listening, history)
      const connection = yield* socket.connection
      yield* connection.sendFrame(Frame.make({ opcode: Frame.Opcode.text, fin: false, payload: "a" }))
      expect(yield* Effect.flip(socket.send("b"))).toMatchObject({ _tag: "ProtocolError", side: "local" })
      expect(yield* connection.isOpen).toBe(true)
    })
  )
})

describe("ReconnectingWebSocket: receiving", () => {
  testInMemory(
    "takes what came before a break before what came after it, and tells which connection brought it",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const first = yield* accepted(listening, history)
      yield* first.sendFrames(Frame.text("a1"), Frame.text("a2"), Frame.text("a3"))
      yield* settle
      expect(yield* socket.receive).toBe("a1")
      yield* closeWith(first, 1011)
      yield* nextAttempt(history, 1)
      const second = yield* accepted(listening, history)
      yield* second.sendFrames(Frame.text("b1"))
      yield* settle
      expect(yield* socket.receive).toBe("a2")
      const heard: Array<readonly [WebSocket.Message, boolean]> = []
      const current = yield* socket.connection
      const running = yield* Effect.fork(
        socket.run((message, from) => Effect.sync(() => heard.push([message, from === current])))
      )
      yield* settle
      expect(heard).toEqual([
        ["a3", false],
        ["b1", true]
      ])
      yield* Fiber.interrupt(running)
    })
  )

  testInMemory(
    "as a stream goes over the breaks",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const collecting = yield* Effect.fork(Stream.runCollect(Stream.take(socket.messages, 4)))
      for (const nth of [1, 2]) {
        const peer = yield* accepted(listening, history)
        yield* peer.sendFrames(Frame.text(`${nth}a`), Frame.text(`${nth}b`))
        yield* closeWith(peer, 1001)
        if (nth === 1) yield* nextAttempt(history, 1)
      }
      expect(Chunk.toReadonlyArray(yield* Fiber.join(collecting))).toEqual(["1a", "1b", "2a", "2b"])
    })
  )

  testInMemory(
    "interrupted takes nothing, before a break and after",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const peer = yield* accepted(listening, history)
      for (const interrupted of [true, false]) {
        const receiving = yield* Effect.fork(socket.receive)
        yield* settle
        if (interrupted) yield* Fiber.interrupt(receiving)
        else {
          yield* closeWith(peer, 1001)
          yield* nextAttempt(history, 1)
          yield* Fiber.interrupt(receiving)
          yield* (yield* upgradedServer(listening)).sendFrames(Frame.text("for the next"))
        }
      }
      expect(yield* socket.receive).toBe("for the next")
    })
  )

  testInMemory(
    "fails with the handler's own failure, which ends nothing else",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const peer = yield* accepted(listening, history)
      yield* peer.sendFrames(Frame.text("1"), Frame.text("2"))
      expect(yield* Effect.flip(socket.run((message) => Effect.fail(`not ${message}`)))).toBe("not 1")
      expect(yield* socket.receive).toBe("2")
    })
  )

  testInMemory(
    "holds the next attempt back while 64 KiB of earlier connections are not taken",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting({ connect: { receiveBufferSize: 100_000 } })
      const peer = yield* accepted(listening, history)
      yield* peer.sendFrames(Frame.text("x".repeat(40_000)), Frame.text("y".repeat(30_000)))
      yield* settle
      yield* closeWith(peer, 1001)
      yield* history.until("Waiting", 1)
      yield* pass("1 hour")
      expect(history.tags().at(-1)).toBe("Waiting 2")
      yield* socket.receive
      yield* accepted(listening, history)
      expect(yield* socket.receive).toHaveLength(30_000)
    })
  )
})
