// The life of a server's connection beside its protocol: its handler, and its end when the server ends.

import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import * as CloseCode from "../CloseCode.js"
import * as Flow from "../Flow.js"
import { type HandshakeError, isWebSocketError } from "../WebSocketError.js"
import type { Driven } from "./driver.js"
import { refused } from "./meters.js"

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
  private leaving = false

  readonly opened = (driven: Driven): void => {
    this.driven = driven
    if (this.leaving) this.leave()
  }

  /** Sends Close 1001 if there is a connection to send it on; answers whether there is. */
  leave(): boolean {
    this.leaving = true
    this.driven?.engine.sendClose(CloseCode.goingAway, "")
    return this.driven !== undefined
  }

  /** Calls `over` when the connection that was opened is over. */
  onOver(over: () => void): void {
    this.driven?.reading.addObserver(over)
  }

  destroy(): void {
    this.driven?.engine.destroy()
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
    const all = [...visits]
    // Run by finalizers, which can't be interrupted; waiting can.
    const ended = Effect.interruptible(Effect.forEach(all, ([fiber]) => Fiber.await(fiber), { discard: true }))
    const interrupt = Effect.sync(() => {
      for (const [fiber] of all) fiber.unsafeInterruptAsFork(FiberId.none)
    })
    const abandon = Effect.suspend(() => {
      const left = all.filter(([fiber]) => fiber.unsafePoll() === null)
      for (const [, visit] of left) visit.destroy()
      return left.length === 0
        ? Effect.void
        : Effect.logWarning(`left ${left.length} WebSocket handlers behind that don't end though interrupted`)
    })
    for (const [fiber, visit] of all) if (!visit.leave()) fiber.unsafeInterruptAsFork(FiberId.none)
    return Effect.timeoutOption(ended, drainTimeout).pipe(
      Effect.zipRight(interrupt),
      Effect.zipRight(Effect.timeoutOption(ended, closeTimeout)),
      Effect.zipRight(abandon)
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
      yield* logOf(socket, Effect.logDebug("WebSocket connection opened"))
      yield* leaveSoonAfter(visit, drainTimeout)
      const handled = handler(socket).pipe(
        Effect.tapErrorCause((cause) => logFailure(socket, cause)),
        Effect.mapError(() => handlerFailed)
      )
      yield* socket.span === undefined ? handled : Effect.withParentSpan(handled, socket.span)
    })
  ).pipe(
    Effect.catchIf(
      (error): error is typeof handlerFailed => error === handlerFailed,
      () => Effect.void
    ),
    Effect.catchAllDefect(() => Effect.void)
  )

/** What is to be known here of a socket. */
interface Peer {
  readonly isOpen: Effect.Effect<boolean>
  readonly url: string
  readonly remoteAddress: Flow.Address
  readonly span: Tracer.AnySpan | undefined
}

const handlerFailed = { _tag: "HandlerFailed" } as const

/** Interrupts the fiber that asks for it when its connection has been over for so long. */
const leaveSoonAfter = (visit: Visit, drainTimeout: Duration.Duration): Effect.Effect<void> =>
  Effect.flatMap(Effect.runtime(), (runtime) =>
    Effect.withFiberRuntime((fiber) => {
      visit.onOver(() => {
        const patience = Runtime.runFork(runtime)(
          Effect.zipRight(
            Effect.sleep(drainTimeout),
            Effect.sync(() => fiber.unsafeInterruptAsFork(FiberId.none))
          )
        )
        fiber.addObserver(() => patience.unsafeInterruptAsFork(FiberId.none))
      })
      return Effect.void
    })
  )

const logOf = (socket: Peer, log: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.annotateLogs(log, { address: Flow.formatAddress(socket.remoteAddress), url: socket.url })

/** A connection that ends is its handler's ordinary fate; anything else wants to be seen. */
const logFailure = (socket: Peer, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.flatMap(socket.isOpen, (open) => {
    if (Cause.isInterruptedOnly(cause)) return Effect.void
    const log = !open && isWebSocketError(Cause.squash(cause)) ? Effect.logDebug : Effect.logError
    return logOf(socket, log("WebSocket handler failed", cause))
  })

/** Counts and logs a request that was refused. */
export const logRefusal = (error: HandshakeError): Effect.Effect<void> =>
  Effect.suspend(() => {
    refused(error.status)
    return Effect.annotateLogs(Effect.logDebug("WebSocket handshake refused"), {
      address: error.address,
      rule: error.rule,
      ...(error.status === undefined ? undefined : { status: error.status })
    })
  })

/**
 * Runs a visit in a fiber of its own, so that whoever interrupts the one that called only
 * asks for its end.
 */
export const inVisit = <E, R>(
  run: Effect.Effect<void, E, R>,
  visit: Visit,
  patience: Patience
): Effect.Effect<void, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.fork(restore(run)), (fiber) =>
      restore(Fiber.await(fiber)).pipe(
        Effect.onInterrupt(() => drain(new Map([[fiber, visit]]), patience)),
        Effect.flatMap((exit) => (Exit.isInterrupted(exit) ? Effect.void : exit))
      )
    )
  )
