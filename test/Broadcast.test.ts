import { syncBuiltinESMExports } from "node:module"
import Zlib from "node:zlib"
import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Queue, Stream } from "effect"
import * as Broadcast from "effect-websocket/Broadcast"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import * as fc from "fast-check"
import { expect, vi } from "vitest"
import { type Guest, gathering, heardBy } from "./fixtures/gathering.js"
import { settle } from "./fixtures/heard.js"
import { leaksOf, testInMemory } from "./fixtures/leaks.js"
import { broadcastSuite } from "./suites/broadcast.js"

broadcastSuite("in memory", TestNetwork.layer)
broadcastSuite("over TCP", NodeNetwork.layer)

describe("a crowd", () => {
  for (const [name, network, size] of [
    ["in memory", TestNetwork.layer, 1000],
    ["over TCP", NodeNetwork.layer, 300]
  ] as const) {
    it.effect(
      `of ${size} ${name} hears all of it, and nothing of it stays`,
      () =>
        Effect.gen(function* () {
          const hub = yield* Broadcast.make()
          const messages = Array.from({ length: 5 }, (_, index) => `${index}`.padEnd(1024))
          const meeting = Effect.gen(function* () {
            const { serve, url } = yield* WebSocketServer.make({ drainTimeout: 0 })
            yield* serve((socket) => Effect.zipRight(hub.subscribe(socket, "all"), Effect.never))
            const clients = yield* Effect.all(
              Array.from({ length: size }, () => WebSocket.connect(url)),
              { concurrency: 50 }
            )
            while ((yield* hub.subscribers("all")) < size) yield* settle
            for (const message of messages) {
              expect(yield* hub.publish("all", message)).toEqual({ sent: size, dropped: 0 })
            }
            for (const client of clients) {
              for (const message of messages) expect(yield* client.receive).toBe(message)
            }
          })
          expect(yield* leaksOf(meeting)).toEqual([])
          expect(yield* hub.topics).toEqual([])
        }).pipe(Effect.provide(network)),
      { timeout: 60_000 }
    )
  }
})

describe("the cost of a message", () => {
  const subscribed = (options: WebSocketServer.ServerOptions, clients: ReadonlyArray<WebSocket.ConnectOptions>) =>
    Effect.gen(function* () {
      const { welcome } = yield* gathering(options)
      const hub = yield* Broadcast.make()
      const guests = yield* Effect.forEach(clients, welcome)
      yield* Effect.forEach(guests, ({ server }) => hub.subscribe(server, "all"))
      return { hub, guests }
    })

  const spied = <A extends { mockRestore: () => void }>(spy: () => A) =>
    Effect.acquireRelease(Effect.sync(spy), (made) =>
      Effect.sync(() => {
        made.mockRestore()
        syncBuiltinESMExports()
      })
    )

  testInMemory(
    "is to be encoded once, for however many",
    Effect.gen(function* () {
      const { guests, hub } = yield* subscribed({}, new Array(50).fill({}))
      const encode = yield* spied(() => vi.spyOn(TextEncoder.prototype, "encode"))
      const text = "ä message".repeat(100)
      expect(yield* hub.publish("all", text)).toEqual({ sent: 50, dropped: 0 })
      yield* settle
      expect(encode.mock.calls).toEqual([[text]])
      for (const guest of guests) expect(yield* heardBy(guest)).toEqual([text])
    })
  )

  testInMemory(
    "is to be compressed once for each manner of compressing, and not at all for whoever it may be spared",
    Effect.gen(function* () {
      const manners: ReadonlyArray<WebSocket.ConnectOptions> = [
        {},
        { deflate: true },
        { deflate: { serverMaxWindowBits: 9 } }
      ]
      const { guests, hub } = yield* subscribed({ deflate: true }, Array.from({ length: 10 }, () => manners).flat())
      const text = "a message that repeats itself ".repeat(100)
      const deflate = yield* spied(() => {
        const spy = vi.spyOn(Zlib, "deflateRawSync")
        syncBuiltinESMExports()
        return spy
      })
      expect(yield* hub.publish("all", text)).toEqual({ sent: 30, dropped: 0 })
      yield* settle
      expect(deflate).toHaveBeenCalledTimes(2)
      yield* hub.publish("all", text, { compress: false })
      yield* hub.publish("nobody", text)
      yield* settle
      expect(deflate).toHaveBeenCalledTimes(2)
      for (const guest of guests) expect(yield* heardBy(guest)).toEqual([text, text])
    })
  )

  testInMemory(
    "is one write for what is published in one turn, after the first",
    Effect.gen(function* () {
      const { guests, hub } = yield* subscribed({}, [{}])
      const network = yield* TestNetwork.TestNetwork
      const [connection] = yield* network.connections
      if (connection === undefined) return yield* Effect.die("no connection")
      const write = yield* spied(() => vi.spyOn(connection.server, "write"))
      yield* Effect.sync(() => {
        for (let index = 0; index < 10; index++) Effect.runSync(hub.publish("all", `${index}`))
      })
      yield* settle
      const more = write.mock.calls.map(([, rest]) => rest)
      expect(more).toEqual([false, ...new Array(8).fill(true), false])
      for (const guest of guests) expect((yield* heardBy(guest)).length).toBe(10)
    })
  )
})

describe("a socket of another making", () => {
  testInMemory(
    "that extends one of ours is that one",
    Effect.gen(function* () {
      const { welcome } = yield* gathering()
      const guest = yield* welcome()
      const hub = yield* Broadcast.make()
      yield* hub.subscribe({ ...guest.server, url: "elsewhere" }, "all")
      yield* hub.subscribe(guest.server, "all")
      expect(yield* hub.publish("all", "once")).toEqual({ sent: 1, dropped: 0 })
      expect(yield* hub.publish("all", "never", { except: guest.server })).toEqual({ sent: 0, dropped: 0 })
      expect(yield* heardBy(guest)).toEqual(["once"])
    })
  )

  testInMemory(
    "that offers in its own way is asked to, and let go when it says that it is closed",
    Effect.gen(function* () {
      const { welcome } = yield* gathering()
      const { server } = yield* welcome()
      const offered = yield* Queue.unbounded<unknown>()
      const fates: Array<Effect.Effect<WebSocket.Sent>> = [
        Effect.succeed("sent"),
        Effect.succeed("dropped"),
        // What waits, which it must not, is gone.
        Effect.never
      ]
      const closed = yield* Deferred.make<void>()
      let watched = 0
      const own: WebSocket.WebSocket = {
        ...server,
        offer: (message, options) =>
          Effect.zipRight(Queue.offer(offered, [message, options?.compress]), fates.shift() ?? Effect.die("no more")),
        isOpen: Effect.succeed(true),
        closed: Effect.acquireUseRelease(
          Effect.sync(() => watched++),
          () => Effect.zipRight(Deferred.await(closed), server.closed),
          () => Effect.sync(() => watched--)
        )
      }
      const hub = yield* Broadcast.make()
      yield* hub.subscribe(own, "all")
      const leave = yield* hub.subscribe(own, "other")
      yield* settle
      expect(watched).toBe(2)
      yield* leave
      yield* settle
      expect(watched).toBe(1)
      const message = WebSocket.prepare("hello")
      expect(yield* hub.publish("all", message, { compress: true })).toEqual({ sent: 1, dropped: 0 })
      expect(yield* hub.publish("all", message)).toEqual({ sent: 0, dropped: 1 })
      expect(yield* hub.publish("all", message)).toEqual({ sent: 0, dropped: 1 })
      expect([...(yield* Queue.takeAll(offered))]).toEqual([
        [message, true],
        [message, undefined],
        [message, undefined]
      ])
      yield* server.close()
      expect(yield* hub.topics).toEqual(["all"])
      yield* Deferred.succeed(closed, undefined)
      yield* settle
      expect([yield* hub.topics, watched]).toEqual([[], 0])
    })
  )
})

describe("any sequence of subscribing, publishing, leaving and closing", () => {
  const names = ["a", "b"] as const
  const who = fc.nat(2)
  const topic = fc.constantFrom(...names)
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ act: fc.constant("subscribe" as const), who, topic }) },
    { weight: 2, arbitrary: fc.record({ act: fc.constant("leave" as const), who, topic }) },
    {
      weight: 5,
      arbitrary: fc.record({ act: fc.constant("publish" as const), who: fc.option(who), topic })
    },
    { weight: 1, arbitrary: fc.record({ act: fc.constant("close" as const), who }) }
  )

  type Step = typeof step extends fc.Arbitrary<infer A> ? A : never

  /** The hub of the model: who has what subscriptions, and what everybody is to have heard. */
  const guestsOf = (guests: ReadonlyArray<Guest>) =>
    guests.map((guest) => ({
      guest,
      open: true,
      leaves: { a: [] as Effect.Effect<void>[], b: [] as Effect.Effect<void>[] },
      due: [] as string[]
    }))

  const run = (script: ReadonlyArray<Step>) =>
    Effect.gen(function* () {
      const { welcome } = yield* gathering()
      const model = guestsOf(yield* Effect.replicateEffect(welcome(), 3))
      const hub = yield* Broadcast.make<"a" | "b">()
      for (const [index, next] of script.entries()) {
        const one = next.who === null ? undefined : model[next.who]
        if (next.act === "publish") {
          const text = `message ${index}`
          const due = model.filter((each) => each !== one && each.open && each.leaves[next.topic].length > 0)
          for (const each of due) each.due.push(text)
          expect(yield* hub.publish(next.topic, text, { except: one?.guest.server })).toEqual({
            sent: due.length,
            dropped: 0
          })
        } else if (one === undefined) continue
        else if (next.act === "subscribe") {
          const leave = yield* hub.subscribe(one.guest.server, next.topic)
          if (one.open) one.leaves[next.topic].push(leave)
        } else if (next.act === "leave") yield* one.leaves[next.topic].pop() ?? Effect.void
        else {
          yield* one.guest.server.close()
          one.open = false
        }
        const counts = names.map((name) => model.filter((each) => each.open && each.leaves[name].length > 0).length)
        expect(yield* Effect.forEach(names, hub.subscribers)).toEqual(counts)
        expect((yield* hub.topics).toSorted()).toEqual(names.filter((_, at) => counts[at] !== 0))
      }
      for (const { due, guest, open } of model) {
        const heard = open ? yield* heardBy(guest) : yield* Stream.runCollect(guest.client.messages)
        expect([...heard]).toEqual(due)
      }
    }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer))

  it("reaches exactly those who are subscribed at that moment", () =>
    fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), (script) => Effect.runPromise(run(script))),
      { numRuns: 60 }
    ))
})
