// HTTP on the server's side, as far as it isn't WebSocket: responses of an application, on a
// flow of our own. One request each, then the connection ends: whoever wants more of HTTP has an
// HTTP server, and uses `WebSocketServer.upgrade` in it.

import * as Cookies from "@effect/platform/Cookies"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Flow from "../Flow.js"
import { type Complete, type HeaderPairs, type Refusal, type RequestHead, refusalOf } from "../protocol/head.js"
import { isBodiless, lastChunk, writeChunk, writeResponse } from "../protocol/headWriter.js"
import type { Failure } from "../protocol/tokens.js"
import { IoError } from "../WebSocketError.js"
import { checkHost, seenBy } from "./forwarded.js"
import { finishWith } from "./opening.js"
import type { HandshakeOptions } from "./server.js"

/**
 * Writes a response of an application, and ends the connection behind it. No step of it waits
 * longer than the timeout for the peer. A body that comes bit by bit can be interrupted.
 */
export const respond = (
  flow: Flow.Flow,
  { method, minorVersion }: Pick<RequestHead, "method" | "minorVersion">,
  response: HttpServerResponse.HttpServerResponse,
  timeout: Duration.Duration
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { status, body } = response
    const headOnly = method === "HEAD"
    const none = isBodiless(status) || body._tag === "Empty"
    const web = !none && (body._tag === "Raw" || body._tag === "FormData") ? yield* toWeb(response) : undefined
    // Where a connection's end ends the body, one that broke off looks like a whole one: so in
    // chunks, of which HTTP/1.0 knows nothing (RFC 9112 6.1).
    const following = minorVersion === 1 ? "chunks follow" : "follows"
    const whole = body._tag === "Uint8Array" ? body.body : undefined
    const head = writeResponse({
      status,
      headers: headersOf(response, web),
      body: none ? undefined : (whole ?? following),
      headOnly
    })
    if ("_tag" in head) return yield* unwritable(flow, head, timeout)
    if (none || headOnly || (whole !== undefined && head.length <= pieceSize)) {
      return yield* finish(flow, head, timeout)
    }
    const inChunks = whole === undefined && following === "chunks follow"
    const parts = whole !== undefined ? Stream.empty : body._tag === "Stream" ? body.stream : partsOf(web)
    yield* Effect.interruptible(
      Effect.zipRight(
        writeAll(flow, head, timeout),
        Stream.runForEach(parts, (bytes) => writeAll(flow, inChunks ? writeChunk(bytes) : bytes, timeout))
      )
    )
    yield* finish(flow, inChunks ? lastChunk : nothing, timeout)
  }).pipe(
    Effect.catchAllCause((cause) =>
      Effect.zipRight(
        Effect.sync(() => flow.destroy()),
        Effect.logDebug("HTTP response broke off", cause)
      )
    ),
    Effect.asVoid
  )

/** What is written at once, and has the timeout to leave: a slow client gets all of it, a dead one is found out. */
const pieceSize = 64 * 1024

const nothing = new Uint8Array(0)

/** The web's own names the content type of a blob, and the boundary of form data. */
const headersOf = (response: HttpServerResponse.HttpServerResponse, web: Response | undefined): HeaderPairs => [
  ["Connection", "close"],
  ...Object.entries({ "content-type": contentTypeOf(response, web), ...response.headers }).flatMap(([name, value]) =>
    written.has(name) || value === undefined ? [] : [[name, value] as const]
  ),
  ...Cookies.toSetCookieHeaders(response.cookies).map((value) => ["Set-Cookie", value] as const)
]

/** Bun's Response doesn't say what the web's does of a string; and what is of no type is guessed at by browsers. */
const contentTypeOf = ({ body }: HttpServerResponse.HttpServerResponse, web: Response | undefined) =>
  body._tag === "Raw" && typeof body.body === "string"
    ? "text/plain;charset=UTF-8"
    : (web?.headers.get("content-type") ?? undefined)

/** What we say ourselves. */
const written: ReadonlySet<string> = new Set(["connection", "content-length", "transfer-encoding"])

/** For bodies that only the web's Response can read: strings, blobs, form data. */
const toWeb = (response: HttpServerResponse.HttpServerResponse): Effect.Effect<Response> =>
  Effect.map(Effect.runtime<never>(), (runtime) => HttpServerResponse.toWeb(response, { runtime }))

const partsOf = (web: Response | undefined): Stream.Stream<Uint8Array, unknown> => {
  const body = web?.body ?? undefined
  return body === undefined
    ? Stream.empty
    : Stream.fromReadableStream(
        () => body,
        (cause) => cause
      )
}

const unwritable = (flow: Flow.Flow, { rule }: Failure, timeout: Duration.Duration) =>
  Effect.zipRight(
    Effect.logError(`HTTP response can't be written: ${rule}`),
    Effect.suspend(() => {
      const bytes = writeResponse({ status: 500, headers: [["Connection", "close"]] })
      return "_tag" in bytes ? Effect.void : finish(flow, bytes, timeout)
    })
  )

/**
 * Writes the last bytes, and ends the connection. In a fiber of its own: an application's can't
 * be interrupted, which would be the end of the timeout, or was interrupted already.
 */
const finish = (flow: Flow.Flow, bytes: Uint8Array, timeout: Duration.Duration): Effect.Effect<void> =>
  Effect.fork(Effect.interruptible(Effect.timeoutOption(finishWith(flow, bytes), timeout))).pipe(
    Effect.flatMap(Fiber.await),
    Effect.asVoid
  )

/** Writes piece by piece, and waits for each that couldn't leave at once. */
const writeAll = (flow: Flow.Flow, bytes: Uint8Array, timeout: Duration.Duration): Effect.Effect<void, IoError> =>
  Effect.gen(function* () {
    for (let at = 0; at < bytes.length; at += pieceSize) {
      yield* Effect.timeoutFail(write(flow, bytes.subarray(at, at + pieceSize)), {
        duration: timeout,
        onTimeout: () => unsent(flow, "the client doesn't read")
      })
    }
  })

const write = (flow: Flow.Flow, bytes: Uint8Array): Effect.Effect<void, IoError> =>
  Effect.async((resume) => {
    const broken = (error?: IoError) => resume(Effect.fail(error ?? unsent(flow, "the connection ended")))
    // Read on, or the end of the peer would never be heard of.
    flow.attach({ ...Flow.silent, drain: () => resume(Effect.void), close: broken })
    flow.resume()
    if (flow.write(bytes, false)) resume(Effect.void)
    return Effect.sync(() => flow.attach(Flow.silent))
  })

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
    const { method, target, minorVersion, fields } = head
    const seen = seenBy(flow, fields, trustedProxies)
    const misdirected = checkHost(seen.host, hosts)
    if (misdirected !== undefined) return yield* Effect.fail(misdirected)
    // RFC 9112 3.2: exactly one Host; HTTP/1.0 needs none.
    const hostCount = fields.count("host")
    if (hostCount > 1 || (hostCount === 0 && minorVersion === 1)) {
      return yield* Effect.fail(refusalOf(400, "a request has exactly one Host (RFC 9112 3.2)"))
    }
    if (fields.count("transfer-encoding") > 0) {
      return yield* Effect.fail(refusalOf(411, "a body needs a Content-Length here (RFC 9112 6.3)"))
    }
    const length = fields.get("content-length") ?? "0"
    // Two of them are joined by a comma, which no number holds.
    if (!/^\d+$/.test(length)) return yield* Effect.fail(refusalOf(400, "no valid Content-Length (RFC 9110 8.6)"))
    const size = Number(length)
    if (size > maxBody) return yield* Effect.fail(refusalOf(413, `a body has at most ${maxBody} bytes here`))
    const body = Option.getOrUndefined(yield* Effect.timeoutOption(readBody(flow, rest, size), timeout))
    if (body === undefined) return yield* Effect.fail(refusalOf(408, "no whole body came in time"))
    return yield* Effect.try({
      try: () =>
        HttpServerRequest.fromWeb(
          requestTo(`${seen.secure ? "https" : "http"}://${seen.host ?? hostOf(flow.localAddress)}${target}`, {
            method,
            headers: fields.pairs.map(([name, value]) => [name, value]),
            // The web's Request knows no body of a GET, though HTTP does.
            ...(size === 0 || method === "GET" || method === "HEAD" ? undefined : { body })
          })
        ).modify({ remoteAddress: Flow.formatAddress(seen.remoteAddress) }),
      catch: () => refusalOf(400, "no request that this server can read")
    })
  })

/** Bun's Request takes the methods that the web's refuses, and makes a GET of one that it doesn't know. */
const requestTo = (url: string, init: RequestInit & { readonly method: string }): Request => {
  const { method } = init
  const request = new Request(url, init)
  if (forbidden.test(method) || request.method.toUpperCase() !== method.toUpperCase()) {
    throw new TypeError(`a method that Request doesn't take: ${method}`)
  }
  return request
}

const forbidden = /^(?:CONNECT|TRACE|TRACK)$/i

const hostOf = (address: Flow.Address): string =>
  address._tag === "UnixAddress" ? "localhost" : Flow.formatAddress(address)

/**
 * Reads a body; undefined if it breaks off. Memory is taken for what has come, not for what was
 * announced: a client could announce much on many connections, and send nothing.
 */
const readBody = (
  flow: Flow.Flow,
  rest: Uint8Array,
  size: number
): Effect.Effect<Uint8Array<ArrayBuffer> | undefined> =>
  Effect.async((resume) => {
    let buffer = new Uint8Array(Math.min(size, leastBuffer))
    let length = 0
    const add = (bytes: Uint8Array): boolean => {
      const part = bytes.subarray(0, size - length)
      if (length + part.length > buffer.length) {
        const larger = new Uint8Array(Math.min(size, Math.max(2 * buffer.length, length + part.length)))
        larger.set(buffer.subarray(0, length))
        buffer = larger
      }
      buffer.set(part, length)
      length += part.length
      return length === size
    }
    const settle = (body: Uint8Array<ArrayBuffer> | undefined) => {
      flow.pause()
      flow.attach(Flow.silent)
      resume(Effect.succeed(body))
    }
    if (add(rest)) return resume(Effect.succeed(buffer))
    flow.attach({
      ...Flow.silent,
      data(bytes) {
        if (add(bytes)) settle(buffer)
      },
      end: () => settle(undefined),
      close: () => settle(undefined)
    })
    flow.resume()
    return Effect.sync(() => flow.attach(Flow.silent))
  })

const leastBuffer = 4096
