import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { turn } from "../../src/internal/turn.js"

describe("fibers that a read wakes", () => {
  it.effect("run before the waker's call returns, in order", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const gates = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const fibers = yield* Effect.forEach(gates, (gate, index) =>
        Effect.zipRight(
          Deferred.await(gate),
          Effect.sync(() => {
            order.push(`fiber ${index}`)
          })
        ).pipe(Effect.withScheduler(turn), Effect.fork)
      )
      yield* Effect.yieldNow()
      turn.run({
        wake() {
          for (const gate of gates) Deferred.unsafeDone(gate, Exit.void)
          order.push("woken")
        }
      })
      order.push("returned")
      expect(order).toEqual(["woken", "fiber 0", "fiber 1", "returned"])
      yield* Fiber.joinAll(fibers)
    })
  )

  it.effect("leave what they wake in their turn to the default scheduler", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const [first, second] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const note = (what: string) =>
        Effect.sync(() => {
          order.push(what)
        })
      const one = yield* Deferred.await(first).pipe(
        Effect.zipRight(Deferred.succeed(second, undefined)),
        Effect.zipRight(note("first")),
        Effect.withScheduler(turn),
        Effect.fork
      )
      const other = yield* Deferred.await(second).pipe(
        Effect.zipRight(note("second")),
        Effect.withScheduler(turn),
        Effect.fork
      )
      yield* Effect.yieldNow()
      turn.run({ wake: () => Deferred.unsafeDone(first, Exit.void) })
      order.push("returned")
      yield* Fiber.joinAll([one, other])
      expect(order).toEqual(["first", "returned", "second"])
    })
  )

  it.effect("aren't held up by a waker that throws", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      let ran = false
      yield* Deferred.await(gate).pipe(
        Effect.zipRight(
          Effect.sync(() => {
            ran = true
          })
        ),
        Effect.withScheduler(turn),
        Effect.fork
      )
      yield* Effect.yieldNow()
      const waker = {
        wake() {
          Deferred.unsafeDone(gate, Exit.void)
          throw new Error("no")
        }
      }
      expect(() => turn.run(waker)).toThrow("no")
      expect(ran).toBe(true)
    })
  )
})
