// The life of a connection that is made again and again: one fiber that connects, waits
// for the end, judges it, waits, and connects again.

import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { WebSocket } from "../WebSocket.js"
import type { WebSocketError } from "../WebSocketError.js"
import { closing } from "./errors.js"
import { defaultReceiveBufferSize } from "./options.js"
import { retryAfter } from "./reconnectingPolicy.js"
import type { Epoch, Traffic } from "./reconnectingTraffic.js"

export type State<E> =
  | {
      readonly _tag: "Connecting"
      /** Which attempt it is since a connection last stood, from 1. */
      readonly attempt: number
      /** What the attempt or the connection before it ended with. */
      readonly error: E | undefined
    }
  | {
      readonly _tag: "Connected"
      /** Which connection it is, from 1. */
      readonly number: number
      readonly socket: WebSocket
    }
  | {
      readonly _tag: "Waiting"
      /** The attempt that will follow. */
      readonly attempt: number
      readonly delay: Duration.Duration
      readonly error: E
    }
  | {
      readonly _tag: "Ended"
      /** What every operation fails with from now on. */
      readonly cause: Cause.Cause<E>
    }

/**
 * A connection stood if it lived for 5 seconds after `onConnect`: a server that accepts and
 * then throws out, or that dies of what it is sent, mostly does so sooner.
 */
export const stableAfter: Duration.Duration = Duration.seconds(5)

/**
 * The longest that a `Retry-After` is obeyed: 5 minutes, so that a mistaken one, or one meant
 * for crawlers, doesn't put a client to sleep for a day.
 */
export const maxRetryAfter: Duration.Duration = Duration.minutes(5)

export interface Plan<E, R> {
  /** Opens a connection, and makes it ready for traffic. */
  readonly open: Effect.Effect<WebSocket, E, R>
  readonly schedule: Schedule.Schedule<unknown, E>
  readonly retryable: (error: E) => boolean
}

/**
 * Keeps a connection up until the scope closes, which closes it as that of a single
 * connection does, or until the policy says that it's over.
 */
export const supervise = <E, R>(
  plan: Plan<E | WebSocketError, R>,
  state: SubscriptionRef.SubscriptionRef<State<E | WebSocketError>>,
  traffic: Traffic<E>
): Effect.Effect<void, never, Exclude<R, Scope.Scope> | Scope.Scope> => {
  type Failure = E | WebSocketError
  let leaving: Exit.Exit<unknown, unknown> | undefined
  let connections = 0
  let address = "the server"

  /** One connection, from its attempt to its release. Tells whether it stood, and fails with its end. */
  const connection = (stood: () => void): Effect.Effect<never, Failure, Exclude<R, Scope.Scope>> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        let epoch: Epoch | undefined
        const life = Effect.gen(function* () {
          const socket = yield* plan.open
          address = socket.url
          connections++
          yield* SubscriptionRef.set(state, { _tag: "Connected", number: connections, socket })
          epoch = traffic.begin(socket)
          const since = yield* Clock.currentTimeMillis
          const closed = yield* Effect.exit(socket.closed)
          if ((yield* Clock.currentTimeMillis) - since >= Duration.toMillis(stableAfter)) stood()
          return yield* Effect.flatMap(closed, Effect.fail)
        })
        const exit = yield* Effect.exit(restore(Scope.extend(life, scope)))
        // Before the scope of the connection drops it.
        const rest =
          epoch === undefined || leaving !== undefined
            ? []
            : yield* Effect.orElseSucceed(epoch.socket.receiveAll, () => [])
        const closed = yield* Effect.exit(Scope.close(scope, leaving ?? exit))
        if (epoch !== undefined) traffic.retire(epoch, rest)
        yield* closed
        return yield* exit
      })
    )

  const supervising = Effect.gen(function* () {
    let step: unknown = plan.schedule.initial
    for (let attempt = 1; ; ) {
      const exit = yield* Effect.exit(
        connection(() => {
          attempt = 0
          step = plan.schedule.initial
        })
      )
      const error = expected(exit)
      if (Option.isNone(error) || !plan.retryable(error.value)) return yield* exit
      const now = yield* Clock.currentTimeMillis
      const [nextStep, , decision] = yield* plan.schedule.step(now, error.value, step)
      if (ScheduleDecision.isDone(decision)) return yield* exit
      step = nextStep
      attempt++
      // Added, so that those who were all told the same time don't all come at once.
      const wait = Math.max(0, ScheduleIntervals.start(decision.intervals) - now)
      const delay = Duration.millis(wait + retryAfter(error.value, now, Duration.toMillis(maxRetryAfter)))
      yield* SubscriptionRef.set(state, { _tag: "Waiting", attempt, delay, error: error.value })
      yield* Effect.sleep(delay)
      yield* traffic.room(defaultReceiveBufferSize)
      yield* SubscriptionRef.set(state, { _tag: "Connecting", attempt, error: error.value })
    }
  })

  const ended = (exit: Exit.Exit<never, Failure>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const left = leaving !== undefined
      const cause = left || Exit.isSuccess(exit) ? Cause.fail(closing(undefined, address)) : exit.cause
      return Effect.tap(SubscriptionRef.set(state, { _tag: "Ended", cause }), () =>
        Effect.sync(() => traffic.end(Effect.failCause(cause)))
      )
    })

  return Effect.acquireRelease(
    Effect.forkDaemon(Effect.interruptible(supervising).pipe(Effect.onExit(ended))),
    (fiber, exit) =>
      Effect.suspend(() => {
        leaving = exit
        return Fiber.interrupt(fiber)
      })
  )
}

/** The error that an attempt ended with, whatever that interrupted; none after a defect, or if nothing failed. */
const expected = <E>(exit: Exit.Exit<never, E>): Option.Option<E> =>
  Exit.isSuccess(exit) || Cause.isDie(exit.cause) ? Option.none() : Cause.failureOption(exit.cause)
