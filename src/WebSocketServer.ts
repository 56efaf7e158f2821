/**
 * Servers: one that listens by itself, and connections inside the routes of an
 * `@effect/platform` HTTP server.
 *
 * A handler is an effect per connection, and its scope is the connection's life:
 * when it ends, the connection is closed with 1000, or with 1011 if it failed, or
 * with 1001 if the server shuts down.
 *
 * @since 0.1.0
 */
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Flow from "./Flow.js"
import { heartbeat } from "./internal/running.js"
import { answer, decide, fromHttp, handshakeFrom, readRequest, refuse } from "./internal/server.js"
import { type Listener, Network, type TlsServerOptions } from "./Network.js"
import { type Refusal, refusalOf } from "./protocol/head.js"
import * as WebSocket from "./WebSocket.js"
import { type HandshakeError, isWebSocketError, type ListenError } from "./WebSocketError.js"

/**
 * How a server answers upgrade requests: for the whole server, or for one handler.
 *
 * @since 0.1.0
 * @category models
 */
export type HandshakeOptions = Pick<WebSocket.AcceptOptions, "subprotocols" | "origin" | "headers">

/**
 * @since 0.1.0
 * @category models
 */
export interface ServerOptions extends Omit<WebSocket.AcceptOptions, "key"> {
  /** The port to listen on; 0 lets the system choose one. Default 0. */
  readonly port?: number | undefined
  /**
   * The local address to listen on. Default `127.0.0.1`, which other machines can't
   * reach; give `0.0.0.0` or `::` to be reached by all.
   */
  readonly host?: string | undefined
  /** The path of a Unix socket to listen on instead. */
  readonly path?: string | undefined
  /** Speak TLS: `wss`. */
  readonly tls?: TlsServerOptions | undefined
  /** Connections open at once; more are refused with 503. Default {@link defaultMaxConnections}. */
  readonly maxConnections?: number | undefined
}

/**
 * Connections that one server holds at most: 10,000, which fit into half a gigabyte
 * with room to work. Descriptors may run out earlier: see `ulimit -n`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxConnections = 10_000

/** What serves the requests for a path. */
interface Route {
  readonly path: string | undefined
  readonly handshake: HandshakeOptions
  readonly handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown, Scope.Scope>
  /** The fibers that run its connections; they end with it. */
  readonly fibers: FiberSet.FiberSet<unknown, unknown>
}

/**
 * A server that listens.
 *
 * @since 0.1.0
 * @category tags
 */
export class WebSocketServer extends Context.Tag("effect-websocket/WebSocketServer")<
  WebSocketServer,
  {
    /** Where it listens, with the port that was chosen. */
    readonly address: Flow.Address
    /** The URL of its root: `ws://127.0.0.1:8080/`. Of a Unix socket, its path. */
    readonly url: string
    /** Connections open now, those in their opening handshake included. */
    readonly connections: Effect.Effect<number>
    /**
     * Runs a handler for each connection until the scope closes, which ends them.
     * See {@link serve}.
     */
    readonly serve: <E, R>(
      handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, E, R>,
      options?: ServeOptions
    ) => Effect.Effect<void, never, R | Scope.Scope>
  }
>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface ServeOptions extends HandshakeOptions {
  /** Serve only requests whose path, without the query, is this one. Default: those that no other handler's is. */
  readonly path?: string | undefined
}

/**
 * Listens, and accepts connections for the handlers that {@link serve} adds.
 *
 * A request that comes before the first handler waits for it, no longer than
 * `handshakeTimeout`; one that no handler is for is answered with 404, and one
 * that is no valid upgrade with the status that says why.
 *
 * When the scope closes, the server stops accepting, closes all connections at
 * once with 1001, and waits for them, at most `closeTimeout`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: ServerOptions = {}
): Effect.Effect<WebSocketServer["Type"], ListenError, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const network = yield* Network
    const handshakeTimeout = Duration.decode(options.handshakeTimeout ?? WebSocket.defaultHandshakeTimeout)
    const closeTimeout = Duration.decode(options.closeTimeout ?? WebSocket.defaultCloseTimeout)
    const maxConnections = options.maxConnections ?? defaultMaxConnections
    const routes = new Set<Route>()
    const served = yield* Deferred.make<void>()
    const heart = yield* heartbeat(options)
    let connections = 0

    const routeFor = (target: string): Effect.Effect<Route, Refusal> =>
      Effect.suspend(() => {
        const [path] = target.split("?", 1)
        const all = [...routes]
        const route = all.find((each) => each.path === path) ?? all.find((each) => each.path === undefined)
        return route === undefined
          ? Effect.fail(refusalOf(404, "nothing is served at this path"))
          : Effect.succeed(route)
      })

    const handle = (flow: Flow.Flow) =>
      Effect.gen(function* () {
        if (connections > maxConnections) return yield* Effect.fail(refusalOf(503, "the server has no room left"))
        const request = yield* readRequest(flow, {}, handshakeTimeout)
        yield* Effect.timeoutFail(Deferred.await(served), {
          duration: handshakeTimeout,
          onTimeout: () => refusalOf(503, "the server has no handler yet")
        })
        const route = yield* routeFor(request.head.target)
        yield* Effect.withFiberRuntime((fiber) => FiberSet.add(route.fibers, fiber))
        const accepted = decide(request.head, flow.secure, handshakeFrom({ ...options, ...route.handshake }))
        yield* runHandler(answer(flow, request, accepted, options, Effect.succeed(heart)), route.handler)
      }).pipe(
        Effect.catchTag("Refusal", (refusal) => refuse(flow, refusal, closeTimeout)),
        logRefusal,
        Effect.ensuring(
          Effect.sync(() => {
            connections--
            flow.destroy()
          })
        )
      )

    const fork = yield* FiberSet.makeRuntime<never>()
    const listener = yield* network.listen(
      {
        address:
          options.path === undefined
            ? { _tag: "TcpAddress", hostname: options.host ?? "127.0.0.1", port: options.port ?? 0 }
            : { _tag: "UnixAddress", path: options.path },
        tls: options.tls
      },
      (flow) => {
        connections++
        fork(handle(flow))
      }
    )
    return WebSocketServer.of({
      address: listener.address,
      url: urlOf(listener),
      connections: Effect.sync(() => connections),
      serve: (handler, { path, ...handshake } = {}) =>
        Effect.gen(function* () {
          const context = yield* Effect.context<Effect.Effect.Context<ReturnType<typeof handler>>>()
          const fibers = yield* FiberSet.make<unknown, unknown>()
          const route: Route = {
            path,
            handshake,
            fibers,
            handler: (socket) =>
              Effect.mapInputContext(handler(socket), (own: Context.Context<Scope.Scope>) =>
                Context.merge(context, own)
              )
          }
          yield* Effect.acquireRelease(
            Effect.sync(() => routes.add(route)),
            () => Effect.sync(() => routes.delete(route))
          )
          yield* Deferred.succeed(served, undefined)
        })
    })
  })

const urlOf = ({ address, secure }: Listener): string =>
  address._tag === "UnixAddress" ? address.path : `${secure ? "wss" : "ws"}://${Flow.formatAddress(address)}/`

/** Runs a handler in the scope of its connection. What it fails with closes the connection, and is logged. */
const runHandler = <E, RC, EH, R>(
  connection: Effect.Effect<WebSocket.WebSocket, E, RC>,
  handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, EH, R>
): Effect.Effect<void, E, Exclude<RC | R, Scope.Scope>> =>
  Effect.scoped(
    Effect.flatMap(connection, (socket) =>
      handler(socket).pipe(
        Effect.tapErrorCause((cause) => logFailure(socket, cause)),
        Effect.mapError(() => handlerFailed)
      )
    )
  ).pipe(
    Effect.catchIf(
      (error): error is typeof handlerFailed => error === handlerFailed,
      () => Effect.void
    ),
    Effect.catchAllDefect(() => Effect.void),
    Effect.asVoid
  )

const handlerFailed = { _tag: "HandlerFailed" } as const

/** A connection that ends is its handler's ordinary fate; anything else wants to be seen. */
const logFailure = (socket: WebSocket.WebSocket, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.flatMap(socket.isOpen, (open) => {
    if (Cause.isInterruptedOnly(cause)) return Effect.void
    const log = !open && isWebSocketError(Cause.squash(cause)) ? Effect.logDebug : Effect.logError
    return Effect.annotateLogs(
      log("WebSocket handler failed", cause),
      "address",
      Flow.formatAddress(socket.remoteAddress)
    )
  })

const logRefusal = <R>(connection: Effect.Effect<void, HandshakeError, R>): Effect.Effect<void, never, R> =>
  Effect.catchAll(connection, (error) =>
    Effect.annotateLogs(Effect.logDebug("WebSocket handshake refused", error.message), "address", error.address)
  )

/**
 * Listens while the layer is in use: see {@link make}.
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Layer, Stream } from "effect"
 * import { NodeNetwork, WebSocketServer } from "effect-websocket"
 *
 * const Echo = WebSocketServer.serve((socket) => Stream.run(socket.messages, socket.sink))
 *
 * const Main = Echo.pipe(
 *   Layer.provide(WebSocketServer.layer({ port: 8080, pingInterval: "30 seconds" })),
 *   Layer.provide(NodeNetwork.layer)
 * )
 *
 * NodeRuntime.runMain(Layer.launch(Main))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: ServerOptions): Layer.Layer<WebSocketServer, ListenError, Network> =>
  Layer.scoped(WebSocketServer, make(options))

/**
 * Runs a handler for each connection of the surrounding server.
 *
 * The handler is the connection's scope: when it ends, the connection is closed.
 * Its failure closes with 1011, and is logged as an error, unless it failed because
 * the connection had ended. Connections run concurrently, each in a fiber of its own.
 *
 * @since 0.1.0
 * @category layers
 */
export const serve = <E, R>(
  handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, E, R>,
  options?: ServeOptions
): Layer.Layer<never, never, WebSocketServer | Exclude<R, Scope.Scope>> =>
  Layer.scopedDiscard(Effect.flatMap(WebSocketServer, (server) => server.serve(handler, options)))

/**
 * @since 0.1.0
 * @category models
 */
export interface UpgradeOptions extends WebSocket.ConnectionOptions, HandshakeOptions {}

/**
 * A route of an `@effect/platform` HTTP server that turns its requests into
 * connections: the handler runs inside of the request, with its services, and
 * after all of the middleware before it.
 *
 * A request that is no valid upgrade is answered with the status that says why.
 * The response of one that was upgraded exists for middleware only (status 101);
 * nothing of it is written.
 *
 * `NodeHttpServer` interrupts the request, and so the handler, when the client
 * resets the connection; every other end reaches the handler as a typed error.
 *
 * Fails with `HandshakeError` if the `Network` isn't the one that the HTTP server
 * runs on: `NodeNetwork.layer` goes with `NodeHttpServer`.
 *
 * @example
 * ```ts
 * import { HttpRouter } from "@effect/platform"
 * import { Stream } from "effect"
 * import { WebSocketServer } from "effect-websocket"
 *
 * const router = HttpRouter.empty.pipe(
 *   HttpRouter.get("/echo", WebSocketServer.upgrade(
 *     (socket) => Stream.run(socket.messages, socket.sink),
 *     { subprotocols: ["echo.v1"] }
 *   ))
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const upgrade = <E, R>(
  handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, E, R>,
  options: UpgradeOptions = {}
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  HandshakeError,
  HttpServerRequest.HttpServerRequest | Network | Exclude<R, Scope.Scope>
> =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const network = yield* Network
    const head = fromHttp(request)
    const accepted = decide(head, isEncrypted(request.source), handshakeFrom(options))
    if ("_tag" in accepted) return refusalResponse(accepted)
    const connection = Effect.flatMap(network.upgrade(request), (flow) =>
      answer(flow, { head, rest: new Uint8Array(0) }, accepted, options)
    )
    yield* runHandler(connection, handler)
    return HttpServerResponse.empty({ status: 101 })
  }).pipe(Effect.catchTag("Refusal", (refusal) => Effect.succeed(refusalResponse(refusal))))

const refusalResponse = ({ status, headers, rule }: Refusal) =>
  HttpServerResponse.text(`${rule}\n`, { status, headers: [...headers, ["connection", "close"]] })

/** Whether the socket under a server's own request object is TLS, as Node tells it. */
const isEncrypted = (source: unknown): boolean =>
  typeof source === "object" &&
  source !== null &&
  "socket" in source &&
  typeof source.socket === "object" &&
  source.socket !== null &&
  "encrypted" in source.socket &&
  source.socket.encrypted === true
