/**
 * A client's connection that is made again when it is lost, as one scoped resource.
 *
 * It is made from any effect that opens a connection, which runs anew for each attempt:
 * what has to be fresh each time (a token, a URL, a proxy) comes by composition. There is
 * never more than one connection. Leaving the scope closes it as that of a single
 * {@link WebSocket.WebSocket}, and leaves nothing behind.
 *
 * What it promises: a message is sent at most once, in the order of one sender, and whoever
 * sends knows whether it was handed to a connection; what was received before a break
 * comes before what came after it; every end is either followed by another attempt, or told
 * to all.
 *
 * What it doesn't: a message handed to a connection that then broke may not have reached the
 * peer, and what the peer sent in the meantime is not asked for. Only the two applications can
 * know; a subscriber asks again in `onConnect`, and whoever needs certainty numbers the
 * messages. It is not for servers, which wait to be connected to.
 *
 * A peer that vanished without a word is found by the connection's own heartbeat
 * (`pingInterval`), whose `IoError` leads to the next attempt.
 *
 * @example
 * ```ts
 * import { Console, Effect } from "effect"
 * import { ReconnectingWebSocket, WebSocket } from "effect-websocket"
 *
 * declare const freshToken: Effect.Effect<string>
 *
 * const ticker = Effect.gen(function*() {
 *   const feed = yield* ReconnectingWebSocket.make(
 *     Effect.flatMap(freshToken, (token) =>
 *       WebSocket.connect("wss://prices.example/feed", { headers: { authorization: `Bearer ${token}` } })
 *     ),
 *     { onConnect: (socket) => socket.send("subscribe EURUSD") }
 *   )
 *   yield* feed.run((message) => Console.log(message))
 * }).pipe(Effect.scoped)
 * ```
 *
 * @see RFC 6455 section 7.2.3
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Subscribable from "effect/Subscribable"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as reconnecting from "./internal/reconnecting.js"
import { Outbox, sendFrom } from "./internal/reconnectingOutbox.js"
import * as policy from "./internal/reconnectingPolicy.js"
import { Traffic } from "./internal/reconnectingTraffic.js"
import type * as WebSocket from "./WebSocket.js"
import type { ConnectError, HandshakeError, WebSocketError } from "./WebSocketError.js"

export { maxRetryAfter, stableAfter } from "./internal/reconnecting.js"

/**
 * What `WebSocket.connect` and its connection fail with: all there is where neither the
 * opening effect nor `onConnect` adds an error of its own.
 *
 * @since 0.1.0
 * @category errors
 */
export type DefaultError = ConnectError | HandshakeError | WebSocketError

/**
 * Where the resource stands.
 *
 * - `Connecting`: an attempt is under way, `onConnect` included.
 * - `Connected`: messages can be sent and received. `socket` is for its facts, and to answer
 *   on this connection and no other; its messages are for the resource to take.
 * - `Waiting`: for `delay`, after `error`; and for the application, while it has 64 KiB of
 *   messages of earlier connections to take.
 * - `Ended`: for good; every operation fails with `cause`.
 *
 * @since 0.1.0
 * @category models
 */
export type State<E = DefaultError> = reconnecting.State<E>

/**
 * What became of a message:
 *
 * - `"sent"`: it was handed to a connection.
 * - `"kept"`: it is in the outbox, and will be handed to a connection in its turn.
 * - `"dropped"`: the outbox was full, and one message is lost: this one with `"dropping"`,
 *   the oldest one kept with `"sliding"`.
 *
 * @since 0.1.0
 * @category models
 */
export type Sent = "sent" | "kept" | "dropped"

/**
 * A connection that is made again when it is lost.
 *
 * Every operation waits while there is no connection, can be interrupted at any time, and
 * fails once no other attempt will follow: with the error that can't be retried, or with
 * `ConnectionClosed` (`initiator: "local"`) after the scope was left.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReconnectingWebSocket<out E = DefaultError> {
  /** Where it stands now (`get`), and each state in turn, beginning with this one (`changes`, which end after `Ended`). */
  readonly state: Subscribable.Subscribable<State<E>>
  /** The connection that carries traffic; waits until there is one. Closing it ends the resource. */
  readonly connection: Effect.Effect<WebSocket.WebSocket, E>
  /**
   * Sends a message, and tells what became of it. Without an outbox that is always `"sent"`:
   * it waits until a connection takes the message. Interrupted while waiting, it has sent nothing.
   */
  readonly send: (message: WebSocket.Message) => Effect.Effect<Sent, E>
  /** Takes the next message. What was received before a break comes first. Interrupted, it has taken nothing. */
  readonly receive: Effect.Effect<WebSocket.Message, E>
  /** The messages of all connections. Ends if the last one was closed cleanly, and fails otherwise. */
  readonly messages: Stream.Stream<WebSocket.Message, E>
  /**
   * Runs a handler for each message, one after the other, and tells it which connection
   * brought the message: so it sees where a new one begins, and answers go to who asked.
   * Completes and fails as `messages` does, or with the handler's failure.
   */
  readonly run: <E2, R2>(
    handler: (message: WebSocket.Message, socket: WebSocket.WebSocket) => Effect.Effect<unknown, E2, R2>
  ) => Effect.Effect<void, E | E2, R2>
}

/**
 * The connection of the surrounding program, where there is just one, and nothing adds
 * errors of its own: see {@link layer}. For others, make a tag of your own.
 *
 * @since 0.1.0
 * @category tags
 */
export const ReconnectingWebSocket: Context.Tag<ReconnectingWebSocket, ReconnectingWebSocket> =
  Context.GenericTag<ReconnectingWebSocket>("effect-websocket/ReconnectingWebSocket")

/**
 * When to try again if nothing else is said: after 250 to 500 milliseconds, then twice as
 * long each time up to 15 to 30 seconds, and so on without end. Random, so that the clients
 * of a server that died don't all come back at once (RFC 6455 7.2.3).
 *
 * It begins anew after a connection that stood for {@link stableAfter}.
 *
 * @since 0.1.0
 * @category retrying
 */
export const defaultSchedule: Schedule.Schedule<unknown> = Schedule.exponential("500 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.jitteredWith({ min: 0.5, max: 1 })
)

/**
 * Whether another attempt may do better:
 *
 * - `ConnectError`: `dns`, `tcp` and `timeout`; `tls` unless it is about certificates or there
 *   is no TLS; `proxy` unless it refuses for good. Not `url`.
 * - `HandshakeError`: 408, 429, 5xx, and a server that hung up. Not any other answer.
 * - `ConnectionClosed` by the peer with 1001, 1005, 1006, 1011, 1012, 1013, 1014 or 3008. Not
 *   1000, which says that all is done, nor the codes that blame this side, nor those whose
 *   meaning only the application knows (3000 to 4999); and never what this
 *   side closed, its `idleTimeout` included.
 * - `IoError`, and `TimeoutException` of `Effect.timeout`.
 *
 * Nothing else: `ProtocolError`, `PayloadTooLarge`, errors of the application.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { ReconnectingWebSocket, WebSocket } from "effect-websocket"
 *
 * // this server closes with 4000 when it wants its clients to move
 * const moved = (error: ReconnectingWebSocket.DefaultError) =>
 *   error._tag === "ConnectionClosed" && error.code === 4000
 *
 * const feed = ReconnectingWebSocket.make(WebSocket.connect("wss://prices.example/feed"), {
 *   while: (error) => moved(error) || ReconnectingWebSocket.isRetryable(error)
 * })
 * ```
 *
 * @since 0.1.0
 * @category retrying
 */
export const isRetryable: (error: unknown) => boolean = policy.isRetryable

/**
 * A bounded queue for what is sent while there is no connection, or while the peer reads
 * slowly. A connection gets what is kept in order, and before anything newer.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutboxOptions {
  /** Messages that it holds, at least 1. */
  readonly capacity: number
  /**
   * What `send` does when it is full: wait for room (`"suspend"`, the default), drop this
   * message (`"dropping"`), or drop the oldest (`"sliding"`).
   */
  readonly strategy?: "suspend" | "dropping" | "sliding" | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<in E = DefaultError, out E2 = never, out R2 = never> {
  /** When to try again, and how often; it is given the error. Default {@link defaultSchedule}, which never gives up. */
  readonly schedule?: Schedule.Schedule<unknown, E> | undefined
  /** Which errors to try again after. Default {@link isRetryable}. */
  readonly while?: ((error: E) => boolean) | undefined
  /**
   * Makes a new connection ready before traffic flows: logs in, subscribes again. What it
   * receives from the socket is its own. In the connection's scope: what it forks there ends
   * with the connection. Its failure is that of the attempt, and closes with 1011. Default: nothing.
   */
  readonly onConnect?: ((socket: WebSocket.WebSocket) => Effect.Effect<unknown, E2, R2>) | undefined
  /** Keep what can't be sent at once. Default: `send` waits until a connection takes the message. */
  readonly outbox?: OutboxOptions | undefined
}

/**
 * Opens a connection, and opens it again whenever it is lost, until the scope closes.
 *
 * Returns at once, while the first attempt is under way; `connection` waits for it, and
 * fails with what can't be retried. Each attempt runs `open` anew, in a scope of its own;
 * so `open` must not make a connection that lives in another one.
 *
 * A server that answers 429 or 503 with `Retry-After` is left alone for that long, at most
 * {@link maxRetryAfter}, and what the schedule adds.
 *
 * Leaving the scope closes the connection with 1000 after success, 1001 after interruption,
 * 1011 after failure. After success what the outbox keeps leaves first, if a connection
 * takes it within 5 seconds; otherwise it is lost.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E, R, E2 = never, R2 = never>(
  open: Effect.Effect<WebSocket.WebSocket, E, R>,
  options: Options<NoInfer<E | E2> | WebSocketError, E2, R2> = {}
): Effect.Effect<ReconnectingWebSocket<E | E2 | WebSocketError>, never, Exclude<R | R2, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    const { onConnect, outbox: keeping } = options
    const state = yield* SubscriptionRef.make<State<E | E2 | WebSocketError>>({
      _tag: "Connecting",
      attempt: 1,
      error: undefined
    })
    const traffic = new Traffic<E | E2>()
    yield* reconnecting.supervise(
      {
        open: onConnect === undefined ? open : Effect.tap(open, onConnect),
        schedule: options.schedule ?? defaultSchedule,
        retryable: options.while ?? isRetryable
      },
      state,
      traffic
    )
    const outbox = keeping && new Outbox(Math.max(1, keeping.capacity), keeping.strategy ?? "suspend")
    if (outbox !== undefined) yield* sendFrom(outbox, traffic)
    return {
      state: Subscribable.make({
        get: SubscriptionRef.get(state),
        changes: Stream.takeUntil(state.changes, ({ _tag }) => _tag === "Ended")
      }),
      connection: Effect.map(traffic.current, ({ socket }) => socket),
      send: (message: WebSocket.Message) =>
        outbox === undefined ? Effect.as(traffic.send(message), "sent") : outbox.offer(message, traffic.ended),
      receive: Effect.map(traffic.received, ([message]) => message),
      messages: traffic.messages,
      run: traffic.run
    }
  })

/**
 * {@link make} as a layer: the connection is kept up while the layer is in use. It builds at
 * once, also if there is no connection yet.
 *
 * @example
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { NodeNetwork, ReconnectingWebSocket, WebSocket } from "effect-websocket"
 *
 * const Live = ReconnectingWebSocket.layer(
 *   WebSocket.connect("wss://metrics.example/", { pingInterval: "20 seconds" }),
 *   { outbox: { capacity: 1000, strategy: "sliding" } }
 * ).pipe(Layer.provide(NodeNetwork.layer))
 *
 * // where an opening effect has errors of its own, a tag of its own
 * class TokenError {
 *   readonly _tag = "TokenError"
 * }
 * declare const connect: Effect.Effect<WebSocket.WebSocket, TokenError>
 *
 * class Feed extends Context.Tag("Feed")<
 *   Feed,
 *   ReconnectingWebSocket.ReconnectingWebSocket<TokenError | ReconnectingWebSocket.DefaultError>
 * >() {
 *   static readonly Live = Layer.scoped(Feed, ReconnectingWebSocket.make(connect))
 * }
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E extends DefaultError, R, E2 extends DefaultError = never, R2 = never>(
  open: Effect.Effect<WebSocket.WebSocket, E, R>,
  options?: Options<NoInfer<E | E2> | WebSocketError, E2, R2>
): Layer.Layer<ReconnectingWebSocket, never, Exclude<R | R2, Scope.Scope>> =>
  Layer.scoped(ReconnectingWebSocket, make(open, options))
