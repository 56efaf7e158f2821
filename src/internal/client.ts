// The client's side of the opening handshake.

import * as Headers from "@effect/platform/Headers"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import type * as Scope from "effect/Scope"
import type * as Flow from "../Flow.js"
import * as Handshake from "../Handshake.js"
import { Network, type TlsClientOptions } from "../Network.js"
import { confirmOnly, type ExtensionSupport, type MessageExtension } from "../protocol/extension.js"
import { checkResponse, writeUpgradeRequest } from "../protocol/handshake.js"
import { type Limits, type Refusal, type ResponseHead, responseReader } from "../protocol/head.js"
import { type Failure, failure } from "../protocol/tokens.js"
import { ConnectError, HandshakeError } from "../WebSocketError.js"
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
    const { head, rest } = yield* readHead(flow, responseReader(options.limits)).pipe(
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

const broken = (to: Destination, failure: Failure | Refusal) =>
  new HandshakeError({ rule: failure.rule, address: to.label })

/** Bytes of a refusal's body that are kept: enough for a sentence or a problem document. */
const maxBody = 4096

const readBody = (flow: Flow.Flow, head: ResponseHead, rest: Uint8Array): Effect.Effect<string> => {
  const declared = Number(head.fields.get("content-length") ?? maxBody)
  const size = Number.isSafeInteger(declared) && declared >= 0 ? Math.min(declared, maxBody) : maxBody
  return Effect.map(readSome(flow, rest, size), (bytes) => new TextDecoder().decode(bytes))
}
