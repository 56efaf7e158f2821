/**
 * A connection of values: a {@link MessageCodec} over a {@link WebSocket.WebSocket}, in either
 * role, or over one that reconnects.
 *
 * It adds nothing to the connection but the codec: values come in order, each once, with
 * backpressure and in the batches that the messages came in, and where the schema is
 * synchronous no fiber is woken more often than without it. What the schema needs of the context is
 * needed by the operations that use it. The connection's lifetime is its own.
 *
 * A message that can't be decoded ends the connection, like any breach of protocol: it is closed
 * with 1003 or 1007 and a reason that holds nothing of the message, and once the closing
 * handshake is over, at most `closeTimeout`, whoever receives fails with `DecodeError`, from then
 * on. Values that came before are delivered first. Over {@link MessageCodec.either} such messages are values, and nothing is closed.
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
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import { overConnection } from "./internal/messageOperations.js"
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
  /** Sends a value. One that can't be encoded fails with `EncodeError`, and nothing is sent. */
  readonly send: (value: Out) => Effect.Effect<void, EncodeError | WebSocketError, ROut>
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
  ): TypedWebSocket<In, Out, RIn, ROut, E> => ({
    socket,
    close: socket.close,
    ...overConnection(socket, codec)
  })
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
  const { send, receive, messages, run } = overConnection({ ...socket, sendAll: ..., close }, codec)
  return { socket, send, receive, messages, run }
}

/**
 * Which of several subprotocols was agreed on, with what was made of the connection for it.
 *
 * @since 0.1.0
 * @category models
 */
export type Choice<Typed> = {
  readonly [K in keyof Typed]: { readonly subprotocol: K; readonly typed: Typed[K] }
}[keyof Typed]

/**
 * Speaks the subprotocol that was agreed on, of those that are the keys, which are also what to
 * offer or to accept. None, if none of them was agreed on: a server accepts clients that offer
 * nothing, and what to tell them is up to you.
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
 *       onNone: () => socket.close(1002, "offer echo.v1 or echo.v2"),
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
  ...
}
