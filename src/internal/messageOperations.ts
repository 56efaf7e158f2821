// A codec over anything that sends and receives messages.

import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type { DecodeError, EncodeError, MessageCodec } from "../MessageCodec.js"
import type { Message } from "../protocol/connection.js"
import { hasFailed, hasSucceeded } from "./messageEffect.js"

/** What is needed of a connection. */
export interface Connection<out E, out Sent> {
  readonly send: (message: Message) => Effect.Effect<Sent, E>
  readonly receive: Effect.Effect<Message, E>
  readonly messages: Stream.Stream<Message, E>
  readonly run: <E2, R2>(
    handler: (message: Message) => Effect.Effect<unknown, E2, R2>
  ) => Effect.Effect<void, E | E2, R2>
  readonly close: (code: number, reason: string) => Effect.Effect<void, unknown>
}

/** Values that were decoded, and what then could not be. */
interface Batch<In, E> {
  readonly values: Array<In>
  readonly failure: Effect.Effect<never, E> | undefined
}

/** What the peer is told: nothing of its message, and within the 123 bytes of a Close (RFC 6455 5.5.1). */
const reasons = {
  unsupported: "unsupported kind of message",
  malformed: "malformed message",
  mismatch: "unexpected message"
} as const

export const overConnection = <In, Out, RIn, ROut, DE extends DecodeError, E, Sent>(
  connection: Connection<E, Sent>,
  codec: MessageCodec<In, Out, RIn, ROut, DE>
) => {
  /** For all who receive, once a message could not be decoded. */
  let failure: Effect.Effect<never, DE> | undefined

  /** Taken by who was interrupted before it was decoded. */
  const returned: Array<Message> = []

  const undecodable = (error: DE): Effect.Effect<never, DE> => {
    const failed = Effect.fail(error)
    failure ??= failed
    return Effect.zipRight(Effect.ignore(connection.close(error.closeCode, reasons[error.reason])), failed)
  }

  /** The value of a message that was taken. */
  const decode = (message: Message): Effect.Effect<In, DE, RIn> => {
    if (failure !== undefined) return failure
    const decoding = codec.decode(message)
    if (hasSucceeded(decoding)) return decoding
    if (hasFailed(decoding)) return undecodable(decoding.left)
    return decoding.pipe(
      Effect.onInterrupt(() => Effect.sync(() => returned.unshift(message))),
      Effect.catchAll(undecodable)
    )
  }

  const receive = Effect.suspend((): Effect.Effect<In, DE | E, RIn> => {
    if (failure !== undefined) return failure
    const message = returned.shift()
    return message === undefined ? Effect.flatMap(connection.receive, decode) : decode(message)
  })

  const run = <E2, R2>(
    handler: (value: In) => Effect.Effect<unknown, E2, R2>
  ): Effect.Effect<void, DE | E | E2, RIn | R2> => {
    const handle = (message: Message): Effect.Effect<unknown, DE | E2, RIn | R2> => {
      const decoding = decode(message)
      return hasSucceeded(decoding) ? handler(decoding.right) : Effect.flatMap(decoding, handler)
    }
    ...
  }
