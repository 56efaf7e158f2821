import { describe } from "@effect/vitest"
import { Data, Effect, Exit, Fiber, Layer, Ref, Scope } from "effect"
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
  reconnecting,
  server,
  textsOf,
  url
} from "./fixtures/reconnecting.js"

class LoginError extends Data.TaggedError("LoginError")<{ readonly answer: string }> {}

/** Logs in: says who it is, and waits for the answer. */
const login = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    yield* socket.send("login")
    const answer = String(yield* socket.receive)
    if (answer !== "welcome") return yield* new LoginError({ answer })
    yield* socket.send("subscribe")
  })

describe("ReconnectingWebSocket: onConnect", () => {
  testInMemory(
    "runs on each connection before anything else is sent, and takes its own answers",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting({ onConnect: login })
      for (const nth of [1, 2]) {
        const sending = yield* Effect.fork(socket.send(`message ${nth}`))
        const peer = yield* upgradedServer(listening)
        yield* peer.frame(() => true)
        yield* settle
        expect(textsOf(peer)).toEqual(["login"])
        expect(history.count("Connected")).toBe(nth - 1)
        yield* peer.sendFrames(Frame.text("welcome"), Frame.text(`first of ${nth}`))
        yield* Fiber.join(sending)
        yield* settle
        expect(textsOf(peer)).toEqual(["login", "subscribe", `message ${nth}`])
        expect(yield* socket.receive).toBe(`first of ${nth}`)
        if (nth === 1) {
          yield* closeWith(peer, 1012)
          yield* nextAttempt(history, 1)
        }
      }
    })
  )

  testInMemory(
    "that fails makes the attempt fail, and closes with 1011",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting({
        onConnect: login,
        while: (error) => error._tag === "LoginError" && error.answer === "later"
      })
      const refuse = (answer: string) =>
        Effect.gen(function* () {
          const peer = yield* upgradedServer(listening)
          yield* peer.sendFrames(Frame.text(answer))
          expect(yield* peer.closeCode).toBe(1011)
          yield* closeWith(peer, 1011)
        })
      yield* refuse("later")
      yield* nextAttempt(history, 1)
      yield* refuse("never")
      expect(yield* Effect.flip(socket.receive)).toMatchObject({ _tag: "LoginError", answer: "never" })
      expect(history.tags()).toEqual(["Connecting 1", "Waiting 2", "Connecting 2", "Ended"])
    })
  )

  testInMemory(
    "that finds the connection lost leads to another attempt, and counts it",
    Effect.gen(function* () {
      const listening = yield* server
      const { history } = yield* reconnecting({ onConnect: login })
      for (const nth of [1, 2]) {
        yield* closeWith(yield* upgradedServer(listening), 1011)
        yield* nextAttempt(history, nth)
      }
      const peer = yield* upgradedServer(listening)
      yield* peer.sendFrames(Frame.text("welcome"))
      yield* history.until("Connected", 1)
      expect(history.tags()).toEqual([
        "Connecting 1",
        "Waiting 2",
        "Connecting 2",
        "Waiting 3",
        "Connecting 3",
        "Connected 1"
      ])
    })
  )

  testInMemory(
    "may time out, which is worth another attempt",
    Effect.gen(function* () {
      const listening = yield* server
      const { history } = yield* reconnecting({ onConnect: (socket) => Effect.timeout(login(socket), "0 seconds") })
      const peer = yield* upgradedServer(listening)
      // Who closes first would tell the client why.
      expect(yield* peer.closeCode).toBe(1011)
      yield* closeWith(peer, 1011)
      yield* history.until("Waiting", 1)
      expect(history.states.at(-1)).toMatchObject({ error: { _tag: "TimeoutException" } })
    })
  )

  testInMemory(
    "may fork what lives as long as the connection",
    Effect.gen(function* () {
      const listening = yield* server
      const running = yield* Ref.make(0)
      const work = Effect.acquireUseRelease(
        Ref.update(running, (count) => count + 1),
        () => Effect.never,
        () => Ref.update(running, (count) => count - 1)
      )
      const { history } = yield* reconnecting({ onConnect: () => Effect.forkScoped(work) })
      const peer = yield* accepted(listening, history)
      yield* settle
      expect(yield* running).toBe(1)
      yield* closeWith(peer, 1001)
      yield* history.until("Waiting", 1)
      expect(yield* running).toBe(0)
    })
  )
})

describe("ReconnectingWebSocket.layer", () => {
  testInMemory(
    "builds at once, and closes the connection when it isn't used any more",
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const layer = ReconnectingWebSocket.layer(WebSocket.connect(url))
      const context = yield* Layer.buildWithScope(layer, scope)
      yield* settle
      const listening = yield* server
      yield* Effect.gen(function* () {
        const socket = yield* ReconnectingWebSocket.ReconnectingWebSocket
        const history = yield* historyOf(socket)
        // Nobody listened at first.
        yield* nextAttempt(history, 1)
        const peer = yield* accepted(listening, history)
        expect(yield* socket.send("hello")).toBe("sent")
        yield* peer.frame(() => true)
        const leaving = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* closeWith(peer, yield* peer.closeCode)
        yield* Fiber.join(leaving)
        expect(textsOf(peer)).toEqual(["hello"])
      }).pipe(Effect.provide(context))
    })
  )
})
