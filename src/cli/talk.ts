// What `connect` talks to: one connection, or one that is made again when it is lost.

import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Network } from "../Network.js"
import * as ReconnectingWebSocket from "../ReconnectingWebSocket.js"
import type * as WebSocket from "../WebSocket.js"
import type { ConnectionClosed, ProtocolError } from "../WebSocketError.js"
import { type Failure, isFailure } from "./format.js"
import type { OutputClosed } from "./terminal.js"

export type Opening = Effect.Effect<WebSocket.WebSocket, Failure | OutputClosed, Network | Scope.Scope>

export interface Talk {
  readonly send: (message: WebSocket.Message) => Effect.Effect<unknown, Failure | OutputClosed>
  readonly ping: Effect.Effect<Duration.Duration, Failure | OutputClosed>
  /** Begins the end, and `messages` end with it. */
  readonly close: (code?: number, reason?: string) => Effect.Effect<unknown, ProtocolError>
  readonly messages: Stream.Stream<WebSocket.Message, Failure | OutputClosed>
  /** After `messages`: how it was closed, if there was something to close. */
  readonly closed: Effect.Effect<ConnectionClosed | undefined, Failure>
}

export const once = (opening: Opening): Effect.Effect<Talk, Failure | OutputClosed, Network | Scope.Scope> => opening

export const again = (
  opening: Opening,
  waiting: (delay: Duration.Duration, error: Failure) => Effect.Effect<void, OutputClosed>
): Effect.Effect<Talk, never, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const left = yield* Deferred.make<void>()
    const { connection, messages, send, state } = yield* ReconnectingWebSocket.make(opening)
    yield* state.changes.pipe(
      Stream.runForEach((now) =>
        now._tag === "Waiting" && isFailure(now.error) ? waiting(now.delay, now.error) : Effect.void
      ),
      Effect.ignore,
      Effect.forkScoped
    )
    return {
      send,
      ping: Effect.flatMap(connection, (socket) => socket.ping),
      // Without a connection nobody has to be told, and none is to be waited for.
      close: (code, reason) =>
        Effect.flatMap(state.get, (now) =>
          now._tag === "Connected" ? now.socket.close(code, reason) : Deferred.succeed(left, undefined)
        ),
      messages: Stream.interruptWhenDeferred(messages, left),
      closed: Effect.map(state.get, (now) => {
        const failure = now._tag === "Ended" ? Option.getOrUndefined(Cause.failureOption(now.cause)) : undefined
        return failure?._tag === "ConnectionClosed" ? failure : undefined
      })
    }
  })
