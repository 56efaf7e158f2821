// From a finished opening handshake to a connection.

import type * as Headers from "@effect/platform/Headers"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Flow from "../Flow.js"
import type { MessageExtension } from "../protocol/extension.js"
import type { Role } from "../protocol/frame.js"
import { Rng } from "../Rng.js"
import { drive } from "./driver.js"
import * as Heartbeat from "./heartbeat.js"
import { operations } from "./operations.js"
import { type ConnectionOptions, defaultMaxMissedPongs, driverOptions } from "./options.js"

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
}

/** A heartbeat as the options want it, or none. */
export const heartbeat = (
  options: ConnectionOptions
): Effect.Effect<Heartbeat.Heartbeat | undefined, never, Scope.Scope> =>
  options.pingInterval === undefined
    ? Effect.succeed(undefined)
    : Heartbeat.make(Duration.decode(options.pingInterval), options.maxMissedPongs ?? defaultMaxMissedPongs)

/** Runs the connection in the scope. Without a `beating` of the caller's it has a heartbeat of its own. */
export const runConnection = (
  established: Established,
  options: ConnectionOptions,
  beating: Effect.Effect<Heartbeat.Heartbeat | undefined, never, Scope.Scope> = heartbeat(options)
) =>
  Effect.gen(function* () {
    const { role, flow, rest, url, headers, subprotocol, extension, address } = established
    const heart = yield* beating
    const driven = yield* drive(flow, rest, driverOptions(role, yield* Rng, extension, options))
    if (heart !== undefined) yield* heart.watch(driven.engine)
    return {
      role,
      url,
      headers,
      subprotocol,
      remoteAddress: flow.remoteAddress,
      localAddress: flow.localAddress,
      secure: flow.secure,
      ...operations(driven, address)
    }
  })
