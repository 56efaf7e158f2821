/**
 * A network that connects through a proxy: HTTP (`CONNECT`), with or without TLS
 * to the proxy, or SOCKS5.
 *
 * It wraps the network below: `connect` goes through the proxy, `listen` and
 * `upgrade` are those below. So proxies chain, and everything that needs a
 * `Network` can be given one.
 *
 * - The proxy resolves the target's name, for `socks5:` as for `socks5h:`.
 * - TLS to the target (`wss:`) runs inside the tunnel, and is verified against the
 *   target's name. The proxy sees the target's host and port, and no more.
 * - Unix sockets are connected to directly.
 * - `remoteAddress` of the flows is the proxy's. `secure` is whether there is TLS to the
 *   target.
 *
 * Errors are `ConnectError` with the reason `proxy`; its detail says what the proxy
 * answered, and `code` as what (`HTTP 407`, `SOCKS 5`). Credentials appear in
 * none. Nothing is bounded in time here: `handshakeTimeout` of `WebSocket.connect`
 * holds for the proxy, too. A proxy's answer is at most 16 KiB.
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { NodeNetwork, ProxyNetwork, WebSocket } from "effect-websocket"
 *
 * const program = Effect.gen(function*() {
 *   const socket = yield* WebSocket.connect("wss://prices.example/feed")
 *   yield* socket.send("subscribe EURUSD")
 * }).pipe(Effect.scoped)
 *
 * const ThroughProxy = ProxyNetwork.layer("http://proxy.example:3128").pipe(Layer.provide(NodeNetwork.layer))
 *
 * program.pipe(Effect.provide(ThroughProxy), NodeRuntime.runMain)
 * ```
 *
 * @see RFC 9110 section 9.3.6 (CONNECT), RFC 1928 (SOCKS5), RFC 1929 (its user name and password)
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { exempts } from "./internal/noProxy.js"
import { through } from "./internal/proxy.js"
import { readProxy } from "./internal/proxyOptions.js"
import { Network, type TlsClientOptions } from "./Network.js"
import type { ConnectError } from "./WebSocketError.js"

/**
 * A proxy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * `http://`, `https://`, `socks5://` or `socks5h://`, with `user:password@` if the proxy wants that.
   * Without a scheme it is `http`; the ports are 80, 443 and 1080 if not given. What comes behind the
   * port has no meaning.
   */
  readonly url: string | URL | Redacted.Redacted<string>
  /** In place of the URL's. For HTTP proxies without a colon, for SOCKS5 at most 255 bytes. */
  readonly username?: string | undefined
  /** In place of the URL's. For SOCKS5 from 1 to 255 bytes. */
  readonly password?: Redacted.Redacted<string> | undefined
  /** TLS to the proxy itself, for `https:`. */
  readonly tls?: TlsClientOptions | undefined
  /**
   * What is connected to without the proxy, in the manner of the `NO_PROXY` variable: see
   * {@link layerEnv}. Default: nothing.
   */
  readonly noProxy?: string | undefined
}

/**
 * Wraps a network, so that its connections go through a proxy.
 *
 * Fails with `ConnectError` (`proxy`) if the URL or the credentials can't be used.
 * Nothing is opened until somebody connects.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  network: Context.Tag.Service<Network>,
  proxy: string | URL | Options
): Effect.Effect<Context.Tag.Service<Network>, ConnectError> => {
  const options = typeof proxy === "string" || proxy instanceof URL ? { url: proxy } : proxy
  const direct = exempts(options.noProxy ?? "")
  return Effect.map(readProxy(options, "proxy"), (found) =>
    Network.of({ ...network, connect: through(network, ({ address }) => (direct(address) ? undefined : found)) })
  )
}

/**
 * A network whose connections go through a proxy: see {@link make}.
 *
 * @example
 * ```ts
 * import { Layer, Redacted } from "effect"
 * import { NodeNetwork, ProxyNetwork } from "effect-websocket"
 *
 * // a SOCKS5 proxy that is reached through an HTTP proxy
 * const Live = ProxyNetwork.layer({
 *   url: "socks5://inner.example",
 *   username: "alice",
 *   password: Redacted.make("secret"),
 *   noProxy: "localhost, 10.0.0.0/8"
 * }).pipe(Layer.provide(ProxyNetwork.layer("http://outer.example:3128")), Layer.provide(NodeNetwork.layer))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (proxy: string | URL | Options): Layer.Layer<Network, ConnectError, Network> =>
  Layer.effect(
    Network,
    Effect.flatMap(Network, (network) => make(network, proxy))
  )

/**
 * A network that does what the usual variables say, read through Effect's
 * `ConfigProvider` when the layer is built. With none of them set it is the network
 * below.
 *
 * - `HTTPS_PROXY` is the proxy for TLS (`wss:`), `HTTP_PROXY` the one without (`ws:`), and
 *   `ALL_PROXY` stands in for either. Names in lower case win. An empty value counts as none.
 * - `NO_PROXY` lists what is connected to directly, separated by commas or spaces: `example.com`
 *   (that host and all below it; `.example.com` and `*.example.com` mean the same),
 *   addresses (`10.1.2.3`, `::1`), networks (`10.0.0.0/8`, `fd00::/8`), `*` for everything; all but
 *   networks with a port if need be (`example.com:8080`, `[::1]:8080`). Names aren't resolved. What is
 *   none of this matches nothing.
 * - `HTTP_PROXY` in upper case is ignored where `REQUEST_METHOD` is set: in a CGI program a
 *   client's `Proxy` header sets it.
 *
 * Fails with `ConnectError` (`proxy`) if a URL can't be used; its `address` is the name of the
 * variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEnv: Layer.Layer<Network, ConnectError | ConfigError.ConfigError, Network> = Layer.effect(
  Network,
  Effect.gen(function* () {
    const network = yield* Network
    const cgi = Option.isSome(yield* variable("REQUEST_METHOD"))
    const all = ["all_proxy", "ALL_PROXY"]
    const secure = yield* proxyOf(["https_proxy", "HTTPS_PROXY", ...all])
    const plain = yield* proxyOf(["http_proxy", ...(cgi ? [] : ["HTTP_PROXY"]), ...all])
    const direct = exempts((yield* firstOf(["no_proxy", "NO_PROXY"]))?.value ?? "")
    return Network.of({
      ...network,
      connect: through(network, ({ address, tls }) =>
        direct(address) ? undefined : tls === undefined ? plain : secure
      )
    })
  })
)

const variable = (name: string) => Config.option(Config.redacted(name))

const firstOf = (names: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    for (const name of names) {
      const value = Option.getOrElse(yield* variable(name), () => Redacted.make("")).pipe(Redacted.value)
      if (value.trim() !== "") return { name, value }
    }
    return undefined
  })

const proxyOf = (names: ReadonlyArray<string>) =>
  Effect.flatMap(firstOf(names), (found) =>
    found === undefined ? Effect.succeed(undefined) : readProxy({ url: found.value }, found.name)
  )
