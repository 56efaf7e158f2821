// Pings to silent peers, and the end of those that stay silent.

import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Flow from "../Flow.js"
import { IoError } from "../WebSocketError.js"
import type { Engine } from "./engine.js"

/** Watches connections for as long as their scopes are open. */
export interface Heartbeat {
  readonly watch: (engine: Engine) => Effect.Effect<void, never, Scope.Scope>
}

/** One fiber and one timer for all connections, however many: each beat walks over them. */
export const make = (
  interval: Duration.Duration,
  maxMissedPongs: number
): Effect.Effect<Heartbeat, never, Scope.Scope> =>
  Effect.gen(function* () {
    const missed = new Map<Engine, number>()
    const beat = Effect.sync(() => {
      for (const [engine, count] of missed) {
        if (engine.isAlive()) missed.set(engine, 0)
        else if (count < maxMissedPongs) {
          engine.ping()
          missed.set(engine, count + 1)
        } else {
          missed.delete(engine)
          engine.abort(silent(engine, count))
        }
      }
    })
    yield* Effect.forkScoped(Effect.forever(Effect.delay(beat, interval)))
    return {
      watch: (engine) =>
        Effect.acquireRelease(
          Effect.sync(() => missed.set(engine, 0)),
          () => Effect.sync(() => missed.delete(engine))
        )
    }
  })

const silent = (engine: Engine, count: number): IoError =>
  new IoError({
    operation: "read",
    code: "ETIMEDOUT",
    address: Flow.formatAddress(engine.flow.remoteAddress),
    cause: new Error(`nothing arrived after ${count} pings`)
  })
