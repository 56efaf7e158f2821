// HTTP on the server's side, as far as it isn't WebSocket: responses of an application, on a
// flow of our own. One request each, then the connection ends: whoever wants more of HTTP has an
// HTTP server, and uses `WebSocketServer.upgrade` in it.

import * as Cookies from "@effect/platform/Cookies"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Flow from "../Flow.js"
import { type Complete, type HeaderPairs, type Refusal, type RequestHead, refusalOf } from "../protocol/head.js"
import { isBodiless, writeResponse } from "../protocol/headWriter.js"
import type { Failure } from "../protocol/tokens.js"
import { IoError } from "../WebSocketError.js"
import { checkHost, seenBy } from "./forwarded.js"
import { finishWith, readSome } from "./opening.js"
import type { HandshakeOptions } from "./server.js"

/**
 * Writes a response of an application, and ends the connection behind it. No step of it waits
 * longer than the timeout for the peer.
 */
export const respond = (
  flow: Flow.Flow,
  response: HttpServerResponse.HttpServerResponse,
  timeout: Duration.Duration,
  headOnly = false
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { status, body } = response
    const none = isBodiless(status) || body._tag === "Empty"
    const whole = body._tag === "Uint8Array" ? body.body : undefined
    const head = writeResponse({
      status,
      headers: headersOf(response),
      body: none ? undefined : (whole ?? "follows"),
      headOnly
    })
    if ("_tag" in head) return yield* unwritable(flow, head, timeout)
    if (none || whole !== undefined || headOnly) return yield* Effect.timeoutOption(finishWith(flow, head), timeout)
    yield* writeAll(flow, head, timeout)
    const parts = body._tag === "Stream" ? body.stream : Stream.unwrap(partsOf(response))
    yield* Stream.runForEach(parts, (bytes) => writeAll(flow, bytes, timeout))
    yield* Effect.timeoutOption(finishWith(flow, nothing), timeout)
  }).pipe(
    // A body that breaks off must not look like a whole one: a reset says so, where a FIN wouldn't.
    Effect.catchAllCause((cause) =>
      Effect.zipRight(
        Effect.sync(() => flow.destroy()),
        Effect.logDebug("HTTP response broke off", cause)
      )
    ),
    Effect.asVoid
  )

const nothing = new Uint8Array(0)

const headersOf = (response: HttpServerResponse.HttpServerResponse): HeaderPairs => [
  ["Connection", "close"],
  ...Object.entries(response.headers).filter(([name]) => !written.has(name)),
  ...Cookies.toSetCookieHeaders(response.cookies).map((value) => ["Set-Cookie", value] as const)
]

/** What we say ourselves. */
const written: ReadonlySet<string> = new Set(["connection", "content-length", "transfer-encoding"])

/** Of bodies that only the web's Response can read: strings, blobs, form data. */
const partsOf = (response: HttpServerResponse.HttpServerResponse) =>
  Effect.map(Effect.runtime<never>(), (runtime) => {
    const { body } = HttpServerResponse.toWeb(response, { runtime })
    return body === null
      ? Stream.empty
      : Stream.fromReadableStream(
          () => body,
          (cause) => cause
        )
  })

const unwritable = (flow: Flow.Flow, { rule }: Failure, timeout: Duration.Duration) =>
  Effect.zipRight(
    Effect.logError(`HTTP response can't be written: ${rule}`),
    Effect.suspend(() => {
      const bytes = writeResponse({ status: 500, headers: [["Connection", "close"]] })
      return "_tag" in bytes ? Effect.void : Effect.timeoutOption(finishWith(flow, bytes), timeout)
    })
  )

/** Writes, and waits until it has left if it couldn't at once. */
const writeAll = (flow: Flow.Flow, bytes: Uint8Array, timeout: Duration.Duration): Effect.Effect<void, IoError> =>
  Effect.async<void, IoError>((resume) => {
    const broken = (error?: IoError) => resume(Effect.fail(error ?? unsent(flow, "the connection ended")))
    // Read on, or the end of the peer would never be heard of.
    flow.attach({ ...Flow.silent, drain: () => resume(Effect.void), close: broken })
    flow.resume()
    if (flow.write(bytes, false)) resume(Effect.void)
    return Effect.sync(() => flow.attach(Flow.silent))
  }).pipe(Effect.timeoutFail({ duration: timeout, onTimeout: () => unsent(flow, "the client doesn't read") }))

const unsent = (flow: Flow.Flow, why: string): IoError =>
  new IoError({ operation: "write", address: Flow.formatAddress(flow.remoteAddress), cause: new Error(why) })

/** The most that a request's body may have: 1 MiB, for it is held in memory. */
const maxBody = 1024 * 1024

/** A request that is no upgrade, as an HTTP application reads it. */
export const requestOf = (
  flow: Flow.Flow,
  { head, rest }: Complete<RequestHead>,
  { hosts, trustedProxies = 0 }: Pick<HandshakeOptions, "hosts" | "trustedProxies">,
  timeout: Duration.Duration
): Effect.Effect<HttpServerRequest.HttpServerRequest, Refusal> =>
  Effect.gen(function* () {
    const { method, target, fields } = head
    const seen = seenBy(flow, fields, trustedProxies)
    const misdirected = checkHost(seen.host, hosts)
    if (misdirected !== undefined) return yield* Effect.fail(misdirected)
    if (fields.count("transfer-encoding") > 0) {
      return yield* Effect.fail(refusalOf(411, "a body needs a Content-Length here (RFC 9112 6.3)"))
    }
    const size = Number(fields.get("content-length") ?? 0)
    if (!Number.isSafeInteger(size) || size < 0) return yield* Effect.fail(refusalOf(400, "no valid Content-Length"))
    if (size > maxBody) return yield* Effect.fail(refusalOf(413, `a body has at most ${maxBody} bytes here`))
    const body = size === 0 ? undefined : yield* readSome(flow, rest, size, timeout, () => false)
    if (body !== undefined && body.length < size) {
      return yield* Effect.fail(refusalOf(408, "no whole body came in time"))
    }
    return yield* Effect.try({
      try: () =>
        HttpServerRequest.fromWeb(
          new Request(
            `${seen.secure ? "https" : "http"}://${seen.host ?? Flow.formatAddress(flow.localAddress)}${target}`,
            {
              method,
              headers: fields.pairs.map(([name, value]) => [name, value]),
              // The web's Request knows no body of a GET, though HTTP does.
              ...(body === undefined || method === "GET" || method === "HEAD" ? undefined : { body: body.slice() })
            }
          )
        ).modify({ remoteAddress: Flow.formatAddress(seen.remoteAddress) }),
      catch: () => refusalOf(400, "no request that this server can read")
    })
  })
