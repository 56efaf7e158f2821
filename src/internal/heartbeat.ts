// Pings to peers, and the end of those that stay silent or idle.

import type * as Clock from "effect/Clock"
import * as CloseCode from "../CloseCode.js"
import * as Flow from "../Flow.js"
import { IoError } from "../WebSocketError.js"
import type { Engine } from "./engine.js"
import { monotonic, Timer } from "./timers.js"

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

/** Watches a connection until what this answers is stopped; tells how long each pong took, in milliseconds. */
export const watch = (
  engine: Engine,
  rhythm: Rhythm,
  clock: Clock.Clock,
  listener: LatencyListener
): ReadonlyArray<Timer> => {
  const { pingInterval, idleTimeout, progressTimeout } = rhythm
  const pinging = new Pinging(clock, engine, rhythm, listener)
  pinging.begin(pingInterval)
  const idling = new Idling(clock, engine, rhythm)
  idling.begin(idleTimeout / looks)
  if (progressTimeout === never) return [pinging, idling]
  const stalling = new Stalling(clock, engine, rhythm)
  stalling.begin(progressTimeout / looks)
  return [pinging, idling, stalling]
}

const never = Number.POSITIVE_INFINITY

/** Who is told how long a pong took. */
export interface LatencyListener {
  onLatency(milliseconds: number): void
}

class Pinging extends Timer {
  private asked = false
  private missed = 0
  /** Pings that come faster than they may be answered: then it is the silence that counts. */
  private silence = 0
  private forget: (() => void) | undefined = undefined

  constructor(
    clock: Clock.Clock,
    private readonly engine: Engine,
    private readonly rhythm: Rhythm,
    private readonly listener: LatencyListener
  ) {
    super(clock)
  }

  look(): number | undefined {
    const { engine } = this
    const { maxMissedPongs, pingInterval, pingTimeout } = this.rhythm
    if (!engine.isOpen) return undefined
    const alive = engine.isAlive()
    if (pingInterval < pingTimeout) return this.pingOften(alive || !this.asked)
    if (!this.asked) return this.ping()
    if (!alive && ++this.missed > maxMissedPongs) {
      engine.abort(silent(engine, this.missed))
      return undefined
    }
    if (!alive) return this.ping()
    this.missed = 0
    if (pingInterval === pingTimeout) return this.ping()
    this.asked = false
    return pingInterval - pingTimeout
  }

  private pingOften(alive: boolean): number | undefined {
    const { maxMissedPongs, pingInterval, pingTimeout } = this.rhythm
    this.silence = alive ? 0 : this.silence + pingInterval
    if (this.silence >= (maxMissedPongs + 1) * pingTimeout) {
      this.engine.abort(silent(this.engine, Math.ceil(this.silence / pingInterval)))
      return undefined
    }
    this.ping()
    return pingInterval
  }

  private ping(): number {
    const sentAt = monotonic(this.clock)
    // A pong answers all pings before it: of those that were missed it would tell how long the peer was silent.
    this.forget?.()
    this.forget = this.engine.ping((answered) => {
      this.forget = undefined
      if (answered) this.listener.onLatency(monotonic(this.clock) - sentAt)
    })
    this.asked = true
    return this.rhythm.pingTimeout
  }
}

/** So often in a timeout it is looked whether something happened: it ends a fourth too late at the most. */
const looks = 4

class Idling extends Timer {
  private activeAt: number

  constructor(
    clock: Clock.Clock,
    private readonly engine: Engine,
    private readonly rhythm: Rhythm
  ) {
    super(clock)
    this.activeAt = monotonic(clock)
  }

  look(now: number): number | undefined {
    const { idleTimeout } = this.rhythm
    if (!this.engine.isOpen) return undefined
    if (this.engine.isActive()) this.activeAt = now
    if (now - this.activeAt < idleTimeout) return idleTimeout / looks
    this.engine.sendClose(CloseCode.goingAway, "no message for too long")
    return undefined
  }
}

class Stalling extends Timer {
  private progress = 0
  private progressAt: number

  constructor(
    clock: Clock.Clock,
    private readonly engine: Engine,
    private readonly rhythm: Rhythm
  ) {
    super(clock)
    this.progressAt = monotonic(clock)
  }

  look(now: number): number | undefined {
    const { progressTimeout } = this.rhythm
    const { out } = this.engine
    if (!this.engine.isOpen) return undefined
    if (!out.full || out.progress > this.progress) this.progressAt = now
    this.progress = out.progress
    if (now - this.progressAt < progressTimeout) return progressTimeout / looks
    this.engine.giveUp(CloseCode.tryAgainLater, "too slow")
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
