/**
 * A WebSocket connection as a scoped resource, in either role.
 *
 * It lives as long as the scope it was made in. Leaving that scope performs the
 * closing handshake (1000 on success, 1001 on interruption, 1011 on failure),
 * bounded by `closeTimeout`; afterwards there is no fiber, no timer, no listener
 * and no descriptor of it left.
 *
 * Messages are strings (text) and `Uint8Array`s (binary). They come in order, each
 * once, and with backpressure in both directions: reading pauses while the
 * application is behind, and sending suspends while the peer is.
 *
 * It is not a broadcaster and it doesn't reconnect; it is the one connection that
 * such things are made of.
 *
 * @see RFC 6455
 * @since 0.1.0
 */
import type * as Headers from "@effect/platform/Headers"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type * as Flow from "./Flow.js"
import type * as Frame from "./Frame.js"
import { openClient, openOver, within } from "./internal/client.js"
import { type ConnectOptions, type ConnectOverOptions, clientHandshake, clientRoute } from "./internal/clientOptions.js"
import { destination } from "./internal/destination.js"
import { logRefusal } from "./internal/logs.js"
import { acquiring } from "./internal/opening.js"
import { type ConnectionOptions, defaultCloseTimeout, defaultHandshakeTimeout } from "./internal/options.js"
import { runConnection } from "./internal/running.js"
import type { SendOptions, Sent } from "./internal/sending.js"
import { acceptKey, agree, answer, check, type HandshakeOptions, readRequest, refuse } from "./internal/server.js"
import type { Incoming } from "./internal/streaming.js"
import { linkedSpan } from "./internal/tracing.js"
import type { Network } from "./Network.js"
import { Prepared as PreparedMessage } from "./protocol/prepared.js"
import type { ConnectError, ConnectionClosed, HandshakeError, ProtocolError, WebSocketError } from "./WebSocketError.js"

export type { ConnectOptions, ConnectOverOptions } from "./internal/clientOptions.js"
export { type DeflateOptions, defaultThreshold as defaultDeflateThreshold } from "./internal/deflate.js"
export {
  type ConnectionOptions,
  defaultCloseTimeout,
  defaultHandshakeTimeout,
  defaultIdleTimeout,
  defaultMaxFragments,
  defaultMaxHeadSize,
  defaultMaxMissedPongs,
  defaultMaxPayloadSize,
  defaultPingInterval,
  defaultPingTimeout,
  defaultProgressTimeout,
  defaultReceiveBufferSize,
  defaultSendBufferSize
} from "./internal/options.js"
export type { SlowConsumer } from "./internal/outflow.js"
export type { SendOptions, Sent } from "./internal/sending.js"
export type { HandshakeOptions } from "./internal/server.js"
export type { Incoming } from "./internal/streaming.js"

/**
 * A message: text is a string, binary is bytes.
 *
 * @since 0.1.0
 * @category models
 */
export type Message = string | Uint8Array

/**
 * A message that was made ready to be sent to many connections: see {@link prepare}.
 *
 * @since 0.1.0
 * @category models
 */
export type Prepared = PreparedMessage

/**
 * Makes a message ready to be sent to many connections: its frame is built once, and once for
 * each way in which it is compressed, and shared by all of them. Servers gain by it; what a client sends is
 * masked anew each time. Bytes must not change afterwards.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { WebSocket } from "effect-websocket"
 *
 * const tellAll = (sockets: ReadonlyArray<WebSocket.WebSocket>, news: string) =>
 *   Effect.suspend(() => {
 *     const message = WebSocket.prepare(news)
 *     return Effect.forEach(sockets, (socket) => socket.offer(message), { discard: true })
 *   })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const prepare = (message: Message): Prepared => new PreparedMessage(message)

/**
 * An open connection.
 *
 * Every operation fails with what ended the connection once it is over: see
 * `WebSocketError`. Nothing waits for ever.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebSocket {
  /** `client` if we connected, `server` if we accepted. */
  readonly role: Frame.Role
  /** The URL of the connection; on a server, as the request spelled it. */
  readonly url: string
  /** The subprotocol that was agreed on, if one was (RFC 6455 1.9). */
  readonly subprotocol: string | undefined
  /** The headers of the peer's half of the opening handshake. */
  readonly headers: Headers.Headers
  readonly remoteAddress: Flow.Address
  readonly localAddress: Flow.Address
  /** Whether the connection is inside TLS. */
  readonly secure: boolean

  /**
   * The span of the connection, where somebody traces; the handler of a server runs in it.
   * It lasts as long as the connection, so the work for a single message belongs into a
   * trace of its own: see {@link withMessageSpan}.
   */
  readonly span: Tracer.AnySpan | undefined

  /** Whether messages can still be sent: no Close frame was sent or received, and nothing failed. */
  readonly isOpen: Effect.Effect<boolean>
  /** Bytes sent that the operating system has not taken yet: what a slow peer leaves lying. */
  readonly bufferedBytes: Effect.Effect<number>
  /** How long the last pong took that the heartbeat asked for, if one came yet. */
  readonly latency: Effect.Effect<Option.Option<Duration.Duration>>

  /**
   * Sends a message: a string as text, bytes as binary. The bytes must not change
   * afterwards.
   *
   * Completes at once while less than `sendBufferSize` waits for the peer, and
   * suspends above it. Interrupted, it has sent the whole message or nothing.
   * A lone surrogate in a string is sent as U+FFFD. Where compression was negotiated,
   * `compress` decides in place of the threshold.
   *
   * Tells whether the message was `"sent"`, that is, handed to the connection, or `"dropped"`, which only a
   * `slowConsumer` option does. Pings and pongs overtake messages that wait; a Close leaves behind them.
   */
  readonly send: (message: Message | Prepared, options?: SendOptions) => Effect.Effect<Sent, WebSocketError>
  /**
   * Sends a message if that needs no waiting, and drops it otherwise, or an older one if `slowConsumer` says
   * so. For whoever serves many peers, and must not be held up by one: see `Broadcast`.
   */
  readonly offer: (message: Message | Prepared, options?: SendOptions) => Effect.Effect<Sent, WebSocketError>
  /** How many messages were dropped since the peer reads slowly. */
  readonly dropped: Effect.Effect<number>
  /** Sends a text message. */
  readonly sendText: (text: string) => Effect.Effect<Sent, WebSocketError>
  /** Sends a binary message. */
  readonly sendBinary: (bytes: Uint8Array) => Effect.Effect<Sent, WebSocketError>
  /** Sends messages in order, as one step where there is room for all of them. */
  readonly sendAll: (messages: Iterable<Message | Prepared>) => Effect.Effect<void, WebSocketError>
  /**
   * Sends what a stream brings as one text message, in frames, as it comes: for text that is too large to hold, or
   * not complete for a long time. Other messages wait until it has ended; pings, pongs and a
   * Close don't. A surrogate pair may be cut between two pieces. It is not compressed.
   *
   * A message can't be taken back: if the stream fails, or is interrupted, after something of it was sent, the
   * connection is closed with 1011.
   */
  readonly sendTextStream: <E, R>(pieces: Stream.Stream<string, E, R>) => Effect.Effect<void, WebSocketError | E, R>
  /** Sends what a stream brings as one binary message: see `sendTextStream`. */
  readonly sendBinaryStream: <E, R>(
    pieces: Stream.Stream<Uint8Array, E, R>
  ) => Effect.Effect<void, WebSocketError | E, R>
  /**
   * Sends a ping, and waits for its pong: the round trip. How long a peer may take for that
   * is the heartbeat's business; without one, a timeout is yours.
   */
  readonly ping: Effect.Effect<Duration.Duration, WebSocketError>
  /** Sends a ping; at most 125 bytes of payload. The peer's pong is taken by the connection. */
  readonly sendPing: (payload?: string | Uint8Array) => Effect.Effect<void, WebSocketError>
  /** Sends a pong that answers nothing (RFC 6455 5.5.3); pings are answered by the connection itself. */
  readonly sendPong: (payload?: string | Uint8Array) => Effect.Effect<void, WebSocketError>
  /**
   * Sends one frame as it is, uncompressed. What would break the protocol (a fragment out of
   * place, invalid UTF-8, an RSV bit) fails with a local `ProtocolError`, and nothing is sent.
   *
   * Data frames wait for room, and are never dropped; pings and pongs overtake them. Until a message begun
   * in frames has ended, `send` fails as a frame out of place does. A Close counts as `close`, and isn't waited for.
   */
  readonly sendFrame: (frame: Frame.Frame) => Effect.Effect<void, WebSocketError>

  /**
   * Takes the next message, and waits for it if there is none. Interrupted, it has
   * taken nothing. Messages that arrived before the end come before the failure.
   */
  readonly receive: Effect.Effect<Message, WebSocketError>
  /** Takes all messages that are there, at least one: what one read of the socket brought, or more. */
  readonly receiveAll: Effect.Effect<Array<Message>, WebSocketError>
  /**
   * Takes the next frame, control frames included. What is automatic stays so: pings and a Close are answered, the
   * limits and UTF-8 hold for whole messages, what breaks a rule fails the connection instead of coming. A compressed
   * message comes as one frame, decompressed.
   *
   * The first call turns the connection to frames: what was received before comes as one frame per message,
   * without control frames. `receive` and the like go on to work: they pass control frames over, and drop
   * the rest of a message of which a frame was taken.
   */
  readonly receiveFrame: Effect.Effect<Frame.Frame, WebSocketError>
  /**
   * Takes the next message as it arrives, before it is complete: waits for its beginning. Its `chunks` fail with what
   * ended the connection if that was before the message's end. Code points are never cut.
   *
   * Reading pauses above `receiveBufferSize`, so that a message may be larger than memory: raise
   * `maxPayloadSize` (and `maxFrameSize`, `maxFragments`), which hold for it, too. What is left of a message
   * when the next one is taken, in whatever way, is dropped. A compressed message comes as one chunk.
   */
  readonly receiveStream: Effect.Effect<Incoming, WebSocketError>
  /**
   * The messages, in chunks of what each read brought. Ends when the connection
   * was closed cleanly with 1000, 1001 or no code; fails otherwise. Whoever leaves
   * the stream early leaves with the rest of its chunk; `receive` loses nothing.
   */
  readonly messages: Stream.Stream<Message, WebSocketError>
  /**
   * Runs a handler for each message, one after the other; completes and fails as `messages` does, or with its
   * failure. The cheapest way to take messages, of several steps as `Effect.fnUntraced` (docs/performance.md, "Handlers").
   */
  readonly run: <E, R>(
    handler: (message: Message) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<void, WebSocketError | E, R>
  /** Sends all that it is given. Doesn't close. */
  readonly sink: Sink.Sink<void, Message, never, WebSocketError>

  /**
   * Performs the closing handshake with a code (default 1000) and a reason (at most
   * 123 bytes of UTF-8), and waits until the connection is released, at most
   * `closeTimeout`. Does nothing but wait if closing has begun. What the peer sends
   * until its own Close can still be received; what finds the receive buffer full is
   * dropped.
   *
   * Fails with a local `ProtocolError` if code or reason can't be sent; the
   * connection is then unharmed.
   */
  readonly close: (code?: number, reason?: string) => Effect.Effect<void, ProtocolError>
  /** Waits until the connection is released, and tells how it was closed; fails if it was not closed but broke. */
  readonly closed: Effect.Effect<ConnectionClosed, Exclude<WebSocketError, ConnectionClosed>>
}

/**
 * The connection of the surrounding program, where there is just one: see {@link layer}.
 *
 * @since 0.1.0
 * @category tags
 */
export const WebSocket: Context.Tag<WebSocket, WebSocket> = Context.GenericTag<WebSocket>("effect-websocket/WebSocket")

/**
 * Runs an effect in a trace of its own that is linked to the connection's span: for the
 * work that one message causes. Where nobody traces it does nothing.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { WebSocket } from "effect-websocket"
 *
 * const handler = (socket: WebSocket.WebSocket) =>
 *   socket.run((message) =>
 *     socket.send(`got ${message}`).pipe(WebSocket.withMessageSpan(socket, "chat.message"))
 *   )
 * ```
 *
 * @since 0.1.0
 * @category tracing
 */
export const withMessageSpan: {
  (
    socket: WebSocket,
    name: string,
    options?: Tracer.SpanOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    socket: WebSocket,
    name: string,
    options?: Tracer.SpanOptions
  ): Effect.Effect<A, E, R>
} = linkedSpan

/**
 * Connects to a server, and performs the opening handshake.
 *
 * The URL's scheme is `ws`, `wss`, `http` or `https`; user info becomes Basic
 * authentication, and appears in no error. The connection lives until the scope
 * closes. Interrupted at any stage, it leaves nothing open.
 *
 * Fails with `ConnectError` if there is no connection (`reason` says at which
 * stage), and with `HandshakeError` if the server's answer is anything but a valid
 * 101; `status`, `headers` and `body` then tell what it said.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { WebSocket } from "effect-websocket"
 *
 * const ask = Effect.gen(function*() {
 *   const socket = yield* WebSocket.connect("wss://echo.example/", { subprotocols: ["echo.v1"] })
 *   yield* socket.send("hello")
 *   return yield* socket.receive
 * }).pipe(Effect.scoped)
 * ```
 *
 * @example
 * ```ts
 * // A URL or a header that has to be fetched first is another effect before this one,
 * // which runs anew with each attempt of a retry.
 * import { Effect, Redacted } from "effect"
 * import { WebSocket } from "effect-websocket"
 *
 * declare const freshToken: Effect.Effect<Redacted.Redacted<string>>
 *
 * const connected = Effect.flatMap(freshToken, (token) =>
 *   WebSocket.connect("wss://prices.example/feed", {
 *     headers: { authorization: `Bearer ${Redacted.value(token)}` }
 *   })
 * )
 * ```
 *
 * @see RFC 6455 section 4.1
 * @since 0.1.0
 * @category constructors
 */
export const connect = (
  url: string | URL,
  options: ConnectOptions = {}
): Effect.Effect<WebSocket, ConnectError | HandshakeError, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const to = yield* destination(url)
    const opened = yield* openClient(to, { ...clientHandshake(options), ...clientRoute(options) }).pipe(
      within(options.handshakeTimeout ?? defaultHandshakeTimeout, to)
    )
    return yield* runConnection(opened, options)
  }).pipe(acquiring)

/**
 * Performs the client's opening handshake over a flow that is open already: a tunnel, a
 * stream of another library, one end of `TestNetwork.pair`. The mirror of {@link accept}.
 *
 * The URL says what the request asks for, its host included. Its scheme means nothing
 * here: TLS, if there is to be any, is the flow's business. The flow belongs to the
 * connection from now on, and is destroyed when the scope closes, or at once if the
 * handshake fails.
 *
 * Fails with `HandshakeError` as {@link connect} does, and with `ConnectError` for a bad
 * URL (`url`), after `handshakeTimeout` (`timeout`), or if the flow's TLS is refused (`tls`).
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { TestNetwork, WebSocket } from "effect-websocket"
 *
 * // both ends of a connection, without any network
 * const joined = Effect.gen(function*() {
 *   const { client, server } = yield* TestNetwork.pair()
 *   return yield* Effect.all({
 *     client: WebSocket.connectOver(client, "ws://server.example/chat"),
 *     server: WebSocket.accept(server)
 *   }, { concurrency: 2 })
 * })
 * ```
 *
 * @see RFC 6455 section 4.1
 * @since 0.1.0
 * @category constructors
 */
export const connectOver = (
  flow: Flow.Flow,
  url: string | URL,
  options: ConnectOverOptions = {}
): Effect.Effect<WebSocket, ConnectError | HandshakeError, Scope.Scope> =>
  Effect.gen(function* () {
    const to = yield* destination(url)
    const opened = yield* openOver(flow, to, clientHandshake(options)).pipe(
      within(options.handshakeTimeout ?? defaultHandshakeTimeout, to)
    )
    return yield* runConnection(opened, options)
  }).pipe(
    acquiring,
    Effect.onError(() => Effect.sync(() => flow.destroy()))
  )

/**
 * A connection to a server as a layer: it is open while the layer is in use.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { NodeNetwork, WebSocket } from "effect-websocket"
 * import { Layer } from "effect"
 *
 * const program = Effect.flatMap(WebSocket.WebSocket, (socket) => socket.send("hello"))
 *
 * const Live = WebSocket.layer("wss://echo.example/").pipe(Layer.provide(NodeNetwork.layer))
 * const runnable = Effect.provide(program, Live)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  url: string | URL,
  options?: ConnectOptions
): Layer.Layer<WebSocket, ConnectError | HandshakeError, Network> => Layer.scoped(WebSocket, connect(url, options))

/**
 * {@link layer} with its URL and options from the configuration: each of them, or all
 * together, is a `Config`.
 *
 * @example
 * ```ts
 * import { Config } from "effect"
 * import { WebSocket } from "effect-websocket"
 *
 * const Feed = WebSocket.layerConfig({
 *   url: Config.url("FEED_URL"),
 *   handshakeTimeout: Config.duration("FEED_TIMEOUT").pipe(Config.withDefault("5 seconds")),
 *   tls: { cert: Config.string("FEED_CERT"), key: Config.redacted("FEED_KEY") }
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<ConnectOptions & { readonly url: string | URL }>
): Layer.Layer<WebSocket, ConfigError.ConfigError | ConnectError | HandshakeError, Network> =>
  Layer.scoped(
    WebSocket,
    Effect.flatMap(Config.unwrap(config), ({ url, ...options }) => connect(url, options))
  )

/**
 * @since 0.1.0
 * @category models
 */
export interface AcceptOptions extends ConnectionOptions, HandshakeOptions {
  /** Bound on the client's request. Default `defaultHandshakeTimeout`, 10 seconds. */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
  /**
   * The `Sec-WebSocket-Key` of a request that was already read from the flow, and
   * judged, by somebody else. Then nothing is read or judged here: the 101 is
   * written, with the first of `subprotocols` if there is one.
   */
  readonly key?: string | undefined
}

/**
 * Makes a flow that a client opened into a connection: reads its request, answers
 * it, and takes the flow over until the scope closes.
 *
 * `WebSocketServer` does this for each flow it accepts; use `accept` where the
 * flow comes from elsewhere.
 *
 * A request that is refused is answered with the status that fits (400, 403, 405,
 * 408, 426, 431, 505), the flow is ended, and the effect fails with `HandshakeError`.
 *
 * @see RFC 6455 section 4.2
 * @since 0.1.0
 * @category constructors
 */
export const accept = (
  flow: Flow.Flow,
  options: AcceptOptions = {}
): Effect.Effect<WebSocket, HandshakeError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* Effect.addFinalizer(() => Effect.sync(() => flow.destroy()))
    const { handshakeTimeout = defaultHandshakeTimeout, key, maxHeadSize } = options
    if (key !== undefined) return yield* answer(flow, nothing, acceptKey(key, options), undefined, options)
    const { head, rest } = yield* readRequest(flow, { maxBytes: maxHeadSize }, Duration.decode(handshakeTimeout))
    const checked = check(head, flow, options)
    if ("_tag" in checked) return yield* Effect.fail(checked)
    return yield* answer(flow, rest, agree(checked.judged, options), checked.request, options)
  }).pipe(
    Effect.catchTag("Refusal", (refusal) =>
      refuse(flow, refusal, Duration.decode(options.closeTimeout ?? defaultCloseTimeout))
    ),
    Effect.tapError(logRefusal),
    acquiring
  )

const nothing = new Uint8Array(0)
