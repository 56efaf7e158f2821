// What is logged. An operator sees the opening and the end of each connection at Debug, and
// hears unasked of what needs a hand only.

import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as LogLevel from "effect/LogLevel"
import * as Runtime from "effect/Runtime"
import type * as Tracer from "effect/Tracer"
import * as Flow from "../Flow.js"
import type { Role } from "../protocol/frame.js"
import { type HandshakeError, isWebSocketError } from "../WebSocketError.js"
import type { Ending } from "./engine.js"
import { farewellOf } from "./errors.js"
import { refused } from "./meters.js"

/** Which connection it is about. */
interface Which {
  readonly role: Role
  readonly url: string
  readonly remoteAddress: Flow.Address
  readonly span: Tracer.AnySpan | undefined
}

/** Annotates a log, which also becomes an event of the connection's span. */
const about = ({ role, url, remoteAddress, span }: Which, log: Effect.Effect<void>): Effect.Effect<void> => {
  const annotated = Effect.annotateLogs(log, {
    role,
    address: Flow.formatAddress(remoteAddress),
    url: withoutQuery(url)
  })
  return span === undefined ? annotated : Effect.withParentSpan(annotated, span)
}

/** A query may hold tokens. */
const withoutQuery = (url: string): string => url.split("?", 1).join("")

/** Logs that a connection was opened; answers what is to be called when it is over. */
export const logLife = (which: Which): Effect.Effect<(ending: Ending | undefined) => void> =>
  Effect.flatMap(FiberRef.get(FiberRef.currentMinimumLogLevel), (level) => {
    // Whoever doesn't listen is spared the runtime that is kept for the end.
    if (LogLevel.greaterThan(level, LogLevel.Debug)) return Effect.succeed(() => {})
    return Effect.zipRight(
      about(which, Effect.logDebug("WebSocket connection opened")),
      Effect.zipWith(Effect.runtime(), Effect.clock, (runtime, clock) => {
        const openedAt = clock.unsafeCurrentTimeMillis()
        return (ending: Ending | undefined) => {
          const durationMs = clock.unsafeCurrentTimeMillis() - openedAt
          const told = Object.entries({ ...farewellOf(ending), durationMs }).filter(
            ([, value]) => value !== undefined && value !== ""
          )
          const log = Effect.annotateLogs(Effect.logDebug("WebSocket connection closed"), Object.fromEntries(told))
          Runtime.runFork(runtime)(about(which, log))
        }
      })
    )
  })

/** A connection that ends is its handler's ordinary fate; anything else wants to be seen. */
export const logFailure = (
  socket: Which & { readonly isOpen: Effect.Effect<boolean> },
  cause: Cause.Cause<unknown>
): Effect.Effect<void> =>
  Effect.flatMap(socket.isOpen, (open) => {
    if (Cause.isInterruptedOnly(cause)) return Effect.void
    const log = !open && isPeers(Cause.squash(cause)) ? Effect.logDebug : Effect.logError
    return about(socket, log("WebSocket handler failed", cause))
  })

/** What was asked for, and by whom. */
export interface Asked {
  readonly address: string
  readonly target: string
  readonly origin: string | undefined
}

/** What any peer can cause at will, undecodable messages among it, must not fill the log. */
const isPeers = (error: unknown): boolean =>
  isWebSocketError(error) || (error instanceof Error && "_tag" in error && error._tag === "DecodeError")

/** Counts and logs a request that was refused. */
export const logRefusal = ({ address, rule, status }: HandshakeError, asked?: Asked): Effect.Effect<void> =>
  Effect.suspend(() => {
    refused(status)
    return Effect.annotateLogs(Effect.logDebug("WebSocket handshake refused"), {
      address: asked?.address ?? address,
      rule,
      ...(status === undefined ? undefined : { status }),
      ...(asked === undefined ? undefined : { path: withoutQuery(asked.target) }),
      ...(asked?.origin === undefined ? undefined : { origin: asked.origin })
    })
  })

/** Without a connection turned away for so long, a flood is over: a minute. */
const floodOver = 60_000

/**
 * Warns that a limit turns connections away, naming the option that raises it: once when that
 * begins, for each of a flood would be a flood of its own.
 */
export const limitWarning = (what: string, option: string, limit: number) => {
  let last = Number.NEGATIVE_INFINITY
  return (address: Flow.Address): Effect.Effect<void> =>
    Effect.flatMap(Effect.clock, (clock) => {
      const now = clock.unsafeCurrentTimeMillis()
      const begins = now - last > floodOver
      last = now
      return begins
        ? Effect.annotateLogs(Effect.logWarning(`${what}: WebSocket connections are turned away`), {
            address: Flow.formatAddress(address),
            [option]: limit
          })
        : Effect.void
    })
}
