import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Stream, TestClock } from "effect"
import * as Broadcast from "effect-websocket/Broadcast"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { TestNetwork } from "effect-websocket/TestNetwork"
import type * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { gathering, heardBy } from "./fixtures/gathering.js"
import { settle } from "./fixtures/heard.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"

const size = 1000
const message = (index: number) => `${index}`.padEnd(size, ".")
const numbers = (messages: ReadonlyArray<unknown>) => messages.map((each) => Number.parseInt(String(each), 10))
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

/** Ten messages in flight, and then some that wait. */
const sendBufferSize = 10 * size

/** One of two clients is stalled, on the way to it. */
const stalled = (options: WebSocketServer.ServerOptions = {}) =>
  Effect.gen(function* () {
    const network = yield* TestNetwork
    yield* network.set({ capacity: 4 * size })
    const { welcome } = yield* gathering({ sendBufferSize, pingInterval: "1 day", ...options })
    const slow = yield* welcome()
    const quick = yield* welcome()
    const [connection] = yield* network.connections
    if (connection === undefined) return yield* Effect.die("no connection")
    yield* connection.stall("toClient")
    const hub = yield* Broadcast.make()
    /** Publishes numbered messages, each of which the quick one has before the next. */
    const publish = (from: number, to: number, how?: Broadcast.PublishOptions) =>
      Effect.forEach(
        upTo(to - from).map((index) => from + index),
        (index) =>
          Effect.gen(function* () {
            const published = yield* hub.publish("all", message(index), how)
            expect(yield* quick.client.receive).toBe(message(index))
            return published
          })
      )
    const subscribe = (how?: Broadcast.SubscribeOptions) =>
      Effect.zipRight(hub.subscribe(slow.server, "all", how), hub.subscribe(quick.server, "all"))
    return { slow, quick, hub, publish, subscribe, unstall: connection.unstall("toClient") }
  })

/** What a socket was sent, or not, of so many messages for two. */
const missing = (fates: ReadonlyArray<Broadcast.Published>) =>
  fates.reduce((sum, { dropped, sent }) => {
    expect(sent + dropped).toBe(2)
    return sum + dropped
  }, 0)

describe("a slow subscriber", () => {
  testInMemory(
    "gets all, in order, when it reads again, and delays nobody until then",
    Effect.gen(function* () {
      const { publish, slow, subscribe, unstall } = yield* stalled()
      yield* subscribe()
      expect(missing(yield* publish(0, 200))).toBe(0)
      expect(yield* slow.server.bufferedBytes).toBeGreaterThan(150 * size)
      yield* unstall
      expect(numbers(yield* heardBy(slow))).toEqual(upTo(200))
    })
  )

  testInMemory(
    "is closed with 1013 when more waits for it than may",
    Effect.gen(function* () {
      const { hub, publish, slow, subscribe, unstall } = yield* stalled()
      yield* subscribe({ maxBacklog: 50 * size })
      const fates = yield* publish(0, 100)
      expect(missing(fates)).toBe(1)
      expect(yield* slow.server.isOpen).toBe(false)
      expect(yield* hub.subscribers("all")).toBe(1)
    }).pipe((before) =>
      Effect.gen(function* () {
        yield* before
      })
    )
  )
})
