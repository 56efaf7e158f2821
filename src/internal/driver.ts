// The shell round an engine: the time that its closing may take, who wants to hear of its end, and its scope.

import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as CloseCode from "../CloseCode.js"
import type * as Flow from "../Flow.js"
import { Engine, type EngineOptions } from "./engine.js"
import { schedule } from "./timers.js"

export interface DriverOptions extends EngineOptions {
  readonly closeTimeout: Duration.Duration
}

/** Who wants to hear that a connection is over. An object, for there are two for each connection, and closures are larger. */
export interface Observer {
  over(): void
}

/** A connection that runs. There is no fiber to it until its closing begins. */
export class Driven {
  readonly engine: Engine
  private observers: Array<Observer> = []
  /** Takes the bound of the closing back, which is kept to the millisecond: whoever drains a server counts on it. */
  private forgive: (() => void) | undefined = undefined

  constructor(
    flow: Flow.Flow,
    private readonly options: DriverOptions,
    readonly clock: Clock.Clock
  ) {
    this.engine = new Engine(
      flow,
      options,
      () => this.closing(),
      () => this.done()
    )
  }

  private closing(): void {
    if (this.engine.done) return
    const destroy = () => {
      this.engine.destroy()
      return undefined
    }
    // Not a class of its own: V8 makes timers of up to four kinds fast, and there are four.
    this.forgive = schedule(this.clock, Duration.toMillis(this.options.closeTimeout), destroy, "exact")
  }

  private done(): void {
    this.forgive?.()
    const { observers } = this
    this.observers = []
    for (const observer of observers) observer.over()
  }

  /** Tells once when the flow is released, at once if it is; answers how to take that back. */
  onOver(observer: Observer): () => void {
    if (this.engine.done) observer.over()
    // Not pushed: an array that grows has room for sixteen more.
    else this.observers = [...this.observers, observer]
    return () => {
      this.observers = this.observers.filter((each) => each !== observer)
    }
  }

  /** Waits until the flow is released. */
  get over(): Effect.Effect<void> {
    return Effect.async((resume) => Effect.sync(this.onOver({ over: () => resume(Effect.void) })))
  }

  /** Performs the closing handshake, as the end of what the connection was for asks for it, and waits for it. */
  leave(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    this.engine.discard()
    this.engine.sendClose(closeCode(exit), "")
    return this.over
  }
}

/**
 * Runs a connection over a flow until the scope closes, which performs the closing
 * handshake: with 1000 on success, 1001 on interruption, 1011 on failure. However
 * it ends, it takes no longer than `closeTimeout`.
 */
export const drive = (
  flow: Flow.Flow,
  rest: Uint8Array,
  options: DriverOptions
): Effect.Effect<Driven, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Effect.clock, (clock) => {
      const driven = new Driven(flow, options, clock)
      driven.engine.start(rest)
      return driven
    }),
    (driven, exit) => Effect.suspend(() => driven.leave(exit))
  )

const closeCode = (exit: Exit.Exit<unknown, unknown>): number =>
  Exit.isSuccess(exit)
    ? CloseCode.normal
    : Cause.isInterruptedOnly(exit.cause)
      ? CloseCode.goingAway
      : CloseCode.internalError
