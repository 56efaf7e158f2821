/**
 * SOCKS version 5, what a client says and hears (RFC 1928), with the user name
 * and password of RFC 1929. All lengths are known from the bytes before them.
 */
import { byteAt } from "./bytes.js"
import { parseIp } from "./ip.js"
import { type Failure, failure, parseHost } from "./tokens.js"

const version = 5
const loginVersion = 1
const connect = 1
const ipv4 = 1
const domain = 3
const ipv6 = 4

/** Ways to authenticate (RFC 1928 3). */
export const Method = { none: 0, password: 2, unacceptable: 0xff } as const

/** The first message: which methods the client can use. */
export const greeting = (withPassword: boolean): Uint8Array =>
  Uint8Array.from(withPassword ? [version, 2, Method.none, Method.password] : [version, 1, Method.none])

/** The method that the server chose among those of `greeting`; `undefined` if the two bytes aren't such an answer. */
export const readMethod = (bytes: Uint8Array, withPassword: boolean): number | undefined => {
  const method = byteAt(bytes, 1)
  const possible =
    method === Method.none || method === Method.unacceptable || (withPassword && method === Method.password)
  return byteAt(bytes, 0) === version && possible ? method : undefined
}

/** User name and password (RFC 1929 2). */
export const login = (username: string, password: string): Uint8Array | Failure => {
  const [name, secret] = [utf8.encode(username), utf8.encode(password)]
  const fits = ({ length }: Uint8Array) => length >= 1 && length <= 255
  return fits(name) && fits(secret)
    ? Uint8Array.of(loginVersion, name.length, ...name, secret.length, ...secret)
    : failure("a user name and a password for SOCKS5 have 1 to 255 bytes each (RFC 1929 2)")
}

const utf8 = new TextEncoder()

/** Whether a login succeeded; `undefined` if the two bytes aren't such an answer. */
export const readLogin = (bytes: Uint8Array): boolean | undefined =>
  byteAt(bytes, 0) === loginVersion ? byteAt(bytes, 1) === 0 : undefined

/** The request to be connected to a host, whose name the proxy resolves (RFC 1928 4). `authority` is host and port. */
export const connectRequest = (authority: string): Uint8Array | Failure => {
  const host = parseHost(authority)
  if (host?.port === undefined) return failure("the target of a proxy is a host and a port (RFC 1928 4)")
  const name = host.hostname.replace(/^\[|\]$/g, "")
  const ip = parseIp(name)
  const bytes = ip ?? utf8.encode(name)
  if (bytes.length > 255) return failure("a host name for SOCKS5 has at most 255 bytes (RFC 1928 5)")
  const address = ip === undefined ? [domain, bytes.length] : [ip.length === 4 ? ipv4 : ipv6]
  return Uint8Array.of(version, connect, 0, ...address, ...bytes, host.port >> 8, host.port & 255)
}

/** The code of a reply, 0 for success, from its first two bytes; `undefined` if it isn't a reply. */
export const readCode = (bytes: Uint8Array): number | undefined =>
  byteAt(bytes, 0) === version ? byteAt(bytes, 1) : undefined

/**
 * How many bytes of a successful reply follow the three behind its code (reserved,
 * address type, first of the address); `undefined` if there is no such address.
 */
export const readBound = (bytes: Uint8Array): number | undefined => {
  const port = 2
  switch (byteAt(bytes, 1)) {
    case ipv4:
      return 3 + port
    case ipv6:
      return 15 + port
    case domain:
      // A name begins with its length.
      return byteAt(bytes, 2) + port
    default:
      return undefined
  }
}

const failures = [
  "general failure of the proxy",
  "its rules don't allow the connection",
  "there is no route to the network",
  "there is no route to the host, or its name can't be resolved",
  "nobody listens there",
  "the time to live expired",
  "it doesn't connect to anybody",
  "it doesn't support this type of address"
]

/** A reply's code in words (RFC 1928 6). */
export const explainReply = (code: number): string => failures[code - 1] ?? "a reason unknown to RFC 1928"
