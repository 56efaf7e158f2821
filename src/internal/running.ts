// From a finished opening handshake to a connection.

import type * as Headers from "@effect/platform/Headers"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Flow from "../Flow.js"
import type { MessageExtension } from "../protocol/extension.js"
import type { Role } from "../protocol/frame.js"
import { Rng } from "../Rng.js"
import { openDoor } from "./broadcastDoor.js"
import { type Driven, drive } from "./driver.js"
import { codeOf } from "./errors.js"
import { watch } from "./heartbeat.js"
import { logLife } from "./logs.js"
import { meters } from "./meters.js"
import { operations } from "./operations.js"
import { type ConnectionOptions, driverOptions, rhythm } from "./options.js"
import { connectionSpan } from "./tracing.js"

/** What the opening handshake led to. */
export interface Established {
  readonly role: Role
  readonly flow: Flow.Flow
  readonly rest: Uint8Array
  readonly url: string
  readonly headers: Headers.Headers
  readonly subprotocol: string | undefined
  readonly extension: MessageExtension | undefined
  /** How errors call the peer. */
  readonly address: string
  /** The peer's own address, where proxies in between have told it. */
  readonly remoteAddress?: Flow.Address | undefined
  /** Whether the client connected by TLS, where proxies in between have told it. */
  readonly secure?: boolean | undefined
}

/** Runs the connection in the scope; `opened` is told of it first. */
export const runConnection = (
  established: Established,
  options: ConnectionOptions,
  opened?: (driven: Driven) => void
) =>
  Effect.gen(function* () {
    const { role, flow, rest, url, headers, subprotocol, extension, address } = established
    const meter = meters[role]
    const remoteAddress = established.remoteAddress ?? flow.remoteAddress
    const traced = yield* connectionSpan(established, subprotocol)
    const span = traced?.span
    const driven = yield* drive(flow, rest, driverOptions(role, yield* Rng, extension, options))
    const { engine } = driven
    opened?.(driven)
    meter.opened()
    const logEnd = yield* logLife({ role, url, remoteAddress, span })
    let latency: number | undefined
    const watching = watch(engine, rhythm(role, options), driven.clock, {
      onLatency: (milliseconds) => {
        latency = milliseconds
        meter.latency(milliseconds)
      }
    })
    driven.onOver({
      over: () => {
        for (const timer of watching) timer.stop()
        meter.closed(codeOf(engine.ending))
        logEnd(engine.ending)
        traced?.end(engine.ending)
      }
    })
    const operated = operations(driven, address)
    openDoor(operated.offer, driven)
    return {
      role,
      url,
      headers,
      subprotocol,
      remoteAddress,
      localAddress: flow.localAddress,
      secure: established.secure ?? flow.secure,
      span,
      latency: Effect.sync(() => Option.map(Option.fromNullable(latency), Duration.millis)),
      ...operated,
      ping: Effect.tap(operated.ping, (elapsed) => Effect.sync(() => meter.latency(Duration.toMillis(elapsed))))
    }
  }).pipe(Effect.uninterruptible)
