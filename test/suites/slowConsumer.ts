import { describe } from "@effect/vitest"
import { Effect, Fiber, type Layer, TestClock } from "effect"
import type { Network } from "effect-websocket/Network"
import type * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import {
  finish,
  numbered,
  numberOf,
  numbersOf,
  sendUntilFull,
  type WithPeer,
  withPeerOn
} from "../fixtures/withPeer.js"

const size = 32 * 1024
const message = (index: number) => numbered(index, size)
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

/** What happens to messages while the peer reads nothing, by each policy. */
export const slowConsumerSuite = (name: string, network: Layer.Layer<Network>): void => {
  const withPeer = withPeerOn(network)

  /** Offers messages until one is dropped; answers how many were taken. */
  const offerUntilDropped = (socket: WebSocket.WebSocket) =>
    Effect.gen(function* () {
      for (let index = 0; ; index++) {
        if ((yield* socket.offer(message(index))) === "dropped") return index
        yield* settle
      }
    })

  const untilNumber = (peer: WithPeer["peer"], index: number) =>
    peer.frame(({ payload }) => numberOf(payload) === index)

  describe(`${name}: a slow consumer, "suspend"`, () => {
    const test = withPeer({ sendBufferSize: 100_000 })

    test("makes send wait, in the order of asking, and offer drop", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const { sending, sent } = yield* sendUntilFull(socket, message)
        const more = []
        for (let index = 1; index <= 5; index++) more.push(yield* Effect.fork(socket.send(message(sent + index))))
        yield* settle
        expect(yield* socket.offer("no room")).toBe("dropped")
        expect(yield* socket.offer("no room", { droppable: false })).toBe("dropped")
        expect(yield* socket.dropped).toBe(2)
        expect(yield* socket.bufferedBytes).toBeLessThan(100_000 + size + 100)
        peer.flow.resume()
        for (const fiber of [sending, ...more]) expect(yield* Fiber.join(fiber)).toBe("sent")
        yield* untilNumber(peer, sent + 5)
        expect(numbersOf(peer)).toEqual(upTo(sent + 6))
        expect(yield* socket.offer("room")).toBe("sent")
        yield* finish({ peer, socket })
      }))

    test("makes sendAll wait, until all is sent", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const count = 400
        const sending = yield* Effect.fork(socket.sendAll(upTo(count).map(message)))
        for (let before = -1, now = 0; now !== before; now = yield* socket.bufferedBytes) {
          before = now
          yield* settle
        }
        expect(sending.unsafePoll()).toBeNull()
        expect(yield* socket.bufferedBytes).toBeLessThan(100_000 + size + 100)
        peer.flow.resume()
        yield* Fiber.join(sending)
        yield* untilNumber(peer, count - 1)
        expect(numbersOf(peer)).toEqual(upTo(count))
        expect(yield* socket.dropped).toBe(0)
        yield* finish({ peer, socket })
      }))
  })

  describe(`${name}: a slow consumer, "dropNewest"`, () => {
    const test = withPeer({ sendBufferSize: 100_000, slowConsumer: "dropNewest" })

    test("gets what was sent while there was room; the rest is told to the sender and counted", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const taken = yield* offerUntilDropped(socket)
        for (let again = 0; again < 5; again++) expect(yield* socket.send("late")).toBe("dropped")
        yield* socket.sendAll(["late", "late"])
        expect(yield* socket.dropped).toBe(8)
        const important = yield* Effect.fork(socket.send(message(taken), { droppable: false }))
        yield* settle
        expect(important.unsafePoll()).toBeNull()
        peer.flow.resume()
        expect(yield* Fiber.join(important)).toBe("sent")
        yield* untilNumber(peer, taken)
        expect(numbersOf(peer)).toEqual(upTo(taken + 1))
        // Once it has caught up, nothing is dropped any more.
        expect(yield* socket.send("on we go")).toBe("sent")
        expect(yield* socket.dropped).toBe(8)
        yield* finish({ peer, socket })
      }))
  })

  describe(`${name}: a slow consumer, "dropOldest"`, () => {
    const test = withPeer({ sendBufferSize: 10 * size, slowConsumer: "dropOldest" })

    test("gets the newest in the end, in order, and no send waits", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        let count = 0
        const send = Effect.suspend(() => (count % 2 === 0 ? socket.send : socket.offer)(message(count++)))
        while ((yield* socket.dropped) === 0) {
          expect(yield* send).toBe("sent")
          yield* settle
        }
        for (let more = 0; more < 30; more++) expect(yield* send).toBe("sent")
        yield* socket.sendAll(upTo(5).map((index) => message(count + index)))
        count += 5
        const dropped = yield* socket.dropped
        expect(dropped).toBeGreaterThanOrEqual(35)
        expect(yield* socket.bufferedBytes).toBeGreaterThan(8 * size)
        peer.flow.resume()
        yield* untilNumber(peer, count - 1)
        const numbers = numbersOf(peer)
        expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
        expect(numbers.length + dropped).toBe(count)
        expect(numbers.slice(-9)).toEqual(upTo(9).map((index) => count - 9 + index))
        yield* finish({ peer, socket })
      }))

    test("gets all that must not be dropped: once accepted it stays, and it waits for room that others make", ({
      peer,
      socket
    }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        yield* Effect.addFinalizer(() => peer.destroy)
        const accepted: Array<number> = []
        let count = 0
        while ((yield* socket.dropped) < 30) {
          // Each third one, until those alone take all the room.
          const droppable = count % 3 !== 0
          const fate = yield* socket.offer(message(count), { droppable })
          if (!droppable && fate === "sent") accepted.push(count)
          count++
          yield* settle
        }
        const waiting = yield* Effect.fork(socket.send(message(count), { droppable: false }))
        yield* settle
        expect(waiting.unsafePoll()).toBeNull()
        const dropped = yield* socket.dropped
        peer.flow.resume()
        expect(yield* Fiber.join(waiting)).toBe("sent")
        yield* untilNumber(peer, count)
        const numbers = numbersOf(peer)
        expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
        expect(numbers.filter((index) => index % 3 === 0)).toEqual(count % 3 === 0 ? [...accepted, count] : accepted)
        expect(accepted.length).toBeGreaterThan(3)
        expect(numbers.length + dropped).toBe(count + 1)
        yield* finish({ peer, socket })
      }))
  })

  describe(`${name}: a slow consumer, "close"`, () => {
    const patience = { slowConsumer: "close", progressTimeout: "10 seconds" } as const
    const test = withPeer({ sendBufferSize: 100_000, ...patience })

    test("is closed with 1013 once it has taken nothing for the timeout", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const { sending, sent } = yield* sendUntilFull(socket, message)
        expect(yield* socket.offer("no room")).toBe("dropped")
        yield* TestClock.adjust("9 seconds")
        expect(yield* socket.isOpen).toBe(true)
        // It is looked four times in a timeout.
        yield* TestClock.adjust("4 seconds")
        expect(yield* socket.isOpen).toBe(false)
        const closed = { _tag: "ConnectionClosed", sentCode: 1013, initiator: "local" }
        expect(yield* Effect.flip(Fiber.join(sending))).toMatchObject(closed)
        expect(yield* Effect.flip(socket.send("late"))).toMatchObject(closed)
        peer.flow.resume()
        const code = yield* peer.closeCode
        expect(code).toBe(1013)
        // What waited behind what the flow had is gone.
        expect(numbersOf(peer)).toEqual(upTo(numbersOf(peer).length))
        expect(numbersOf(peer).length).toBeLessThanOrEqual(sent)
        yield* finish({ peer, socket })
      }))

    test("is not closed while it takes something, however slowly", ({ peer, reads, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        let sent = 0
        const producing = yield* Effect.fork(
          Effect.forever(Effect.suspend(() => Effect.tap(socket.send(message(sent)), () => sent++)))
        )
        for (let before = -1; before !== sent; yield* settle) before = sent
        for (let round = 0; round < 6; round++) {
          // As much at a time as it takes until a socket tells of it.
          for (const before = sent; sent === before; yield* settle) yield* reads(1000)
          expect(yield* socket.bufferedBytes).toBeGreaterThanOrEqual(100_000)
          yield* TestClock.adjust("7 seconds")
          expect(yield* socket.isOpen).toBe(true)
        }
        yield* TestClock.adjust("6 seconds")
        expect(yield* socket.isOpen).toBe(false)
        expect(yield* Effect.flip(Fiber.join(producing))).toMatchObject({ sentCode: 1013 })
        yield* finish({ peer, socket })
      }))

    withPeer({ sendBufferSize: 2 ** 30, ...patience })("is not closed while there is room", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        for (let index = 0; (yield* socket.bufferedBytes) === 0; index++) {
          yield* socket.send(message(index))
          yield* settle
        }
        yield* TestClock.adjust("1 minute")
        expect(yield* socket.isOpen).toBe(true)
        yield* finish({ peer, socket })
      })
    )

    test("is not closed while it takes a large message, part by part", ({ peer, reads, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        yield* socket.send(new Uint8Array(32 * 1024 * 1024))
        yield* settle
        for (let part = 0; part < 6; part++) {
          for (const before = yield* socket.bufferedBytes; (yield* socket.bufferedBytes) === before; yield* settle) {
            yield* reads(1000)
          }
          expect(yield* socket.bufferedBytes).toBeGreaterThan(100_000)
          yield* TestClock.adjust("7 seconds")
          expect(yield* socket.isOpen).toBe(true)
        }
        peer.flow.resume()
        yield* peer.heard.until((heard) => heard.size() > 32 * 1024 * 1024)
        yield* finish({ peer, socket })
      }))
  })

  describe(`${name}: offer`, () => {
    for (const slowConsumer of ["suspend", "dropNewest", "dropOldest", "close"] as const) {
      withPeer({ sendBufferSize: 50_000, slowConsumer })(`never waits (${slowConsumer})`, ({ peer, socket }) =>
        Effect.gen(function* () {
          peer.flow.pause()
          const results = new Set<WebSocket.Sent>()
          while ((yield* socket.dropped) === 0) {
            // What waits can't be run like this.
            results.add(Effect.runSync(socket.offer(message(0))))
            yield* settle
          }
          expect(results.has("dropped")).toBe(slowConsumer !== "dropOldest")
          yield* finish({ peer, socket })
        })
      )
    }
  })
}
