// Very many timers of very few durations, as servers need them: one fiber and one sleep
// on the clock for all of them.

import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"

/** Is called when its time has come; answers how long it wants to sleep again, in milliseconds, or ends. */
type Look = (now: number) => number | undefined

interface Timer {
  readonly look: Look
  due: number
  queue: Set<Timer> | undefined
  stopped: boolean
}

/** Milliseconds that only go forward: who waits for the wall clock waits for an hour more once it is set back by one. */
export const monotonic = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1_000_000

/**
 * Calls `look` after `delay` milliseconds, and again as long as it asks for that, until
 * what this answers is called. A delay of `Infinity` never comes.
 *
 * `look` runs in the fiber that all timers share: it must be short, and must not throw. It is told the time as
 * {@link monotonic} has it.
 * It may come late by a sixty-fourth of its delay, so that many are looked at in one go.
 */
export const schedule = (clock: Clock.Clock, delay: number, look: Look): (() => void) => {
  if (delay === Number.POSITIVE_INFINITY) return () => {}
  const timers = timersOf(clock)
  const timer = timers.add(look, delay)
  return () => timers.remove(timer)
}

const batches = 64

class Timers {
  /** By delay. Time doesn't run backwards, so that each queue is in the order of what is due. */
  private readonly queues = new Map<number, Set<Timer>>()
  private running: Fiber.RuntimeFiber<void> | undefined
  private wakesAt = Number.POSITIVE_INFINITY
  private looking = false

  constructor(private readonly clock: Clock.Clock) {}

  add(look: Look, delay: number): Timer {
    const timer: Timer = { look, due: 0, queue: undefined, stopped: false }
    this.enqueue(timer, delay)
    // Whoever is due before the fiber wakes has to wake it.
    if (timer.due < this.wakesAt) this.restart()
    return timer
  }

  remove(timer: Timer): void {
    timer.stopped = true
    timer.queue?.delete(timer)
    timer.queue = undefined
    // From inside a look the fiber goes on, for whoever looks may want to come again.
    if (this.running === undefined || this.looking || !this.isEmpty) return
    this.running.unsafeInterruptAsFork(FiberId.none)
    this.running = undefined
    this.wakesAt = Number.POSITIVE_INFINITY
    this.queues.clear()
  }

  private get isEmpty(): boolean {
    for (const queue of this.queues.values()) if (queue.size > 0) return false
    return true
  }

  private enqueue(timer: Timer, delay: number): void {
    const queue = this.queues.get(delay) ?? new Set()
    this.queues.set(delay, queue)
    timer.due = monotonic(this.clock) + delay
    timer.queue = queue
    queue.add(timer)
  }

  private restart(): void {
    const old = this.running
    this.wakesAt = this.nextWake()
    // A fiber of nobody's: whoever adds a timer may end long before the others.
    this.running = Effect.runFork(Effect.withClock(this.loop, this.clock))
    old?.unsafeInterruptAsFork(FiberId.none)
  }

  private readonly loop: Effect.Effect<void> = Effect.suspend(() => {
    this.wakesAt = this.nextWake()
    return Effect.sleep(Math.ceil(this.wakesAt - monotonic(this.clock)))
  }).pipe(
    Effect.zipRight(Effect.sync(() => this.lookAll())),
    Effect.repeat({ while: () => !this.isEmpty }),
    Effect.zipRight(
      Effect.sync(() => {
        this.wakesAt = Number.POSITIVE_INFINITY
      })
    )
  )

  private nextWake(): number {
    let wake = Number.POSITIVE_INFINITY
    const now = monotonic(this.clock)
    for (const [delay, queue] of this.queues) {
      const [first] = queue
      if (first !== undefined) wake = Math.min(wake, Math.max(first.due, now + delay / batches))
    }
    return wake
  }

  private lookAll(): void {
    const now = monotonic(this.clock)
    this.looking = true
    // Whoever is enqueued meanwhile, even in a queue that is still to come, is due later than now.
    for (const queue of this.queues.values()) {
      for (const timer of queue) {
        if (timer.due > now) break
        queue.delete(timer)
        timer.queue = undefined
        const again = timer.look(now)
        if (again !== undefined && !timer.stopped) this.enqueue(timer, Math.max(again, 1))
      }
    }
    this.looking = false
  }
}

/** One for each clock, so that a test's clock drives its own. */
const all = new WeakMap<Clock.Clock, Timers>()

const timersOf = (clock: Clock.Clock): Timers => {
  const found = all.get(clock) ?? new Timers(clock)
  all.set(clock, found)
  return found
}
