// The server's side of the opening handshake.

import * as Headers from "@effect/platform/Headers"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Flow from "../Flow.js"
import * as Handshake from "../Handshake.js"
import * as OriginPolicy from "../OriginPolicy.js"
import { acceptFirst, type ExtensionSupport, type MessageExtension, type Negotiated } from "../protocol/extension.js"
import { acceptResponse, checkRequest, refusal } from "../protocol/handshake.js"
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
import { isKey } from "../protocol/tokens.js"
import { HandshakeError } from "../WebSocketError.js"
import type { Heartbeat } from "./heartbeat.js"
import { finishWith, readHead } from "./opening.js"
import { type ConnectionOptions, extensions } from "./options.js"
import { runConnection } from "./running.js"

export interface ServerHandshake {
  /** In order of preference. */
  readonly subprotocols: ReadonlyArray<string>
  readonly origin: OriginPolicy.OriginPolicy
  /** Added to the 101. */
  readonly headers: Headers.Headers
  readonly extensions: ReadonlyArray<ExtensionSupport>
}

/** A request that was accepted: the 101 that says so, and what it agrees to. */
export interface Acceptance {
  readonly response: Uint8Array
  readonly subprotocol: string | undefined
  readonly extension: MessageExtension | undefined
}

/** Whether a request may become a connection. Pure, so that every kind of server can ask. */
export const decide = (
  head: RequestHead,
  secure: boolean,
  { subprotocols, origin, headers, extensions }: ServerHandshake
): Acceptance | Refusal => {
  const offer = checkRequest(head)
  if ("_tag" in offer) return offer
  const allowed = OriginPolicy.validate(origin, { origin: offer.origin, host: offer.host, secure })
  // RFC 6455 4.2.2: a server that doesn't accept the origin answers 403.
  if (Either.isLeft(allowed)) return refusalOf(403, allowed.left)
  const subprotocol = Option.getOrUndefined(Handshake.selectSubprotocol(offer.subprotocols, subprotocols))
  return accept(offer.key, subprotocol, headers, acceptFirst(extensions, offer.extensions))
}

const accept = (
  key: string,
  subprotocol: string | undefined,
  headers: Headers.Headers,
  negotiated: Negotiated | undefined
): Acceptance | Refusal => {
  const response = acceptResponse({
    accept: Handshake.computeAcceptKey(key),
    subprotocol,
    extensions: negotiated === undefined ? [] : [negotiated.response],
    headers: Object.entries(headers)
  })
  // The server's own headers can't be written: its fault, not the client's.
  return "_tag" in response
    ? refusalOf(500, response.rule)
    : { response, subprotocol, extension: negotiated?.extension }
}

/** The acceptance of a request that somebody else has read and checked. */
export const acceptKey = (key: string, { subprotocols, headers }: ServerHandshake): Acceptance | Refusal =>
  isKey(key)
    ? accept(key, subprotocols[0], headers, undefined)
    : refusalOf(400, "a key is 16 bytes in base64 (RFC 6455 4.1)")

/** Who may connect, and how, from the options that name it. */
export const handshakeFrom = (
  options: ConnectionOptions & {
    readonly subprotocols?: ReadonlyArray<string> | undefined
    readonly origin?: OriginPolicy.OriginPolicy | undefined
    readonly headers?: Headers.Input | undefined
  }
): ServerHandshake => ({
  subprotocols: options.subprotocols ?? [],
  origin: options.origin ?? OriginPolicy.sameOrigin,
  headers: Headers.fromInput(options.headers),
  extensions: extensions(options)
})

/** The request of an HTTP server that has read it already. */
export const fromHttp = (request: HttpServerRequest.HttpServerRequest): RequestHead => ({
  method: request.method,
  target: request.url,
  minorVersion: 1,
  fields: new Fields(Object.entries(request.headers))
})

/** Answers a request with the 101, and runs the connection; fails if it has to be refused. */
export const answer = (
  flow: Flow.Flow,
  { head, rest }: { readonly head: RequestHead | undefined; readonly rest: Uint8Array },
  accepted: Acceptance | Refusal,
  options: ConnectionOptions,
  beating?: Effect.Effect<Heartbeat | undefined>
) =>
  Effect.suspend(() => {
    if ("_tag" in accepted) return Effect.fail(accepted)
    flow.write(accepted.response, false)
    return runConnection(
      {
        role: "server",
        flow,
        rest,
        headers: head === undefined ? Headers.empty : Headers.fromInput(head.fields.pairs),
        url: requestUrl(flow, head),
        address: Flow.formatAddress(flow.remoteAddress),
        subprotocol: accepted.subprotocol,
        extension: accepted.extension
      },
      options,
      beating
    )
  })

/** Reads the request, in bounded time; refuses what is none. */
export const readRequest = (
  flow: Flow.Flow,
  limits: Limits,
  timeout: Duration.Duration
): Effect.Effect<Complete<RequestHead>, Refusal | HandshakeError> =>
  readHead(flow, requestReader(limits)).pipe(
    Effect.catchTag(
      "IoError",
      (cause) =>
        new HandshakeError({
          rule: "the client ended the connection without a whole request",
          address: Flow.formatAddress(flow.remoteAddress),
          cause
        })
    ),
    Effect.timeoutFail({ duration: timeout, onTimeout: () => refusalOf(408, "no whole request came in time") })
  )

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

/** The URL that a request asks for, as far as the request tells. */
const requestUrl = (flow: Flow.Flow, head: RequestHead | undefined): string =>
  `${flow.secure ? "wss" : "ws"}://${head?.fields.get("host") ?? Flow.formatAddress(flow.localAddress)}${head?.target ?? "/"}`

const record = (headers: HeaderPairs): Record<string, string> => ({ ...Headers.fromInput(headers) })
