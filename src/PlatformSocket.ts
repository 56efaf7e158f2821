/**
 * Both ways between this library and the `Socket` and `SocketServer` of
 * `@effect/platform`, so that what is built on those, `@effect/rpc` first of all,
 * runs over our client and server, and our protocol over their sockets.
 *
 * What a `Socket` of ours does:
 * - `run` and `runRaw` take the messages in order, text as a string and binary as
 *   bytes (`run` encodes text as UTF-8). The handler of one message ends before the
 *   next is taken, and meanwhile reading pauses, so that a slow handler stops the
 *   sender; {@link Options} has the exception.
 * - `write` suspends while the peer reads slowly. A `CloseEvent` performs the closing
 *   handshake with its code and reason.
 * - The end of the connection is the end of `run`: see {@link Options.closeCodeIsError}.
 *
 * | ended by | error of `run` or `write` |
 * |---|---|
 * | a Close frame | `SocketCloseError` with the peer's code (1005 if it had none) and reason |
 * | no Close frame, but an end | `SocketCloseError` with 1006, which is never a good end |
 * | a reset, a ping without a pong, a broken rule, a message over a limit | `SocketGenericError` with reason `Read` or `Write`; `cause` is our typed error |
 * | no connection, a refused handshake | `SocketGenericError` with reason `Open`, or `OpenTimeout`; `cause` is our typed error |
 * | a close code or reason that can't be sent | `SocketGenericError` with reason `Write`; nothing was sent, and the connection is unharmed |
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Socket from "@effect/platform/Socket"
import * as SocketServer from "@effect/platform/SocketServer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as CloseCode from "./CloseCode.js"
import type * as Flow from "./Flow.js"
import { checkHttp, logHttpRefusal, preparedTerms, refusalResponse, upgradeHttp } from "./internal/httpUpgrade.js"
import { dialing, fixed, type Manners, presence } from "./internal/platformSocket.js"
import { make as makeFlow } from "./internal/socketFlow.js"
import { Network } from "./Network.js"
import * as WebSocket from "./WebSocket.js"
import { type HandshakeOptions, type ServeOptions, WebSocketServer } from "./WebSocketServer.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Begin the handler of each message without waiting for the one before: in order,
   * each in a fiber of its own. Reading doesn't pause then, and handlers that are
   * still busy when the connection ends are interrupted, as the platform's own
   * sockets have it.
   *
   * An `RpcClient` needs it: it waits inside the handler until a stream has room, and
   * the answer to another call, which makes that room, may be the next message. Its
   * streams are bounded by acknowledgements instead. Default true where a client's
   * connection is provided as a service ({@link makeSocket}, {@link layer},
   * {@link layerSocket}), false elsewhere.
   */
  readonly concurrent?: boolean | undefined
  /**
   * With which codes of the peer's Close frame `run` fails. With the others it completes.
   * Default: all but 1000, 1001 and 1005, as in `WebSocket.messages`. The platform's own
   * default differs: it fails with 1001 and 1005, and lets the abnormal 1006 pass.
   */
  readonly closeCodeIsError?: ((code: number) => boolean) | undefined
}

/**
 * A connection as a `Socket` of the platform.
 *
 * The connection stays its scope's: `run` doesn't close it, however it is left, and
 * may be called again to go on with the next message. Interrupted between two
 * messages it has lost none. `write` fails once the connection is over. The scope of
 * the `writer` means nothing: a WebSocket has no half-close, so the end of the input of
 * `Socket.toChannel` closes nothing; send a `CloseEvent`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toSocket = (socket: WebSocket.WebSocket, options: Options = {}): Socket.Socket =>
  fixed(socket, manners(options, false))

/**
 * A `Socket` that opens a connection each time it is run, and closes it when `run` is
 * left: with 1000, with 1011 if the handler failed, with 1001 if it was interrupted.
 * Running it again is how an `RpcClient` reconnects.
 *
 * A `write` waits while there is no connection, and goes to the next one. To a
 * connection that has just ended, whose `run` is about to say so, it does nothing: it
 * is lost like all that was on its way, and an `RpcClient` would take its failure for
 * a defect of the caller's.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { PlatformSocket, WebSocket } from "effect-websocket"
 *
 * declare const freshToken: Effect.Effect<string>
 *
 * // a new token for each connection
 * const socket = PlatformSocket.makeSocket(
 *   Effect.flatMap(freshToken, (token) =>
 *     WebSocket.connect("wss://api.example/rpc", { headers: { authorization: `Bearer ${token}` } })
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeSocket = <E, R>(
  connect: Effect.Effect<WebSocket.WebSocket, E, R>,
  options: Options = {}
): Effect.Effect<Socket.Socket, never, Exclude<R, Scope.Scope>> => dialing(connect, manners(options, true))

const manners = ({ concurrent, closeCodeIsError }: Options, concurrentByDefault: boolean): Manners => ({
  concurrent: concurrent ?? concurrentByDefault,
  closeCodeIsError: closeCodeIsError ?? ((code) => !CloseCode.isClean(code))
})

/**
 * The connection of the surrounding program as a `Socket`: see {@link toSocket}. Once it
 * is over it stays so; {@link layer} connects again.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSocket = (options: Options = {}): Layer.Layer<Socket.Socket, never, WebSocket.WebSocket> =>
  Layer.effect(
    Socket.Socket,
    Effect.map(WebSocket.WebSocket, (socket) => fixed(socket, manners(options, true)))
  )

/**
 * A `Socket` that connects to a URL each time it is run: see {@link makeSocket}. What
 * an `RpcClient` wants.
 *
 * @example
 * ```ts
 * import { RpcClient, RpcSerialization } from "@effect/rpc"
 * import { Layer } from "effect"
 * import { NodeNetwork, PlatformSocket } from "effect-websocket"
 *
 * const Protocol = RpcClient.layerProtocolSocket({ retryTransientErrors: true }).pipe(
 *   Layer.provide(PlatformSocket.layer("wss://api.example/rpc")),
 *   Layer.provide([RpcSerialization.layerMsgPack, NodeNetwork.layer])
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  url: string | URL,
  options: WebSocket.ConnectOptions & Options = {}
): Layer.Layer<Socket.Socket, never, Network> =>
  Layer.effect(Socket.Socket, makeSocket(WebSocket.connect(url, options), options))

// --- servers

/** A `run` of a server: what it does with connections, and the fibers that do it. */
interface Serving {
  readonly handler: (socket: Socket.Socket) => Effect.Effect<unknown, unknown>
  readonly fibers: FiberSet.FiberSet<unknown, unknown>
}

/**
 * The surrounding server as a `SocketServer`, for the requests of one path or for all
 * that no other handler's are.
 *
 * Connections that come before `run` wait for it, open but unread. While it runs (of
 * several the last one begun), each has its handler in a fiber of its own, whose end closes the connection as in
 * `WebSocketServer.serve`; the end of `run` closes them all with 1001. `run` never fails:
 * a server of ours that can't listen is no layer.
 *
 * @example
 * ```ts
 * import { RpcSerialization, RpcServer } from "@effect/rpc"
 * import { Layer } from "effect"
 * import { NodeNetwork, PlatformSocket, WebSocketServer } from "effect-websocket"
 *
 * const Protocol = RpcServer.layerProtocolSocketServer.pipe(
 *   Layer.provide(PlatformSocket.layerSocketServer({ path: "/rpc" })),
 *   Layer.provide(WebSocketServer.layer({ port: 8080 })),
 *   Layer.provide([RpcSerialization.layerMsgPack, NodeNetwork.layer])
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSocketServer = (
  options: ServeOptions & Options = {}
): Layer.Layer<SocketServer.SocketServer, never, WebSocketServer> =>
  Layer.scoped(
    SocketServer.SocketServer,
    Effect.gen(function* () {
      const server = yield* WebSocketServer
      const all = new Set<Serving>()
      const present = presence<Serving>()
      yield* server.serve(
        (socket) =>
          Effect.flatMap(present.wait, ({ fibers, handler }) =>
            Effect.withFiberRuntime<unknown, unknown>((fiber) => {
              FiberSet.unsafeAdd(fibers, fiber)
              return quiet(socket, handler(toSocket(socket, options)))
            })
          ),
        options
      )
      return SocketServer.SocketServer.of({
        address: server.address,
        run: <R, E, _>(handler: (socket: Socket.Socket) => Effect.Effect<_, E, R>) =>
          Effect.scoped(
            Effect.gen(function* () {
              const context = yield* Effect.context<R>()
              const fibers = yield* FiberSet.make<unknown, unknown>()
              const serving: Serving = {
                fibers,
                handler: (socket) =>
                  Effect.mapInputContext(handler(socket), (own: Context.Context<never>) => Context.merge(own, context))
              }
              const begin = Effect.sync(() => {
                all.add(serving)
                present.become(serving)
              })
              const end = Effect.sync(() => {
                all.delete(serving)
                present.become([...all].at(-1))
              })
              yield* Effect.acquireRelease(begin, () => end)
              return yield* Effect.never
            })
          ).pipe(Effect.interruptible)
      })
    })
  )

/** That a connection has ended is no failure of its handler, whatever the handler makes of it. */
const quiet = <A, E, R>(
  socket: WebSocket.WebSocket,
  handled: Effect.Effect<A, E, R>
): Effect.Effect<A | undefined, E, R> =>
  Effect.catchAllCause(handled, (cause) =>
    Effect.flatMap(socket.isOpen, (open) =>
      !open && Socket.isSocketError(Cause.squash(cause))
        ? Effect.as(Effect.logDebug("WebSocket connection ended", cause), undefined)
        : Effect.failCause(cause)
    )
  )

/**
 * @since 0.1.0
 * @category models
 */
export interface UpgradeOptions extends WebSocket.ConnectionOptions, HandshakeOptions, Options {}

/** A refusal as the error that `upgrade` may fail with, and that answers as the refusal says. */
class UpgradeRefused extends HttpServerError.RequestError {
  constructor(
    request: HttpServerRequest.HttpServerRequest,
    description: string,
    private readonly response: HttpServerResponse.HttpServerResponse
  ) {
    super({ request, reason: "Decode", description })
  }
  override [HttpServerRespondable.symbol]() {
    return this.response
  }
}

/**
 * Middleware that makes `HttpServerRequest.upgrade` ours in a Node HTTP server of the
 * platform, so that all that is built on it (`RpcServer.layerProtocolWebsocket`,
 * `HttpServerRequest.upgradeChannel`) gets our connections: origin policy, limits, close
 * codes, backpressure. Give the server to `NodeNetwork.prepareServer` first.
 *
 * `upgrade` writes the 101, with the headers and cookies that pre-response handlers (CORS)
 * add to it, and succeeds with a socket that is open ({@link toSocket}).
 * The connection lives until the app ends, and is closed with 1000, or with 1011 if the app
 * failed, or with 1001 if it was interrupted. Nothing of its response is written; middleware
 * sees one with the status 101. A request that is refused makes `upgrade` fail with a `RequestError`
 * that, not caught, is answered with the status that says why.
 *
 * It goes round the whole app, as an argument of `HttpServer.serve`, or round a route or a
 * router, within or outside of other middleware.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServer } from "@effect/platform"
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { RpcSerialization, RpcServer } from "@effect/rpc"
 * import { Layer } from "effect"
 * import { NodeNetwork, PlatformSocket } from "effect-websocket"
 * import { createServer } from "node:http"
 *
 * const Protocol = RpcServer.layerProtocolWebsocket({ path: "/rpc" }).pipe(
 *   Layer.provide(RpcSerialization.layerMsgPack)
 * )
 *
 * const upgrades = PlatformSocket.upgradeMiddleware({ maxPayloadSize: 65_536 })
 * const Http = HttpRouter.Default.unwrap(HttpServer.serve(upgrades)).pipe(
 *   Layer.provide(NodeHttpServer.layer(() => NodeNetwork.prepareServer(createServer()), { port: 8080 })),
 *   Layer.provide(NodeNetwork.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category middleware
 */
export const upgradeMiddleware =
  (options: UpgradeOptions = {}) =>
  <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<E, R | Network> =>
    Effect.gen(function* () {
      const network = yield* Network
      const scope = yield* Scope.make()
      let upgraded = false
      const upgrade = (request: HttpServerRequest.HttpServerRequest) =>
        Effect.suspend(() => {
          const checked = checkHttp(request, options)
          if ("_tag" in checked) return Effect.fail(checked)
          return Effect.flatMap(preparedTerms(request, {}), (terms) => upgradeHttp(request, checked, options, terms))
        }).pipe(
          Effect.map((socket) => {
            upgraded = true
            return toSocket(socket, options)
          }),
          Effect.catchTags({
            Refusal: (refusal) =>
              Effect.zipRight(
                logHttpRefusal(request, refusal),
                new UpgradeRefused(request, refusal.rule, refusalResponse(refusal))
              ),
            HandshakeError: (cause) =>
              new HttpServerError.RequestError({ request, reason: "Transport", description: cause.rule, cause })
          }),
          Effect.provideService(Network, network),
          Scope.extend(scope)
        )
      /** The request with another `upgrade`, through all that may be done to it; the state stays the request's own. */
      const upgradable = (request: HttpServerRequest.HttpServerRequest): HttpServerRequest.HttpServerRequest =>
        new Proxy(request, {
          get: (target, key) =>
            key === "upgrade"
              ? upgrade(target)
              : key === "modify"
                ? (changes: Parameters<typeof target.modify>[0]) => upgradable(target.modify(changes))
                : Reflect.get(target, key, target)
        })
      const response = yield* app.pipe(
        Effect.provideServiceEffect(
          HttpServerRequest.HttpServerRequest,
          Effect.map(HttpServerRequest.HttpServerRequest, upgradable)
        ),
        Effect.onExit((exit) => Scope.close(scope, withoutResponse(exit)))
      )
      return upgraded ? HttpServerResponse.empty({ status: 101 }) : response
    })

/** How the app ended. Round the whole server, a failure comes with the response that it was answered with. */
const withoutResponse = <A, E>(exit: Exit.Exit<A, E>): Exit.Exit<unknown, E> =>
  Exit.isSuccess(exit)
    ? exit
    : Option.match(HttpServerError.causeResponseStripped(exit.cause)[1], {
        onNone: () => Exit.void,
        onSome: Exit.failCause
      })

// --- the reverse

/**
 * The most bytes that a flow of {@link fromSocket} holds while its reader is paused: 16 MiB.
 * Most sockets of the platform can't be paused, so that a peer which sends on fills memory;
 * beyond this the flow breaks with an `IoError`.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxHeldBytes: number = 16 * 1024 * 1024

/**
 * @since 0.1.0
 * @category models
 */
export interface FlowOptions {
  /** Where the ends are, which a `Socket` doesn't tell. Default: a Unix socket without a path. */
  readonly remoteAddress?: Flow.Address | undefined
  readonly localAddress?: Flow.Address | undefined
  /** Whether the bytes travel inside TLS. Default false. */
  readonly secure?: boolean | undefined
  /**
   * Whether the peer can be told the end of our bytes on its own, as over TCP, by closing
   * the `writer`. Give false for a `Socket` that is a WebSocket, which has no such thing:
   * then the end of our bytes closes it. Default true.
   */
  readonly halfClose?: boolean | undefined
}

/**
 * Runs a `Socket` of the platform as a flow: our protocol over a tunnel, or over a
 * transport that somebody else made, for `WebSocket.accept` and the like.
 *
 * Waits until the socket is open. The flow keeps the laws of `Flow`, but for what a
 * `Socket` can't do: after the peer's end comes the close, since `run` is over by then;
 * and only a socket whose handlers run one after the other, such as {@link toSocket}, is
 * really paused, the others fill memory up to {@link maxHeldBytes}. For a Node stream,
 * `NodeNetwork.fromDuplex` does better.
 *
 * @example
 * ```ts
 * import { NodeSocket } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { PlatformSocket, WebSocket } from "effect-websocket"
 *
 * const accepted = Effect.gen(function*() {
 *   const socket = yield* NodeSocket.makeNet({ port: 9000 })
 *   const flow = yield* PlatformSocket.fromSocket(socket)
 *   return yield* WebSocket.accept(flow)
 * })
 * ```
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromSocket = (
  socket: Socket.Socket,
  { remoteAddress = nowhere, localAddress = nowhere, secure = false, halfClose = true }: FlowOptions = {}
): Effect.Effect<Flow.Flow, Socket.SocketError, Scope.Scope> =>
  makeFlow(socket, { remoteAddress, localAddress, secure, halfClose, maxHeld: maxHeldBytes })

const nowhere: Flow.Address = { _tag: "UnixAddress", path: "" }
