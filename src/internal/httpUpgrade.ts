// The request of an HTTP server, made into a connection.

import * as Headers from "@effect/platform/Headers"
import * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Flow from "../Flow.js"
import { Network } from "../Network.js"
import { type Refusal, refusalOf } from "../protocol/head.js"
import { HandshakeError } from "../WebSocketError.js"
import type { Driven } from "./driver.js"
import { logRefusal } from "./logs.js"
import { acquiring } from "./opening.js"
import type { ConnectionOptions } from "./options.js"
import { agree, answer, type Checked, check, fromHttp, type HandshakeOptions, type Terms } from "./server.js"

/** Judges a request that an HTTP server has read. Nothing is taken over from it yet. */
export const checkHttp = (request: HttpServerRequest.HttpServerRequest, options: HandshakeOptions): Checked | Refusal =>
  check(fromHttp(request), { remoteAddress: addressOf(request), secure: isEncrypted(request.source) }, options)

/**
 * Takes the socket under a request over, and answers with the 101. The connection lives in
 * the scope. Nothing is taken over from a request that has to be refused.
 */
export const upgradeHttp = (
  request: HttpServerRequest.HttpServerRequest,
  checked: Checked,
  options: HandshakeOptions & ConnectionOptions,
  terms?: Terms,
  opened?: (driven: Driven) => void
): Effect.Effect<Effect.Effect.Success<ReturnType<typeof answer>>, Refusal | HandshakeError, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const accepted = agree(checked.judged, options, terms)
    if ("_tag" in accepted) return yield* Effect.fail(accepted)
    const network = yield* Network
    const flow = yield* network.upgrade(request)
    return yield* answer(flow, new Uint8Array(0), accepted, checked.request, options, opened)
  }).pipe(acquiring)

/**
 * Lets middleware that changes responses change the 101, which leaves before the application
 * returns its own: CORS, the cookies of `HttpApiBuilder.securitySetCookie`.
 */
export const preparedTerms = (
  request: HttpServerRequest.HttpServerRequest,
  terms: Terms
): Effect.Effect<Terms, Refusal> =>
  Effect.flatMap(
    FiberRef.get(HttpApp.currentPreResponseHandlers),
    Option.match({
      onNone: () => Effect.succeed(terms),
      onSome: (prepare) =>
        HttpServerResponse.empty({
          status: 101,
          headers: Headers.fromInput(terms.headers),
          cookies: terms.cookies
        }).pipe(
          (response) => prepare(request, response),
          Effect.map(({ headers, cookies }) => ({ ...terms, headers, cookies })),
          // It is for one response, and this is it.
          Effect.zipLeft(FiberRef.set(HttpApp.currentPreResponseHandlers, Option.none())),
          Effect.catchTag("ResponseError", ({ message }) =>
            Effect.zipRight(
              Effect.logError(`the response to a WebSocket handshake couldn't be prepared: ${message}`),
              Effect.fail(refusalOf(500, "the server failed to answer"))
            )
          )
        )
    })
  )

export const refusalResponse = ({ status, headers, rule }: Refusal): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(`${rule}\n`, { status, headers: [...headers, ["connection", "close"]] })

/** Counts and logs a request that was refused. */
export const logHttpRefusal = (
  request: HttpServerRequest.HttpServerRequest,
  { rule, status }: Pick<Refusal, "rule" | "status">
): Effect.Effect<void> => {
  const address = Flow.formatAddress(addressOf(request))
  const origin = request.headers["origin"]
  return logRefusal(new HandshakeError({ rule, address, status }), { address, target: request.url, origin })
}

/** The address that the HTTP server, or a middleware of it, names; with the port only if it is the socket's own. */
const addressOf = (request: HttpServerRequest.HttpServerRequest): Flow.Address =>
  Option.match(request.remoteAddress, {
    onNone: () => ({ _tag: "UnixAddress", path: "" }),
    onSome: (hostname) => ({ _tag: "TcpAddress", hostname, port: remotePort(request.source, hostname) })
  })

/** What Node tells of the socket under its own request object. */
const socketOf = (source: unknown): object | undefined =>
  typeof source === "object" &&
  source !== null &&
  "socket" in source &&
  typeof source.socket === "object" &&
  source.socket !== null
    ? source.socket
    : undefined

const isEncrypted = (source: unknown): boolean => {
  const socket = socketOf(source)
  return socket !== undefined && "encrypted" in socket && socket.encrypted === true
}

const remotePort = (source: unknown, hostname: string): number => {
  const socket = socketOf(source)
  if (socket === undefined || !("remoteAddress" in socket) || socket.remoteAddress !== hostname) return 0
  return "remotePort" in socket && typeof socket.remotePort === "number" ? socket.remotePort : 0
}
