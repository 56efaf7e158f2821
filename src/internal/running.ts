// From a finished opening handshake to a connection.

import type * as Headers from "@effect/platform/Headers"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import type * as Flow from "../Flow.js"
import type { MessageExtension } from "../protocol/extension.js"
import type { Role } from "../protocol/frame.js"
import { Rng } from "../Rng.js"
import { openDoor } from "./broadcastDoor.js"
import { type Driven, drive, type Observer } from "./driver.js"
import type { Ending } from "./engine.js"
import { codeOf } from "./errors.js"
import { headersIn } from "./headers.js"
import { type LatencyListener, type Rhythm, watch } from "./heartbeat.js"
import { logLife } from "./logs.js"
import { type ConnectionMeter, meters } from "./meters.js"
import { operations } from "./operations.js"
import { type ConnectionOptions, driverOptions, rhythm } from "./options.js"
import type { Timer } from "./timers.js"
import { connectionSpan } from "./tracing.js"

/** What the opening handshake led to. */
export interface Established {
  readonly role: Role
  readonly url: string
  /** Of a request the text of its head will do: most connections never ask for their headers. */
  readonly headers: Headers.Headers | string
  readonly subprotocol: string | undefined
  /** The peer's own address, which proxies in between may have told. */
  readonly remoteAddress: Flow.Address
  /** Whether the client connected by TLS, which proxies in between may have told. */
  readonly secure: boolean
}

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
  { headers, remoteAddress, role, secure, subprotocol, url }: Established,
  rhythm: Rhythm,
  address: string,
  span?: Tracer.Span,
  ended?: (ending: Ending | undefined) => void
) => {
  const { flow } = driven.engine
  const life = new Life(driven, rhythm, meters[role], ended)
  const operated = operations(driven, address)
  openDoor(operated.offer, driven)
  return {
    role,
    url,
    headers: typeof headers === "string" ? headersIn(headers) : headers,
    subprotocol,
    remoteAddress,
    localAddress: flow.localAddress,
    secure,
    span,
    latency: Effect.sync(() => Option.map(Option.fromNullable(life.latency), Duration.millis)),
    ...operated,
    ping: Effect.tap(operated.ping, (elapsed) => Effect.sync(() => meters[role].latency(Duration.toMillis(elapsed))))
  }
}

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
