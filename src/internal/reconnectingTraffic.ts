// What goes over one connection after the other: who sends waits for the one that carries
// traffic, and who receives finishes one before it turns to the next.

import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CloseCode from "../CloseCode.js"
import type { Message } from "../protocol/connection.js"
import type { WebSocket } from "../WebSocket.js"
import { ConnectionClosed, type WebSocketError } from "../WebSocketError.js"

/** One connection, from when it carries traffic until all that it brought is taken. */
export interface Epoch {
  readonly socket: WebSocket
  /** Done when it carries no traffic any more. */
  readonly over: Deferred.Deferred<void>
  /** From then on: what was received and not taken. */
  rest: Array<Message> | undefined
}

// What a message costs beyond its content, so that empty ones count too.
const messageOverhead = 32

export class Traffic<E> {
  private live: Epoch | undefined = undefined
  /** Connections that messages are still to be taken of, oldest first; one that is live is the last. */
  private readonly unread: Array<Epoch> = []
  private next: Deferred.Deferred<Epoch, E | WebSocketError> = Deferred.unsafeMake(FiberId.none)
  private readonly final: Deferred.Deferred<never, E | WebSocketError> = Deferred.unsafeMake(FiberId.none)
  private onTaken = () => {}

  // ---------------------------------------------------------- for the supervisor

  begin(socket: WebSocket): Epoch {
    const epoch: Epoch = { socket, over: Deferred.unsafeMake(FiberId.none), rest: undefined }
    this.live = epoch
    this.unread.push(epoch)
    Deferred.unsafeDone(this.next, Effect.succeed(epoch))
    return epoch
  }

  /** The connection is over; `rest` is what it brought and nobody took. */
  retire(epoch: Epoch, rest: Array<Message>): void {
    epoch.rest = rest
    if (rest.length === 0) this.finished(epoch)
    this.live = undefined
    this.next = Deferred.unsafeMake(FiberId.none)
    Deferred.unsafeDone(epoch.over, Effect.void)
  }

  /** No connection will follow. */
  end(ended: Effect.Effect<never, E | WebSocketError>): void {
    Deferred.unsafeDone(this.next, ended)
    Deferred.unsafeDone(this.final, ended)
  }

  /** Waits while what earlier connections brought, and nobody took, is this many bytes or more. */
  room(limit: number): Effect.Effect<void> {
    return Effect.async((resume) => {
      this.onTaken = () => {
        if (this.backlog < limit) resume(Effect.void)
      }
      this.onTaken()
    })
  }

  private get backlog(): number {
    let bytes = 0
    for (const { rest = [] } of this.unread) {
      for (const message of rest) bytes += message.length + messageOverhead
    }
    return bytes
  }

  // ------------------------------------------------------- for the application

  /** The connection that carries traffic; waits until there is one. */
  readonly current: Effect.Effect<Epoch, E | WebSocketError> = Effect.suspend(() =>
    this.live === undefined ? Deferred.await(this.next) : Effect.succeed(this.live)
  )

  /** Waits until no connection will follow, and fails with the reason. */
  readonly ended: Effect.Effect<never, E | WebSocketError> = Deferred.await(this.final)

  /** Whether a connection carries traffic now, and which. */
  get now(): Epoch | undefined {
    return this.live
  }

  /** Sends on the connection that carries traffic. One that is closing takes nothing: then on the next. */
  readonly send = (message: Message): Effect.Effect<void, E | WebSocketError> =>
    Effect.flatMap(this.current, ({ over, socket }) =>
      Effect.catchAll(socket.send(message), (error) =>
        isOurs(error) ? Effect.fail(error) : Effect.zipRight(Deferred.await(over), this.send(message))
      )
    )

  /** Takes from the oldest connection that has something, or waits for the one that is live, or for the next. */
  private readonly taking = <A>(
    take: (socket: WebSocket) => Effect.Effect<A, WebSocketError>,
    takeRest: (rest: Array<Message>) => A | undefined
  ): Effect.Effect<readonly [A, WebSocket], E | WebSocketError> => {
    const step: Effect.Effect<readonly [A, WebSocket], E | WebSocketError> = Effect.suspend(() => {
      const epoch = this.unread[0]
      if (epoch === undefined) return Effect.zipRight(this.current, step)
      const { over, rest, socket } = epoch
      if (rest === undefined) {
        return Effect.matchEffect(take(socket), {
          onFailure: () => Effect.zipRight(Deferred.await(over), step),
          onSuccess: (taken) => Effect.succeed([taken, socket] as const)
        })
      }
      const taken = takeRest(rest)
      if (rest.length === 0) this.finished(epoch)
      this.onTaken()
      return taken === undefined ? step : Effect.succeed([taken, socket] as const)
    })
    return step
  }

  private finished(epoch: Epoch): void {
    const index = this.unread.indexOf(epoch)
    if (index >= 0) this.unread.splice(index, 1)
  }

  readonly received = this.taking<Message>(
    (socket) => socket.receive,
    (rest) => rest.shift()
  )

  readonly messages: Stream.Stream<Message, E | WebSocketError> = Stream.repeatEffectChunkOption(
    Effect.mapBoth(
      this.taking<Array<Message>>(
        (socket) => socket.receiveAll,
        (rest) => rest.splice(0)
      ),
      {
        onFailure: (error) => (isGoodEnd(error) ? Option.none() : Option.some(error)),
        onSuccess: ([taken]) => Chunk.unsafeFromArray(taken)
      }
    )
  )

  readonly run = <E2, R2>(
    handler: (message: Message, socket: WebSocket) => Effect.Effect<unknown, E2, R2>
  ): Effect.Effect<void, E | WebSocketError | E2, R2> => {
    const loop: Effect.Effect<void, E | WebSocketError | E2, R2> = Effect.matchEffect(this.received, {
      onFailure: (error) => (isGoodEnd(error) ? Effect.void : Effect.fail(error)),
      onSuccess: ([message, socket]) => Effect.zipRight(handler(message, socket), loop)
    })
    return loop
  }
}

/** What says nothing about the connection: the caller asked for something that must not be sent. */
export const isOurs = (error: WebSocketError): boolean => error._tag === "ProtocolError" && error.side === "local"

/** The end of the messages is one that a stream of them ends with, as that of a single connection does. */
const isGoodEnd = (error: unknown): boolean => error instanceof ConnectionClosed && CloseCode.isClean(error.code)
