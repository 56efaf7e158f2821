// Messages that wait for a connection, bounded. Plain synchronous steps; whoever sends
// them takes one at a time, and tells whether it was sent.

import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Message } from "../protocol/connection.js"
import { defaultCloseTimeout } from "./options.js"
import { isOurs, type Traffic } from "./reconnectingTraffic.js"

export type Strategy = "suspend" | "dropping" | "sliding"

interface Sender {
  readonly message: Message
  readonly kept: () => void
  readonly over: () => void
}

export class Outbox {
  private readonly messages: Array<Message> = []
  private readonly senders: Array<Sender> = []
  private taken = false
  private over = false
  private onFilled = () => {}
  private onEmptied = () => {}

  constructor(
    private readonly capacity: number,
    private readonly strategy: Strategy
  ) {}

  /** Keeps a message behind those that are there. Once nothing is taken any more, it does what `ended` says. */
  offer<E>(message: Message, ended: Effect.Effect<never, E>): Effect.Effect<"kept" | "dropped", E> {
    return Effect.suspend((): Effect.Effect<"kept" | "dropped", E> => {
      if (this.over) return ended
      if (this.messages.length < this.capacity) {
        this.push(message)
        return Effect.succeed("kept")
      }
      if (this.strategy === "suspend") return this.wait(message, ended)
      if (this.strategy === "sliding") {
        this.messages.shift()
        this.push(message)
      }
      return Effect.succeed("dropped")
    })
  }

  private wait<E>(message: Message, ended: Effect.Effect<never, E>): Effect.Effect<"kept", E> {
    return Effect.async((resume) => {
      const sender: Sender = {
        message,
        kept: () => resume(Effect.succeed("kept")),
        over: () => resume(ended)
      }
      this.senders.push(sender)
      return Effect.sync(() => {
        const index = this.senders.indexOf(sender)
        if (index >= 0) this.senders.splice(index, 1)
      })
    })
  }

  private push(message: Message): void {
    this.messages.push(message)
    this.onFilled()
  }

  /** Waits until there is something to take. */
  readonly filled: Effect.Effect<void> = Effect.async((resume) => {
    this.onFilled = () => resume(Effect.void)
    if (this.messages.length > 0) this.onFilled()
  })

  /** Waits until all is sent. */
  readonly emptied: Effect.Effect<void> = Effect.async((resume) => {
    this.onEmptied = () => resume(Effect.void)
    this.tellIfEmpty()
  })

  private tellIfEmpty(): void {
    if (!this.taken && this.messages.length === 0) this.onEmptied()
  }

  /** The oldest message. The sender that waited longest moves up. */
  take(): Message | undefined {
    const message = this.messages.shift()
    if (message === undefined) return undefined
    this.taken = true
    const sender = this.messages.length < this.capacity ? this.senders.shift() : undefined
    if (sender !== undefined) {
      this.messages.push(sender.message)
      sender.kept()
    }
    return message
  }

  /** What was taken was sent. */
  sent(): void {
    this.taken = false
    this.tellIfEmpty()
  }

  /** What was taken could not be sent, and comes first again: it may be one more than the capacity. */
  putBack(message: Message): void {
    this.taken = false
    this.messages.unshift(message)
  }

  /** Nothing will be taken any more. */
  end(): void {
    this.over = true
    this.messages.length = 0
    for (const sender of this.senders.splice(0)) sender.over()
  }
}

/**
 * Sends what an outbox keeps until the scope closes. If that is left with success, what is
 * kept goes before the Close: for as long as there is a connection, and a bounded time.
 */
export const sendFrom = <E>(outbox: Outbox, traffic: Traffic<E>): Effect.Effect<void, never, Scope.Scope> => {
  const sendOne = Effect.gen(function* () {
    yield* outbox.filled
    const { over, socket } = yield* traffic.current
    // Only now, so that until then it can give way to a newer one.
    const message = outbox.take()
    if (message === undefined) return
    yield* Effect.matchEffect(socket.send(message), {
      onSuccess: () => Effect.sync(() => outbox.sent()),
      onFailure: (error) => {
        if (isOurs(error)) {
          outbox.sent()
          return Effect.logWarning(`a message of the outbox was dropped: ${error.message}`)
        }
        outbox.putBack(message)
        return Deferred.await(over)
      }
    })
  })
  return Effect.gen(function* () {
    yield* Effect.forever(sendOne).pipe(
      Effect.catchAllCause(() => Effect.void),
      Effect.ensuring(Effect.sync(() => outbox.end())),
      Effect.forkScoped
    )
    yield* Effect.addFinalizer((exit) => {
      const epoch = traffic.now
      if (epoch === undefined || Exit.isFailure(exit)) return Effect.void
      return outbox.emptied.pipe(
        Effect.raceFirst(Deferred.await(epoch.over)),
        Effect.timeoutOption(defaultCloseTimeout),
        Effect.interruptible
      )
    })
  })
}
