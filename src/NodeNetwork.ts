/**
 * The network of Node.js: TCP, TLS and Unix sockets, over `node:net` and
 * `node:tls`.
 *
 * After 4096 reads of 16 KiB or more it has glibc keep up to 64 MiB of memory that
 * the process has freed, instead of giving it back to the system: large messages
 * cost half of the CPU time then. To decide otherwise, set `MALLOC_TRIM_THRESHOLD_`
 * in the environment.
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { NodeNetwork, WebSocket } from "effect-websocket"
 *
 * const program = Effect.gen(function*() {
 *   const socket = yield* WebSocket.connect("wss://prices.example/feed")
 *   yield* socket.send("subscribe EURUSD")
 * }).pipe(Effect.scoped)
 *
 * program.pipe(Effect.provide(NodeNetwork.layer), NodeRuntime.runMain)
 * ```
 *
 * @since 0.1.0
 */
import type * as Http from "node:http"
import type * as Https from "node:https"
import type { Duplex } from "node:stream"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import type { Address, Flow } from "./Flow.js"
import { connect } from "./internal/nodeConnect.js"
import { NodeFlow } from "./internal/nodeFlow.js"
import * as Listening from "./internal/nodeListen.js"
import * as Upgrading from "./internal/nodeUpgrade.js"
import { Network } from "./Network.js"

/**
 * How long an accepted connection may take for its TLS handshake, in
 * milliseconds: 10 seconds. Node's own default of two minutes would let a peer
 * that says nothing hold a descriptor for as long. Ten seconds are several round
 * trips and retransmissions on the worst links.
 *
 * @since 0.1.0
 * @category constants
 */
export const tlsHandshakeTimeout: number = Listening.tlsHandshakeTimeout

/**
 * Makes a flow of any Node `Duplex` of bytes: a socket that another library
 * opened (a proxy, a tunnel, SSH), or a stream of your own.
 *
 * The flow owns the stream from then on: it pauses it, keeps an `error` listener
 * on it until it is closed, lets it be half open, and sets `noDelay` and no
 * timeout if it is a socket. The stream must deliver bytes (no encoding, no
 * object mode). `ends` says what isn't to be read off the stream: for a stream
 * that isn't a socket the addresses, and whether it is secure.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromDuplex = (
  duplex: Duplex,
  ends: {
    readonly remoteAddress?: Address | undefined
    readonly localAddress?: Address | undefined
    readonly secure?: boolean | undefined
  } = {}
): Flow => new NodeFlow(duplex, ends)

/**
 * TCP, TLS and Unix sockets.
 *
 * - TLS verifies the server's certificate and name by default, sends the name
 *   (SNI) unless it is an IP address, and speaks TLS 1.2 or newer. A server's
 *   handshake is bounded by {@link tlsHandshakeTimeout}. A server that refuses the
 *   client's certificate under TLS 1.3 says so after the handshake, so that
 *   `connect` succeeds and the flow closes with an `IoError`.
 * - A host name with several addresses is tried one after the other, with the
 *   next begun before the first has timed out (Node's `autoSelectFamily`).
 * - The file of a Unix socket is removed when its scope closes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Network> = Layer.sync(Network, () =>
  Network.of({
    connect: (options) =>
      Effect.uninterruptibleMask((restore) =>
        restore(connect(options)).pipe(
          Effect.tap((flow) => Effect.addFinalizer(() => Effect.sync(() => flow.destroy())))
        )
      ),
    listen: (options, onFlow) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.runtime(), (runtime) =>
          restore(Listening.listen(options, onFlow, Runtime.runFork(runtime))).pipe(
            Effect.tap(({ close }) => Effect.addFinalizer(() => Effect.sync(close))),
            Effect.map(({ listener }) => listener)
          )
        )
      ),
    upgrade: Upgrading.upgrade
  })
)

// --- upgrading

/**
 * Makes a Node HTTP server ready for upgrades inside an @effect/platform
 * application, before it is given to `NodeHttpServer`. Always use it where a
 * route may upgrade.
 *
 * Between the moment at which Node hands an upgrade's socket over and the one
 * at which the application takes it, middleware and routing run. Node has
 * removed its own listeners by then, so that a peer that resets the connection
 * in between would kill the process. A prepared server survives it, and keeps
 * the bytes that came right behind the request, which would be lost otherwise.
 *
 * It ends, too. `close` of a prepared server destroys the connections that have carried
 * no request yet, which browsers open ahead and Node would wait for without limit. A
 * request that comes before the application serves, or while it shuts down, is answered
 * with 503 instead of being left without an answer.
 *
 * @example
 * ```ts
 * import { createServer } from "node:http"
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { NodeNetwork } from "effect-websocket"
 *
 * const HttpLive = NodeHttpServer.layer(() => NodeNetwork.prepareServer(createServer()), { port: 3000 })
 * ```
 *
 * @since 0.1.0
 * @category upgrading
 */
export const prepareServer: <Server extends Http.Server | Https.Server>(server: Server) => Server =
  Upgrading.prepareServer
