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
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as Flow from "./Flow.js"
import type { Admitted } from "./internal/admitting.js"
import { checkHttp, logHttpRefusal, preparedTerms, refusalResponse, upgradeHttp } from "./internal/httpUpgrade.js"
import { type Admit, decided, listening } from "./internal/listening.js"
import { defaultDrainTimeout } from "./internal/options.js"
import type { HandshakeOptions, Request, Terms } from "./internal/server.js"
import { inVisit, runHandler, Visit } from "./internal/serving.js"
import type { Listener, Network, TlsServerOptions } from "./Network.js"
import * as WebSocket from "./WebSocket.js"
import type { HandshakeError, ListenError } from "./WebSocketError.js"

export { defaultDrainTimeout } from "./internal/options.js"
/**
 * How upgrade requests are answered: for the whole server, or for one handler.
 *
 * @since 0.1.0
 * @category models
 */
/**
 * A valid upgrade request that nothing was answered to yet: what a decision is made on.
 *
 * @since 0.1.0
 * @category models
 */
export type { HandshakeOptions, Request } from "./internal/server.js"

/**
 * The decision to accept a request.
 *
 * `data` goes to the handler: the user, a session, whatever was found out.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decision<out A> extends Terms {
  readonly data: A
}

/**
 * Decides on an upgrade request: accepts it, with data for its handler, or fails with the
 * response that refuses it: an `HttpServerResponse`, or anything that can be made into one.
 *
 * It runs after the request was found valid and its origin allowed, and before the 101, in
 * bounded time: `handshakeTimeout`. A defect in it is answered with 500, and logged.
 *
 * @since 0.1.0
 * @category models
 */
export type Decide<A, R = never> = (
  request: Request
) => Effect.Effect<Decision<A>, HttpServerRespondable.Respondable, R>

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
  /**
   * Connections open at once from one address, or from one /64 of IPv6; more are refused with
   * 429. This machine's own programs and Unix sockets are exempt. Behind a proxy all come from
   * one address, unless `trustedProxies` says so. Default {@link defaultMaxConnectionsPerAddress}.
   */
  readonly maxConnectionsPerAddress?: number | undefined
  /** How long a handler may go on when its connection is over, or the server closes. Default {@link defaultDrainTimeout}. */
  readonly drainTimeout?: Duration.DurationInput | undefined
}

/**
 * Connections that one server holds at most: 10,000, which fit into half a gigabyte
 * with room to work. Descriptors may run out earlier: see `ulimit -n`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxConnections = 10_000

/**
 * Connections from one address: 500, a large office behind one; twenty such addresses
 * fill a server.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxConnectionsPerAddress = 500

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
    /** Runs a handler for each connection that was decided for, until the scope closes. See {@link serveWith}. */
    readonly serveWith: <A, RD, E, R>(
      decide: Decide<A, RD>,
      handler: (socket: WebSocket.WebSocket, data: A) => Effect.Effect<unknown, E, R>,
      options?: ServeOptions
    ) => Effect.Effect<void, never, RD | R | Scope.Scope>
    /** Answers requests that are no upgrades until the scope closes. See {@link serveHttp}. */
    readonly serveHttp: <E, R>(app: HttpApp.Default<E, R>) => Effect.Effect<void, never, HttpNeeds<R> | Scope.Scope>
  }
>() {}

/** What an HTTP application needs beside what each request brings by itself. */
type HttpNeeds<R> = Exclude<
  Exclude<R | HttpServerRequest.HttpServerRequest, Scope.Scope>,
  HttpServerRequest.HttpServerRequest
>

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
 * that is no valid upgrade with the status that says why, or by the application of
 * {@link serveHttp}.
 *
 * When the scope closes, the server stops accepting, sends 1001 to all connections at once,
 * gives their handlers `drainTimeout` to finish, then interrupts them and destroys what is
 * left: it takes no longer than `drainTimeout` and `closeTimeout` together.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: ServerOptions = {}
): Effect.Effect<WebSocketServer["Type"], ListenError, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* listening(
      {
        address:
          options.path === undefined
            ? { _tag: "TcpAddress", hostname: options.host ?? "127.0.0.1", port: options.port ?? 0 }
            : { _tag: "UnixAddress", path: options.path },
        tls: options.tls
      },
      {
        ...options,
        maxConnections: options.maxConnections ?? defaultMaxConnections,
        maxConnectionsPerAddress: options.maxConnectionsPerAddress ?? defaultMaxConnectionsPerAddress,
        handshakeTimeout: Duration.decode(options.handshakeTimeout ?? WebSocket.defaultHandshakeTimeout),
        closeTimeout: Duration.decode(options.closeTimeout ?? WebSocket.defaultCloseTimeout),
        drainTimeout: Duration.decode(options.drainTimeout ?? defaultDrainTimeout)
      }
    )
    const serveWith = <A, RD, E, R>(
      decide: Decide<A, RD>,
      handler: (socket: WebSocket.WebSocket, data: A) => Effect.Effect<unknown, E, R>,
      { path, ...handshake }: ServeOptions = {}
    ): Effect.Effect<void, never, RD | R | Scope.Scope> =>
      Effect.flatMap(admission(decide, handler), (admit) => server.addRoute(path, handshake, admit))
    return WebSocketServer.of({
      address: server.listener.address,
      url: urlOf(server.listener),
      connections: server.connections,
      serve: (handler, { path, ...handshake } = {}) =>
        Effect.flatMap(Effect.context(), (context) => {
          const admitted = admittedIn(context, handler)({ data: undefined })
          return server.addRoute(path, handshake, admitted)
        }),
      serveWith,
      serveHttp: <E, R>(app: HttpApp.Default<E, R>) =>
        Effect.flatMap(Effect.context<HttpNeeds<R>>(), (context) =>
          server.setHttp((request, respond) =>
            // It makes all of an application uninterruptible where no router is in between.
            HttpApp.toHandled(Effect.interruptible(app), (_, response) => respond(response)).pipe(
              Effect.provideService(HttpServerRequest.HttpServerRequest, request),
              Effect.mapInputContext((_: Context.Context<never>) => context)
            )
          )
        )
    })
  })

const acceptAll = () => Effect.succeed({ data: undefined })

/** A handler with what it needs, as the server keeps it. */
const admittedIn =
  <A, E, R>(
    context: Context.Context<R>,
    handler: (socket: WebSocket.WebSocket, data: A) => Effect.Effect<unknown, E, R>
  ) =>
  ({ data, ...terms }: Decision<A>): Admitted => ({
    terms,
    handler: (socket) =>
      Effect.mapInputContext(handler(socket, data), (own: Context.Context<Scope.Scope>) =>
        Context.add(spanned(context, own), Scope.Scope, Context.get(own, Scope.Scope))
      ),
    launch: (by) => by(context, (socket) => handler(socket, data))
  })

/** A decision and a handler with what they need, as the server keeps them. */
const admission = <A, RD, E, R>(
  decide: Decide<A, RD>,
  handler: (socket: WebSocket.WebSocket, data: A) => Effect.Effect<unknown, E, R>
): Effect.Effect<Admit, never, RD | R> =>
  Effect.map(
    Effect.context<RD | R>(),
    (context) => (request) =>
      Effect.map(
        Effect.mapInputContext(decide(request), (own: Context.Context<never>) => spanned(context, own)),
        admittedIn(context, handler)
      )
  )

/**
 * What there was where something was served, in the span of the request that it is for: the
 * span it was served in is over, or lasts as long as the server. All else around a request is the server's.
 */
const spanned = <R>(context: Context.Context<R>, own: Context.Context<never>): Context.Context<R> =>
  Option.match(Context.getOption(own, Tracer.ParentSpan), {
    onNone: () => context,
    onSome: (span) => Context.add(context, Tracer.ParentSpan, span)
  })

const urlOf = ({ address, secure }: Listener): string =>
  address._tag === "UnixAddress" ? address.path : `${secure ? "wss" : "ws"}://${Flow.formatAddress(address)}/`

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
 *   Layer.provide(WebSocketServer.layer({ port: 8080 })),
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
 * Like {@link layer}, with options that may be read from the configuration.
 *
 * @example
 * ```ts
 * import { Config } from "effect"
 * import { WebSocketServer } from "effect-websocket"
 *
 * const Server = WebSocketServer.layerConfig({
 *   port: Config.integer("PORT").pipe(Config.withDefault(8080)),
 *   host: Config.string("HOST").pipe(Config.withDefault("0.0.0.0"))
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<ServerOptions>
): Layer.Layer<WebSocketServer, ListenError | ConfigError.ConfigError, Network> =>
  Layer.scoped(WebSocketServer, Effect.flatMap(Config.unwrap(options), make))

/**
 * Runs a handler for each connection of the surrounding server.
 *
 * The handler is the connection's scope: when it ends, the connection is closed. Its
 * failure closes with 1011, and is logged as an error, unless it failed because the
 * connection had ended. When the connection ends first, the handler has `drainTimeout` to
 * finish, then it is interrupted. Connections run concurrently, each in a fiber of its own.
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
 * Decides on each request first, and runs the handler with what the decision found out:
 * see {@link Decide} and {@link serve}.
 *
 * @example
 * ```ts
 * import { HttpServerResponse } from "@effect/platform"
 * import { Effect } from "effect"
 * import { WebSocketServer } from "effect-websocket"
 *
 * const Chat = WebSocketServer.serveWith(
 *   ({ cookies, subprotocols }) =>
 *     cookies["session"] === "letmein"
 *       ? Effect.succeed({ data: { user: "ada" }, subprotocol: subprotocols.find((name) => name.startsWith("chat.")) })
 *       : Effect.fail(HttpServerResponse.text("log in first", { status: 401 })),
 *   (socket, { user }) => socket.send(`hello ${user}`),
 *   { path: "/chat" }
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const serveWith = <A, RD, E, R>(
  decide: Decide<A, RD>,
  handler: (socket: WebSocket.WebSocket, data: A) => Effect.Effect<unknown, E, R>,
  options?: ServeOptions
): Layer.Layer<never, never, WebSocketServer | RD | Exclude<R, Scope.Scope>> =>
  Layer.scopedDiscard(Effect.flatMap(WebSocketServer, (server) => server.serveWith(decide, handler, options)))

/**
 * Answers requests to the surrounding server that are no upgrades with an HTTP
 * application: a health check, a page, metrics.
 *
 * It is a small HTTP server: one request for each connection, a body of 1 MiB at the most,
 * with a Content-Length. For more, use `NodeHttpServer` and {@link upgrade} in its routes.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServerResponse } from "@effect/platform"
 * import { WebSocketServer } from "effect-websocket"
 *
 * const Health = WebSocketServer.serveHttp(
 *   HttpRouter.empty.pipe(HttpRouter.get("/healthz", HttpServerResponse.text("ok")))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const serveHttp = <E, R>(
  app: HttpApp.Default<E, R>
): Layer.Layer<never, never, WebSocketServer | Exclude<HttpNeeds<R>, Scope.Scope>> =>
  Layer.scopedDiscard(Effect.flatMap(WebSocketServer, (server) => server.serveHttp(app)))

/**
 * @since 0.1.0
 * @category models
 */
export interface UpgradeOptions
  extends WebSocket.ConnectionOptions,
    HandshakeOptions,
    Pick<ServerOptions, "drainTimeout" | "handshakeTimeout"> {}

/**
 * A route of an `@effect/platform` HTTP server that turns its requests into
 * connections: the handler runs inside of the request, with its services, and
 * after all of the middleware before it.
 *
 * A request that is no valid upgrade is answered with the status that says why.
 * The response of one that was upgraded exists for middleware only (status 101), when the
 * connection is over; nothing of it is written. What `HttpApp.appendPreResponseHandler` adds to
 * responses (CORS, the cookies of `HttpApiBuilder.securitySetCookie`) goes with the 101.
 *
 * When the HTTP server ends, or thinks that its client has gone, it interrupts its requests:
 * the connection is then closed with 1001, and the handler has `drainTimeout` to finish.
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
  options?: UpgradeOptions
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  HandshakeError,
  HttpServerRequest.HttpServerRequest | Network | Exclude<R, Scope.Scope>
> => upgradeWith(acceptAll, handler, options)

/**
 * Like {@link upgrade}, with a decision first: see {@link Decide}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const upgradeWith = <A, RD, E, R>(
  decide: Decide<A, RD>,
  handler: (socket: WebSocket.WebSocket, data: A) => Effect.Effect<unknown, E, R>,
  options: UpgradeOptions = {}
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  HandshakeError,
  HttpServerRequest.HttpServerRequest | Network | RD | Exclude<R, Scope.Scope>
> =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const checked = checkHttp(request, options)
    if ("_tag" in checked) return yield* Effect.fail(checked)
    const handshakeTimeout = Duration.decode(options.handshakeTimeout ?? WebSocket.defaultHandshakeTimeout)
    const { data, ...decision } = yield* decided(decide(checked.request), handshakeTimeout)
    const terms = yield* preparedTerms(request, decision)
    const visit = new Visit()
    const patience = {
      drainTimeout: Duration.decode(options.drainTimeout ?? defaultDrainTimeout),
      closeTimeout: Duration.decode(options.closeTimeout ?? WebSocket.defaultCloseTimeout)
    }
    const connection = upgradeHttp(request, checked, options, terms, (driven) => visit.opened(driven))
    const run = runHandler(connection, (socket) => handler(socket, data), visit, patience)
    yield* inVisit(run, visit, patience)
    return HttpServerResponse.empty({ status: 101 })
  }).pipe(
    Effect.catchTag("Refusal", (refusal) =>
      Effect.as(
        Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => logHttpRefusal(request, refusal)),
        refusalResponse(refusal)
      )
    ),
    Effect.catchTag("Declined", (declined) =>
      Effect.as(
        Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => logHttpRefusal(request, declined)),
        // Node ends the connection behind any answer to an upgrade, whatever the platform says of it.
        HttpServerResponse.setHeader(declined.response, "connection", "close")
      )
    )
  )
