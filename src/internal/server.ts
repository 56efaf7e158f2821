// The server's side of the opening handshake.

import * as Cookies from "@effect/platform/Cookies"
import * as Headers from "@effect/platform/Headers"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Flow from "../Flow.js"
import * as Handshake from "../Handshake.js"
import * as OriginPolicy from "../OriginPolicy.js"
import { acceptFirst, type ExtensionSupport, type MessageExtension } from "../protocol/extension.js"
import { acceptResponse, checkRequest, plainResponse, refusal } from "../protocol/handshake.js"
import {
  type Complete,
  Fields,
  type HeaderPairs,
  type Limits,
  type Refusal,
  type RequestHead,
  refusalOf,
  requestReader
} from "../protocol/head.js"
import { type Extension, isKey } from "../protocol/tokens.js"
import { HandshakeError, type IoError } from "../WebSocketError.js"
import type { Driven } from "./driver.js"
import { checkHost, seenBy } from "./forwarded.js"
import { headersOf } from "./headers.js"
import { finishWith, readHead } from "./opening.js"
import { type ConnectionOptions, extensions } from "./options.js"
import { runConnection } from "./running.js"

/** How upgrade requests are answered, where no decision says something else. */
export interface HandshakeOptions {
  /** Subprotocols that are spoken, the preferred one first; the first that the client offered too is chosen. */
  readonly subprotocols?: ReadonlyArray<string> | undefined
  /** Which pages may connect. Default `OriginPolicy.sameOrigin`. */
  readonly origin?: OriginPolicy.OriginPolicy | undefined
  /**
   * The hosts that are answered to (`app.example`, `127.0.0.1`, `[::1]`): a request whose Host is
   * none of them is refused with 421. Ports mean nothing here. Default: any host.
   *
   * A server without authentication wants it, one on a private network or this machine alone above
   * all: an attacker's name may point to its address (DNS rebinding), and then `sameOrigin` holds
   * for the attacker's pages.
   */
  readonly hosts?: ReadonlyArray<string> | undefined
  /** More headers for the 101. */
  readonly headers?: Headers.Input | undefined
  /** Cookies to set with the 101. */
  readonly cookies?: Cookies.Cookies | undefined
  /**
   * How many proxies in front of the server append to `X-Forwarded-For`, `-Proto` and
   * `-Host`, and are believed. The connection's `remoteAddress`, `secure` and `url`, the
   * limit by address, `hosts` and the origin policy then go by what the outermost of them has
   * seen. Anybody else can send these headers too: so the number must be right, and the
   * outermost proxy must set all three. Default 0: none is believed.
   */
  readonly trustedProxies?: number | undefined
}

/** An upgrade request that is valid, and that nothing was answered to yet. */
export interface Request {
  readonly method: "GET"
  /** As the client spelled it: path and query. */
  readonly target: string
  /** What the client connected to, with scheme and host. */
  readonly url: string
  readonly headers: Headers.Headers
  readonly cookies: Readonly<Record<string, string>>
  /** The subprotocols that the client offers, in its order. */
  readonly subprotocols: ReadonlyArray<string>
  /** Whose page asks; no browser leaves it out. The origin policy allowed it. */
  readonly origin: string | undefined
  readonly remoteAddress: Flow.Address
  /** Whether the client connected by TLS. */
  readonly secure: boolean
}

/** What a decision adds to the 101. */
export interface Terms {
  /** The subprotocol to speak, of those that the client offered. Default: as `subprotocols` says. */
  readonly subprotocol?: string | undefined
  /** More headers for the 101. */
  readonly headers?: Headers.Input | undefined
  /** Cookies to set with the 101. */
  readonly cookies?: Cookies.Cookies | undefined
}

/** What is asked for by a valid request. */
export interface Judged extends Omit<Request, "headers" | "cookies"> {
  readonly key: string
  readonly extensions: ReadonlyArray<Extension>
}

/** A valid request, and what is needed to answer it. */
export interface Checked {
  readonly request: Request
  readonly judged: Judged
}

/** The 101 that accepts a request, and what it agrees to. */
export interface Agreed {
  readonly response: Uint8Array
  readonly subprotocol: string | undefined
  readonly extension: MessageExtension | undefined
}

/** Whether a request may become a connection. Pure, so that every kind of server can ask. */
export const judge = (
  head: RequestHead,
  flow: Pick<Flow.Flow, "remoteAddress" | "secure">,
  { origin = OriginPolicy.sameOrigin, hosts, trustedProxies = 0 }: HandshakeOptions
): Judged | Refusal => {
  const offer = checkRequest(head)
  if ("_tag" in offer) return offer
  const seen = seenBy(flow, head.fields, trustedProxies)
  const misdirected = checkHost(seen.host, hosts)
  if (misdirected !== undefined) return misdirected
  const allowed = OriginPolicy.validate(origin, { origin: offer.origin, host: seen.host, secure: seen.secure })
  // RFC 6455 4.2.2: a server that doesn't accept the origin answers 403.
  if (Either.isLeft(allowed)) return refusalOf(403, allowed.left)
  return {
    key: offer.key,
    extensions: offer.extensions,
    method: "GET",
    target: head.target,
    url: `${seen.secure ? "wss" : "ws"}://${seen.host ?? offer.host}${head.target}`,
    subprotocols: offer.subprotocols,
    origin: offer.origin,
    remoteAddress: seen.remoteAddress,
    secure: seen.secure
  }
}

/** {@link judge}, with the request as a decision gets it. */
export const check = (
  head: RequestHead,
  flow: Pick<Flow.Flow, "remoteAddress" | "secure">,
  options: HandshakeOptions
): Checked | Refusal => {
  const judged = judge(head, flow, options)
  if ("_tag" in judged) return judged
  const { extensions: _extensions, key: _key, ...request } = judged
  const headers = headersOf(head.fields)
  return { judged, request: { ...request, headers, cookies: cookiesOf(headers["cookie"] ?? "") } }
}

/** By name, of which a client may choose any: without a prototype, so that there are no others (RFC 6265 5.4). */
const cookiesOf = (header: string): Readonly<Record<string, string>> => {
  const cookies: Record<string, string> = Object.create(null)
  for (const pair of header.split(";")) {
    const [name = "", value] = pair.split(/=(.*)/s, 2).map((part) => part.trim())
    if (value === undefined || name in cookies) continue
    const unquoted = value.startsWith('"') && value.endsWith('"') && value.length > 1 ? value.slice(1, -1) : value
    cookies[name] = decodedOf(unquoted)
  }
  return cookies
}

const decodedOf = (value: string): string => {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

/** Accepts a request on the terms of a decision. */
export const agree = (
  { key, extensions: offered, subprotocols }: Judged,
  options: HandshakeOptions & ConnectionOptions,
  terms: Terms = {}
): Agreed | Refusal => {
  const { subprotocol } = terms
  // RFC 6455 4.2.2: one of those that the client offered, or none.
  if (subprotocol !== undefined && !subprotocols.includes(subprotocol)) {
    return refusalOf(500, "the server decided for a subprotocol that the client didn't offer (RFC 6455 4.2.2)")
  }
  return accept(
    key,
    subprotocol ?? Option.getOrUndefined(Handshake.selectSubprotocol(subprotocols, options.subprotocols ?? [])),
    pairs(options, terms),
    extensions(options),
    offered
  )
}

/** The headers and cookies of the 101; what a decision says goes before what holds for all. */
const pairs = (...given: ReadonlyArray<Pick<Terms, "headers" | "cookies">>): HeaderPairs =>
  given.some(({ cookies, headers }) => cookies !== undefined || headers !== undefined) ? allPairs(given) : []

const allPairs = (given: ReadonlyArray<Pick<Terms, "headers" | "cookies">>): HeaderPairs => [
  ...new Map(given.flatMap(({ headers }) => Object.entries(Headers.fromInput(headers)))),
  ...given
    .flatMap(({ cookies }) => (cookies === undefined ? [] : Cookies.toSetCookieHeaders(cookies)))
    .map((value) => ["set-cookie", value] as const)
]

const accept = (
  key: string,
  subprotocol: string | undefined,
  headers: HeaderPairs,
  supported: ReadonlyArray<ExtensionSupport>,
  offered: ReadonlyArray<Extension>
): Agreed | Refusal => {
  const negotiated = acceptFirst(supported, offered)
  const acceptance = Handshake.computeAcceptKey(key)
  if (negotiated === undefined && subprotocol === undefined && headers.length === 0) {
    return { response: plainResponse(acceptance), subprotocol, extension: undefined }
  }
  const response = acceptResponse({
    accept: acceptance,
    subprotocol,
    extensions: negotiated === undefined ? [] : [negotiated.response],
    headers
  })
  // The server's own headers can't be written: its fault, not the client's.
  return "_tag" in response
    ? refusalOf(500, response.rule)
    : { response, subprotocol, extension: negotiated?.extension }
}

/** The acceptance of a request that somebody else has read and checked. */
export const acceptKey = (key: string, options: HandshakeOptions): Agreed | Refusal =>
  isKey(key)
    ? accept(key, options.subprotocols?.[0], pairs(options), [], [])
    : refusalOf(400, "a key is 16 bytes in base64 (RFC 6455 4.1)")

/** The request of an HTTP server that has read it already. */
export const fromHttp = (request: HttpServerRequest.HttpServerRequest): RequestHead => ({
  method: request.method,
  // A router that is mounted in another one sees its own part of the URL only.
  target: request.originalUrl,
  minorVersion: 1,
  fields: new Fields([...Object.entries(request.headers), ...furtherHosts(request.source)])
})

/** Node shows the first Host alone, though a request with two must be refused (RFC 9112 3.2). */
const furtherHosts = (source: unknown): HeaderPairs => {
  if (typeof source !== "object" || source === null || !("rawHeaders" in source)) return []
  const { rawHeaders } = source
  if (!Array.isArray(rawHeaders)) return []
  const isHost = (name: unknown, index: number) =>
    index % 2 === 0 && typeof name === "string" && name.toLowerCase() === "host"
  return rawHeaders
    .filter(isHost)
    .slice(1)
    .map(() => ["host", ""])
}

/** Answers a request with the 101, and runs the connection; fails if it has to be refused. */
export const answer = (
  flow: Flow.Flow,
  rest: Uint8Array,
  accepted: Agreed | Refusal,
  request: Request | undefined,
  options: ConnectionOptions,
  opened?: (driven: Driven) => void
) =>
  Effect.suspend(() => {
    if ("_tag" in accepted) return Effect.fail(accepted)
    flow.write(accepted.response, false)
    const remoteAddress = request?.remoteAddress ?? flow.remoteAddress
    return runConnection(
      {
        role: "server",
        flow,
        rest,
        headers: request?.headers ?? Headers.empty,
        url: request?.url ?? `${flow.secure ? "wss" : "ws"}://${Flow.formatAddress(flow.localAddress)}/`,
        address: Flow.formatAddress(remoteAddress),
        remoteAddress,
        secure: request?.secure ?? flow.secure,
        subprotocol: accepted.subprotocol,
        extension: accepted.extension
      },
      options,
      opened
    )
  })

/** Reads the request, in bounded time; refuses what is none. */
export const readRequest = (
  flow: Flow.Flow,
  limits: Limits,
  timeout: Duration.Duration
): Effect.Effect<Complete<RequestHead>, Refusal | HandshakeError> =>
  readHead(flow, requestReader(limits), {
    time: timeout,
    refusal: () => refusalOf(408, "no whole request came in time")
  }).pipe(Effect.catchTag("IoError", (cause) => unasked(flow, cause)))

/** Nothing whole was asked for. */
export const unasked = (flow: Flow.Flow, cause: IoError): HandshakeError =>
  new HandshakeError({
    rule: "the client ended the connection without a whole request",
    address: Flow.formatAddress(flow.remoteAddress),
    cause
  })

/** Answers with a refusal, and ends the connection, in bounded time. */
export const refuse = (
  flow: Flow.Flow,
  { status, headers, rule }: Refusal,
  timeout: Duration.Duration
): Effect.Effect<never, HandshakeError> => {
  const bytes = refusal({ status, headers, rule })
  const answered = "_tag" in bytes ? Effect.void : finishWith(flow, bytes)
  return Effect.zipRight(
    Effect.timeoutOption(answered, timeout),
    new HandshakeError({ rule, address: Flow.formatAddress(flow.remoteAddress), status, headers: record(headers) })
  )
}

const record = (headers: HeaderPairs): Record<string, string> => ({ ...Headers.fromInput(headers) })
