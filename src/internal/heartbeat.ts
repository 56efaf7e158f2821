// Pings to peers, and the end of those that stay silent or idle.

import type * as Clock from "effect/Clock"
import * as CloseCode from "../CloseCode.js"
import * as Flow from "../Flow.js"
import { IoError } from "../WebSocketError.js"
import type { Engine } from "./engine.js"
import { monotonic, schedule } from "./timers.js"

/** In milliseconds; `Infinity` is never. */
export interface Rhythm {
  /** From ping to ping. */
  readonly pingInterval: number
  /** From a ping to the sign of life that it asks for. */
  readonly pingTimeout: number
  /** Timeouts in a row that end nothing. */
  readonly maxMissedPongs: number
  /** With something to take, and nothing taken. */
  readonly progressTimeout: number
  /** Without a message in either direction. */
  readonly idleTimeout: number
}

/** Watches a connection until what this answers is called; tells how long each pong took, in milliseconds. */
export const watch = (
  engine: Engine,
  rhythm: Rhythm,
  clock: Clock.Clock,
  onLatency: (milliseconds: number) => void
): (() => void) => {
  const { pingInterval, idleTimeout, progressTimeout } = rhythm
  const stops = [
    [pingInterval, pinging] as const,
    [idleTimeout / looks, idling] as const,
    [progressTimeout / looks, stalling] as const
  ].flatMap(([delay, watching]) =>
    delay === Number.POSITIVE_INFINITY ? [] : [schedule(clock, delay, watching(engine, rhythm, clock, onLatency))]
  )
  return () => {
    for (const stop of stops) stop()
  }
}

const pinging = (
  engine: Engine,
  { pingInterval, pingTimeout, maxMissedPongs }: Rhythm,
  clock: Clock.Clock,
  onLatency: (milliseconds: number) => void
) => {
  let asked = false
  let missed = 0
  let forget = () => {}
  const ping = (): number => {
    const sentAt = monotonic(clock)
    // A pong answers all pings before it: of those that were missed it would tell how long the peer was silent.
    forget()
    forget = engine.ping((answered) => {
      if (answered) onLatency(monotonic(clock) - sentAt)
    })
    asked = true
    return pingTimeout
  }
  /** Pings that come faster than they may be answered: then it is the silence that counts. */
  let silence = 0
  const pingOften = (alive: boolean): number | undefined => {
    silence = alive ? 0 : silence + pingInterval
    if (silence >= (maxMissedPongs + 1) * pingTimeout) {
      engine.abort(silent(engine, Math.ceil(silence / pingInterval)))
      return undefined
    }
    ping()
    return pingInterval
  }
  return (): number | undefined => {
    if (!engine.isOpen) return undefined
    const alive = engine.isAlive()
    if (pingInterval < pingTimeout) return pingOften(alive || !asked)
    if (!asked) return ping()
    if (!alive && ++missed > maxMissedPongs) {
      engine.abort(silent(engine, missed))
      return undefined
    }
    if (!alive) return ping()
    missed = 0
    if (pingInterval === pingTimeout) return ping()
    asked = false
    return pingInterval - pingTimeout
  }
}

/** So often in a timeout it is looked whether something happened: it ends a fourth too late at the most. */
const looks = 4

const idling = (engine: Engine, { idleTimeout }: Rhythm, clock: Clock.Clock) => {
  let activeAt = monotonic(clock)
  return (now: number): number | undefined => {
    if (!engine.isOpen) return undefined
    if (engine.isActive()) activeAt = now
    if (now - activeAt < idleTimeout) return idleTimeout / looks
    engine.sendClose(CloseCode.goingAway, "no message for too long")
    return undefined
  }
}

const stalling = (engine: Engine, { progressTimeout }: Rhythm, clock: Clock.Clock) => {
  let progress = 0
  let progressAt = monotonic(clock)
  return (now: number): number | undefined => {
    if (!engine.isOpen) return undefined
    if (!engine.out.full || engine.out.progress > progress) progressAt = now
    progress = engine.out.progress
    if (now - progressAt < progressTimeout) return progressTimeout / looks
    engine.giveUp(CloseCode.tryAgainLater, "too slow")
    return undefined
  }
}

const silent = (engine: Engine, count: number): IoError =>
  new IoError({
    operation: "read",
    code: "ETIMEDOUT",
    address: Flow.formatAddress(engine.flow.remoteAddress),
    cause: new Error(`nothing arrived after ${count} pings`)
  })
