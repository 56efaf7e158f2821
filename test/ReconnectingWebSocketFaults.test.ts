import { describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope, Stream, TestClock, TestContext } from "effect"
import { Frame, ReconnectingWebSocket, TestNetwork, WebSocket } from "effect-websocket"
import fc from "fast-check"
import { expect } from "vitest"
import { settle } from "./fixtures/heard.js"
import { leaksOf } from "./fixtures/leaks.js"
import { type RawPeer, upgradedServer } from "./fixtures/rawPeer.js"
import { closeWith, everySecond, historyOf, pass, refused, server, textsOf, url } from "./fixtures/reconnecting.js"

// A resource under any sequence of faults: the test says what each attempt meets.

type Fault =
  | { readonly _tag: "nobody" }
  | { readonly _tag: "status"; readonly status: number }
  | { readonly _tag: "hangsUp" }
  | { readonly _tag: "mute" }
  | {
      readonly _tag: "serves"
      readonly messages: number
      readonly seconds: number
      readonly end: number | "reset" | "FIN" | "silence"
    }

const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.constant({ _tag: "nobody" } as const),
  fc.record({ _tag: fc.constant("status" as const), status: fc.constantFrom(408, 429, 500, 502, 503) }),
  fc.constant({ _tag: "hangsUp" } as const),
  fc.constant({ _tag: "mute" } as const),
  {
    weight: 4,
    arbitrary: fc.record({
      _tag: fc.constant("serves" as const),
      messages: fc.integer({ min: 0, max: 3 }),
      seconds: fc.constantFrom(0, 6),
      end: fc.constantFrom(
        1001,
        1005,
        1011,
        1012,
        1013,
        1014,
        3008,
        "reset" as const,
        "FIN" as const,
        "silence" as const
      )
    })
  }
)

const options: WebSocket.ConnectOptions = { pingInterval: "20 seconds", pingTimeout: "5 seconds", maxMissedPongs: 1 }

const outbox: fc.Arbitrary<ReconnectingWebSocket.OutboxOptions | undefined> = fc.option(
  fc.record({
    capacity: fc.integer({ min: 1, max: 4 }),
    strategy: fc.constantFrom("suspend" as const, "dropping" as const, "sliding" as const)
  }),
  { nil: undefined }
)

/** Ends the connections of the network, or silences them. */
const onNetwork = (end: "reset" | "silence") =>
  Effect.gen(function* () {
    const network = yield* TestNetwork.TestNetwork
    for (const connection of yield* network.connections) {
      if (end === "reset") yield* connection.reset
      else {
        yield* connection.stall("toServer")
        yield* connection.stall("toClient")
      }
    }
  })

const openClients = Effect.gen(function* () {
  const network = yield* TestNetwork.TestNetwork
  const open = yield* Effect.forEach(yield* network.connections, (connection) => connection.open)
  return open.filter((sides) => sides.includes("client")).length
})

/** What the server says on its nth connection. */
const words = (nth: number, count: number) => Array.from({ length: count }, (_, index) => `${nth}.${index}`)

/** One attempt meets its fault. */
const meet = (given: Fault, peers: Array<RawPeer>, beforeEnd: Effect.Effect<void>) =>
  Effect.gen(function* () {
    if (given._tag === "nobody") return yield* pass("1 second")
    const listening = yield* server
    yield* pass("1 second")
    if (given._tag === "serves") {
      const peer = yield* upgradedServer(listening)
      peers.push(peer)
      expect(yield* openClients).toBe(1)
      yield* settle
      yield* peer.sendFrames(...words(peers.length, given.messages).map((word) => Frame.text(word)))
      yield* beforeEnd
      yield* pass(`${given.seconds} seconds`)
      if (typeof given.end === "number") yield* closeWith(peer, given.end)
      else if (given.end === "FIN") yield* peer.end
      else yield* onNetwork(given.end)
    } else if (given._tag === "status") {
      yield* refused(listening, given.status)
    } else {
      const peer = yield* listening.next
      yield* peer.head
      if (given._tag === "hangsUp") yield* peer.destroy
    }
    yield* settle
  })

/** Lets time pass until something holds, second by second, so that nothing else is overtaken. */
const passUntil = (condition: () => boolean) =>
  Effect.iterate(0, {
    while: (seconds) => seconds < 60 && !condition(),
    body: (seconds) => Effect.as(pass("1 second"), seconds + 1)
  })

/** What the history has to be after these faults, and one more attempt that succeeds. */
const expected = (script: ReadonlyArray<Fault>): ReadonlyArray<string> => {
  const tags: Array<string> = []
  let attempt = 1
  let connections = 0
  for (const given of script) {
    tags.push(`Connecting ${attempt}`)
    if (given._tag === "serves") tags.push(`Connected ${++connections}`)
    const stood = given._tag === "serves" && (given.seconds >= 5 || given.end === "silence")
    attempt = stood ? 1 : attempt + 1
    tags.push(`Waiting ${attempt}`)
  }
  return [...tags, `Connecting ${attempt}`, `Connected ${connections + 1}`]
}

const run = <E>(body: Effect.Effect<void, E, Scope.Scope | TestNetwork.TestNetwork | NetworkOf>) =>
  Effect.runPromise(
    leaksOf(body).pipe(
      Effect.flatMap((leaks) => Effect.sync(() => void expect(leaks).toEqual([]))),
      Effect.provide(TestNetwork.layer),
      Effect.provide(TestContext.TestContext)
    )
  )

type NetworkOf = Effect.Effect.Context<ReturnType<typeof WebSocket.connect>>

describe("ReconnectingWebSocket: any sequence of faults", () => {
  it("costs one attempt each, and no message: none is lost, doubled or out of order", { timeout: 60_000 }, () =>
    fc.assert(
      fc.asyncProperty(fc.array(fault, { maxLength: 8 }), outbox, (script, keeping) =>
        run(
          Effect.gen(function* () {
            // The first attempt is held back, so that it meets the first fault.
            const open = Effect.zipRight(Effect.sleep("1 second"), WebSocket.connect(url, options))
            const socket = yield* ReconnectingWebSocket.make(open, { schedule: everySecond, outbox: keeping })
            const history = yield* historyOf(socket)
            const received: Array<WebSocket.Message> = []
            yield* Effect.forkScoped(
              Stream.runForEach(socket.messages, (message) => Effect.sync(() => received.push(message)))
            )
            const sending = yield* Queue.unbounded<string>()
            const told = new Map<string, ReconnectingWebSocket.Sent>()
            yield* Effect.forkScoped(
              Effect.forever(
                Effect.flatMap(Queue.take(sending), (message) =>
                  Effect.map(socket.send(message), (result) => told.set(message, result))
                )
              )
            )
            let asked = 0
            const say = (count: number) =>
              Effect.suspend(() => {
                const messages = Array.from({ length: count }, () => String(asked++))
                return Effect.zipRight(Queue.offerAll(sending, messages), settle)
              })
            const peers: Array<RawPeer> = []
            for (const [index, given] of script.entries()) {
              // Between connections, and on each.
              yield* say(2)
              yield* Effect.scoped(
                Effect.zipRight(
                  meet(given, peers, say(3)),
                  passUntil(() => history.count("Waiting") > index)
                )
              )
              // The next attempt begins with its sleep.
              yield* pass("1 second")
            }
            yield* meet({ _tag: "serves", messages: 2, seconds: 0, end: 1000 }, peers, say(1))
            yield* settle

            expect(history.tags().slice(0, -1)).toEqual(expected(script))
            expect(history.tags().at(-1)).toBe("Ended")
            const said = script.flatMap((given) => (given._tag === "serves" ? [given.messages] : []))
            expect(received).toEqual([...said, 2].flatMap((count, index) => words(index + 1, count)))
            const heard = peers.flatMap(textsOf).map(Number)
            const dropped = [...told.values()].filter((result) => result === "dropped").length
            expect(heard).toEqual([...new Set(heard)].sort((a, b) => a - b))
            expect(heard).toHaveLength(asked - dropped)
            expect(told.size).toBe(asked)
            if (keeping?.strategy !== "sliding") {
              const lost = [...told].flatMap(([message, result]) => (result === "dropped" ? [Number(message)] : []))
              expect(heard.filter((message) => lost.includes(message))).toEqual([])
            }
          })
        )
      ),
      { numRuns: 40 }
    )
  )

  it("can be left at any moment: nothing stays, nobody waits for ever", { timeout: 60_000 }, () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 3 }),
        outbox,
        fc.nat({ max: 400 }),
        fc.constantFrom("leave", "interrupt"),
        (script, keeping, turns, how) =>
          run(
            Effect.gen(function* () {
              const open = Effect.zipRight(Effect.sleep("1 second"), WebSocket.connect(url, options))
              const scope = yield* Scope.make()
              const making = ReconnectingWebSocket.make(open, { schedule: everySecond, outbox: keeping })
              const socket = yield* Scope.extend(making, scope)
              const waiting = yield* Effect.forEach(
                [socket.receive, socket.send("a"), Stream.runDrain(socket.messages), socket.connection],
                (operation) => Effect.fork(Effect.asVoid(operation))
              )
              // The faults go on beside it, and so does the clock.
              const peers: Array<RawPeer> = []
              const faults = Effect.forEach(script, (given) =>
                Effect.zipRight(Effect.scoped(meet(given, peers, Effect.void)), pass("1 second"))
              )
              const meeting = yield* Effect.fork(faults)
              for (let turn = 0; turn < turns; turn++) {
                yield* turn % 3 === 0 ? Effect.promise(() => new Promise(setImmediate)) : Effect.yieldNow()
              }
              const exit = how === "leave" ? Exit.void : Exit.interrupt(yield* Effect.fiberId)
              const leaving = yield* Effect.fork(Scope.close(scope, exit))
              yield* settle
              // A peer that doesn't answer the Close is given up.
              while (leaving.unsafePoll() === null) yield* pass("1 second")
              yield* Fiber.join(leaving)
              yield* Fiber.interrupt(meeting)
              for (const fiber of waiting) yield* Fiber.await(fiber)
              expect(yield* openClients).toBe(0)
              expect((yield* socket.state.get)._tag).toBe("Ended")
              const before = yield* TestClock.currentTimeMillis
              yield* pass("1 hour")
              expect(yield* TestClock.currentTimeMillis).toBeGreaterThan(before)
              expect(yield* openClients).toBe(0)
            })
          )
      ),
      { numRuns: 40 }
    )
  )
})
