import { describe } from "@effect/vitest"
import { Deferred, Effect, Stream, TestClock } from "effect"
import * as Broadcast from "effect-websocket/Broadcast"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { TestNetwork } from "effect-websocket/TestNetwork"
import type * as WebSocket from "effect-websocket/WebSocket"
import type * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { type Guest, gathering, heardBy } from "./fixtures/gathering.js"
import { settle } from "./fixtures/heard.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"

const size = 1000
const message = (index: number) => `${index}`.padEnd(size, ".")
const numbers = (messages: ReadonlyArray<unknown>) => messages.map((each) => Number.parseInt(String(each), 10))
const between = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index)

/** Two clients, of which one is stalled on the way to it. */
const stalled = (options: WebSocketServer.ServerOptions = {}) =>
  Effect.gen(function* () {
    const network = yield* TestNetwork
    yield* network.set({ capacity: 4 * size })
    const { welcome } = yield* gathering({ sendBufferSize: 10 * size, pingInterval: "1 day", ...options })
    const slow = yield* welcome()
    const quick = yield* welcome()
    const [connection] = yield* network.connections
    if (connection === undefined) return yield* Effect.die("no connection")
    yield* connection.stall("toClient")
    const hub = yield* Broadcast.make()
    yield* hub.subscribe(quick.server, "all")
    /** Publishes numbered messages, each of which the quick one has before the next; answers what became of them. */
    const publish = (from: number, to: number, how?: Broadcast.PublishOptions) =>
      Effect.forEach(between(from, to), (index) =>
        Effect.zipLeft(
          hub.publish("all", message(index), how),
          Effect.map(quick.client.receive, (received) => expect(received).toBe(message(index)))
        )
      )
    return { slow, hub, publish, unstall: connection.unstall("toClient") }
  })

const droppedOf = (fates: ReadonlyArray<Broadcast.Published>) =>
  fates.reduce((sum, { dropped, sent }) => {
    expect(sent + dropped).toBe(2)
    return sum + dropped
  }, 0)

/** What came before the end, and the end. */
const endOf = ({ client }: Guest) =>
  Effect.gen(function* () {
    const before: Array<WebSocket.Message> = []
    const end = yield* Effect.flip(Stream.runForEach(client.messages, (each) => Effect.sync(() => before.push(each))))
    return { before, end }
  })

describe("a slow subscriber", () => {
  testInMemory(
    "gets all of it later, in order, and delays nobody until then",
    Effect.gen(function* () {
      const { hub, publish, slow, unstall } = yield* stalled()
      yield* hub.subscribe(slow.server, "all")
      expect(droppedOf(yield* publish(0, 200))).toBe(0)
      expect(yield* slow.server.bufferedBytes).toBeGreaterThan(150 * size)
      yield* unstall
      expect(numbers(yield* heardBy(slow))).toEqual(between(0, 200))
      expect(yield* slow.server.dropped).toBe(0)
    })
  )

  testInMemory(
    "is closed with 1013 when more would wait for it than may, before anything is missing",
    Effect.gen(function* () {
      const { hub, publish, slow, unstall } = yield* stalled()
      yield* hub.subscribe(slow.server, "all", { maxBacklog: 50 * size })
      const fates = yield* publish(0, 100)
      const last = fates.findIndex(({ dropped }) => dropped > 0)
      expect(last).toBeGreaterThan(45)
      expect(last).toBeLessThan(60)
      expect(fates[last]).toEqual({ sent: 1, dropped: 1 })
      expect(fates.slice(last + 1)).toEqual(between(last + 1, 100).map(() => ({ sent: 1, dropped: 0 })))
      expect(yield* slow.server.isOpen).toBe(false)
      yield* unstall
      const { before, end } = yield* endOf(slow)
      expect(end).toMatchObject({ _tag: "ConnectionClosed", code: 1013, reason: "too slow" })
      expect(numbers(before)).toEqual(between(0, before.length))
    })
  )

  testInMemory(
    `is closed with 1013 for want of progress where the connection says "close"`,
    Effect.gen(function* () {
      const { hub, publish, slow, unstall } = yield* stalled({ slowConsumer: "close", progressTimeout: "10 seconds" })
      yield* hub.subscribe(slow.server, "all")
      expect(droppedOf(yield* publish(0, 100))).toBe(0)
      yield* TestClock.adjust("13 seconds")
      expect(yield* hub.publish("all", "without it")).toEqual({ sent: 1, dropped: 0 })
      yield* unstall
      expect((yield* endOf(slow)).end).toMatchObject({ _tag: "ConnectionClosed", code: 1013 })
    })
  )

  for (const own of [true, false]) {
    const where = own ? "its subscription" : "its connection"
    /** The same policy, said in the one place or the other. */
    const policy = (slowConsumer: Broadcast.SlowSubscriber) =>
      Effect.gen(function* () {
        const guests = yield* stalled(own ? {} : { slowConsumer })
        yield* guests.hub.subscribe(guests.slow.server, "all", own ? { slowConsumer } : {})
        return guests
      })

    testInMemory(
      `misses what is new where ${where} says "dropNewest"`,
      Effect.gen(function* () {
        const { hub, publish, slow, unstall } = yield* policy("dropNewest")
        const fates = yield* publish(0, 100)
        const dropped = droppedOf(fates)
        expect(dropped).toBeGreaterThan(80)
        expect(dropped).toBeLessThan(95)
        expect(fates.findIndex((fate) => fate.dropped > 0)).toBe(100 - dropped)
        expect(yield* slow.server.dropped).toBe(dropped)
        yield* unstall
        yield* settle
        yield* publish(100, 105)
        expect(numbers(yield* heardBy(slow))).toEqual([...between(0, 100 - dropped), ...between(100, 105)])
        expect(yield* hub.subscribers("all")).toBe(2)
      })
    )

    testInMemory(
      `misses what is old where ${where} says "dropOldest"`,
      Effect.gen(function* () {
        const { publish, slow, unstall } = yield* policy("dropOldest")
        expect(droppedOf(yield* publish(0, 100))).toBe(0)
        const dropped = yield* slow.server.dropped
        expect(dropped).toBeGreaterThan(70)
        expect(yield* slow.server.bufferedBytes).toBeLessThan(20 * size)
        yield* unstall
        const got = numbers(yield* heardBy(slow))
        expect(got.length).toBe(100 - dropped)
        // What was on its way already can't be dropped; behind it come the newest.
        const onItsWay = got.findIndex((number, index) => number !== index)
        expect(got.slice(onItsWay)).toEqual(between(100 - (got.length - onItsWay), 100))
        expect(got.length - onItsWay).toBeGreaterThan(5)
      })
    )

    for (const slowConsumer of ["dropNewest", "dropOldest"] as const) {
      testInMemory(
        `misses nothing that must not be dropped where ${where} says "${slowConsumer}"`,
        Effect.gen(function* () {
          const { publish, slow, unstall } = yield* policy(slowConsumer)
          expect(droppedOf(yield* publish(0, 50, { droppable: false }))).toBe(0)
          yield* publish(50, 100)
          yield* publish(100, 150, { droppable: false })
          yield* unstall
          const got = numbers(yield* heardBy(slow))
          expect(got.filter((number) => number < 50 || number >= 100)).toEqual([
            ...between(0, 50),
            ...between(100, 150)
          ])
          expect(got.length).toBeLessThan(110)
        })
      )
    }
  }

  testInMemory(
    "loses nothing that was sent to it alone, for the sake of a broadcast",
    Effect.gen(function* () {
      const { hub, publish, slow, unstall } = yield* stalled()
      yield* hub.subscribe(slow.server, "all", { slowConsumer: "dropOldest" })
      yield* publish(0, 8)
      for (const index of between(0, 4)) yield* slow.server.send(`to you ${index}`)
      yield* publish(8, 100)
      yield* unstall
      const got = yield* heardBy(slow)
      expect(got.filter((each) => String(each).startsWith("to you"))).toEqual(
        between(0, 4).map((index) => `to you ${index}`)
      )
      expect(got.length).toBeLessThan(40)
    })
  )

  testInMemory(
    "that is being sent a message in pieces is held to its policy meanwhile",
    Effect.gen(function* () {
      const { hub, publish, slow, unstall } = yield* stalled()
      yield* unstall
      yield* hub.subscribe(slow.server, "all", { slowConsumer: "dropOldest" })
      const begun = yield* Deferred.make<void>()
      const end = yield* Deferred.make<string>()
      const pieces = Stream.concat(
        Stream.make("in "),
        Stream.fromEffect(Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(end)))
      )
      const sending = yield* Effect.fork(slow.server.sendTextStream(pieces))
      yield* Deferred.await(begun)
      yield* publish(0, 100)
      yield* Deferred.succeed(end, "pieces")
      yield* sending.await
      const [first, ...rest] = yield* heardBy(slow)
      expect(first).toBe("in pieces")
      expect(rest.length).toBeGreaterThan(5)
      expect(rest.length).toBeLessThan(20)
      expect(numbers(rest)).toEqual(between(100 - rest.length, 100))
      expect(yield* slow.server.dropped).toBe(100 - rest.length)
    })
  )
})

testsOn(NodeNetwork.layer)(
  "a client that reads nothing over TCP misses what is new, while another one gets all",
  Effect.gen(function* () {
    const { welcome } = yield* gathering()
    const slow = yield* welcome({ receiveBufferSize: 1 })
    const quick = yield* welcome()
    const hub = yield* Broadcast.make()
    yield* hub.subscribe(slow.server, "all", { slowConsumer: "dropNewest" })
    yield* hub.subscribe(quick.server, "all")
    // More than what the buffers of the operating system hold.
    const large = (index: number) => `${index}`.padEnd(64 * 1024, ".")
    let published = 0
    while ((yield* slow.server.dropped) === 0 && published < 1000) {
      yield* hub.publish("all", large(published))
      expect(yield* quick.client.receive).toBe(large(published))
      published++
    }
    expect(published).toBeLessThan(1000)
    expect(numbers(yield* heardBy(slow))).toEqual(between(0, published - 1))
  })
)
