// The client's side of the opening handshake.

import * as Headers from "@effect/platform/Headers"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Flow from "../Flow.js"
import * as Handshake from "../Handshake.js"
import { Network, type TlsClientOptions } from "../Network.js"
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
import { type Destination, presentable } from "./destination.js"
import { headersOf } from "./headers.js"
import { acquiring, readHead } from "./opening.js"
import { forStranger, type Redirect, redirectOf } from "./redirect.js"
import { readBody } from "./refusalBody.js"
import { handshakeSpan, withTrace } from "./tracing.js"

/** What the request says, and what is expected of the answer. */
export interface ClientHandshake {
  readonly subprotocols: ReadonlyArray<string>
  readonly requireSubprotocol: boolean
  readonly headers: Headers.Headers
  readonly limits: Limits
  readonly extensions: ReadonlyArray<ExtensionSupport>
}

/** How the server is reached. */
export interface Route {
  readonly tls: TlsClientOptions | undefined
  readonly address: Flow.Address | undefined
  readonly localAddress: string | undefined
  readonly maxRedirects: number
}

/** An agreement with a server, and the flow it was made over. */
export interface Opened {
  readonly role: "client"
  readonly url: string
  readonly address: string
  readonly subprotocol: string | undefined
  readonly extension: MessageExtension | undefined
  readonly flow: Flow.Flow
  readonly rest: Uint8Array
  readonly headers: Headers.Headers
}

/** Connects, and performs the opening handshake, wherever the server sends the client. */
export const openClient = (
  to: Destination,
  plan: ClientHandshake & Route,
  visited: ReadonlyArray<string> = [to.label]
): Effect.Effect<Opened, ConnectError | HandshakeError, Network | Scope.Scope> =>
  Effect.gen(function* () {
    // Before anything is opened: a request that can't be written needs no connection.
    const request = yield* prepare(to, plan)
    const network = yield* Network
    const flow = yield* network.connect({
      address: plan.address ?? to.address,
      localAddress: plan.localAddress,
      // What is verified is who the URL names, wherever the connection leads.
      tls: to.secure ? { ...plan.tls, servername: plan.tls?.servername ?? to.address.hostname } : undefined
    })
    return yield* exchange(flow, request, plan, (head) => redirectOf(head, to, visited, plan.maxRedirects))
  }).pipe(
    // So that a redirect's connection is gone before the next is opened.
    acquiring,
    Effect.catchTag("Redirect", ({ to: next }) => {
      const same = next.origin === to.origin
      // User info is for the origin of the URL that holds it, and for no other.
      const known = same ? { ...next, authorization: to.authorization } : next
      return openClient(known, same ? plan : forStranger(plan), [...visited, next.label])
    })
  )

/** Performs the opening handshake over a flow that is there already. */
export const openOver = (
  flow: Flow.Flow,
  to: Destination,
  handshake: ClientHandshake
): Effect.Effect<Opened, ConnectError | HandshakeError> =>
  Effect.flatMap(prepare(to, handshake), (request) => exchange<never>(flow, request, handshake, () => undefined))

/** Bounds an opening, whatever it waits for, and traces it. */
export const within =
  (timeout: Duration.DurationInput, to: Destination) =>
  <A, E extends ConnectError | HandshakeError, R>(
    opening: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | ConnectError, R> =>
    Effect.timeoutFail(opening, {
      duration: timeout,
      onTimeout: () =>
        new ConnectError({
          reason: "timeout",
          address: to.label,
          detail: `no connection within ${Duration.format(timeout)}`
        })
    }).pipe(handshakeSpan(() => ({ role: "client", url: to.label, headers: Headers.empty })))

/** A request that can be written. */
interface Request {
  readonly to: Destination
  readonly key: string
  readonly bytes: Uint8Array
}

const prepare = (to: Destination, handshake: ClientHandshake): Effect.Effect<Request, HandshakeError> =>
  Effect.gen(function* () {
    const { extensions, headers, subprotocols } = handshake
    const key = yield* Handshake.generateKey
    const given = Object.entries(yield* withTrace(headers))
    // Two of them would be none (RFC 9110 11.6.2); what was given as a header was meant.
    const ours = to.authorization === undefined || given.some(([name]) => name === "authorization")
    const bytes = writeUpgradeRequest({
      host: to.host,
      target: to.target,
      key,
      subprotocols,
      extensions: extensions.flatMap(({ offers }) => offers),
      headers: ours ? given : [["authorization", to.authorization], ...given]
    })
    return "_tag" in bytes ? yield* broken(to, bytes) : { to, key, bytes }
  })

/** Sends the request, and judges the answer. `redirect` says whether an answer is to be followed. */
const exchange = <R extends Redirect>(
  flow: Flow.Flow,
  { to, key, bytes }: Request,
  handshake: ClientHandshake,
  redirect: (head: ResponseHead) => R | Failure | undefined
): Effect.Effect<Opened, ConnectError | HandshakeError | R> =>
  Effect.gen(function* () {
    flow.write(bytes, false)
    const { head, rest } = yield* readFinalHead(flow, handshake.limits).pipe(
      Effect.catchTags({
        Refusal: (refusal) => broken(to, refusal),
        IoError: (cause) => unanswered(to, flow, cause)
      })
    )
    const headers = headersOf(head.fields)
    const agreement = judge(head, key, handshake)
    if (!("_tag" in agreement)) {
      return { role: "client", url: to.label, address: to.label, flow, rest, headers, ...agreement }
    }
    const elsewhere = redirect(head)
    if (elsewhere?._tag === "Redirect") return yield* Effect.fail(elsewhere)
    return yield* new HandshakeError({
      rule: (elsewhere ?? agreement).rule,
      address: to.label,
      status: head.status,
      headers: shown(headers, to),
      body: head.status === 101 ? undefined : yield* readBody(flow, head, rest)
    })
  })

const judge = (
  head: ResponseHead,
  key: string,
  { extensions, requireSubprotocol, subprotocols }: ClientHandshake
): Pick<Opened, "extension" | "subprotocol"> | Failure => {
  const agreement = checkResponse(head, {
    accept: Handshake.computeAcceptKey(key),
    subprotocols,
    extensions: extensions.map(({ name }) => name)
  })
  if ("_tag" in agreement) return agreement
  const { subprotocol } = agreement
  // RFC 6455 4.1 leaves it to the client whether it can do without.
  if (requireSubprotocol && subprotocol === undefined) {
    return failure(`the server chose none of the subprotocols ${subprotocols.join(", ")}, and one is required`)
  }
  const extension = confirmOnly(extensions, agreement.extensions)
  return typeof extension === "string" ? failure(extension) : { subprotocol, extension }
}

/** Interim responses that are passed over: servers send one or two; a bound keeps them from being endless. */
const maxInterims = 16

/** RFC 9110 15.2: a client must be able to read interim responses before the final one, expected or not. */
export const readFinalHead = (
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

const unanswered = (to: Destination, flow: Flow.Flow, cause: IoError) => {
  // With TLS 1.3 the client is done before the server has judged its certificate (RFC 8446 4.4.2),
  // so the server's alert comes when the request is on its way already.
  const alert = /^ERR_SSL_.*_ALERT_(.*)$/.exec(cause.code ?? "")?.[1]
  if (!flow.secure || alert === undefined) {
    const rule = "the server ended the connection without an answer"
    // Some servers, Node's among them, say nothing at all then.
    const hint = flow.secure ? "; over TLS that may be its verdict on a client certificate, or on the lack of one" : ""
    return Effect.fail(new HandshakeError({ rule: rule + hint, address: to.label, cause }))
  }
  const detail =
    alert === "CERTIFICATE_REQUIRED"
      ? `${to.address.hostname} wants a client certificate; give one with its key as \`tls\``
      : `${to.address.hostname} refused the client certificate: ${alert.toLowerCase().replaceAll("_", " ")}`
  return Effect.fail(new ConnectError({ reason: "tls", address: to.label, detail, code: cause.code, cause }))
}

/** The headers of a refusal. The user info that a Location may hold is for nobody's log. */
const shown = (headers: Headers.Headers, { label }: Destination): Headers.Headers => {
  const location = headers["location"]
  if (location?.includes("@") !== true) return headers
  const url = URL.canParse(location, label) ? new URL(location, label) : undefined
  if (url?.username === "" && url.password === "") return headers
  return Headers.set(headers, "location", presentable(url?.href ?? location))
}
