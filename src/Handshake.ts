/**
 * The pieces of the opening handshake, for whoever routes or answers upgrade
 * requests by hand: keys, the checks of single headers, the choice of a
 * subprotocol. `WebSocket.connect`, `WebSocket.accept` and `WebSocketServer` do
 * all of this by themselves.
 *
 * @see RFC 6455 section 4
 * @since 0.1.0
 */
import * as Crypto from "node:crypto"
import * as Headers from "@effect/platform/Headers"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as OriginPolicy from "./OriginPolicy.js"
import { supportedVersion } from "./protocol/handshake.js"
import { hasToken, isKey } from "./protocol/tokens.js"
import { Rng } from "./Rng.js"

/**
 * What a server appends to the client's key before hashing it, to prove that it
 * understood the request as WebSocket (RFC 6455 section 1.3).
 *
 * @since 0.1.0
 * @category constants
 */
export const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/**
 * The only value of Sec-WebSocket-Version that was ever published (RFC 6455
 * section 4.1).
 *
 * @since 0.1.0
 * @category constants
 */
export const supportedWebsocketVersion: "13" = supportedVersion

/**
 * SHA-1 of a text (as UTF-8), in base64.
 *
 * @since 0.1.0
 * @category keys
 */
export const sha1Base64 = (text: string): string =>
  "hash" in Crypto ? Crypto.hash("sha1", text, "base64") : inSteps(text)

// Node before 20.12. In one step it takes a third of the time.
const inSteps = (text: string): string => Crypto.createHash("sha1").update(text).digest("base64")

/**
 * The value of Sec-WebSocket-Accept that answers a key (RFC 6455 section 4.2.2).
 *
 * @example
 * ```ts
 * import { Handshake } from "effect-websocket"
 *
 * console.log(Handshake.computeAcceptKey("dGhlIHNhbXBsZSBub25jZQ==")) // s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
 * ```
 *
 * @since 0.1.0
 * @category keys
 */
export const computeAcceptKey = (key: string): string => sha1Base64(key + guid)

/**
 * A new value for Sec-WebSocket-Key: 16 bytes of `Rng` in base64 (RFC 6455
 * section 4.1).
 *
 * @since 0.1.0
 * @category keys
 */
export const generateKey: Effect.Effect<string> = Effect.map(Rng, (rng) => {
  const bytes = new Uint8Array(16)
  rng.fill(bytes)
  return Encoding.encodeBase64(bytes)
})

/**
 * Whether Connection lists `upgrade`, in any case and among others:
 * `keep-alive, Upgrade`.
 *
 * @since 0.1.0
 * @category headers
 */
export const hasConnectionUpgradeToken = (headers: Headers.Headers): boolean =>
  hasToken(headers["connection"], "upgrade")

/**
 * Whether a request asks to become a WebSocket: a GET with `Upgrade: websocket`
 * and `Connection: Upgrade`. An `HttpServerRequest` fits.
 *
 * It tells such requests from others. Whether the handshake is valid (version,
 * key, no body) is judged when it is accepted.
 *
 * @since 0.1.0
 * @category headers
 */
export const isUpgradeRequest = (request: { readonly method: string; readonly headers: Headers.Headers }): boolean =>
  request.method === "GET" &&
  hasToken(request.headers["upgrade"], "websocket") &&
  hasConnectionUpgradeToken(request.headers)

/**
 * The value of Sec-WebSocket-Key. A value that isn't 16 bytes in base64 counts
 * as none: no valid handshake has it.
 *
 * @since 0.1.0
 * @category headers
 */
export const getWebsocketKey = (headers: Headers.Headers): Option.Option<string> =>
  Option.filter(Headers.get(headers, "sec-websocket-key"), isKey)

/**
 * The value of Sec-WebSocket-Version, as it is.
 *
 * @since 0.1.0
 * @category headers
 */
export const getWebsocketVersion = (headers: Headers.Headers): Option.Option<string> =>
  Headers.get(headers, "sec-websocket-version")

/**
 * Whether Sec-WebSocket-Version is there and is {@link supportedWebsocketVersion}.
 *
 * @since 0.1.0
 * @category headers
 */
export const validateWebsocketVersion = (headers: Headers.Headers): boolean =>
  headers["sec-websocket-version"] === supportedWebsocketVersion

/**
 * The value of Origin, as it is. Browsers always send one; other clients need
 * not.
 *
 * @since 0.1.0
 * @category headers
 */
export const getOrigin = (headers: Headers.Headers): Option.Option<string> => Headers.get(headers, "origin")

/**
 * Whether a policy allows a request with these headers: `Left` says why not.
 *
 * - `policy`: which origins are allowed; see `OriginPolicy`.
 * - `secure`: whether the connection is TLS, which is what makes the server's
 *   own origin `https`.
 *
 * @example
 * ```ts
 * import { Headers } from "@effect/platform"
 * import { Either } from "effect"
 * import { Handshake, OriginPolicy } from "effect-websocket"
 *
 * const headers = Headers.fromInput({ host: "app.example", origin: "https://evil.example" })
 * const verdict = Handshake.validateOrigin(headers, { policy: OriginPolicy.sameOrigin, secure: true })
 * console.log(Either.isLeft(verdict)) // true
 * ```
 *
 * @since 0.1.0
 * @category headers
 */
export const validateOrigin: {
  (options: {
    readonly policy: OriginPolicy.OriginPolicy
    readonly secure: boolean
  }): (headers: Headers.Headers) => Either.Either<void, string>
  (
    headers: Headers.Headers,
    options: { readonly policy: OriginPolicy.OriginPolicy; readonly secure: boolean }
  ): Either.Either<void, string>
} = dual(
  2,
  (
    headers: Headers.Headers,
    options: { readonly policy: OriginPolicy.OriginPolicy; readonly secure: boolean }
  ): Either.Either<void, string> =>
    OriginPolicy.validate(options.policy, {
      origin: headers["origin"],
      host: headers["host"],
      secure: options.secure
    })
)

/**
 * The subprotocol to speak: the first of `supported`, in the server's order of
 * preference, that the client offered. None if they have none in common; the
 * connection then has no subprotocol. Names are compared exactly, in case too.
 *
 * @since 0.1.0
 * @category subprotocols
 */
export const selectSubprotocol: {
  (supported: ReadonlyArray<string>): (offered: ReadonlyArray<string>) => Option.Option<string>
  (offered: ReadonlyArray<string>, supported: ReadonlyArray<string>): Option.Option<string>
} = dual(2, (offered: ReadonlyArray<string>, supported: ReadonlyArray<string>): Option.Option<string> => {
  const names = new Set(offered)
  return Option.fromNullable(supported.find((name) => names.has(name)))
})
