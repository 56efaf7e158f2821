// What an application does with a connection. `receive` and `send` complete without
// suspending where they can: a fiber waits once for each socket read, not for each message.

import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as CloseCode from "../CloseCode.js"
import type { Message } from "../protocol/connection.js"
import * as Wire from "../protocol/frame.js"
import type { Prepared } from "../protocol/prepared.js"
import type { Breach } from "../protocol/violation.js"
import type { ConnectionClosed, ProtocolError, WebSocketError } from "../WebSocketError.js"
import type { Driven } from "./driver.js"
import { endsWell } from "./endings.js"
import { closing, fromBreach, fromEnding } from "./errors.js"
import type { Reader } from "./readers.js"
import { receiver, sender } from "./streaming.js"

/** What became of a message: it was handed to the connection, or dropped since the peer is slow. */
export type Sent = "sent" | "dropped"

export interface SendOptions {
  /** Compress, or don't, whatever its size; where compression was negotiated. */
  readonly compress?: boolean | undefined
  /** False: never drop this message, whatever `slowConsumer` says. Default true. */
  readonly droppable?: boolean | undefined
}

const sent: Effect.Effect<Sent> = Effect.succeed("sent")
const dropped: Effect.Effect<Sent> = Effect.succeed("dropped")

// Most connections use few of these, and there may be very many: what is more than a closure is made when it is used.
export const operations = (driven: Driven, address: string) => {
  const { engine } = driven
  // One error value for all who ask, made when the first one does.
  let failure: Effect.Effect<never, WebSocketError> | undefined
  const fail = Effect.suspend((): Effect.Effect<never, WebSocketError> => {
    if (engine.ending === undefined) return Effect.fail(closing(engine.sentCode, address))
    failure ??= Effect.fail(fromEnding(engine.ending, address))
    return failure
  })

  /** Takes now if something is there, else waits for the next read and tries again. Interruption takes nothing. */
  const receiving = <A>(take: () => A | undefined): Effect.Effect<A, WebSocketError> => {
    const receive: Effect.Effect<A, WebSocketError> = Effect.suspend(() => {
      const taken = take()
      if (taken !== undefined) return Effect.succeed(taken)
      return engine.ending === undefined ? wait : fail
    })
    const wait = Effect.async<A, WebSocketError>((resume) => engine.whenReadable(thisFiber(), () => resume(receive)))
    return receive
  }

  const receive = receiving(() => engine.take())
  const receiveFrame = receiving(() => engine.takeFrame())
  const receiveAll = receiving(() => {
    const all = engine.takeAll()
    return all.length === 0 ? undefined : all
  })

  /** Sends now if nothing is in the way, else waits first: who is interrupted while waiting has sent nothing. */
  const sendingUnless = (waits: () => boolean) => {
    const sending = (queue: () => Breach | undefined): Effect.Effect<void, WebSocketError> =>
      Effect.suspend(() => {
        if (!engine.isOpen) return fail
        if (waits()) return Effect.zipRight(room, sending(queue))
        const breach = queue()
        return breach === undefined ? Effect.void : Effect.fail(fromBreach(breach, address))
      })
    return sending
  }
  const sending = sendingUnless(() => engine.out.busy)
  const room = Effect.async<void>((resume) => Effect.sync(engine.out.whenWritable(() => resume(Effect.void))))

  const sendNow = (
    message: Message | Prepared,
    options: SendOptions | undefined
  ): Effect.Effect<Sent, WebSocketError> => {
    if (!engine.isOpen) return fail
    const fate = engine.out.busy ? engine.out.decide(options?.droppable ?? true) : "send"
    if (fate === "drop") return dropped
    if (fate === "wait") return Effect.zipRight(room, send(message, options))
    const breach = engine.out.send(message, options?.compress, options?.droppable)
    return breach === undefined ? sent : Effect.fail(fromBreach(breach, address))
  }
  const send = (message: Message | Prepared, options?: SendOptions): Effect.Effect<Sent, WebSocketError> =>
    new Sending(sendNow, message, options)

  /** Never waits: what would have to is dropped. */
  const offer = (message: Message | Prepared, options?: SendOptions): Effect.Effect<Sent, WebSocketError> =>
    Effect.suspend(() => {
      if (!engine.isOpen) return fail
      const fate = engine.out.busy ? engine.out.decide(true) : "send"
      if (fate === "wait") engine.out.dropped++
      if (fate !== "send") return dropped
      const breach = engine.out.send(message, options?.compress, options?.droppable)
      return breach === undefined ? sent : Effect.fail(fromBreach(breach, address))
    })

  const sendAll = (messages: Iterable<Message | Prepared>): Effect.Effect<void, WebSocketError> =>
    Effect.suspend(() => {
      const iterator = messages[Symbol.iterator]()
      let next = iterator.next()
      return Effect.whileLoop({
        while: () => next.done !== true,
        // As many as there is room for in one step of the fiber.
        body: (): Effect.Effect<unknown, WebSocketError> => {
          if (!engine.isOpen) return fail
          while (next.done !== true) {
            const fate = engine.out.busy ? engine.out.decide(true) : "send"
            if (fate === "wait") return room
            const breach = fate === "send" ? engine.out.send(next.value) : undefined
            if (breach !== undefined) return Effect.fail(fromBreach(breach, address))
            next = iterator.next()
          }
          return Effect.void
        },
        step: constVoid
      })
    })

  /** Pings and pongs overtake what waits, and wait only for others of their kind. */
  const overtaking = sendingUnless(() => engine.out.flooded)

  const sendFrame = (frame: Wire.Frame) =>
    (Wire.isControl(frame.opcode) ? overtaking : sending)(() => engine.sendFrame(frame))

  const lent = {
    engine,
    receiving,
    fail,
    refuse: (breach: Breach) => Effect.fail(fromBreach(breach, address)),
    room,
    sending: sendingUnless(() => engine.out.full)
  }
  const sendPieces = sender(lent)

  const control = (opcode: Wire.OpcodeValue) => (payload?: string | Uint8Array) =>
    sendFrame({
      opcode,
      rsv: 0,
      fin: true,
      payload: typeof payload === "string" ? encode(payload) : (payload ?? empty)
    })

  const ping: Effect.Effect<Duration.Duration, WebSocketError> = Effect.flatMap(Clock.currentTimeNanos, (sentAt) => {
    const elapsed = Effect.map(Clock.currentTimeNanos, (now) => Duration.nanos(now - sentAt))
    return Effect.async<Duration.Duration, WebSocketError>((resume) =>
      Effect.sync(engine.ping((answered) => resume(answered ? elapsed : fail)))
    )
  })

  const close = (code: number = CloseCode.normal, reason = ""): Effect.Effect<void, ProtocolError> =>
    Effect.suspend(() => {
      const breach = engine.sendClose(code, reason)
      return breach === undefined ? driven.over : Effect.fail(fromBreach(breach, address))
    })

  const closed: Effect.Effect<ConnectionClosed, Exclude<WebSocketError, ConnectionClosed>> = Effect.suspend(() =>
    driven.over.pipe(Effect.zipRight(fail), Effect.catchTag("ConnectionClosed", Effect.succeed))
  )

  /** The end of the messages, for whoever takes them all: not an error if it was a clean one. */
  const endOfMessages = (error: WebSocketError): Option.Option<WebSocketError> =>
    endsWell(error) ? Option.none() : Option.some(error)

  const messages = Stream.suspend(() =>
    Stream.repeatEffectChunkOption(
      Effect.mapBoth(receiveAll, { onFailure: endOfMessages, onSuccess: Chunk.unsafeFromArray })
    )
  )

  const run = <E, R>(
    handler: (message: Message) => Effect.Effect<unknown, E, R>
  ): Effect.Effect<void, WebSocketError | E, R> =>
    Effect.suspend(() => {
      let over = false
      const end = Effect.catchAll(fail, (error) => {
        over = true
        return Option.match(endOfMessages(error), { onNone: () => Effect.void, onSome: Effect.fail })
      })
      /**
       * Handles messages as long as no fiber is needed for that; answers what one is needed for. What it is given to do
       * takes its message when it begins: whoever is interrupted before has taken nothing.
       */
      const withoutFiber = (): Effect.Effect<unknown, WebSocketError | E, R> | undefined => {
        for (let message = engine.peek(); message !== undefined; message = engine.peek()) {
          const handling = attempt(handler, message)
          if (!(handling instanceof Sending)) return taking(message, handling)
          engine.take()
          const outcome = handling.commit()
          if (outcome !== sent && outcome !== dropped) return outcome
        }
        return engine.readable ? Effect.void : undefined
      }
      const taking = (message: Message, handling: Effect.Effect<unknown, E, R>) =>
        Effect.suspend(() => {
          if (engine.peek() !== message) return Effect.void
          engine.take()
          return handling
        })
      const more = Effect.async<unknown, WebSocketError | E, R>((resume) => {
        const fiber = thisFiber()
        const wait = () =>
          engine.whenReadable(fiber, () => {
            const next = over ? Effect.void : withoutFiber()
            if (next === undefined) wait()
            else resume(next)
          })
        wait()
      })
      const loop = Effect.whileLoop({
        while: () => !over,
        body: (): Effect.Effect<unknown, WebSocketError | E, R> => {
          const message = engine.take()
          if (message !== undefined) return handler(message)
          return engine.ending === undefined ? more : end
        },
        step: constVoid
      })
      return Effect.ensuring(
        loop,
        Effect.sync(() => {
          over = true
        })
      )
    })

  return {
    isOpen: Effect.sync(() => engine.isOpen),
    bufferedBytes: Effect.sync(() => engine.out.buffered),
    receive,
    receiveAll,
    receiveFrame,
    receiveStream: Effect.suspend(() => receiver(lent)),
    messages,
    run,
    send,
    offer,
    dropped: Effect.sync(() => engine.out.dropped),
    sendText: (text: string) => send(text),
    sendBinary: (bytes: Uint8Array) => send(bytes),
    sendAll,
    sendTextStream: <E, R>(chunks: Stream.Stream<string, E, R>) => sendPieces(Wire.text, chunks),
    sendBinaryStream: <E, R>(chunks: Stream.Stream<Uint8Array, E, R>) => sendPieces(Wire.binary, chunks),
    ping,
    sendPing: control(Wire.ping),
    sendPong: control(Wire.pong),
    sendFrame,
    sink: Sink.suspend(() => Sink.forEachChunk(sendAll)),
    close,
    closed
  }
}

/** A message to be sent. It is known by its class to `run`, which needs no fiber for it as long as it needn't wait. */
class Sending extends Effectable.Class<Sent, WebSocketError> {
  constructor(
    private readonly send: (
      message: Message | Prepared,
      options: SendOptions | undefined
    ) => Effect.Effect<Sent, WebSocketError>,
    private readonly message: Message | Prepared,
    private readonly options: SendOptions | undefined
  ) {
    super()
  }

  commit(): Effect.Effect<Sent, WebSocketError> {
    return this.send(this.message, this.options)
  }
}

const attempt = <E, R>(
  handler: (message: Message) => Effect.Effect<unknown, E, R>,
  message: Message
): Effect.Effect<unknown, E, R> => {
  try {
    return handler(message)
  } catch (defect) {
    return Effect.die(defect)
  }
}

/** The fiber that this is called in. Nothing else waits here. */
const thisFiber = (): Reader => Option.getOrThrow(Fiber.getCurrentFiber())

const empty = new Uint8Array(0)
const encoder = new TextEncoder()
const encode = (text: string) => encoder.encode(text)
