// Spans, in the attributes that OpenTelemetry names, and none where nobody traces.

import * as Headers from "@effect/platform/Headers"
import * as HttpTraceContext from "@effect/platform/HttpTraceContext"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type * as Flow from "../Flow.js"
import type { Role } from "../protocol/frame.js"
import type { Ending } from "./engine.js"
import { type Farewell, farewellOf } from "./errors.js"

/** Effect's own tracer, which is there when no other was provided. Nobody sees its spans. */
const ownTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** Whether spans are seen by anybody. */
export const isTracing = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  fiber.currentTracer !== ownTracer && fiber.getFiberRef(FiberRef.currentTracerEnabled)

const isTraced: Effect.Effect<boolean> = Effect.withFiberRuntime((fiber) => Effect.succeed(isTracing(fiber)))

/** What a span tells of a request or a connection, by the names of OpenTelemetry's conventions where they have one. */
export interface Facts {
  readonly role: Role
  /** What the client connected to. */
  readonly url: string
  /** Of the peer's half of the opening handshake. */
  readonly headers: Headers.Headers
  readonly flow?: Pick<Flow.Flow, "remoteAddress"> | undefined
  /** The client's own address, where proxies in between have told it. */
  readonly remoteAddress?: Flow.Address | undefined
}

const attributes = ({ role, url, headers, flow, remoteAddress }: Facts): Record<string, unknown> => {
  const peer = flow?.remoteAddress
  const agent = headers["user-agent"]
  return {
    ...(peer === undefined ? undefined : { "network.transport": peer._tag === "UnixAddress" ? "unix" : "tcp" }),
    ...(peer === undefined ? undefined : address("network.peer", peer)),
    ...urlAttributes(url),
    ...(role === "server" ? address("client", remoteAddress ?? peer) : undefined),
    ...(role === "server" && agent !== undefined ? { "user_agent.original": agent } : undefined)
  }
}

const address = (name: string, address: Flow.Address | undefined): Record<string, unknown> => {
  if (address === undefined) return {}
  if (address._tag === "UnixAddress") return address.path === "" ? {} : { [`${name}.address`]: address.path }
  return { [`${name}.address`]: address.hostname, [`${name}.port`]: address.port }
}

const urlAttributes = (text: string): Record<string, unknown> => {
  if (!URL.canParse(text)) return {}
  const { protocol, hostname, port, pathname, search } = new URL(text)
  return {
    "server.address": hostname.replace(/^\[|\]$/g, ""),
    "server.port": port === "" ? (protocol === "wss:" ? 443 : 80) : Number(port),
    "url.scheme": protocol.slice(0, -1),
    "url.path": pathname,
    ...(search === "" ? undefined : { "url.query": redacted(search.slice(1)) })
  }
}

/** Browsers can't send headers of their own with an upgrade, so tokens travel in the query: its names are shown, no value is. */
const redacted = (query: string): string =>
  query
    .split("&")
    .map((pair) => (pair.includes("=") ? `${pair.slice(0, pair.indexOf("="))}=REDACTED` : "REDACTED"))
    .join("&")

/** The span of a connection, in the hands of who ends it. */
export interface ConnectionSpan {
  readonly span: Tracer.Span
  readonly end: (ending: Ending | undefined) => void
}

/** Begins the span of a connection. The trace that a client's request belongs to goes on in it. */
export const connectionSpan = (
  facts: Facts,
  subprotocol: string | undefined
): Effect.Effect<ConnectionSpan | undefined> =>
  Effect.gen(function* () {
    if (!(yield* isTraced)) return undefined
    const span = yield* started("websocket.connection", facts, {
      "network.protocol.name": "websocket",
      ...(subprotocol === undefined ? undefined : { "websocket.subprotocol": subprotocol })
    })
    const now = yield* clock
    return {
      span,
      end: (ending) => {
        const farewell = farewellOf(ending)
        span.attribute("websocket.close.code", farewell.code)
        if (farewell.reason !== "") span.attribute("websocket.close.reason", farewell.reason)
        if (farewell.initiator !== undefined) span.attribute("websocket.close.initiator", farewell.initiator)
        span.end(now(), outcome(span, farewell))
      }
    }
  })

const outcome = (span: Tracer.Span, { code, failure }: Farewell): Exit.Exit<void, Error> => {
  if (failure === undefined) return Exit.void
  span.attribute("error.type", String(code))
  return Exit.fail(shown("ConnectionFailed", failure))
}

/**
 * Puts the opening handshake into a span of its own: from the request that was read to the
 * decision on a server, all of it on a client.
 */
export const handshakeSpan =
  (facts: () => Facts) =>
  <A, E extends Refused, R>(handshake: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(isTraced, (traced) => {
      if (!traced) return handshake
      const known = facts()
      return Effect.acquireUseRelease(
        Effect.all([
          started("websocket.handshake", known, { "network.protocol.name": "http", "http.request.method": "GET" }),
          clock
        ]),
        ([span]) => Effect.withParentSpan(handshake, span),
        ([span, now], exit) => Effect.sync(() => span.end(now(), verdict(known.role, span, exit)))
      )
    })

/** Why there is no connection. */
interface Refused {
  readonly _tag: string
  readonly status?: number | undefined
  readonly rule?: string | undefined
  readonly reason?: string | undefined
  readonly detail?: string | undefined
}

/** How a handshake's span ends: by the conventions for HTTP a refusal is the client's error, and no error of a server. */
const verdict = (role: Role, span: Tracer.Span, exit: Exit.Exit<unknown, Refused>): Exit.Exit<unknown, unknown> => {
  if (Exit.isSuccess(exit)) {
    span.attribute("http.response.status_code", 101)
    return Exit.void
  }
  const refused = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (refused === undefined) return exit
  const { _tag, detail, reason, rule, status } = refused
  // The errors themselves tell the URL too.
  const why = (rule ?? detail ?? _tag).replace(/\?\S*/g, "")
  if (status !== undefined) span.attribute("http.response.status_code", status)
  if (role === "server") span.attribute("websocket.refusal", why)
  if (role === "server" && status !== undefined && status < 500) return Exit.void
  span.attribute("error.type", status === undefined ? (reason ?? _tag) : String(status))
  return Exit.fail(shown(_tag, why))
}

/** An exception as an exporter shows it; where it was made says nothing. */
const shown = (name: string, message: string): Error => {
  const error = new Error(message)
  error.name = name
  error.stack = `${name}: ${message}`
  return error
}

const started = (name: string, facts: Facts, more: Record<string, unknown>): Effect.Effect<Tracer.Span> =>
  Effect.gen(function* () {
    const parent = facts.role === "server" ? yield* remoteParent(facts.headers) : undefined
    return yield* Effect.makeSpan(name, {
      kind: facts.role,
      attributes: { ...more, ...attributes(facts) },
      captureStackTrace: false,
      ...(parent === undefined ? undefined : { parent })
    })
  })

/** The client's span, unless we are inside of one already that goes on in its trace, as in the routes of an HTTP server. */
const remoteParent = (headers: Headers.Headers): Effect.Effect<Tracer.AnySpan | undefined> =>
  Effect.map(Effect.option(Effect.currentParentSpan), (around) => {
    const remote = Option.getOrUndefined(Option.filter(HttpTraceContext.fromHeaders(headers), isValid))
    return Option.isSome(around) && around.value.traceId === remote?.traceId ? undefined : remote
  })

/** Anybody can send these headers, and what they hold goes to the exporter. */
const isValid = ({ traceId, spanId }: Tracer.AnySpan): boolean =>
  /^([0-9a-f]{16}){1,2}$/i.test(traceId) && /^[0-9a-f]{16}$/i.test(spanId)

const traceHeaders = ["traceparent", "b3", "x-b3-traceid"]

/** Headers of a request, with those that make the other side's spans children of the span around, unless they tell of another. */
export const withTrace = (headers: Headers.Headers): Effect.Effect<Headers.Headers> =>
  Effect.flatMap(isTraced, (traced) =>
    !traced || traceHeaders.some((name) => Headers.has(headers, name))
      ? Effect.succeed(headers)
      : Effect.match(Effect.currentSpan, {
          onFailure: () => headers,
          onSuccess: (span) => Headers.merge(HttpTraceContext.toHeaders(span), headers)
        })
  )

/** The time of spans, as Effect's own are timed. */
const clock: Effect.Effect<() => bigint> = Effect.withFiberRuntime((fiber) =>
  Effect.map(Effect.clock, (clock) =>
    fiber.getFiberRef(FiberRef.currentTracerTimingEnabled) ? () => clock.unsafeCurrentTimeNanos() : () => 0n
  )
)

/** Runs an effect in a span of its own that is linked to that of a connection. */
export const linkedSpan: {
  (
    socket: { readonly span: Tracer.AnySpan | undefined },
    name: string,
    options?: Tracer.SpanOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    socket: { readonly span: Tracer.AnySpan | undefined },
    name: string,
    options?: Tracer.SpanOptions
  ): Effect.Effect<A, E, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    { span }: { readonly span: Tracer.AnySpan | undefined },
    name: string,
    options?: Tracer.SpanOptions
  ): Effect.Effect<A, E, R> =>
    Effect.withFiberRuntime<A, E, R>((fiber) => {
      if (!isTracing(fiber)) return self
      if (span === undefined) return Effect.withSpan(self, name, { captureStackTrace: false, ...options })
      const links: ReadonlyArray<Tracer.SpanLink> = [{ _tag: "SpanLink", span, attributes: {} }]
      return Effect.withSpan(self, name, {
        captureStackTrace: false,
        root: true,
        ...options,
        links: [...(options?.links ?? []), ...links]
      })
    })
)
