/**
 * A connection of values: a {@link MessageCodec} over a {@link WebSocket.WebSocket}, in either
 * role, or over one that reconnects.
 *
 * It adds nothing to the connection but the codec: values come in order, each once, with
 * backpressure and in the batches that the messages came in, and where the schema is synchronous
 * no fiber is woken more often than without it. What the schema needs of the context is needed by
 * the operations that use it. The connection lives and ends as without it.
 *
 * A message that can't be decoded ends the connection: it is closed with 1003 or 1007, and a
 * reason that holds nothing of the message. Values that came before are delivered first; then, as
 * soon as the closing handshake is over, `receive` and the like fail with the `DecodeError`, and
 * go on to. Over `MessageCodec.either` such messages are values, and nothing is closed.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { MessageCodec, TypedWebSocket, WebSocketServer } from "effect-websocket"
 *
 * const Say = Schema.TaggedStruct("Say", { text: Schema.String })
 * const Said = Schema.TaggedStruct("Said", { text: Schema.String, at: Schema.DateFromNumber })
 *
 * const chat = MessageCodec.json({ incoming: Say, outgoing: Said })
 *
 * const Chat = WebSocketServer.serve((socket) => {
 *   const typed = TypedWebSocket.make(socket, chat)
 *   return typed.run(({ text }) => typed.send({ _tag: "Said", text, at: new Date() }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { constVoid, dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { collect, hasFailed, hasSucceeded } from "./internal/messageEffect.js"
import type { DecodeError, EncodeError, MessageCodec } from "./MessageCodec.js"
import type * as ReconnectingWebSocket from "./ReconnectingWebSocket.js"
import type * as WebSocket from "./WebSocket.js"
import type { ProtocolError, WebSocketError } from "./WebSocketError.js"

/**
 * A connection that receives `In` and sends `Out`.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedWebSocket<out In, in Out, out RIn = never, out ROut = never, out E = DecodeError> {
  /** The connection itself, for all that isn't about messages. */
  readonly socket: WebSocket.WebSocket
  /**
   * Sends a value, and tells whether it was sent or dropped, as the `slowConsumer` of the connection says. One that
   * can't be encoded fails with `EncodeError`, and nothing is sent.
   */
  readonly send: (value: Out) => Effect.Effect<WebSocket.Sent, EncodeError | WebSocketError, ROut>
  /** Sends values in order. All are encoded first, and if one can't be, none is sent. */
  readonly sendAll: (values: Iterable<Out>) => Effect.Effect<void, EncodeError | WebSocketError, ROut>
  /** Sends all that it is given, chunk by chunk as `sendAll`. Doesn't close. */
  readonly sink: Sink.Sink<void, Out, never, EncodeError | WebSocketError, ROut>
  /** Takes the next value, and waits for it if there is none. Interrupted, it has taken nothing. */
  readonly receive: Effect.Effect<In, E | WebSocketError, RIn>
  /** The values, in the chunks of the connection's `messages`; ends and fails as they do. */
  readonly messages: Stream.Stream<In, E | WebSocketError, RIn>
  /** Runs a handler for each value, one after the other, as the connection's `run`. */
  readonly run: <E2, R2>(
    handler: (value: In) => Effect.Effect<unknown, E2, R2>
  ) => Effect.Effect<void, E | E2 | WebSocketError, RIn | R2>
  /** The connection's `close`. */
  readonly close: (code?: number, reason?: string) => Effect.Effect<void, ProtocolError>
}

/**
 * Puts a codec over a connection. The codec alone makes a function of connections, as for
 * `Effect.map(WebSocket.connect(url), TypedWebSocket.make(codec))`.
 *
 * From then on messages are to be taken through it: two takers share them out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <In, Out, RIn, ROut, E extends DecodeError>(
    codec: MessageCodec<In, Out, RIn, ROut, E>
  ): (socket: WebSocket.WebSocket) => TypedWebSocket<In, Out, RIn, ROut, E>
  <In, Out, RIn, ROut, E extends DecodeError>(
    socket: WebSocket.WebSocket,
    codec: MessageCodec<In, Out, RIn, ROut, E>
  ): TypedWebSocket<In, Out, RIn, ROut, E>
} = dual(
  2,
  <In, Out, RIn, ROut, E extends DecodeError>(
    socket: WebSocket.WebSocket,
    codec: MessageCodec<In, Out, RIn, ROut, E>
  ): TypedWebSocket<In, Out, RIn, ROut, E> => {
    const sendAll = (values: Iterable<Out>) =>
      Effect.flatMap(
        collect(values, codec.encode),
        ({ failure, values }): Effect.Effect<void, EncodeError | WebSocketError> =>
          Option.isSome(failure) ? Effect.fail(failure.value) : socket.sendAll(values)
      )
    return {
      socket,
      close: socket.close,
      sendAll,
      sink: Sink.forEachChunk(sendAll),
      ...sending(socket, codec),
      ...receiving(socket, codec)
    }
  }
)

/**
 * A connection that is made again when it is lost, and receives `In` and sends `Out`. `E` is what
 * it fails with for good, and `Undecodable` what its codec adds to that.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedReconnectingWebSocket<
  out In,
  in Out,
  out RIn = never,
  out ROut = never,
  out Undecodable = DecodeError,
  out E = ReconnectingWebSocket.DefaultError
> {
  /** The resource itself, for its state. */
  readonly socket: ReconnectingWebSocket.ReconnectingWebSocket<E>
  /** Sends a value, and tells what became of it. One that can't be encoded fails with `EncodeError`, and nothing is sent. */
  readonly send: (value: Out) => Effect.Effect<ReconnectingWebSocket.Sent, E | EncodeError, ROut>
  /** Takes the next value. Interrupted, it has taken nothing. */
  readonly receive: Effect.Effect<In, E | Undecodable, RIn>
  /** The values of all connections. */
  readonly messages: Stream.Stream<In, E | Undecodable, RIn>
  /** Runs a handler for each value, one after the other. */
  readonly run: <E2, R2>(
    handler: (value: In) => Effect.Effect<unknown, E2, R2>
  ) => Effect.Effect<void, E | Undecodable | E2, RIn | R2>
}

/**
 * {@link make} for a connection that reconnects. A message that can't be decoded closes the
 * connection that there is then, which ends the resource: the next one would bring the like.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { MessageCodec, ReconnectingWebSocket, TypedWebSocket, WebSocket } from "effect-websocket"
 *
 * const prices = MessageCodec.json({
 *   incoming: Schema.Struct({ symbol: Schema.String, price: Schema.BigDecimal }),
 *   outgoing: Schema.Struct({ subscribe: Schema.String })
 * })
 *
 * const ticker = Effect.gen(function*() {
 *   const feed = yield* ReconnectingWebSocket.make(WebSocket.connect("wss://prices.example/feed"), {
 *     onConnect: (socket) => TypedWebSocket.make(socket, prices).send({ subscribe: "EURUSD" })
 *   })
 *   yield* TypedWebSocket.makeReconnecting(feed, prices).run(({ symbol, price }) => Effect.log(symbol, price))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeReconnecting = <In, Out, RIn, ROut, Undecodable extends DecodeError, E>(
  socket: ReconnectingWebSocket.ReconnectingWebSocket<E>,
  codec: MessageCodec<In, Out, RIn, ROut, Undecodable>
): TypedReconnectingWebSocket<In, Out, RIn, ROut, Undecodable, E> => {
  const close = (code: number, reason: string) =>
    Effect.flatMap(socket.state.get, (state) =>
      state._tag === "Connected" ? state.socket.close(code, reason) : Effect.void
    )
  const { receive, messages, run } = socket
  return { socket, ...sending(socket, codec), ...receiving({ receive, messages, run, close }, codec) }
}

/**
 * Which of several subprotocols was agreed on, with what was made of the connection for it.
 *
 * @since 0.1.0
 * @category models
 */
export type Choice<Typed> = Choices<Typed>[keyof Typed]

type Choices<Typed> = {
  readonly [K in keyof Typed]: { readonly subprotocol: K; readonly typed: Typed[K] }
}

/**
 * Speaks the subprotocol that was agreed on, of those that are the keys, which are also what to
 * offer or to accept, the preferred one first. None, if none of them was agreed on: a server
 * accepts clients that offer nothing, and what to tell them is up to you.
 *
 * @example
 * ```ts
 * import { Effect, Option, Schema } from "effect"
 * import { MessageCodec, TypedWebSocket, WebSocketServer } from "effect-websocket"
 *
 * const v1 = MessageCodec.json({ incoming: Schema.String, outgoing: Schema.String })
 * const Text = Schema.Struct({ text: Schema.String })
 * const v2 = MessageCodec.msgPack({ incoming: Text, outgoing: Text })
 *
 * const versions = {
 *   "echo.v2": TypedWebSocket.make(v2),
 *   "echo.v1": TypedWebSocket.make(v1)
 * }
 *
 * const Echo = WebSocketServer.serve(
 *   (socket) =>
 *     Option.match(TypedWebSocket.choose(socket, versions), {
 *       onNone: () => socket.close(1008, "offer echo.v1 or echo.v2"),
 *       onSome: ({ subprotocol, typed }) =>
 *         subprotocol === "echo.v1"
 *           ? typed.run((text) => typed.send(text))
 *           : typed.run(({ text }) => typed.send({ text }))
 *     }),
 *   { subprotocols: Object.keys(versions) }
 * )
 * ```
 *
 * @see RFC 6455 section 1.9
 * @since 0.1.0
 * @category constructors
 */
export const choose = <Typed extends object>(
  socket: WebSocket.WebSocket,
  makers: { readonly [K in keyof Typed]: (socket: WebSocket.WebSocket) => Typed[K] }
): Option.Option<Choice<Typed>> => {
  const make = <K extends keyof Typed>(subprotocol: K): Choices<Typed>[K] => ({
    subprotocol,
    typed: makers[subprotocol](socket)
  })
  const { subprotocol } = socket
  return subprotocol !== undefined && has(makers, subprotocol) ? Option.some(make(subprotocol)) : Option.none()
}

const has = <A extends object>(object: A, key: PropertyKey): key is keyof A => Object.hasOwn(object, key)

// ----------------------------------------------------------------- operations

/** What is needed of a connection. */
interface Sender<out E, out Sent> {
  readonly send: (message: WebSocket.Message) => Effect.Effect<Sent, E>
}

interface Receiver<out E> {
  readonly receive: Effect.Effect<WebSocket.Message, E>
  readonly messages: Stream.Stream<WebSocket.Message, E>
  readonly run: <E2, R2>(
    handler: (message: WebSocket.Message) => Effect.Effect<unknown, E2, R2>
  ) => Effect.Effect<void, E | E2, R2>
  readonly close: (code: number, reason: string) => Effect.Effect<void, unknown>
}

/** What the peer is told: nothing of its message, and within the 123 bytes that a Close has room for (RFC 6455 5.5). */
const closeReasons = {
  unsupported: "unsupported kind of message",
  malformed: "malformed message",
  mismatch: "unexpected message"
}

const sending = <Out, ROut, E, Sent>(
  { send }: Sender<E, Sent>,
  { encode }: Pick<MessageCodec<unknown, Out, unknown, ROut>, "encode">
) => ({
  send: (value: Out): Effect.Effect<Sent, E | EncodeError, ROut> =>
    Effect.suspend(() => {
      const encoding = encode(value)
      return hasSucceeded(encoding) ? send(encoding.right) : Effect.flatMap(encoding, send)
    })
})

const receiving = <In, RIn, Undecodable extends DecodeError, E>(
  connection: Receiver<E>,
  codec: Pick<MessageCodec<In, never, RIn, unknown, Undecodable>, "decode">
) => {
  /** The first that could not be decoded: nothing behind it is looked at. */
  let broken: Undecodable | undefined
  /** Taken by who was interrupted before it was decoded. */
  const returned: Array<WebSocket.Message> = []

  const fail = (error: Undecodable): Effect.Effect<never, Undecodable> => {
    broken ??= error
    // Once more if it was begun before: who was interrupted while it closed may be followed by another who waits.
    const closing = connection.close(broken.closeCode, closeReasons[broken.reason])
    return Effect.zipRight(Effect.ignore(closing), Effect.fail(broken))
  }

  const decode = (message: WebSocket.Message): Effect.Effect<In, Undecodable, RIn> =>
    broken === undefined ? codec.decode(message) : Either.left(broken)

  /** The value of a message that was taken for itself. */
  const accept = (message: WebSocket.Message): Effect.Effect<In, Undecodable, RIn> => {
    const decoding = decode(message)
    if (hasSucceeded(decoding)) return decoding
    if (hasFailed(decoding)) return fail(decoding.left)
    return decoding.pipe(
      Effect.onInterrupt(() => Effect.sync(() => returned.unshift(message))),
      Effect.catchAll(fail)
    )
  }

  const receive = Effect.suspend((): Effect.Effect<In, Undecodable | E, RIn> => {
    if (broken !== undefined) return fail(broken)
    const message = returned.shift()
    return message === undefined ? Effect.flatMap(connection.receive, accept) : accept(message)
  })

  const decoding: Channel.Channel<
    Chunk.Chunk<In>,
    Chunk.Chunk<WebSocket.Message>,
    Undecodable | E,
    E,
    unknown,
    unknown,
    RIn
  > = Channel.readWith({
    onInput: (messages) =>
      Channel.flatMap(Channel.fromEffect(collect(messages, decode)), ({ failure, values }) => {
        const rest = Option.isSome(failure) ? Channel.fromEffect(fail(failure.value)) : decoding
        return values.length === 0 ? rest : Channel.zipRight(Channel.write(Chunk.unsafeFromArray(values)), rest)
      }),
    onFailure: Channel.fail,
    onDone: Channel.succeed
  })

  const messages = Stream.suspend((): Stream.Stream<In, Undecodable | E, RIn> => {
    if (broken !== undefined) return Stream.fromEffect(fail(broken))
    const all =
      returned.length === 0
        ? connection.messages
        : Stream.concat(Stream.fromIterable(returned.splice(0)), connection.messages)
    return Stream.pipeThroughChannel(all, decoding)
  })

  const run = <E2, R2>(
    handler: (value: In) => Effect.Effect<unknown, E2, R2>
  ): Effect.Effect<void, Undecodable | E | E2, RIn | R2> => {
    const handle = (message: WebSocket.Message): Effect.Effect<unknown, Undecodable | E2, RIn | R2> => {
      const accepted = accept(message)
      return hasSucceeded(accepted) ? handler(accepted.right) : Effect.flatMap(accepted, handler)
    }
    const first = Effect.whileLoop({
      while: () => returned.length > 0,
      body: () => Effect.flatMap(receive, handler),
      step: constVoid
    })
    return Effect.suspend(() => (broken === undefined ? Effect.zipRight(first, connection.run(handle)) : fail(broken)))
  }

  return { receive, messages, run }
}
