// Who a request comes from, and what it asks for, where proxies stand in between.

import type * as Flow from "../Flow.js"
import { type Fields, type Refusal, refusalOf } from "../protocol/head.js"
import { parseHost } from "../protocol/tokens.js"

/** What the client sees, as far as the proxies that are trusted tell. */
export interface Seen {
  readonly remoteAddress: Flow.Address
  readonly secure: boolean
  readonly host: string | undefined
}

/**
 * Reads X-Forwarded-For, -Proto and -Host. Each proxy appends what it has seen to what came
 * in, and anybody can send these fields: so only as many entries count, from the end, as
 * proxies are trusted.
 */
export const seenBy = (
  flow: Pick<Flow.Flow, "remoteAddress" | "secure">,
  fields: Fields,
  trustedProxies: number
): Seen => {
  const direct = { remoteAddress: flow.remoteAddress, secure: flow.secure, host: fields.get("host") }
  if (!(trustedProxies > 0)) return direct
  const told = (name: string): string | undefined => {
    const entries = fields.get(name)?.split(",") ?? []
    // A proxy that overwrites instead of appending leaves fewer entries than there are proxies.
    const entry = entries[Math.max(0, entries.length - trustedProxies)]?.trim()
    return entry === "" ? undefined : entry
  }
  const address = told("x-forwarded-for")
  const scheme = told("x-forwarded-proto")?.toLowerCase()
  return {
    remoteAddress: address === undefined ? direct.remoteAddress : addressOf(address),
    secure: scheme === undefined ? direct.secure : scheme === "https" || scheme === "wss",
    host: told("x-forwarded-host") ?? direct.host
  }
}

/**
 * Refuses a request for a host that isn't one of those that the server answers to. Whoever owns a
 * name can let it point to this machine: to a browser a page of that name is then one of this
 * server's own, and its Origin is that of the Host. A request without Host comes from no browser.
 */
export const checkHost = (host: string | undefined, hosts: ReadonlyArray<string> | undefined): Refusal | undefined => {
  if (host === undefined) return undefined
  const asked = parseHost(host)
  if (asked === undefined) return refusalOf(400, "the host of the request is malformed (RFC 9112 3.2)")
  if (hosts === undefined || hosts.some((each) => parseHost(each)?.hostname === asked.hostname)) return undefined
  // RFC 9110 7.4: a request for another host than ours is answered with 421, lest we speak for it.
  return refusalOf(421, "this server doesn't answer to this host (RFC 9110 7.4)")
}

/** `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; port 0 if none was told. */
const addressOf = (text: string): Flow.Address => {
  const bracketed = text.startsWith("[") ? text.indexOf("]") : -1
  const colon = bracketed > 0 ? bracketed + 1 : text.indexOf(":")
  const isPlainIpv6 = bracketed < 0 && colon >= 0 && text.includes(":", colon + 1)
  const hostname = bracketed > 0 ? text.slice(1, bracketed) : colon < 0 || isPlainIpv6 ? text : text.slice(0, colon)
  const port = colon < 0 || isPlainIpv6 ? 0 : Number(text.slice(colon + 1))
  return { _tag: "TcpAddress", hostname, port: Number.isInteger(port) && port > 0 && port < 65_536 ? port : 0 }
}
