// The options of connecting, and what follows from them.

import * as Headers from "@effect/platform/Headers"
import type * as Duration from "effect/Duration"
import type * as Flow from "../Flow.js"
import type { TlsClientOptions } from "../Network.js"
import type { ClientHandshake, Route } from "./client.js"
import { type ConnectionOptions, extensions } from "./options.js"

/** What the opening handshake says and expects. */
export interface ConnectOverOptions extends ConnectionOptions {
  /** Subprotocols to offer, the preferred one first. */
  readonly subprotocols?: ReadonlyArray<string> | undefined
  /**
   * Fails with `HandshakeError` if the server chooses none of `subprotocols`. Default
   * false: such a connection has the `subprotocol` undefined (RFC 6455 4.1).
   */
  readonly requireSubprotocol?: boolean | undefined
  /**
   * More headers for the request; those of the handshake itself can't be given. Cookies
   * are one of them: `{ cookie: "session=1; theme=dark" }`.
   */
  readonly headers?: Headers.Input | undefined
  /** Bound on the whole opening: DNS, TCP, TLS, HTTP, redirects. Default `defaultHandshakeTimeout`, 10 seconds. */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
}

/** How to reach the server, and what to say to it. */
export interface ConnectOptions extends ConnectOverOptions {
  /** For `wss:` and `https:`. Certificates are verified unless it says otherwise. */
  readonly tls?: TlsClientOptions | undefined
  /**
   * Where to connect to instead of the URL's host and port: a Unix socket, or a certain
   * address. The URL's host is what TLS verifies, and what the request names.
   */
  readonly address?: Flow.Address | undefined
  /** The IP address of this machine to connect from. Default: the system chooses. */
  readonly localAddress?: string | undefined
  /**
   * How many redirects to follow (301, 302, 303, 307, 308). Default 0: a redirect fails
   * with a `HandshakeError` whose `headers.location` tells where to.
   *
   * To another origin (scheme, host or port) none of this goes along: the user info of the
   * URL, the headers `authorization`, `cookie` and `proxy-authorization`, the client
   * certificate, `servername`, `address`. Other headers do. A redirect from `wss` to `ws`
   * is not followed.
   */
  readonly maxRedirects?: number | undefined
}

export const clientHandshake = (options: ConnectOverOptions): ClientHandshake => ({
  subprotocols: options.subprotocols ?? [],
  requireSubprotocol: options.requireSubprotocol ?? false,
  headers: Headers.fromInput(options.headers),
  limits: { maxBytes: options.maxHeadSize },
  extensions: extensions(options)
})

export const clientRoute = ({ address, localAddress, maxRedirects = 0, tls }: ConnectOptions): Route => ({
  tls,
  address,
  localAddress,
  maxRedirects
})
