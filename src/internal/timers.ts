// Very many timers of very few durations, as servers need them: one fiber and one sleep
// on the clock for all of them.

import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"

/** Is called when its time has come; answers how long it wants to sleep again, in milliseconds, or ends. */
type Look = (now: number) => number | undefined

/** Late by a sixty-fourth of the delay at the most, so that many are looked at in one go; or to the millisecond. */
type Precision = "batched" | "exact"

/**
 * Something that is to be looked at after a while, and again as long as it asks for that. A
 * class to extend, for servers have two for each connection, and closures are larger.
 */
export abstract class Timer {
  /** For the timers alone. */
  due = 0
  queue: Set<Timer> | undefined = undefined
  stopped = false

  constructor(
    readonly clock: Clock.Clock,
    private readonly precision: Precision = "batched"
  ) {}

  /**
   * Is called when its time has come, with the time as {@link monotonic} has it; answers how long it wants to sleep
   * again, in milliseconds, or ends. It runs in the fiber that all timers share: it must be short, and must not throw.
   */
  abstract look(now: number): number | undefined

  /** Begins with a delay in milliseconds; `Infinity` never comes. */
  begin(delay: number): void {
    if (delay !== Number.POSITIVE_INFINITY) timersOf(this.clock, this.precision).add(this, delay)
  }

  stop(): void {
    this.stopped = true
    if (this.queue !== undefined) timersOf(this.clock, this.precision).remove(this)
  }
}

/** Milliseconds that only go forward: who waits for the wall clock waits for an hour more once it is set back by one. */
export const monotonic = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1_000_000

/** Calls `look` as a {@link Timer} does, until what this answers is called. */
export const schedule = (clock: Clock.Clock, delay: number, look: Look, precision?: Precision): (() => void) => {
  const timer = new Looking(clock, look, precision)
  timer.begin(delay)
  return () => timer.stop()
}

class Looking extends Timer {
  constructor(
    clock: Clock.Clock,
    readonly look: Look,
    precision?: Precision
  ) {
    super(clock, precision)
  }
}

class Timers {
  /** By delay. Time doesn't run backwards, so that each queue is in the order of what is due. */
  private readonly queues = new Map<number, Set<Timer>>()
  private running: Fiber.RuntimeFiber<void> | undefined
  private wakesAt = Number.POSITIVE_INFINITY
  private looking = false

  constructor(
    private readonly clock: Clock.Clock,
    /** Goes in a delay so often. */
    private readonly batches: number
  ) {}

  add(timer: Timer, delay: number): void {
    this.enqueue(timer, delay)
    // Whoever is due before the fiber wakes has to wake it.
    if (timer.due < this.wakesAt) this.restart()
  }

  remove(timer: Timer): void {
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
      if (first !== undefined) wake = Math.min(wake, Math.max(first.due, now + delay / this.batches))
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
class Clocks {
  private readonly all = new WeakMap<Clock.Clock, Timers>()

  constructor(private readonly batches: number) {}

  of(clock: Clock.Clock): Timers {
    const found = this.all.get(clock) ?? new Timers(clock, this.batches)
    this.all.set(clock, found)
    return found
  }
}

const clocks = { batched: new Clocks(64), exact: new Clocks(Number.POSITIVE_INFINITY) }

const timersOf = (clock: Clock.Clock, precision: Precision): Timers => clocks[precision].of(clock)
