import { describe } from "@effect/vitest"
import { Data, Deferred, Effect, Exit, type Layer, Scope, Stream } from "effect"
import * as Broadcast from "effect-websocket/Broadcast"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { gathering, heardBy } from "../fixtures/gathering.js"
import { testsOn } from "../fixtures/leaks.js"

/** One message to many connections. */
export const broadcastSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  const three = Effect.gen(function* () {
    const { welcome } = yield* gathering()
    return [yield* welcome(), yield* welcome(), yield* welcome()] as const
  })

  describe(`${name}: topics`, () => {
    test(
      "bring a message to those who are subscribed, and to nobody else",
      Effect.gen(function* () {
        const [ada, grace, mary] = yield* three
        const hub = yield* Broadcast.make<"even" | "odd">()
        yield* hub.subscribe(ada.server, "odd")
        yield* hub.subscribe(grace.server, "odd")
        yield* hub.subscribe(grace.server, "even")
        expect(yield* hub.publish("odd", "1")).toEqual({ sent: 2, dropped: 0 })
        expect(yield* hub.publish("even", new Uint8Array([2]))).toEqual({ sent: 1, dropped: 0 })
        expect(yield* hub.publish("odd", WebSocket.prepare("3"))).toEqual({ sent: 2, dropped: 0 })
        expect(yield* heardBy(ada)).toEqual(["1", "3"])
        expect(yield* heardBy(grace)).toEqual(["1", new Uint8Array([2]), "3"])
        expect(yield* heardBy(mary)).toEqual([])
        expect(yield* hub.subscribers("odd")).toBe(2)
        expect((yield* hub.topics).toSorted()).toEqual(["even", "odd"])
      })
    )

    test(
      "leave out whoever they are told to",
      Effect.gen(function* () {
        const [ada, grace, mary] = yield* three
        const hub = yield* Broadcast.make()
        yield* hub.subscribe(ada.server, "room")
        yield* hub.subscribe(grace.server, "room")
        expect(yield* hub.publish("room", "I am Ada", { except: ada.server })).toEqual({ sent: 1, dropped: 0 })
        expect(yield* hub.publish("room", "I am Mary", { except: mary.server })).toEqual({ sent: 2, dropped: 0 })
        expect(yield* heardBy(ada)).toEqual(["I am Mary"])
        expect(yield* heardBy(grace)).toEqual(["I am Ada", "I am Mary"])
      })
    )

    test(
      "may be any value, compared by what it consists of",
      Effect.gen(function* () {
        const [ada] = yield* three
        const hub = yield* Broadcast.make<{ readonly room: number }>()
        yield* hub.subscribe(ada.server, Data.struct({ room: 1 }))
        expect(yield* hub.publish(Data.struct({ room: 2 }), "elsewhere")).toEqual({ sent: 0, dropped: 0 })
        expect(yield* hub.publish(Data.struct({ room: 1 }), "here")).toEqual({ sent: 1, dropped: 0 })
        expect(yield* heardBy(ada)).toEqual(["here"])
      })
    )
  })

  describe(`${name}: a subscription`, () => {
    test(
      "lasts until its scope closes, or until it is ended before",
      Effect.gen(function* () {
        const [ada, grace] = yield* three
        const hub = yield* Broadcast.make()
        yield* hub.publish("room", "too early")
        const scope = yield* Scope.make()
        yield* Scope.extend(hub.subscribe(ada.server, "room"), scope)
        const leave = yield* hub.subscribe(grace.server, "room")
        yield* hub.publish("room", "to both")
        yield* leave
        yield* hub.publish("room", "to Ada")
        yield* Scope.close(scope, Exit.void)
        expect(yield* hub.publish("room", "to nobody")).toEqual({ sent: 0, dropped: 0 })
        expect(yield* hub.topics).toEqual([])
        yield* leave
        yield* hub.subscribe(grace.server, "room")
        yield* leave
        yield* hub.publish("room", "to Grace")
        expect(yield* heardBy(ada)).toEqual(["to both", "to Ada"])
        expect(yield* heardBy(grace)).toEqual(["to both", "to Grace"])
      })
    )

    test(
      "that is one of several to a topic brings each message once, and the last one ends them",
      Effect.gen(function* () {
        const [ada] = yield* three
        const hub = yield* Broadcast.make()
        const leaveFirst = yield* hub.subscribe(ada.server, "room")
        const leaveSecond = yield* hub.subscribe(ada.server, "room")
        yield* hub.publish("room", "once")
        yield* leaveFirst
        yield* leaveFirst
        expect(yield* hub.subscribers("room")).toBe(1)
        yield* hub.publish("room", "still")
        yield* leaveSecond
        yield* hub.publish("room", "no more")
        expect(yield* heardBy(ada)).toEqual(["once", "still"])
      })
    )

    test(
      "ends with its connection, whoever ended that, while its scope is open",
      Effect.gen(function* () {
        const [ada, grace, mary] = yield* three
        const hub = yield* Broadcast.make()
        for (const { server } of [ada, grace, mary]) yield* hub.subscribe(server, "room")
        yield* ada.client.close()
        yield* ada.server.closed
        expect(yield* hub.publish("room", "without Ada")).toEqual({ sent: 2, dropped: 0 })
        yield* grace.server.close()
        expect(yield* hub.subscribers("room")).toBe(1)
        yield* mary.server.close()
        expect(yield* hub.topics).toEqual([])
        yield* hub.subscribe(mary.server, "room")
        expect(yield* hub.topics).toEqual([])
      })
    )

    test(
      "is over once, and harms nobody else's afterwards",
      Effect.gen(function* () {
        const [ada, grace] = yield* three
        const hub = yield* Broadcast.make()
        const scope = yield* Scope.make()
        yield* Scope.extend(hub.subscribe(ada.server, "room"), scope)
        yield* ada.server.close()
        yield* hub.subscribe(grace.server, "room")
        yield* Scope.close(scope, Exit.void)
        expect(yield* hub.publish("room", "to Grace")).toEqual({ sent: 1, dropped: 0 })
        expect(yield* heardBy(grace)).toEqual(["to Grace"])
      })
    )

    test(
      "takes no more as soon as its connection is closing, and is over when that is released",
      Effect.gen(function* () {
        const [ada] = yield* three
        const hub = yield* Broadcast.make()
        yield* hub.subscribe(ada.server, "room")
        const closing = yield* Effect.fork(ada.server.close())
        while (yield* ada.server.isOpen) yield* Effect.yieldNow()
        expect(yield* hub.publish("room", "too late")).toEqual({ sent: 0, dropped: 0 })
        yield* closing.await
        expect([yield* hub.subscribers("room"), yield* hub.topics]).toEqual([0, []])
      })
    )
  })

  describe(`${name}: publishing`, () => {
    test(
      "is in one order for all, whoever publishes, however many in a turn",
      Effect.gen(function* () {
        const guests = yield* three
        const hub = yield* Broadcast.make()
        for (const { server } of guests) yield* hub.subscribe(server, "room")
        yield* Effect.forEach(
          ["a", "b", "c"],
          (publisher) =>
            Effect.forEach(Array.from({ length: 300 }).keys(), (index) =>
              Effect.zipLeft(
                hub.publish("room", `${publisher} ${index}`.padEnd(100)),
                index % 7 === 0 ? Effect.yieldNow() : Effect.void
              )
            ),
          { concurrency: "unbounded" }
        )
        const [first = [], ...others] = yield* Effect.forEach(guests, heardBy)
        for (const other of others) expect(other).toEqual(first)
        for (const publisher of ["a", "b", "c"]) {
          expect(first.filter((message) => String(message).startsWith(publisher))).toEqual(
            Array.from({ length: 300 }, (_, index) => `${publisher} ${index}`.padEnd(100))
          )
        }
      })
    )

    test(
      "goes on while a message in pieces is being sent, and comes behind it",
      Effect.gen(function* () {
        const [ada, grace] = yield* three
        const hub = yield* Broadcast.make()
        yield* hub.subscribe(ada.server, "room")
        yield* hub.subscribe(grace.server, "room")
        const { begun, finish, sending } = yield* slowMessage(ada.server)
        yield* begun
        expect(yield* hub.publish("room", "meanwhile")).toEqual({ sent: 2, dropped: 0 })
        expect(yield* hub.publish("room", "and again")).toEqual({ sent: 2, dropped: 0 })
        expect(yield* heardBy(grace)).toEqual(["meanwhile", "and again"])
        yield* finish
        yield* sending.await
        expect(yield* heardBy(ada)).toEqual(["begun, ended", "meanwhile", "and again"])
      })
    )

    test(
      "sends nothing behind a message in pieces that was broken off",
      Effect.gen(function* () {
        const [ada] = yield* three
        const hub = yield* Broadcast.make()
        yield* hub.subscribe(ada.server, "room")
        const { begun, sending } = yield* slowMessage(ada.server)
        yield* begun
        yield* hub.publish("room", "meanwhile")
        yield* sending.interruptAsFork(sending.id())
        expect(yield* Effect.flip(ada.client.receive)).toMatchObject({ _tag: "ConnectionClosed", code: 1011 })
        expect(yield* hub.publish("room", "too late")).toEqual({ sent: 0, dropped: 0 })
      })
    )
  })
}

/** A message that is begun, and ends when the test says so. */
const slowMessage = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    const begun = yield* Deferred.make<void>()
    const end = yield* Deferred.make<void>()
    const pieces = Stream.make("begun, ").pipe(
      Stream.concat(
        Stream.fromEffect(Effect.as(Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(end)), "ended"))
      )
    )
    const sending = yield* Effect.fork(socket.sendTextStream(pieces))
    return { begun: Deferred.await(begun), finish: Deferred.succeed(end, undefined), sending }
  })
