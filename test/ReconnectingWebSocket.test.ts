import { describe } from "@effect/vitest"
import { Cause, Chunk, Duration, Effect, Exit, Fiber, Schedule, Scope, Stream } from "effect"
import { Frame, ReconnectingWebSocket, TestNetwork, WebSocket } from "effect-websocket"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { testInMemory } from "./fixtures/leaks.js"
import {
  accepted,
  closeWith,
  historyOf,
  nextAttempt,
  pass,
  reconnecting,
  refused,
  server,
  url
} from "./fixtures/reconnecting.js"

describe("ReconnectingWebSocket: connecting again", () => {
  testInMemory(
    "goes through each state in turn: refused, up, lost, up again",
    Effect.gen(function* () {
      const { history, socket } = yield* reconnecting()
      expect(yield* socket.state.get).toEqual({ _tag: "Connecting", attempt: 1, error: undefined })
      yield* history.until("Waiting", 1)
      const listening = yield* server
      yield* nextAttempt(history, 1)
      const first = yield* accepted(listening, history)
      yield* closeWith(first, 1012, "new version")
      yield* nextAttempt(history, 2)
      yield* accepted(listening, history)
      expect(history.tags()).toEqual([
        "Connecting 1",
        "Waiting 2",
        "Connecting 2",
        "Connected 1",
        "Waiting 3",
        "Connecting 3",
        "Connected 2"
      ])
      const errors = history.states.map((state) => ("error" in state ? state.error?._tag : undefined))
      expect(errors).toEqual([
        undefined,
        "ConnectError",
        "ConnectError",
        undefined,
        "ConnectionClosed",
        "ConnectionClosed",
        undefined
      ])
      expect(history.states[4]).toMatchObject({ delay: Duration.seconds(1), error: { code: 1012 } })
    })
  )

  testInMemory(
    "runs the opening effect anew for each attempt",
    Effect.gen(function* () {
      const listening = yield* server
      let tokens = 0
      const open = Effect.suspend(() => WebSocket.connect(url, { headers: { authorization: `token-${++tokens}` } }))
      const socket = yield* ReconnectingWebSocket.make(open, { schedule: Schedule.spaced("1 second") })
      const history = yield* historyOf(socket)
      for (const attempt of [1, 2, 3]) {
        const peer = yield* accepted(listening, history)
        expect(yield* peer.head).toContain(`authorization: token-${attempt}\r\n`)
        if (attempt === 3) break
        yield* closeWith(peer, 1001)
        yield* nextAttempt(history, attempt)
      }
    })
  )

  testInMemory(
    "counts attempts and goes on in the schedule until a connection stood for 5 seconds",
    Effect.gen(function* () {
      const listening = yield* server
      const { history } = yield* reconnecting({ schedule: Schedule.exponential("1 second") })
      for (const [nth, life] of [0, 4999, 5000, 1].entries()) {
        const peer = yield* accepted(listening, history)
        yield* pass(life)
        yield* closeWith(peer, 1011)
        yield* nextAttempt(history, nth + 1)
      }
      yield* accepted(listening, history)
      const waits = history.states.flatMap((state) =>
        state._tag === "Waiting" ? [[state.attempt, Duration.toSeconds(state.delay)]] : []
      )
      expect(waits).toEqual([
        [2, 1],
        [3, 2],
        [1, 1],
        [2, 2]
      ])
    })
  )

  testInMemory(
    "waits for as long as the server asks with Retry-After, and what the schedule adds",
    Effect.gen(function* () {
      const listening = yield* server
      const { history } = yield* reconnecting()
      yield* refused(listening, 429, { "Retry-After": "7" })
      yield* nextAttempt(history, 1)
      yield* refused(listening, 503, { "Retry-After": "Thu, 01 Jan 1970 00:01:08 GMT" })
      yield* nextAttempt(history, 2)
      yield* refused(listening, 503, { "Retry-After": "86400" })
      yield* nextAttempt(history, 3)
      yield* refused(listening, 500, { "Retry-After": "7" })
      yield* history.until("Waiting", 4)
      const delays = history.states.flatMap((state) =>
        state._tag === "Waiting" ? [Duration.toSeconds(state.delay)] : []
      )
      // The second began 8 seconds after the epoch.
      expect(delays).toEqual([8, 61, 301, 1])
    })
  )

  testInMemory(
    "finds a peer that vanished by the connection's heartbeat",
    Effect.gen(function* () {
      const listening = yield* server
      const { history } = yield* reconnecting({
        connect: { pingInterval: "10 seconds", pingTimeout: "1 second", maxMissedPongs: 0 }
      })
      yield* accepted(listening, history)
      const network = yield* TestNetwork.TestNetwork
      const [connection] = yield* network.connections
      yield* connection?.stall("toServer") ?? Effect.die("no connection")
      for (let second = 0; second < 60 && history.count("Waiting") === 0; second++) yield* pass("1 second")
      yield* nextAttempt(history, 1)
      yield* accepted(listening, history)
      expect(history.states).toContainEqual(
        expect.objectContaining({
          _tag: "Waiting",
          error: expect.objectContaining({ _tag: "IoError", code: "ETIMEDOUT" })
        })
      )
    })
  )

  testInMemory(
    "waits until the lost connection is released before it opens the next",
    Effect.gen(function* () {
      const listening = yield* server
      const { history } = yield* reconnecting()
      const peer = yield* accepted(listening, history)
      yield* peer.sendFrames(Frame.close(1012))
      expect(yield* peer.closeCode).toBe(1012)
      yield* pass("4999 millis")
      expect(history.tags().at(-1)).toBe("Connected 1")
      yield* pass("1 millis")
      expect(history.tags().at(-1)).toBe("Waiting 1")
    })
  )
})

describe("ReconnectingWebSocket: the end", () => {
  testInMemory(
    "comes with what can't be retried, also at the first attempt, and everyone is told",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const waiting = yield* Effect.forEach(
        [
          socket.connection,
          socket.send("a"),
          socket.receive,
          Stream.runDrain(socket.messages),
          socket.run(() => Effect.void)
        ],
        (operation) => Effect.fork(Effect.flip(Effect.asVoid(operation)))
      )
      yield* settle
      yield* refused(listening, 401)
      for (const fiber of waiting) expect(yield* Fiber.join(fiber)).toMatchObject({ status: 401 })
      expect(yield* Effect.flip(socket.send("b"))).toMatchObject({ _tag: "HandshakeError", status: 401 })
      yield* settle
      expect(history.tags()).toEqual(["Connecting 1", "Ended"])
      expect(history.over()).toBe(true)
      expect(Chunk.toReadonlyArray(yield* Stream.runCollect(socket.state.changes))).toMatchObject([{ _tag: "Ended" }])
      yield* pass("1 hour")
      expect(yield* listening.waiting).toBe(0)
    })
  )

  testInMemory(
    "comes when the schedule is over, with the last error",
    Effect.gen(function* () {
      const { history, socket } = yield* reconnecting({
        schedule: Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(2))
      })
      yield* nextAttempt(history, 1)
      yield* nextAttempt(history, 2)
      expect(yield* Effect.flip(socket.receive)).toMatchObject({ _tag: "ConnectError", code: "ECONNREFUSED" })
      expect(history.count("Connecting")).toBe(3)
    })
  )

  testInMemory(
    "comes when `while` says so",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting({
        while: (error) => error._tag === "ConnectionClosed" && error.code === 4000
      })
      yield* closeWith(yield* accepted(listening, history), 4000)
      yield* nextAttempt(history, 1)
      yield* closeWith(yield* accepted(listening, history), 1012)
      expect(yield* Effect.flip(socket.receive)).toMatchObject({ code: 1012 })
    })
  )

  for (const [code, ends] of [
    [1000, true],
    [4000, false]
  ] as const) {
    testInMemory(
      `comes with ${code} from the peer: messages and run ${ends ? "end" : "fail"} after what came before it`,
      Effect.gen(function* () {
        const listening = yield* server
        const { history, socket } = yield* reconnecting()
        const peer = yield* accepted(listening, history)
        const heard: Array<WebSocket.Message> = []
        const running = yield* Effect.fork(socket.run((message) => Effect.sync(() => heard.push(message))))
        yield* peer.sendFrames(Frame.text("last words"), Frame.close(code))
        yield* peer.closeCode
        yield* peer.end
        expect(Exit.isSuccess(yield* Fiber.await(running))).toBe(ends)
        expect(heard).toEqual(["last words"])
        expect(Exit.isSuccess(yield* Effect.exit(Stream.runDrain(socket.messages)))).toBe(ends)
        expect(yield* Effect.flip(socket.receive)).toMatchObject({ _tag: "ConnectionClosed", code })
      })
    )
  }

  testInMemory(
    "comes when this side closes the connection",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const peer = yield* accepted(listening, history)
      const closing = yield* Effect.fork(Effect.flatMap(socket.connection, (connection) => connection.close(4001)))
      expect(yield* peer.closeCode).toBe(4001)
      yield* closeWith(peer, 1001)
      yield* Fiber.join(closing)
      expect(yield* Effect.flip(socket.receive)).toMatchObject({ initiator: "local", sentCode: 4001 })
    })
  )

  testInMemory(
    "doesn't come with an error that interrupted something beside it",
    Effect.gen(function* () {
      const listening = yield* server
      const open = Effect.zipRight(
        Effect.all([Effect.never, Effect.fail("down" as const)], { concurrency: 2 }),
        WebSocket.connect(url)
      )
      let attempts = 0
      const socket = yield* ReconnectingWebSocket.make(
        Effect.suspend(() => (attempts++ === 0 ? open : WebSocket.connect(url))),
        { schedule: Schedule.spaced("1 second"), while: () => true }
      )
      const history = yield* historyOf(socket)
      yield* nextAttempt(history, 1)
      yield* accepted(listening, history)
    })
  )

  const bug = new Error("bug")
  const refusedTcp = WebSocket.connect(url)
  for (const [what, open, dies] of [
    ["a defect of the opening effect", Effect.die(bug), true],
    ["a defect beside an error", Effect.ensuring(refusedTcp, Effect.die(bug)), true],
    ["an interruption of itself by the opening effect", Effect.zipRight(Effect.yieldNow(), Effect.interrupt), false]
  ] as const) {
    testInMemory(
      `comes with ${what}, and everyone who waits is told`,
      Effect.gen(function* () {
        const socket = yield* ReconnectingWebSocket.make(open, { while: () => true })
        const cause = yield* Effect.flip(Effect.sandbox(socket.receive))
        expect([Cause.isDie(cause), Cause.isInterruptedOnly(cause)]).toEqual([dies, !dies])
      })
    )
  }
})

describe("ReconnectingWebSocket: leaving the scope", () => {
  const exits: ReadonlyArray<readonly [string, Exit.Exit<void, string>, number]> = [
    ["success", Exit.void, 1000],
    ["failure", Exit.fail("broken"), 1011],
    ["interruption", Exit.failCause(Cause.empty), 1001]
  ]
  for (const [what, exit, code] of exits) {
    testInMemory(
      `closes the connection with ${code} after ${what}, and connects no more`,
      Effect.gen(function* () {
        const listening = yield* server
        const scope = yield* Scope.make()
        const { history, socket } = yield* Scope.extend(reconnecting(), scope)
        const log = yield* historyOf(socket)
        const peer = yield* accepted(listening, history)
        const waiting = yield* Effect.fork(Effect.flip(socket.receive))
        yield* settle
        const leaving = yield* Effect.fork(
          Scope.close(scope, code === 1001 ? Exit.interrupt(yield* Effect.fiberId) : exit)
        )
        expect(yield* peer.closeCode).toBe(code)
        yield* closeWith(peer, code)
        yield* Fiber.join(leaving)
        expect(yield* Fiber.join(waiting)).toMatchObject({ _tag: "ConnectionClosed", initiator: "local" })
        yield* log.until("Ended", 1)
        yield* pass("1 hour")
        expect(yield* listening.waiting).toBe(0)
        expect(yield* Effect.flip(socket.send("too late"))).toMatchObject({ _tag: "ConnectionClosed" })
      })
    )
  }

  testInMemory(
    "in the middle of an attempt, or between two, leaves nothing, and tells those who wait",
    Effect.gen(function* () {
      for (const stage of ["handshake", "waiting"]) {
        const scope = yield* Scope.make()
        const { history, socket } = yield* Scope.extend(reconnecting(), scope)
        if (stage === "waiting") yield* history.until("Waiting", 1)
        const waiting = yield* Effect.fork(Effect.flip(socket.send("a")))
        yield* settle
        yield* Scope.close(scope, Exit.void)
        expect(yield* Fiber.join(waiting)).toMatchObject({ _tag: "ConnectionClosed", initiator: "local" })
      }
    })
  )
})
