import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Supervisor, TestClock } from "effect"
import { schedule } from "effect-websocket/internal/timers"
import * as fc from "fast-check"
import { settle } from "../fixtures/heard.js"
import { ManualClock } from "../fixtures/manualClock.js"

const repeatedly = (delay: number, look: (now: number) => number | undefined) =>
  Effect.map(Effect.clock, (clock) => schedule(clock, delay, look))

/** How much later than asked for a timer may come, of its delay. */
const lateness = 1 / 64

const on =
  (clock: ManualClock) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withClock(effect, clock)

describe("a timer", () => {
  it.effect(
    "looks when its time has come, and again after what it asked for, and no more when it asks for nothing",
    () =>
      Effect.gen(function* () {
        const looks: Array<number> = []
        const answers = [500, 2000, undefined]
        yield* repeatedly(1000, (now) => {
          looks.push(now)
          return answers[looks.length - 1]
        })
        yield* TestClock.adjust("999 millis")
        expect(looks).toEqual([])
        yield* TestClock.adjust("1 millis")
        expect(looks).toEqual([1000])
        yield* TestClock.adjust("1 hour")
        expect(looks).toEqual([1000, 1500, 3500])
      })
  )

  it.effect("looks no more when it is stopped, which may be done twice", () =>
    Effect.gen(function* () {
      let looks = 0
      const stop = yield* repeatedly(1000, () => {
        looks++
        return 1000
      })
      yield* TestClock.adjust("2500 millis")
      expect(looks).toBe(2)
      stop()
      stop()
      yield* TestClock.adjust("1 hour")
      expect(looks).toBe(2)
    })
  )

  it.effect("of an infinite delay never comes, and needs no fiber", () =>
    Effect.gen(function* () {
      const clock = new ManualClock()
      const stop = yield* on(clock)(repeatedly(Number.POSITIVE_INFINITY, () => expect.fail("it came")))
      yield* settle
      expect(clock.sleeps).toBe(0)
      stop()
    })
  )

  it.effect("that asks to come again at once comes a millisecond later", () =>
    Effect.gen(function* () {
      const looks: Array<number> = []
      const stop = yield* repeatedly(0, (now) => {
        looks.push(now)
        return 0
      })
      yield* TestClock.adjust("3 millis")
      expect(looks).toEqual([0, 1, 2, 3])
      stop()
    })
  )

  it.effect("that is due sooner than all others isn't kept waiting by them", () =>
    Effect.gen(function* () {
      const looks: Array<string> = []
      const timer = (name: string, delay: number) =>
        repeatedly(delay, (now) => {
          looks.push(`${name} at ${now}`)
          return undefined
        })
      yield* timer("slow", 60_000)
      yield* timer("quick", 1000)
      yield* timer("quicker", 10)
      yield* TestClock.adjust("1 second")
      expect(looks).toEqual(["quicker at 10", "quick at 1000"])
      // The fiber had ended its sleep: a new one is due before it, and after it.
      yield* timer("next", 10)
      yield* TestClock.adjust("1 minute")
      expect(looks.slice(2)).toEqual(["next at 1010", "slow at 60000"])
    })
  )

  it.effect("can be stopped by a look: its own, and that of others", () =>
    Effect.gen(function* () {
      const looks: Array<string> = []
      const stops: Array<() => void> = []
      stops.push(
        yield* repeatedly(1000, () => {
          looks.push("first")
          // The one that looks, one that is due now, and one that is due later.
          for (const stop of stops.slice(0, 3)) stop()
          return 1000
        })
      )
      stops.push(yield* repeatedly(1000, () => expect.fail("stopped just before")))
      stops.push(yield* repeatedly(1500, () => expect.fail("stopped long before")))
      yield* TestClock.adjust("10 seconds")
      expect(looks).toEqual(["first"])
      // The one that stopped all others goes on itself.
      stops.push(
        yield* repeatedly(1000, () => {
          looks.push("last")
          stops[4]?.()
          return 1000
        })
      )
      stops.push(yield* repeatedly(5000, () => expect.fail("stopped")))
      yield* TestClock.adjust("3 seconds")
      expect(looks).toEqual(["first", "last", "last", "last"])
      stops[3]?.()
    })
  )

  it.effect("may be interrupted where it was added, and comes all the same", () =>
    Effect.gen(function* () {
      let looks = 0
      const adding = yield* Effect.fork(
        Effect.uninterruptible(
          repeatedly(1000, () => {
            looks++
            return undefined
          })
        ).pipe(Effect.zipRight(Effect.never))
      )
      yield* settle
      yield* Fiber.interrupt(adding)
      yield* TestClock.adjust("1 second")
      expect(looks).toBe(1)
    })
  )

  it.effect("isn't kept waiting by a wall clock that is set back, nor hurried by one that is set forward", () =>
    Effect.gen(function* () {
      for (const offset of [-3_600_000, 3_600_000]) {
        const clock = new ManualClock()
        let looks = 0
        const stop = yield* on(clock)(
          repeatedly(1000, () => {
            looks++
            return 1000
          })
        )
        yield* settle
        clock.offset = offset
        for (let second = 1; second <= 5; second++) {
          clock.advance(999)
          yield* settle
          expect(looks).toBe(second - 1)
          clock.advance(1)
          yield* settle
          expect(looks).toBe(second)
        }
        stop()
      }
    })
  )
})

describe("timers", () => {
  interface Timed {
    delay: number
    due: number
    lastDue: number
    stop: () => void
    stopped: boolean
    ended: boolean
  }
  type Step =
    | { readonly _tag: "add"; readonly delays: ReadonlyArray<number> }
    | { readonly _tag: "stop"; readonly which: number }
    | { readonly _tag: "jump"; readonly by: number }

  const delay = fc.oneof(fc.constantFrom(1000, 10_000, 30_000), fc.integer({ min: 1, max: 100_000 }))
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ _tag: fc.constant("add" as const), delays: fc.array(delay, { minLength: 1, maxLength: 4 }) }),
    fc.record({ _tag: fc.constant("stop" as const), which: fc.nat(30) }),
    {
      weight: 3,
      arbitrary: fc.record({
        _tag: fc.constant("jump" as const),
        by: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 200_000 }))
      })
    }
  )

  it.effect.prop(
    "of any delays, added and stopped at any time, come in time, once for each time, and leave nothing",
    [fc.array(step, { maxLength: 40 })],
    ([steps]) =>
      Effect.gen(function* () {
        const clock = new ManualClock()
        const supervisor = yield* Supervisor.track
        const timers: Array<Timed> = []
        const add = (delays: ReadonlyArray<number>) =>
          Effect.gen(function* () {
            const [first = 1] = delays
            let looks = 0
            const timer: Timed = {
              delay: first,
              due: clock.now + first,
              lastDue: 0,
              stop: () => {},
              stopped: false,
              ended: false
            }
            timer.stop = yield* repeatedly(first, (now) => {
              expect([timer.stopped, timer.ended]).toEqual([false, false])
              expect(now).toBe(clock.now)
              expect(now).toBeGreaterThanOrEqual(timer.due)
              looks++
              const next = delays[looks]
              if (next === undefined) timer.ended = true
              else Object.assign(timer, { delay: next, due: now + next })
              return next
            })
            timers.push(timer)
          })
        const check = () => {
          for (const { delay, due, ended, stopped } of timers) {
            if (!ended && !stopped) expect(clock.now - due).toBeLessThanOrEqual(delay * lateness)
          }
        }
        yield* Effect.gen(function* () {
          for (const each of steps) {
            if (each._tag === "add") yield* add(each.delays)
            else if (each._tag === "jump") clock.advance(each.by)
            else {
              const timer = timers[each.which]
              timer?.stop()
              if (timer !== undefined) timer.stopped = true
            }
            yield* settle
            check()
          }
          for (const timer of timers) {
            timer.stop()
            timer.stopped = true
          }
          yield* settle
          expect(clock.asleep).toBe(0)
          clock.advance(1_000_000)
          yield* settle
        }).pipe(on(clock), Effect.supervised(supervisor))
        const running = (yield* supervisor.value).filter((fiber) => fiber.unsafePoll() === null)
        expect(running).toEqual([])
      }),
    { fastCheck: { numRuns: 300 } }
  )

  it.effect("of ten thousand connections come in some sixty wakes for each interval", () =>
    Effect.gen(function* () {
      const clock = new ManualClock()
      const looks = new Uint32Array(10_000)
      const stops: Array<() => void> = []
      for (let index = 0; index < looks.length; index++) {
        const stop = repeatedly(30_000, () => {
          looks[index] = (looks[index] ?? 0) + 1
          return 30_000
        })
        stops.push(yield* on(clock)(stop))
        clock.now += 3
      }
      yield* settle
      const before = clock.sleeps
      for (let at = 0; at < 60_000; at += 10) {
        clock.advance(10)
        yield* Effect.yieldNow()
        yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
      }
      // Three, less the 469 milliseconds that it may come later each time.
      expect(looks.every((count) => count === 1 || count === 2)).toBe(true)
      expect(looks.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(19_500)
      expect(clock.sleeps - before).toBeLessThanOrEqual(130)
      for (const stop of stops) stop()
      yield* settle
      expect(clock.asleep).toBe(0)
    })
  )
})
