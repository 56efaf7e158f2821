// From a finished opening handshake to a connection.

import type * as Headers from "@effect/platform/Headers"
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import type * as Flow from "../Flow.js"
import type { MessageExtension } from "../protocol/extension.js"
import { Rng } from "../Rng.js"
import { type Driven, drive, type Observer } from "./driver.js"
import type { Ending } from "./engine.js"
import { codeOf } from "./errors.js"
import { type LatencyListener, type Rhythm, watch } from "./heartbeat.js"
import { logLife } from "./logs.js"
import { type ConnectionMeter, meters } from "./meters.js"
import { Operations } from "./operations.js"
import { type ConnectionOptions, driverOptions, rhythm } from "./options.js"
import { type Established, Socket } from "./socket.js"
import type { Timer } from "./timers.js"
import { connectionSpan } from "./tracing.js"

/** A connection and all that goes with it, as long as it is open. */
class Life implements Observer, LatencyListener {
  latency: number | undefined = undefined
  private readonly watching: ReadonlyArray<Timer>

  constructor(
    private readonly driven: Driven,
    rhythm: Rhythm,
    private readonly meter: ConnectionMeter,
    private readonly ended: ((ending: Ending | undefined) => void) | undefined
  ) {
    meter.opened()
    this.watching = watch(driven.engine, rhythm, driven.clock, this)
    driven.onOver(this)
  }

  onLatency(milliseconds: number): void {
    this.latency = milliseconds
    this.meter.latency(milliseconds)
  }

  over(): void {
    const { ending } = this.driven.engine
    for (const timer of this.watching) timer.stop()
    this.meter.closed(codeOf(ending))
    this.ended?.(ending)
  }
}

/** A connection that runs, as an application gets it; `ended` is told how it ended. */
export const connected = (
  driven: Driven,
  established: Established,
  rhythm: Rhythm,
  address: string,
  span?: Tracer.Span,
  ended?: (ending: Ending | undefined) => void
): Socket =>
  new Socket(
    established,
    new Operations(driven, address),
    new Life(driven, rhythm, meters[established.role], ended),
    span
  )

/** Where a connection comes from, and what goes on with it. */
interface Opening extends Omit<Established, "headers" | "remoteAddress" | "secure"> {
  readonly headers: Headers.Headers
  readonly remoteAddress?: Flow.Address | undefined
  readonly secure?: boolean | undefined
  readonly flow: Flow.Flow
  readonly rest: Uint8Array
  readonly extension: MessageExtension | undefined
  /** How errors call the peer. */
  readonly address: string
}

/** Runs the connection in the scope; `opened` is told of it first. */
export const runConnection = (opening: Opening, options: ConnectionOptions, opened?: (driven: Driven) => void) =>
  Effect.gen(function* () {
    const { role, flow, rest, url, subprotocol, extension } = opening
    const { remoteAddress = flow.remoteAddress, secure = flow.secure } = opening
    const traced = yield* connectionSpan(opening, subprotocol)
    const span = traced?.span
    const driven = yield* drive(flow, rest, driverOptions(role, yield* Rng, extension, options))
    opened?.(driven)
    const logEnd = yield* logLife({ role, url, remoteAddress, span })
    const established = { ...opening, remoteAddress, secure }
    return connected(driven, established, rhythm(role, options), opening.address, span, (ending) => {
      logEnd(ending)
      traced?.end(ending)
    })
  }).pipe(Effect.uninterruptible)
