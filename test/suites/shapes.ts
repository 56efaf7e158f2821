import { describe } from "@effect/vitest"
import { Effect, Fiber, type Layer } from "effect"
import type { Network } from "effect-websocket/Network"
import type * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { joined } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { type Open, shapes } from "../fixtures/shapes.js"

const size = 1024 * 1024

/** What a message says, in whatever kind. */
const text = (message: WebSocket.Message | undefined) =>
  message === undefined ? undefined : String(Buffer.from(message))

const large = (index: number) => Buffer.alloc(size, index)

/** Waits until a number has not grown for some turns. */
const still = (count: () => number) =>
  Effect.gen(function* () {
    for (let before = -1, rounds = 0; rounds < 20; rounds++) {
      if (count() !== before) rounds = 0
      before = count()
      yield* settle
    }
  })

/**
 * What holds for each shape of a connection. `many` messages of 1 MiB are sent to somebody who takes
 * none, and fewer than `held` may leave.
 */
export const shapesSuite = (
  name: string,
  network: Layer.Layer<Network>,
  side: "client" | "server",
  { held, many }: { readonly held: number; readonly many: number }
): void => {
  const test = testsOn(network)

  for (const shape of shapes) {
    const opened = (options: { readonly maxPayloadSize?: number } = {}) =>
      Effect.gen(function* () {
        const both = yield* joined({ [side]: options })
        const [socket, peer] = side === "client" ? [both.client, both.server] : [both.server, both.client]
        return { socket, peer, ...(yield* shape.open(socket)) }
      })

    const takeAll = ({ take }: Open) =>
      Effect.gen(function* () {
        const all: Array<WebSocket.Message> = []
        for (let next = yield* take(1); next !== undefined; next = yield* take(1)) all.push(next)
        return all.map(text)
      })

    describe(`${name}: ${shape.name}`, () => {
      test(
        "carries messages both ways, in order, text as text and bytes as bytes",
        Effect.gen(function* () {
          const { peer, send, take } = yield* opened()
          const sent = Array.from({ length: 300 }, (_, index) => (index % 3 === 0 ? Buffer.from([index]) : `${index}`))
          // No byte of it is to be seen.
          if (shape.ofBytes !== true) sent.push("")
          sent.push("last")
          const sending = yield* Effect.fork(Effect.forEach(sent, (message) => send(message)))
          const theirs = yield* Effect.fork(Effect.forEach(sent, (message) => peer.send(message)))
          const alike = (message: WebSocket.Message | undefined, index: number) => {
            const expected = sent[index]
            if (shape.ofBytes !== true) expect(typeof message).toBe(typeof expected)
            expect(Buffer.from(message ?? "missing")).toEqual(Buffer.from(expected ?? "missing"))
          }
          for (const index of sent.keys()) alike(yield* peer.receive, index)
          for (const [index, { length }] of sent.entries()) alike(yield* take(length), index)
          yield* Fiber.join(sending)
          yield* Fiber.join(theirs)
        })
      )

      test(
        "holds its producer back while the peer takes nothing, and lets it go on when the peer does",
        Effect.gen(function* () {
          const { peer, send } = yield* opened()
          let accepted = 0
          const sending = yield* Effect.fork(
            Effect.forEach(
              Array.from({ length: many }, (_, index) => index),
              (index) => Effect.tap(send(large(index)), () => void accepted++)
            )
          )
          yield* still(() => accepted)
          expect(sending.unsafePoll()).toBeNull()
          expect(accepted).toBeLessThan(held)
          for (let index = 0; index < many; index++) expect((yield* peer.receive)[0]).toBe(index)
          yield* Fiber.join(sending)
        })
      )

      test(
        "holds the peer back while nobody takes any more, and loses nothing",
        Effect.gen(function* () {
          const { peer, take } = yield* opened()
          yield* peer.send("taken")
          expect(text(yield* take(5))).toBe("taken")
          let accepted = 0
          const sending = yield* Effect.fork(
            Effect.forEach(
              Array.from({ length: many }, (_, index) => index),
              (index) => Effect.tap(peer.send(large(index)), () => void accepted++)
            )
          )
          yield* still(() => accepted)
          expect(sending.unsafePoll()).toBeNull()
          expect(accepted).toBeLessThan(held)
          for (let index = 0; index < many; index++) expect((yield* take(size))?.[0]).toBe(index)
          yield* Fiber.join(sending)
        })
      )

      for (const code of [1000, 1001, 1005]) {
        test(
          `ends when the peer closes with ${code}, behind what it sent`,
          Effect.gen(function* () {
            const open = yield* opened()
            yield* open.peer.sendAll(["1", "2", "3"])
            yield* code === 1005
              ? open.peer.sendFrame({ opcode: 8, rsv: 0, fin: true, payload: new Uint8Array(0) })
              : open.peer.close(code)
            expect(yield* takeAll(open)).toEqual(["1", "2", "3"])
          })
        )
      }

      test(
        "fails with the typed error when the connection ends otherwise, behind what was received",
        Effect.gen(function* () {
          const { peer, take } = yield* opened()
          yield* peer.sendAll(["1", "2"])
          yield* peer.close(4000, "enough")
          expect([yield* take(1), yield* take(1)].map(text)).toEqual(["1", "2"])
          const failure = { _tag: "ConnectionClosed", code: 4000, reason: "enough" }
          expect(yield* Effect.flip(take(1))).toMatchObject(failure)
          const other = yield* opened({ maxPayloadSize: 10 })
          yield* other.peer.sendAll(["small", "larger than that"])
          expect(text(yield* other.take(5))).toBe("small")
          expect(yield* Effect.flip(other.take(1))).toMatchObject({ _tag: "PayloadTooLarge", limit: 10, size: 16 })
        })
      )

      test(
        "tells whoever waits of the end, be it to send or to take",
        Effect.gen(function* () {
          const sender = yield* opened()
          const sending = yield* Effect.fork(Effect.forever(sender.send(large(1))))
          yield* Effect.repeat(Effect.zipRight(settle, sender.socket.bufferedBytes), { until: (bytes) => bytes > 0 })
          const closing = yield* Effect.fork(sender.peer.close(4000))
          const told = shape.tellsConsumer === true ? sender.take(1) : Fiber.join(sending)
          expect(yield* Effect.flip(told)).toMatchObject({ _tag: "ConnectionClosed", code: 4000 })
          yield* Fiber.interrupt(sending)
          yield* Fiber.join(closing)
          const taker = yield* opened()
          const taking = yield* Effect.fork(taker.take(1))
          yield* settle
          yield* taker.peer.close(4001)
          expect(yield* Effect.flip(Fiber.join(taking))).toMatchObject({ _tag: "ConnectionClosed", code: 4001 })
        })
      )

      const leavesOpen = ({ peer, take }: Open & { readonly peer: WebSocket.WebSocket }) =>
        Effect.gen(function* () {
          yield* peer.send("still there")
          expect(text(yield* take(11))).toBe("still there")
          expect(yield* peer.isOpen).toBe(true)
        })

      const closesWith = ({ peer }: { readonly peer: WebSocket.WebSocket }, code: number) =>
        Effect.gen(function* () {
          expect(yield* peer.closed).toMatchObject({ code, initiator: "remote", clean: true })
        })

      const { end, fail, leave } = shape.closes

      test(
        end === undefined ? "closes nothing when its producer ends" : `closes with ${end} when its producer ends`,
        Effect.gen(function* () {
          const open = yield* opened()
          yield* open.send("before")
          // What was sent leaves before the end.
          const ending = yield* Effect.fork(open.end)
          expect(text(yield* open.peer.receive)).toBe("before")
          if (end === undefined) yield* leavesOpen(open)
          else {
            yield* closesWith(open, end)
            expect(yield* takeAll(open)).toEqual([])
          }
          yield* Fiber.join(ending)
        })
      )

      test(
        fail === undefined ? "closes nothing when its producer fails" : `closes with ${fail} when its producer fails`,
        Effect.gen(function* () {
          const open = yield* opened()
          yield* open.send("before")
          const failing = yield* Effect.fork(open.fail(new Error("lost")))
          expect(text(yield* open.peer.receive)).toBe("before")
          yield* fail === undefined ? leavesOpen(open) : closesWith(open, fail)
          yield* Fiber.join(failing)
        })
      )

      test(
        leave === undefined
          ? "leaves the connection to others when its consumer leaves"
          : `closes with ${leave} when its consumer leaves`,
        Effect.gen(function* () {
          const open = yield* opened()
          yield* open.peer.send("taken")
          expect(text(yield* open.take(5))).toBe("taken")
          const leaving = yield* Effect.fork(open.leave)
          if (leave === undefined) {
            yield* Fiber.join(leaving)
            yield* leavesOpen({ ...open, take: () => open.socket.receive })
          } else {
            yield* closesWith(open, leave)
            yield* Fiber.join(leaving)
          }
        })
      )
    })
  }
}
