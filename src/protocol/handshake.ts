/**
 * The opening handshake (RFC 6455 section 4): what a request and a response must
 * say, and both of them written. The accept value is an argument everywhere,
 * since it needs SHA-1.
 */
import { type HeaderPairs, type Refusal, type RequestHead, type ResponseHead, refusalOf } from "./head.js"
import { isBodiless, writeRequest, writeResponse } from "./headWriter.js"
import {
  type Extension,
  type Failure,
  failure,
  formatExtensions,
  hasToken,
  isKey,
  isToken,
  parseExtensions,
  parseHost,
  parseTokens
} from "./tokens.js"

/** The only version of the protocol that was ever published (RFC 6455 4.1). */
export const supportedVersion = "13"

/** What a valid upgrade request offers. */
export interface Offer {
  readonly key: string
  /** In the client's order of preference, each once. */
  readonly subprotocols: ReadonlyArray<string>
  readonly extensions: ReadonlyArray<Extension>
  readonly origin: string | undefined
  readonly host: string
}

const upgradeRequired = (rule: string): Refusal =>
  // A 426 names the protocol it asks for (RFC 9110 15.5.22), and RFC 6455 4.4 the version of it.
  refusalOf(426, rule, [
    ["Upgrade", "websocket"],
    ["Sec-WebSocket-Version", supportedVersion]
  ])

/**
 * Checks a request as a server (RFC 6455 4.2.1). Bytes behind its head are left
 * alone: a declared body is refused, so they can only be early frames.
 */
export const checkRequest = ({ method, minorVersion, fields }: RequestHead): Offer | Refusal => {
  // The method is GET, and the version at least 1.1 (4.1).
  if (minorVersion === 0) return refusalOf(505, "an upgrade needs HTTP/1.1 (RFC 6455 4.1)")
  if (method !== "GET") return refusalOf(405, "an upgrade request is a GET (RFC 6455 4.1)", [["Allow", "GET"]])
  const host = fields.get("host")
  // A server must answer 400 to a lacking, doubled or invalid Host (RFC 9112 3.2).
  // Two of them are joined by a comma, which no host holds.
  if (host === undefined || parseHost(host) === undefined) {
    return refusalOf(400, "an upgrade request has exactly one Host, a valid one (RFC 9112 3.2)")
  }
  // A body would be read as frames by us and as a body by a proxy before us.
  if ((fields.get("content-length") ?? "0") !== "0" || fields.count("transfer-encoding") > 0) {
    return refusalOf(400, "an upgrade request has no body (RFC 9112 6)")
  }
  if (!hasToken(fields.get("upgrade"), "websocket") || !hasToken(fields.get("connection"), "upgrade")) {
    return upgradeRequired(
      "this address speaks WebSocket: Upgrade: websocket and Connection: Upgrade are due (RFC 6455 4.1)"
    )
  }
  if (fields.get("sec-websocket-version") !== supportedVersion) {
    return upgradeRequired("the only Sec-WebSocket-Version spoken is 13 (RFC 6455 4.4)")
  }
  const key = fields.get("sec-websocket-key")
  // Two of them are joined by a comma, which no key holds.
  if (key === undefined || !isKey(key)) {
    return refusalOf(400, "Sec-WebSocket-Key is due exactly once, 16 bytes in base64 (RFC 6455 4.1)")
  }
  if (fields.count("origin") > 1) return refusalOf(400, "a request has at most one Origin (RFC 6454 7.3)")
  const subprotocols = parseSubprotocols(fields.get("sec-websocket-protocol"))
  if ("_tag" in subprotocols) return refusalOf(400, subprotocols.rule)
  const extensions = parseOffers(fields.get("sec-websocket-extensions"))
  if ("_tag" in extensions) return refusalOf(400, extensions.rule)
  return { key, subprotocols, extensions, origin: fields.get("origin"), host }
}

const parseSubprotocols = (value: string | undefined): ReadonlyArray<string> | Failure => {
  if (value === undefined) return []
  const tokens = parseTokens(value)
  if ("_tag" in tokens) return failure("Sec-WebSocket-Protocol isn't a list of tokens (RFC 6455 4.1)")
  return checkSubprotocols(tokens) ?? tokens
}

// They must be unique (RFC 6455 4.1), and the grammar asks for at least one (4.3).
const checkSubprotocols = (tokens: ReadonlyArray<string>): Failure | undefined =>
  tokens.length > 0 && new Set(tokens).size === tokens.length
    ? undefined
    : failure("Sec-WebSocket-Protocol lists at least one subprotocol, and none twice (RFC 6455 4.1)")

const parseOffers = (value: string | undefined): ReadonlyArray<Extension> | Failure => {
  if (value === undefined) return []
  const extensions = parseExtensions(value)
  if ("_tag" in extensions || extensions.length > 0) return extensions
  return failure("Sec-WebSocket-Extensions lists at least one extension (RFC 6455 9.1)")
}

/**
 * The 101 that accepts a request (RFC 6455 4.2.2). `headers` are more fields for
 * it; those of the handshake itself can't be among them.
 */
export const acceptResponse = (options: {
  readonly accept: string
  readonly subprotocol?: string | undefined
  readonly extensions?: ReadonlyArray<Extension> | undefined
  readonly headers?: HeaderPairs | undefined
}): Uint8Array | Failure => {
  const { accept, subprotocol, extensions = [], headers = [] } = options
  const forbidden = forbiddenAmong(headers)
  if (forbidden !== undefined) return forbidden
  if (subprotocol !== undefined && !isToken(subprotocol)) return badSubprotocol
  const negotiated = formatExtensions(extensions)
  if (typeof negotiated !== "string") return negotiated
  return writeResponse({
    status: 101,
    headers: [
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Accept", accept],
      ...optional("Sec-WebSocket-Protocol", subprotocol ?? ""),
      ...optional("Sec-WebSocket-Extensions", negotiated),
      ...headers
    ]
  })
}

const plainAccept =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "

/**
 * {@link acceptResponse} where nothing else is agreed to, and `accept` is what SHA-1 led to: as most are, and without
 * a look at each character.
 */
export const plainResponse = (accept: string): Uint8Array => encoder.encode(`${plainAccept}${accept}\r\n\r\n`)

const encoder = new TextEncoder()

/**
 * The response that refuses a request, with the rule as its text. It announces
 * that the connection ends: after a refusal nobody knows whether the next bytes
 * are a request or frames.
 */
export const refusal = (refused: {
  readonly status: number
  readonly headers: HeaderPairs
  readonly rule: string
}): Uint8Array | Failure => {
  const { status, headers, rule } = refused
  if (status < 200) return failure("a refusal has a final status, 200 to 599 (RFC 9110 15.2)")
  const names = headers.map(([name]) => name.toLowerCase())
  if (names.includes("connection") || names.includes("content-type")) {
    return failure(
      "Connection and Content-Type of a refusal can't be given: it closes the connection, and is plain text"
    )
  }
  // Whoever sends Upgrade must list it in Connection (RFC 9110 7.8).
  const bodiless = isBodiless(status)
  return writeResponse({
    status,
    headers: [
      ["Connection", names.includes("upgrade") ? "Upgrade, close" : "close"],
      ...(bodiless ? [] : ([["Content-Type", "text/plain; charset=utf-8"]] as const)),
      ...headers
    ],
    body: bodiless ? undefined : encoder.encode(`${rule}\n`)
  })
}

/** The upgrade request of a client (RFC 6455 4.1). `headers` are more fields for it, without those of the handshake. */
export const writeUpgradeRequest = (options: {
  readonly host: string
  readonly target: string
  readonly key: string
  readonly subprotocols: ReadonlyArray<string>
  readonly extensions: ReadonlyArray<Extension>
  readonly headers: HeaderPairs
  readonly origin?: string | undefined
}): Uint8Array | Failure => {
  const { host, target, key, subprotocols, extensions, headers, origin } = options
  if (parseHost(host) === undefined)
    return failure("the host isn't a valid host, with or without a port (RFC 9110 7.2)")
  if (!isKey(key)) return failure("a key is 16 bytes in base64 (RFC 6455 4.1)")
  const forbidden = forbiddenAmong(headers, origin === undefined ? ["host"] : ["host", "origin"])
  if (forbidden !== undefined) return forbidden
  if (!subprotocols.every(isToken)) return badSubprotocol
  const repeated = subprotocols.length === 0 ? undefined : checkSubprotocols(subprotocols)
  if (repeated !== undefined) return repeated
  const offered = formatExtensions(extensions)
  if (typeof offered !== "string") return offered
  return writeRequest({
    method: "GET",
    target,
    headers: [
      ["Host", host],
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Key", key],
      ["Sec-WebSocket-Version", supportedVersion],
      ...optional("Sec-WebSocket-Protocol", subprotocols.join(", ")),
      ...optional("Sec-WebSocket-Extensions", offered),
      ...optional("Origin", origin ?? ""),
      ...headers
    ]
  })
}

const badSubprotocol = failure("a subprotocol is a token (RFC 6455 4.1)")

const optional = (name: string, value: string): HeaderPairs => (value === "" ? [] : [[name, value]])

const forbiddenAmong = (headers: HeaderPairs, others: ReadonlyArray<string> = []): Failure | undefined => {
  for (const [name] of headers) {
    const lower = name.toLowerCase()
    const owned = lower === "upgrade" || lower === "connection" || lower.startsWith("sec-websocket-")
    if (owned || others.includes(lower))
      return failure("a header of the handshake itself can't be given: it would be there twice")
  }
  return undefined
}

/** What a server agreed to. */
export interface Agreement {
  readonly subprotocol: string | undefined
  readonly extensions: ReadonlyArray<Extension>
}

/** Checks a response as a client (RFC 6455 4.1, the second list). `extensions` are the names that were offered. */
export const checkResponse = (
  { status, minorVersion, fields }: ResponseHead,
  offered: {
    readonly accept: string
    readonly subprotocols: ReadonlyArray<string>
    readonly extensions: ReadonlyArray<string>
  }
): Agreement | Failure => {
  if (status !== 101) return failure(`the server answered ${status} where 101 was due`)
  if (minorVersion === 0) return failure("the server answered with HTTP/1.0, which knows no upgrade (RFC 9110 7.8)")
  // Not a list here: the value must be "websocket", in any case.
  if (fields.get("upgrade")?.toLowerCase() !== "websocket") {
    return failure("the response lacks Upgrade: websocket (RFC 6455 4.1)")
  }
  if (!hasToken(fields.get("connection"), "upgrade")) {
    return failure("the response lacks Connection: Upgrade (RFC 6455 4.1)")
  }
  if (fields.get("sec-websocket-accept") !== offered.accept) {
    return failure("Sec-WebSocket-Accept isn't there once with the value that the key leads to (RFC 6455 4.1)")
  }
  const chosen = fields.get("sec-websocket-protocol")
  // The caller's own string, so that a connection doesn't keep the whole head alive by a slice of it.
  const subprotocol = offered.subprotocols.find((name) => name === chosen)
  if (subprotocol !== chosen) return failure("the server chose a subprotocol that wasn't asked for (RFC 6455 4.1)")
  const extensions = parseOffers(fields.get("sec-websocket-extensions"))
  if ("_tag" in extensions) return extensions
  const names = extensions.map(({ name }) => name)
  if (!names.every((name) => offered.extensions.includes(name))) {
    return failure("the server chose an extension that wasn't asked for (RFC 6455 4.1)")
  }
  if (new Set(names).size !== names.length) return failure("the server chose an extension twice (RFC 6455 9.1)")
  return { subprotocol, extensions }
}
