// The client's side of the opening handshake.

import * as Headers from "@effect/platform/Headers"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import type * as Scope from "effect/Scope"
import type * as Flow from "../Flow.js"
import * as Handshake from "../Handshake.js"
import { Network, type TlsClientOptions } from "../Network.js"
import { concat } from "../protocol/bytes.js"
import { confirmOnly, type ExtensionSupport, type MessageExtension } from "../protocol/extension.js"
import { checkResponse, writeUpgradeRequest } from "../protocol/handshake.js"
import {
  type Complete,
  type Limits,
  type Refusal,
  type ResponseHead,
  refusalOf,
  responseReader
} from "../protocol/head.js"
import { type Failure, failure } from "../protocol/tokens.js"
import { ConnectError, HandshakeError, type IoError } from "../WebSocketError.js"
import { readHead, readSome } from "./opening.js"

/** What a URL asks for. */
export interface Destination {
  /** The URL without user info, for messages. */
  readonly label: string
  readonly address: Flow.Address
  readonly secure: boolean
  readonly host: string
  readonly target: string
  readonly authorization: string | undefined
}

const schemes: ReadonlyMap<string, { readonly secure: boolean; readonly port: number }> = new Map([
  ["ws:", { secure: false, port: 80 }],
  ["http:", { secure: false, port: 80 }],
  ["wss:", { secure: true, port: 443 }],
  ["https:", { secure: true, port: 443 }]
])

export const destination = (input: string | URL): Effect.Effect<Destination, ConnectError> =>
  Effect.suspend(() => {
    const text = String(input)
    const url = URL.canParse(text) ? new URL(text) : undefined
    const scheme = url === undefined ? undefined : schemes.get(url.protocol)
    if (url === undefined || scheme === undefined) {
      return invalidUrl(withoutUser(text), "it must be an absolute ws:, wss:, http: or https: URL (RFC 6455 3)")
    }
    const { username, password } = url
    url.username = ""
    url.password = ""
    // RFC 6455 3: fragment identifiers must not be used on these URIs.
    if (text.includes("#")) return invalidUrl(url.href, "it must not have a fragment (RFC 6455 3)")
    const user = `${percentDecoded(username)}:${percentDecoded(password)}`
    return Effect.succeed({
      label: url.href,
      address: {
        _tag: "TcpAddress",
        hostname: url.hostname.replace(/^\[|\]$/g, ""),
        port: url.port === "" ? scheme.port : Number(url.port)
      },
      secure: scheme.secure,
      host: url.host,
      target: url.pathname + url.search,
      authorization: username === "" && password === "" ? undefined : `Basic ${Encoding.encodeBase64(user)}`
    })
  })

const invalidUrl = (address: string, detail: string) =>
  Effect.fail(new ConnectError({ reason: "url", address, detail }))

const withoutUser = (text: string): string => text.replace(/\/\/[^/?#]*@/, "//")

const percentDecoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export interface ClientHandshake {
  readonly subprotocols: ReadonlyArray<string>
  readonly headers: Headers.Headers
  readonly tls: TlsClientOptions | undefined
  readonly address: Flow.Address | undefined
  readonly limits: Limits
  readonly extensions: ReadonlyArray<ExtensionSupport>
}

export interface Opened {
  readonly subprotocol: string | undefined
  readonly extension: MessageExtension | undefined
  readonly flow: Flow.Flow
  readonly rest: Uint8Array
  readonly headers: Headers.Headers
}

/** Connects, and performs the opening handshake. */
export const openClient = (
  to: Destination,
  options: ClientHandshake
): Effect.Effect<Opened, ConnectError | HandshakeError, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const key = yield* Handshake.generateKey
    const authorization: ReadonlyArray<readonly [string, string]> =
      to.authorization === undefined ? [] : [["authorization", to.authorization]]
    const request = writeUpgradeRequest({
      host: to.host,
      target: to.target,
      key,
      subprotocols: options.subprotocols,
      extensions: options.extensions.flatMap(({ offers }) => offers),
      headers: [...authorization, ...Object.entries(options.headers)]
    })
    // Before anything is opened: a request that can't be written needs no connection.
    if ("_tag" in request) return yield* broken(to, request)
    const network = yield* Network
    const flow = yield* network.connect({
      address: options.address ?? to.address,
      tls: to.secure ? (options.tls ?? {}) : undefined
    })
    flow.write(request, false)
    const { head, rest } = yield* readFinalHead(flow, options.limits).pipe(
      Effect.catchTags({
        Refusal: (refusal) => broken(to, refusal),
        IoError: (cause) =>
          new HandshakeError({ rule: "the server ended the connection without an answer", address: to.label, cause })
      })
    )
    const headers = Headers.fromInput(head.fields.pairs)
    const agreement = checkResponse(head, {
      accept: Handshake.computeAcceptKey(key),
      subprotocols: options.subprotocols,
      extensions: options.extensions.map(({ name }) => name)
    })
    if (!("_tag" in agreement)) {
      const extension = confirmOnly(options.extensions, agreement.extensions)
      if (typeof extension === "string") return yield* broken(to, failure(extension))
      return { subprotocol: agreement.subprotocol, extension, flow, rest, headers }
    }
    const body = head.status === 101 ? undefined : yield* readBody(flow, head, rest)
    return yield* new HandshakeError({
      rule: agreement.rule,
      address: to.label,
      status: head.status,
      headers,
      body
    })
  })

/** Interim responses that are passed over: servers send one or two; a bound keeps them from being endless. */
const maxInterims = 16

/** RFC 9110 15.2: a client must be able to read interim responses before the final one, expected or not. */
const readFinalHead = (
  flow: Flow.Flow,
  limits: Limits,
  interims = 0
): Effect.Effect<Complete<ResponseHead>, Refusal | IoError> =>
  Effect.flatMap(readHead(flow, responseReader(limits)), (read) => {
    const { status } = read.head
    if (status < 100 || status > 199 || status === 101) return Effect.succeed(read)
    if (interims === maxInterims) {
      return Effect.fail(refusalOf(400, `the server sent more than ${maxInterims} interim responses`))
    }
    flow.unshift(read.rest)
    return readFinalHead(flow, limits, interims + 1)
  })

const broken = (to: Destination, failure: Failure | Refusal) =>
  new HandshakeError({ rule: failure.rule, address: to.label })

/** Bytes of a refusal's body that are kept: enough for a sentence or a problem document. */
const maxBody = 4096

/**
 * How long a refusal's body may take: most of them come with their head. Servers keep
 * the connection open behind it, so that the end of one without a length never comes.
 */
const bodyTimeout = Duration.seconds(1)

const readBody = (flow: Flow.Flow, { status, fields }: ResponseHead, rest: Uint8Array): Effect.Effect<string> => {
  // RFC 9112 6.3: these never have a body, whatever their headers say.
  if (status === 204 || status === 304) return Effect.succeed("")
  const chunked = fields.get("transfer-encoding")?.toLowerCase() === "chunked"
  const declared = chunked ? maxBody : Number(fields.get("content-length") ?? maxBody)
  const size = Number.isSafeInteger(declared) && declared >= 0 ? Math.min(declared, maxBody) : maxBody
  const complete = (bytes: Uint8Array) => chunked && unchunk(bytes).complete
  return Effect.map(readSome(flow, rest, size, bodyTimeout, complete), (bytes) =>
    new TextDecoder().decode(chunked ? unchunk(bytes).content : bytes)
  )
}

/** The content of a chunked body as far as it is there (RFC 9112 7.1), and whether its last chunk is. */
const unchunk = (bytes: Uint8Array): { readonly content: Uint8Array; readonly complete: boolean } => {
  const parts: Array<Uint8Array> = []
  let length = 0
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf(0x0a, at)
    // A size may be followed by extensions; what is no size counts as the end.
    const size = Number.parseInt(new TextDecoder().decode(bytes.subarray(at, Math.max(at, lineEnd))), 16)
    if (lineEnd < 0 || !(size > 0)) return { content: concat(parts, length), complete: lineEnd >= 0 }
    const part = bytes.subarray(lineEnd + 1, lineEnd + 1 + size)
    parts.push(part)
    length += part.length
    at = lineEnd + 1 + size + 2
  }
}
