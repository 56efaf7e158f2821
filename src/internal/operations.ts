// What an application does with a connection. `receive` and `send` complete without
// suspending where they can: a fiber waits once for each socket read, not for each message.

import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Message } from "../protocol/connection.js"
import * as Wire from "../protocol/frame.js"
import type { Prepared } from "../protocol/prepared.js"
import type { Breach } from "../protocol/violation.js"
import type { ConnectionClosed, ProtocolError, WebSocketError } from "../WebSocketError.js"
import type { Driven } from "./driver.js"
import { endsWell } from "./endings.js"
import type { Engine } from "./engine.js"
import { closing, fromBreach, fromEnding } from "./errors.js"
import type { Reader } from "./readers.js"
import { run } from "./run.js"
import { dropped, Sending, type SendOptions, type Sent, sent } from "./sending.js"
import type { Lent } from "./streaming.js"

/** One connection's operations. Sockets (socket.ts) hand them out as members that need no `this`. */
export class Operations {
  readonly engine: Engine
  // One error value for all who ask, made when the first one does.
  private failure: Effect.Effect<never, WebSocketError> | undefined = undefined

  constructor(
    readonly driven: Driven,
    private readonly address: string
  ) {
    this.engine = driven.engine
  }

  get fail(): Effect.Effect<never, WebSocketError> {
    return Effect.suspend(() => this.failNow())
  }

  private failNow(): Effect.Effect<never, WebSocketError> {
    const { ending, sentCode } = this.engine
    if (ending === undefined) return Effect.fail(closing(sentCode, this.address))
    this.failure ??= Effect.fail(fromEnding(ending, this.address))
    return this.failure
  }

  private refuse(breach: Breach): Effect.Effect<never, WebSocketError> {
    return Effect.fail(fromBreach(breach, this.address))
  }

  /** Takes now if something is there, else waits for the next read and tries again. Interruption takes nothing. */
  receiving<A>(take: () => A | undefined): Effect.Effect<A, WebSocketError> {
    const { engine } = this
    const receive: Effect.Effect<A, WebSocketError> = Effect.suspend(() => {
      const taken = take()
      if (taken !== undefined) return Effect.succeed(taken)
      return engine.ending === undefined ? wait : this.failNow()
    })
    const wait = Effect.async<A, WebSocketError>((resume) => engine.whenReadable(thisFiber(), () => resume(receive)))
    return receive
  }

  receiveAll(): Effect.Effect<Array<Message>, WebSocketError> {
    return this.receiving(() => {
      const all = this.engine.takeAll()
      return all.length === 0 ? undefined : all
    })
  }

  /** Sends now if nothing is in the way, else waits first: who is interrupted while waiting has sent nothing. */
  private sendingUnless(waits: () => boolean, queue: () => Breach | undefined): Effect.Effect<void, WebSocketError> {
    return Effect.suspend(() => {
      if (!this.engine.isOpen) return this.failNow()
      if (waits()) return Effect.zipRight(this.room, this.sendingUnless(waits, queue))
      const breach = queue()
      return breach === undefined ? Effect.void : this.refuse(breach)
    })
  }

  /** What messages in pieces are made with. */
  get lent(): Lent {
    const { engine, fail, room } = this
    return {
      engine,
      fail,
      room,
      receiving: (take) => this.receiving(take),
      refuse: (breach) => this.refuse(breach),
      sending: (queue) => this.sendingUnless(() => engine.out.full, queue)
    }
  }

  get room(): Effect.Effect<void> {
    return Effect.async<void>((resume) => Effect.sync(this.engine.out.whenWritable(() => resume(Effect.void))))
  }

  sendNow(message: Message | Prepared, options: SendOptions | undefined): Effect.Effect<Sent, WebSocketError> {
    const { engine } = this
    if (!engine.isOpen) return this.failNow()
    const fate = engine.out.busy ? engine.out.decide(options?.droppable ?? true) : "send"
    if (fate === "drop") return dropped
    if (fate === "wait") return Effect.zipRight(this.room, this.send(message, options))
    const breach = engine.out.send(message, options?.compress, options?.droppable)
    return breach === undefined ? sent : this.refuse(breach)
  }

  send(message: Message | Prepared, options?: SendOptions): Effect.Effect<Sent, WebSocketError> {
    return new Sending(this, message, options)
  }

  /** Never waits: what would have to is dropped. */
  offer(message: Message | Prepared, options?: SendOptions): Effect.Effect<Sent, WebSocketError> {
    return Effect.suspend(() => {
      const { engine } = this
      if (!engine.isOpen) return this.failNow()
      const fate = engine.out.busy ? engine.out.decide(true) : "send"
      if (fate === "wait") engine.out.dropped++
      if (fate !== "send") return dropped
      const breach = engine.out.send(message, options?.compress, options?.droppable)
      return breach === undefined ? sent : this.refuse(breach)
    })
  }

  sendAll(messages: Iterable<Message | Prepared>): Effect.Effect<void, WebSocketError> {
    return Effect.suspend(() => {
      const iterator = messages[Symbol.iterator]()
      return this.sendRest(iterator, iterator.next())
    })
  }

  /** As many as there is room for in one step of the fiber, then the others. */
  private sendRest(
    iterator: Iterator<Message | Prepared>,
    first: IteratorResult<Message | Prepared>
  ): Effect.Effect<void, WebSocketError> {
    const { engine } = this
    let next = first
    if (next.done !== true && !engine.isOpen) return this.failNow()
    while (next.done !== true) {
      const fate = engine.out.busy ? engine.out.decide(true) : "send"
      if (fate === "wait") {
        const rest = next
        return Effect.zipRight(
          this.room,
          Effect.suspend(() => this.sendRest(iterator, rest))
        )
      }
      const breach = fate === "send" ? engine.out.send(next.value) : undefined
      if (breach !== undefined) return this.refuse(breach)
      next = iterator.next()
    }
    return Effect.void
  }

  sendFrame(frame: Wire.Frame): Effect.Effect<void, WebSocketError> {
    const { engine } = this
    // Pings and pongs overtake what waits, and wait only for others of their kind.
    const waits = Wire.isControl(frame.opcode) ? () => engine.out.flooded : () => engine.out.busy
    return this.sendingUnless(waits, () => engine.sendFrame(frame))
  }

  control(opcode: Wire.OpcodeValue, payload: string | Uint8Array | undefined): Effect.Effect<void, WebSocketError> {
    return this.sendFrame({
      opcode,
      rsv: 0,
      fin: true,
      payload: typeof payload === "string" ? encode(payload) : (payload ?? empty)
    })
  }

  get ping(): Effect.Effect<Duration.Duration, WebSocketError> {
    return Effect.flatMap(Clock.currentTimeNanos, (sentAt) => {
      const elapsed = Effect.map(Clock.currentTimeNanos, (now) => Duration.nanos(now - sentAt))
      return Effect.async<Duration.Duration, WebSocketError>((resume) =>
        Effect.sync(this.engine.ping((answered) => resume(answered ? elapsed : this.fail)))
      )
    })
  }

  close(code: number, reason: string): Effect.Effect<void, ProtocolError> {
    return Effect.suspend(() => {
      const breach = this.engine.sendClose(code, reason)
      return breach === undefined ? this.driven.over : Effect.fail(fromBreach(breach, this.address))
    })
  }

  get closed(): Effect.Effect<ConnectionClosed, Exclude<WebSocketError, ConnectionClosed>> {
    return Effect.suspend(() =>
      this.driven.over.pipe(Effect.zipRight(this.fail), Effect.catchTag("ConnectionClosed", Effect.succeed))
    )
  }

  get messages(): Stream.Stream<Message, WebSocketError> {
    return Stream.suspend(() =>
      Stream.repeatEffectChunkOption(
        Effect.mapBoth(this.receiveAll(), { onFailure: endOfMessages, onSuccess: Chunk.unsafeFromArray })
      )
    )
  }

  run<E, R>(handler: (message: Message) => Effect.Effect<unknown, E, R>): Effect.Effect<void, WebSocketError | E, R> {
    return run(this.engine, handler, this.fail)
  }
}

/** The end of the messages, for whoever takes them all: not an error if it was a clean one. */
const endOfMessages = (error: WebSocketError): Option.Option<WebSocketError> =>
  endsWell(error) ? Option.none() : Option.some(error)

/** The fiber that this is called in. Nothing else waits here. */
const thisFiber = (): Reader => Option.getOrThrow(Fiber.getCurrentFiber())

const empty = new Uint8Array(0)
const encoder = new TextEncoder()
const encode = (text: string) => encoder.encode(text)
