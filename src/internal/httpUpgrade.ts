// The request of an HTTP server, made into a connection.

import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Flow from "../Flow.js"
import { Network } from "../Network.js"
import type { Refusal } from "../protocol/head.js"
import type { HandshakeError } from "../WebSocketError.js"
import type { Driven } from "./driver.js"
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
    const accepted = agree(checked, options, terms)
    if ("_tag" in accepted) return yield* Effect.fail(accepted)
    const network = yield* Network
    const flow = yield* network.upgrade(request)
    return yield* answer(flow, new Uint8Array(0), accepted, options, opened)
  }).pipe(acquiring)

export const refusalResponse = ({ status, headers, rule }: Refusal): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(`${rule}\n`, { status, headers: [...headers, ["connection", "close"]] })

/** The address that the HTTP server, or a middleware of it, names; ports it doesn't tell. */
const addressOf = (request: HttpServerRequest.HttpServerRequest): Flow.Address =>
  Option.match(request.remoteAddress, {
    onNone: () => ({ _tag: "UnixAddress", path: "" }),
    onSome: (hostname) => ({ _tag: "TcpAddress", hostname, port: remotePort(request.source) })
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

const remotePort = (source: unknown): number => {
  const socket = socketOf(source)
  return socket !== undefined && "remotePort" in socket && typeof socket.remotePort === "number" ? socket.remotePort : 0
}
