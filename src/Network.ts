/**
 * The network as a capability: whoever has no `Network` in its context can't
 * open a connection, and whoever wants none for a test provides another one.
 *
 * `NodeNetwork.layer` is TCP, TLS and Unix sockets; `TestNetwork.layer` lives in
 * memory.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Flow from "./Flow.js"
import type { ConnectError, HandshakeError, ListenError } from "./WebSocketError.js"

/**
 * TLS on the side that connects. The server's certificate and its name are
 * always verified unless `verify` is false.
 *
 * @since 0.1.0
 * @category models
 */
export interface TlsClientOptions {
  /** Certificates (PEM) of authorities to trust instead of the platform's own list. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The client's own certificate chain (PEM), for servers that ask for one. */
  readonly cert?: string | undefined
  /** The key (PEM) of `cert`. */
  readonly key?: Redacted.Redacted<string> | undefined
  /** What `key` is encrypted with, if it is. */
  readonly passphrase?: Redacted.Redacted<string> | undefined
  /** The name to send (SNI) and to verify instead of the URL's host. */
  readonly servername?: string | undefined
  /** False accepts any certificate: an attacker in the middle can then read and change all. Default true. */
  readonly verify?: boolean | undefined
  /**
   * Hears the secrets of the session, line by line with the line's end, in the format that
   * Wireshark reads as its "(Pre)-Master-Secret log": whoever has them can decrypt a
   * recording of the connection. It is called in the TLS handshake, synchronously, as in
   * `(line) => appendFileSync("keys.log", line)`; if it throws, the connection fails. For
   * all connections of a process there is Node's own flag `--tls-keylog=keys.log`.
   */
  readonly keyLog?: ((line: string) => void) | undefined
}

/**
 * TLS on the side that listens.
 *
 * @since 0.1.0
 * @category models
 */
export interface TlsServerOptions {
  /** The server's certificate chain (PEM). */
  readonly cert: string
  /** The key (PEM) of `cert`. */
  readonly key: Redacted.Redacted<string>
  /** Certificates (PEM) of authorities whose client certificates are accepted; if given, a client certificate is required. */
  readonly clientCa?: string | ReadonlyArray<string> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  /** Where to connect to. A host name is resolved by the network. */
  readonly address: Flow.Address
  /** The IP address of this machine to connect from. Default: the system chooses. Means nothing for a Unix socket. */
  readonly localAddress?: string | undefined
  /** Speak TLS if present. */
  readonly tls?: TlsClientOptions | undefined
  /**
   * The flow to use instead of opening one, for example a tunnel through a proxy that
   * ends at `address`. It belongs to the connection from now on, also if that fails.
   * `remoteAddress` stays that of the flow; TLS verifies the name of `address`.
   */
  readonly over?: Flow.Flow | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ListenOptions {
  /** Where to listen. Port 0 lets the system choose one. */
  readonly address: Flow.Address
  /** Speak TLS if present. */
  readonly tls?: TlsServerOptions | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Listener {
  /** Where it listens, with the port that was chosen. */
  readonly address: Flow.Address
  /** Whether it speaks TLS. */
  readonly secure: boolean
}

/**
 * The network.
 *
 * @since 0.1.0
 * @category tags
 */
export class Network extends Context.Tag("effect-websocket/Network")<
  Network,
  {
    /**
     * Opens a flow, which is destroyed when the scope closes. Interrupting the
     * attempt, at any stage, leaves nothing open.
     */
    readonly connect: (options: ConnectOptions) => Effect.Effect<Flow.Flow, ConnectError, Scope.Scope>
    /**
     * Listens until the scope closes, and calls `onFlow` for each flow accepted,
     * after its TLS handshake if it has one. Closing the scope stops accepting,
     * and leaves the accepted flows, which belong to their owners, alone.
     */
    readonly listen: (
      options: ListenOptions,
      onFlow: (flow: Flow.Flow) => void
    ) => Effect.Effect<Listener, ListenError, Scope.Scope>
    /**
     * Takes over the flow under an HTTP request that asks for an upgrade. From
     * then on the HTTP server has no part in it. It is destroyed when the scope
     * closes. Fails if this network isn't the one under that server.
     */
    readonly upgrade: (
      request: HttpServerRequest.HttpServerRequest
    ) => Effect.Effect<Flow.Flow, HandshakeError, Scope.Scope>
  }
>() {}
