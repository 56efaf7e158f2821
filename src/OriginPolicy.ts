/**
 * Which web pages may open a connection.
 *
 * A browser lets any page open a WebSocket to any host, and sends the user's
 * cookies along. The Origin field, which a page can't forge, says whose page it
 * is; a server that doesn't check it lets every site act as its users
 * (cross-site WebSocket hijacking, CWE-1385).
 *
 * Only browsers are bound to send Origin. A request without it comes from no
 * page, so every policy here allows it: this is no authentication.
 *
 * @see RFC 6455 section 10.2, RFC 6454
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import type * as Predicate from "effect/Predicate"
import { consistsOf, parseHost, schemeTable } from "./protocol/tokens.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface AllowAll {
  readonly _tag: "AllowAll"
}

/**
 * @since 0.1.0
 * @category models
 */
export interface AllowList {
  readonly _tag: "AllowList"
  /** Is given an origin as a browser writes it: lower case, no default port. */
  readonly allows: Predicate.Predicate<string>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface SameOrigin {
  readonly _tag: "SameOrigin"
}

/**
 * Which web pages may open a connection.
 *
 * @since 0.1.0
 * @category models
 */
export type OriginPolicy = AllowAll | AllowList | SameOrigin

/**
 * Allows every page of every site, whatever Origin says. Right for public data
 * that needs no cookies, or where something else authenticates each connection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const allowAll: OriginPolicy = { _tag: "AllowAll" }

/**
 * Allows the pages of the same scheme, host and port as the request: the
 * default. `null`, which stands for sandboxed frames and local files, is refused.
 *
 * Whether the scheme is `https` follows from the connection being TLS. Behind a
 * proxy that ends TLS the pages are `https` and the connection isn't, so no
 * origin is the same, unless the server's `trustedProxies` lets it believe what the
 * proxy says; or use {@link allowList} with the site's origin there.
 *
 * It compares Origin with Host, and believes both. An attacker's name that points
 * to this server's address (DNS rebinding) makes them equal, and the attacker's page
 * reads what the server tells everybody who reaches it; the cookies of the true name
 * aren't sent. Where that matters, on private networks and on this machine alone,
 * name the `hosts` that the server answers to, or use {@link allowList}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sameOrigin: OriginPolicy = { _tag: "SameOrigin" }

/**
 * Allows the origins given (`https://app.example`, `http://localhost:3000`):
 * scheme, host and port must all be equal, and a default port may be written or
 * not. A slash at the end is tolerated; any other entry that is no origin
 * matches nothing.
 *
 * A predicate, instead, is given each well-formed origin in lower case and
 * without a default port. It must not throw. Beware of substrings:
 * `origin.endsWith("example.com")` allows `https://evilexample.com`.
 *
 * `null` is refused in both cases, as are malformed origins.
 *
 * @example
 * ```ts
 * import { OriginPolicy } from "effect-websocket"
 *
 * const policy = OriginPolicy.allowList(["https://app.example", "http://localhost:3000"])
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const allowList = (origins: ReadonlyArray<string> | Predicate.Predicate<string>): OriginPolicy => {
  if (typeof origins === "function") return { _tag: "AllowList", allows: origins }
  const allowed = new Set<string>()
  for (const origin of origins) {
    const normalized = normalize(origin.endsWith("/") ? origin.slice(0, -1) : origin)
    if (normalized !== undefined) allowed.add(normalized)
  }
  return { _tag: "AllowList", allows: (origin) => allowed.has(origin) }
}

/**
 * What a request says about where it comes from and where it goes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  /** The value of Origin; `undefined` if there is none. */
  readonly origin: string | undefined
  /** The value of Host; `undefined` if there is none. */
  readonly host: string | undefined
  /** Whether the connection is TLS. */
  readonly secure: boolean
}

/**
 * Whether a policy allows a request: `Left` says why it doesn't. The reason
 * names no origin, so it may be shown to the client.
 *
 * @example
 * ```ts
 * import { Either } from "effect"
 * import { OriginPolicy } from "effect-websocket"
 *
 * const request = { origin: "https://app.example", host: "app.example:443", secure: true }
 * console.log(Either.isRight(OriginPolicy.validate(OriginPolicy.sameOrigin, request))) // true
 * ```
 *
 * @since 0.1.0
 * @category validation
 */
export const validate: {
  (request: Request): (self: OriginPolicy) => Either.Either<void, string>
  (self: OriginPolicy, request: Request): Either.Either<void, string>
} = dual(2, (self: OriginPolicy, { origin, host, secure }: Request): Either.Either<void, string> => {
  if (self._tag === "AllowAll" || origin === undefined) return Either.void
  if (origin === "null") return Either.left("the opaque origin `null` is not allowed")
  const normalized = normalize(origin)
  if (normalized === undefined) return Either.left("Origin is malformed (RFC 6454 7.1)")
  if (self._tag === "AllowList") {
    return self.allows(normalized) ? Either.void : Either.left("this origin is not on the list of those allowed")
  }
  const own = `${secure ? "https" : "http"}://${host ?? ""}`
  // As a browser writes both, they are the same text.
  return origin === own || normalized === normalize(own)
    ? Either.void
    : Either.left("this origin is not the origin of this server")
})

const defaultPorts: ReadonlyMap<string, number> = new Map([
  ["http", 80],
  ["https", 443],
  ["ws", 80],
  ["wss", 443]
])

// `scheme://host[:port]` and nothing else, in the one spelling that can be compared as a text.
const normalize = (origin: string): string | undefined => {
  const end = origin.indexOf("://")
  const scheme = origin.slice(0, Math.max(end, 0)).toLowerCase()
  const host = parseHost(origin.slice(end + 3))
  if (scheme === "" || !consistsOf(scheme, schemeTable) || host === undefined) return undefined
  const port = host.port === undefined || host.port === defaultPorts.get(scheme) ? "" : `:${host.port}`
  return `${scheme}://${host.hostname}${port}`
}
