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
  /** The name to send (SNI) and to verify instead of the URL's host. */
  readonly servername?: string | undefined
  /** False accepts any certificate: an attacker in the middle can then read and change all. Default true. */
  readonly verify?: boolean | undefined
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
  /** Speak TLS if present. */
  readonly tls?: TlsClientOptions | undefined
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
