// Redirects of the opening handshake: where they lead, and what must not come along.

import * as Headers from "@effect/platform/Headers"
import type { TlsClientOptions } from "../Network.js"
import type { ResponseHead } from "../protocol/head.js"
import { type Failure, failure } from "../protocol/tokens.js"
import { type Destination, parse } from "./destination.js"

/** A server's word that the connection is to be had elsewhere. */
export interface Redirect {
  readonly _tag: "Redirect"
  readonly to: Destination
}

// RFC 9110 15.4. An upgrade request is a GET, which all of them leave as it is.
const statuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/**
 * Where a response sends a client that has come over `visited`, the last of which
 * is `from`, and may be sent on `maxRedirects` times; or why it must not go there.
 * `undefined` if it isn't sent anywhere.
 */
export const redirectOf = (
  { status, fields }: ResponseHead,
  from: Destination,
  visited: ReadonlyArray<string>,
  maxRedirects: number
): Redirect | Failure | undefined => {
  const location = fields.get("location")
  if (!statuses.has(status) || location === undefined || maxRedirects === 0) return undefined
  if (visited.length > maxRedirects) return failure(`the server redirects more than ${maxRedirects} times`)
  // RFC 9110 10.2.2: one URI reference, and those are visible ASCII (RFC 3986 2). What is anything else
  // could be read as two different places. Two Locations are joined by a comma and a space.
  if (!/^[!-~]+$/.test(location)) {
    return failure("the server redirects with a Location that isn't one URL in visible ASCII (RFC 9110 10.2.2)")
  }
  // A fragment says where to look in a page, and must not be on these URLs (RFC 6455 3).
  const to = parse(location.replace(/#.*$/, ""), from.label)
  if ("_tag" in to) return failure(`the server redirects to what can't be connected to: ${to.rule}`)
  if (to.authorization !== undefined) {
    return failure("the server redirects with user info in the Location, which would be credentials of its choice")
  }
  if (from.secure && !to.secure) return failure("the server redirects from TLS to plain TCP, which would give it up")
  // The request would be the same again, and so would the answer.
  if (visited.includes(to.label)) return failure(`the server redirects in a circle, back to ${to.label}`)
  return { _tag: "Redirect", to }
}

/** What a request carries that was meant for one server. */
export interface Baggage {
  readonly headers: Headers.Headers
  readonly tls: TlsClientOptions | undefined
  readonly address: unknown
}

const secrets = ["authorization", "cookie", "proxy-authorization"]

/**
 * What goes along to another origin: nothing that proves who the client is, and
 * nothing that was said about where the first server is and what it is called.
 */
export const forStranger = <B extends Baggage>(baggage: B): B => ({
  ...baggage,
  headers: secrets.reduce((headers, name) => Headers.remove(headers, name), baggage.headers),
  address: undefined,
  tls: baggage.tls === undefined ? undefined : acquainted(baggage.tls)
})

const acquainted = ({ ca, verify, keyLog }: TlsClientOptions): TlsClientOptions => ({ ca, verify, keyLog })
