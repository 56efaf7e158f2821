// The life of a server's connection beside its protocol: its handler, and its end when the server ends.

import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as CloseCode from "../CloseCode.js"
import type * as Flow from "../Flow.js"
import type { Driven } from "./driver.js"
import { logFailure } from "./logs.js"
import type { Services } from "./services.js"
import { schedule } from "./timers.js"
import { turn } from "./turn.js"

/** How long the end of a connection may take. */
export interface Patience {
  /** For its handler. */
  readonly drainTimeout: Duration.Duration
  /** For the closing handshake. */
  readonly closeTimeout: Duration.Duration
}

/** A connection as its server sees it: nothing but a fiber until the handshake is done. */
export class Visit {
  private driven: Driven | undefined
  private begun = false
  private leaving = false
  /** Nobody waits for it any more. */
  abandoned = false

  constructor(private readonly flow?: Flow.Flow) {}

  /** From now on it is worth waiting for, though it is no connection. */
  begin(): void {
    this.begun = true
  }

  opened(driven: Driven): void {
    this.driven = driven
    if (this.leaving) this.leave()
  }

  /** Sends Close 1001 if there is a connection to send it on; answers whether its end is worth waiting for. */
  leave(): boolean {
    this.leaving = true
    this.driven?.engine.sendClose(CloseCode.goingAway, "")
    return this.begun || this.driven !== undefined
  }

  /** Calls `over` when the connection that was opened is over. */
  onOver(over: () => void): void {
    this.driven?.onOver({ over })
  }

  /** Leaves it to itself, without its connection: it doesn't end, whatever is done. */
  abandon(): void {
    this.abandoned = true
    this.driven?.engine.destroy()
    this.flow?.destroy()
  }
}

/**
 * Ends connections: 1001 to all at once, time for their handlers to finish, then
 * interruption. Takes no longer than `drainTimeout` and `closeTimeout` together, whatever
 * peers and handlers do.
 */
export const drain = (
  visits: ReadonlyMap<Fiber.RuntimeFiber<unknown, unknown>, Visit>,
  { drainTimeout, closeTimeout }: Patience
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const all = [...visits].filter(([, visit]) => !visit.abandoned)
    // Run by finalizers, which can't be interrupted; waiting can.
    const ended = Effect.interruptible(Effect.forEach(all, ([fiber]) => Fiber.await(fiber), { discard: true }))
    const interrupt = Effect.sync(() => {
      for (const [fiber] of all) fiber.unsafeInterruptAsFork(FiberId.none)
    })
    const abandon = Effect.suspend(() => {
      const left = all.filter(([fiber]) => fiber.unsafePoll() === null)
      for (const [, visit] of left) visit.abandon()
      return left.length === 0
        ? Effect.void
        : Effect.logWarning(`left ${left.length} WebSocket handlers behind that don't end though interrupted`)
    })
    for (const [fiber, visit] of all) if (!visit.leave()) fiber.unsafeInterruptAsFork(FiberId.none)
    return Effect.timeoutOption(ended, drainTimeout).pipe(
      Effect.zipRight(interrupt),
      Effect.zipRight(Effect.timeoutOption(ended, closeTimeout)),
      Effect.zipRight(abandon),
      // A fiber that is interrupted once more, as an HTTP server does when a socket closes, passes that on to its children,
      // and they would be those that wait here: the rest wouldn't be done. A daemon is nobody's child.
      Effect.forkDaemon,
      Effect.flatMap(Fiber.join)
    )
  })

/**
 * Runs a handler in the scope of its connection. What it fails with closes the connection,
 * and is logged. It outlives its connection by `drainTimeout` at the most.
 */
export const runHandler = <S extends Peer, E, RC, EH, R>(
  connection: Effect.Effect<S, E, RC>,
  handler: (socket: S) => Effect.Effect<unknown, EH, R>,
  visit: Visit,
  { drainTimeout }: Patience
): Effect.Effect<void, E, Exclude<RC | R, Scope.Scope>> =>
  Effect.scoped(
    Effect.gen(function* () {
      const socket = yield* connection
      yield* leaveSoonAfter(visit, drainTimeout)
      const handled = handler(socket).pipe(
        Effect.tapErrorCause((cause) => logFailure(socket, cause)),
        Effect.mapError(() => new HandlerFailed())
      )
      yield* socket.span === undefined ? handled : Effect.withParentSpan(handled, socket.span)
    })
  ).pipe(
    Effect.catchIf(
      (error) => error instanceof HandlerFailed,
      () => Effect.void
    ),
    Effect.catchAllDefect(() => Effect.void)
  )

/**
 * Runs a handler for a connection that is open already, as {@link runHandler} does. For a fiber that can't be
 * interrupted where it begins: what it costs to let it be again, and back, is a third of a handshake.
 */
export const runOpened = <R>(
  driven: Driven,
  socket: Peer,
  handler: Effect.Effect<unknown, unknown, R>,
  services: Services
): Effect.Effect<void, never, R> => {
  const end = (exit: Exit.Exit<unknown, HandlerFailed>): Effect.Effect<void> => {
    const { scope } = services
    const left = scope === undefined ? Effect.void : Scope.close(scope, exit)
    const interrupted = Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)
    return Effect.exit(left).pipe(
      Effect.zipRight(Effect.suspend(() => driven.leave(exit))),
      Effect.zipRight(interrupted ? Effect.failCause(Cause.stripFailures(exit.cause)) : Effect.void)
    )
  }
  return Effect.matchCauseEffect(Effect.interruptible(handler), {
    onSuccess: () => end(Exit.void),
    onFailure: (cause) =>
      Effect.zipRight(logFailure(socket, cause), end(Exit.failCause(Cause.map(cause, () => new HandlerFailed()))))
  })
}

/** The scheduler for whoever handles connections, unless the application has one of its own. */
export const schedulerIn = (current: Scheduler.Scheduler): Scheduler.Scheduler =>
  current === Scheduler.defaultScheduler ? turn : current

/** Runs fibers as soon as a read wakes them. */
const atOnce = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(FiberRef.get(FiberRef.currentScheduler), (current) =>
    Effect.withScheduler(effect, schedulerIn(current))
  )

/** What is to be known here of a socket. */
type Peer = Parameters<typeof logFailure>[0]

/** Told by its class: where a span is current, Effect fails with a proxy of an object. */
class HandlerFailed {
  readonly _tag = "HandlerFailed"
}

/** Interrupts a handler when its connection has been over for so many milliseconds. */
export const limit = (
  handler: Fiber.RuntimeFiber<unknown, unknown>,
  visit: Visit,
  clock: Clock.Clock,
  drainTimeout: number
): void =>
  visit.onOver(() => {
    if (handler.unsafePoll() !== null) return
    // The handler hears of the end before its time begins, which may be none.
    queueMicrotask(() => {
      const stop = schedule(clock, drainTimeout, () => {
        handler.unsafeInterruptAsFork(FiberId.none)
        return undefined
      })
      handler.addObserver(stop)
    })
  })

/** Interrupts the fiber that asks for it when its connection has been over for so long. */
const leaveSoonAfter = (visit: Visit, drainTimeout: Duration.Duration): Effect.Effect<void> =>
  Effect.clockWith((clock) =>
    Effect.withFiberRuntime((fiber) => {
      limit(fiber, visit, clock, Duration.toMillis(drainTimeout))
      return Effect.void
    })
  )

/**
 * Runs a visit in a fiber of its own, so that whoever interrupts the one that called only
 * asks for its end. An HTTP server of the platform runs its app uninterruptibly, where no
 * router is in between; a connection can always be ended.
 */
export const inVisit = <E, R>(
  run: Effect.Effect<void, E, R>,
  visit: Visit,
  patience: Patience
): Effect.Effect<void, E, R> =>
  Effect.uninterruptible(
    // A daemon: its parent's end would wait for it, however long the handler takes.
    Effect.flatMap(Effect.forkDaemon(atOnce(Effect.interruptible(run))), (fiber) =>
      Effect.interruptible(Fiber.await(fiber)).pipe(
        Effect.onInterrupt(() => drain(new Map([[fiber, visit]]), patience)),
        Effect.flatMap((exit) => (Exit.isInterrupted(exit) ? Effect.void : exit))
      )
    )
  )
