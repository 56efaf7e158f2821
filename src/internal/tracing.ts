// Spans, in the attributes that OpenTelemetry names, and none where nobody traces.

import type * as Headers from "@effect/platform/Headers"
import * as HttpTraceContext from "@effect/platform/HttpTraceContext"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type * as Flow from "../Flow.js"
import type { Role } from "../protocol/frame.js"

/** Effect's own tracer, which is there when no other was provided. Nobody sees its spans. */
const ownTracer = Effect.runSync(Effect.tracer)

const isTraced = Effect.map(Effect.tracer, (tracer) => tracer !== ownTracer)

/** What a span tells of a connection. */
export interface Facts {
  readonly role: Role
  readonly flow: Flow.Flow
  /** Without user info. */
  readonly url: string
  /** Of the peer's half of the opening handshake. */
  readonly headers: Headers.Headers
  readonly subprotocol?: string | undefined
}

/** Names and meanings of the OpenTelemetry semantic conventions for HTTP and networks, where they have one. */
const attributes = ({ role, flow, url, headers, subprotocol }: Facts): Record<string, unknown> => {
  const { remoteAddress, localAddress } = flow
  const [client, server] = role === "client" ? [localAddress, remoteAddress] : [remoteAddress, localAddress]
  return {
    "network.transport": remoteAddress._tag === "UnixAddress" ? "unix" : "tcp",
    "network.protocol.name": "websocket",
    ...addressOf("client", client),
    ...addressOf("server", server),
    ...urlAttributes(url),
    ...(role === "server" && headers["user-agent"] !== undefined
      ? { "user_agent.original": headers["user-agent"] }
      : undefined),
    ...(subprotocol === undefined ? undefined : { "websocket.subprotocol": subprotocol })
  }
}

const urlAttributes = (url: string): Record<string, unknown> => {
  if (!URL.canParse(url)) return {}
  const { protocol, pathname, search } = new URL(url)
  return {
    "url.scheme": protocol.slice(0, -1),
    "url.path": pathname,
    ...(search === "" ? undefined : { "url.query": search.slice(1) })
  }
}

const addressOf = (side: "client" | "server", address: Flow.Address): Record<string, unknown> =>
  address._tag === "UnixAddress"
    ? { [`${side}.address`]: address.path }
    : { [`${side}.address`]: address.hostname, [`${side}.port`]: address.port }

/** The span of a connection, which ends with the scope. The trace that a client's request belongs to goes on in it. */
export const connectionSpan = (facts: Facts): Effect.Effect<Tracer.Span | undefined, never, Scope.Scope> =>
  Effect.gen(function* () {
    if (!(yield* isTraced)) return undefined
    const around = yield* Effect.option(Effect.currentParentSpan)
    const parent =
      facts.role === "server" ? Option.orElse(around, () => HttpTraceContext.fromHeaders(facts.headers)) : around
    return yield* Effect.makeSpanScoped("websocket.connection", {
      kind: facts.role,
      attributes: attributes(facts),
      captureStackTrace: false,
      ...(Option.isSome(parent) ? { parent: parent.value } : undefined)
    })
  })

/** What is known of an opening handshake before its answer. */
interface Asked {
  readonly url: string
  readonly headers: Headers.Headers
}

/** Puts the opening handshake, or the decision on it, into a span of its own. */
export const handshakeSpan =
  (role: Role, { url, headers }: Asked) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(isTraced, (traced) => {
      if (!traced) return effect
      const parent = role === "server" ? HttpTraceContext.fromHeaders(headers) : Option.none()
      return Effect.useSpan(
        "websocket.handshake",
        {
          kind: role,
          attributes: { "http.request.method": "GET", ...urlAttributes(url) },
          captureStackTrace: false,
          ...(Option.isSome(parent) ? { parent: parent.value } : undefined)
        },
        (span) =>
          Effect.tapBoth(Effect.withParentSpan(effect, span), {
            onSuccess: () => Effect.sync(() => span.attribute("http.response.status_code", 101)),
            onFailure: (error) =>
              Effect.sync(() => {
                const status = statusOf(error)
                if (status !== undefined) span.attribute("http.response.status_code", status)
              })
          })
      )
    })

const statusOf = (error: unknown): unknown =>
  typeof error === "object" && error !== null && "status" in error ? error.status : undefined

/** The headers that make the other side's spans children of ours; none where nobody traces. */
export const traceHeaders: Effect.Effect<Headers.Headers | undefined> = Effect.flatMap(isTraced, (traced) =>
  traced
    ? Effect.map(Effect.option(Effect.currentSpan), (span) =>
        Option.isSome(span) ? HttpTraceContext.toHeaders(span.value) : undefined
      )
    : Effect.succeed(undefined)
)
