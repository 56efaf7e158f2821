// The shell round an engine: the fiber that reads, and the end of a connection's life.

import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as CloseCode from "../CloseCode.js"
import type * as Flow from "../Flow.js"
import { Engine, type EngineOptions } from "./engine.js"

export interface DriverOptions extends EngineOptions {
  readonly closeTimeout: Duration.Duration
}

/** A connection that runs: its engine, and the fiber that ends when the flow is released. */
export interface Driven {
  readonly engine: Engine
  readonly reading: Fiber.RuntimeFiber<void>
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
  Effect.uninterruptible(
    Effect.gen(function* () {
      let onClosing = () => {}
      let onDone = () => {}
      const engine = new Engine(
        flow,
        options,
        () => onClosing(),
        () => onDone()
      )
      const closing = Effect.async<void>((resume) => {
        onClosing = () => resume(Effect.void)
        engine.start(rest)
        if (engine.closingBegun) onClosing()
      })
      const done = Effect.async<void>((resume) => {
        onDone = () => resume(Effect.void)
        if (engine.done) onDone()
      })
      // The fiber that owns reading: registered with the flow once, and suspended from then on.
      const read = closing.pipe(
        Effect.zipRight(Effect.timeoutOption(done, options.closeTimeout)),
        Effect.ensuring(
          Effect.suspend(() => {
            engine.destroy()
            return done
          })
        )
      )
      const reading = yield* Effect.interruptible(read).pipe(Effect.asVoid, Effect.forkIn(yield* Effect.scope))
      yield* Effect.addFinalizer((exit) =>
        Effect.suspend(() => {
          engine.discard()
          engine.sendClose(closeCode(exit), "")
          return Fiber.await(reading)
        })
      )
      return { engine, reading }
    })
  )

const closeCode = (exit: Exit.Exit<unknown, unknown>): number =>
  Exit.isSuccess(exit)
    ? CloseCode.normal
    : Cause.isInterruptedOnly(exit.cause)
      ? CloseCode.goingAway
      : CloseCode.internalError
