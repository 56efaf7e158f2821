// A message to be sent, as an effect that `run` can carry out by itself.

import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type { Message } from "../protocol/connection.js"
import type { Prepared } from "../protocol/prepared.js"
import type { WebSocketError } from "../WebSocketError.js"

/** What became of a message: it was handed to the connection, or dropped since the peer is slow. */
export type Sent = "sent" | "dropped"

export interface SendOptions {
  /** Compress, or don't, whatever its size; where compression was negotiated. */
  readonly compress?: boolean | undefined
  /** False: never drop this message, whatever `slowConsumer` says. Default true. */
  readonly droppable?: boolean | undefined
}

export const sent: Effect.Effect<Sent> = Effect.succeed("sent")
export const dropped: Effect.Effect<Sent> = Effect.succeed("dropped")

interface Sender {
  sendNow(message: Message | Prepared, options: SendOptions | undefined): Effect.Effect<Sent, WebSocketError>
}

/** It is known by its class to whoever needs no fiber for it, as long as it needn't wait. */
export class Sending extends Effectable.Class<Sent, WebSocketError> {
  constructor(
    private readonly sender: Sender,
    private readonly message: Message | Prepared,
    private readonly options: SendOptions | undefined
  ) {
    super()
  }

  commit(): Effect.Effect<Sent, WebSocketError> {
    return this.sender.sendNow(this.message, this.options)
  }
}
