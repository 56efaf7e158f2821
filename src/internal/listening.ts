// A server that listens: flows come in, are led through the opening handshake, and go to a handler.

import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Flow from "../Flow.js"
import { type ListenOptions, Network } from "../Network.js"
import { type Complete, type Refusal, type RequestHead, refusalOf } from "../protocol/head.js"
import { hasToken } from "../protocol/tokens.js"
import { HandshakeError } from "../WebSocketError.js"
import { Admission } from "./admission.js"
import { requestOf, respond } from "./http.js"
import type { ConnectionOptions } from "./options.js"
import type { runConnection } from "./running.js"
import {
  type Acceptance,
  agree,
  answer,
  check,
  type HandshakeOptions,
  type Request,
  readRequest,
  refuse,
  type Terms
} from "./server.js"
import { drain, logRefusal, type Patience, runHandler, Visit } from "./serving.js"
import { handshakeSpan } from "./tracing.js"

/** The socket as a handler gets it. */
export type Connected = Effect.Effect.Success<ReturnType<typeof runConnection>>

/** A request that was let in, and what is done with its connection. */
export interface Admitted {
  readonly terms: Terms
  readonly handler: (socket: Connected) => Effect.Effect<unknown, unknown, Scope.Scope>
}

/** Decides on a request: lets it in, or answers with a response. */
export type Admit = (request: Request) => Effect.Effect<Admitted, HttpServerRespondable.Respondable>

/** Answers a request that is no upgrade. */
export type HttpHandler = (
  request: HttpServerRequest.HttpServerRequest,
  respond: (response: HttpServerResponse.HttpServerResponse) => Effect.Effect<void>
) => Effect.Effect<void>

type Visits = Map<Fiber.RuntimeFiber<unknown, unknown>, Visit>

/** What serves the requests for a path. */
interface Route {
  readonly path: string | undefined
  readonly handshake: HandshakeOptions
  readonly admit: Admit
  readonly visits: Visits
}

export interface ListeningOptions extends Omit<ConnectionOptions, keyof Patience>, HandshakeOptions, Patience {
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly handshakeTimeout: Duration.Duration
}

/** An answer of the application's, in place of an upgrade. */
class Declined {
  readonly _tag = "Declined"
  constructor(readonly response: HttpServerResponse.HttpServerResponse) {}
}

/** Lets the application decide, in bounded time. */
export const decided = <A, R>(
  decision: Effect.Effect<A, HttpServerRespondable.Respondable, R>,
  timeout: Duration.Duration
): Effect.Effect<A, Refusal | Declined, R> =>
  decision.pipe(
    Effect.catchAll((respondable) =>
      Effect.flatMap(HttpServerRespondable.toResponse(respondable), (response) => Effect.fail(new Declined(response)))
    ),
    Effect.timeoutFail({ duration: timeout, onTimeout: () => refusalOf(503, "the server didn't decide in time") }),
    Effect.catchAllDefect((defect) =>
      Effect.zipRight(
        Effect.logError("WebSocket handshake decision failed", defect),
        Effect.fail(refusalOf(500, "the server failed to decide"))
      )
    )
  )

/** Listens until the scope closes. */
export const listening = (listen: ListenOptions, options: ListeningOptions) =>
  Effect.gen(function* () {
    const network = yield* Network
    const { handshakeTimeout, closeTimeout, trustedProxies = 0 } = options
    const admission = new Admission(options.maxConnections, options.maxConnectionsPerAddress)
    const routes = new Set<Route>()
    const served = yield* Deferred.make<void>()
    const visits: Visits = new Map()
    let http: HttpHandler | undefined

    const routeFor = (target: string): Effect.Effect<Route, Refusal> =>
      Effect.suspend(() => {
        const [path] = target.split("?", 1)
        const all = [...routes]
        const route = all.find((each) => each.path === path) ?? all.find((each) => each.path === undefined)
        if (route !== undefined) return Effect.succeed(route)
        return Effect.fail(
          all.length === 0 ? refusalOf(503, "the server is closing") : refusalOf(404, "nothing is served at this path")
        )
      })

    const receiveVisit = (flow: Flow.Flow, visit: Visit, { head, rest }: Complete<RequestHead>, leaves: Leaves) =>
      Effect.gen(function* () {
        yield* Effect.timeoutFail(Deferred.await(served), {
          duration: handshakeTimeout,
          onTimeout: () => refusalOf(503, "the server has no handler yet")
        })
        const route = yield* routeFor(head.target)
        yield* Effect.withFiberRuntime((fiber) => Effect.sync(() => enroll(route.visits, fiber, visit)))
        const handshake = { ...options, ...route.handshake }
        const checked = check(head, flow, handshake)
        if ("_tag" in checked) return yield* Effect.fail(checked)
        if (trustedProxies > 0) yield* enterFrom(checked.request.remoteAddress, leaves)
        const { terms, handler } = yield* decided(route.admit(checked.request), handshakeTimeout).pipe(
          handshakeSpan("server", checked.request)
        )
        const accepted: Acceptance | Refusal = agree(checked, handshake, terms)
        yield* runHandler(answer(flow, rest, accepted, options, visit.opened), handler, visit, options)
      })

    const enterFrom = (address: Flow.Address, leaves: Leaves): Effect.Effect<void, Refusal> =>
      Effect.suspend(() => {
        const entered = admission.enterFrom(address)
        if (typeof entered !== "function") return Effect.fail(entered)
        leaves.push(entered)
        return Effect.void
      })

    const handle = (flow: Flow.Flow, visit: Visit, refusal: Refusal | undefined, leaves: Leaves) =>
      Effect.gen(function* () {
        if (refusal !== undefined) return yield* Effect.fail(refusal)
        if (trustedProxies <= 0) yield* enterFrom(flow.remoteAddress, leaves)
        const request = yield* readRequest(flow, { maxBytes: options.maxHeadSize }, handshakeTimeout)
        if (http === undefined || hasToken(request.head.fields.get("upgrade"), "websocket")) {
          return yield* receiveVisit(flow, visit, request, leaves)
        }
        const { method } = request.head
        const asked = yield* requestOf(flow, request, options, handshakeTimeout)
        yield* http(asked, (response) => respond(flow, response, closeTimeout, method === "HEAD"))
      }).pipe(
        Effect.catchTag("Refusal", (refused) => refuse(flow, refused, closeTimeout)),
        Effect.catchTag("Declined", ({ response }) => decline(flow, response, closeTimeout)),
        Effect.catchAll(logRefusal),
        Effect.ensuring(
          Effect.sync(() => {
            for (const leave of leaves) leave()
            flow.destroy()
          })
        )
      )

    const fork = Runtime.runFork(yield* Effect.runtime<never>())
    // Before the listener's own finalizer in the order of their making: it has stopped accepting by then.
    yield* Effect.addFinalizer(() => drain(visits, options))
    const listener = yield* network.listen(listen, (flow) => {
      const entered = admission.enter()
      if (entered === undefined) return flow.destroy()
      const visit = new Visit()
      enroll(visits, fork(handle(flow, visit, entered.refusal, [entered.leave])), visit)
    })

    return {
      listener,
      connections: Effect.sync(() => admission.open),
      /** Serves a path until the scope closes, and then ends the connections that it has. */
      addRoute: (path: string | undefined, handshake: HandshakeOptions, admit: Admit) =>
        Effect.gen(function* () {
          const route: Route = { path, handshake, admit, visits: new Map() }
          yield* Effect.acquireRelease(
            Effect.sync(() => routes.add(route)),
            () =>
              Effect.zipRight(
                Effect.sync(() => routes.delete(route)),
                drain(route.visits, options)
              )
          )
          yield* Deferred.succeed(served, undefined)
        }),
      /** Answers what is no upgrade until the scope closes. */
      setHttp: (handler: HttpHandler) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            http = handler
          }),
          () =>
            Effect.sync(() => {
              if (http === handler) http = undefined
            })
        )
    }
  })

/** What counts a visit out again. */
type Leaves = Array<() => void>

/** Keeps a visit for as long as its fiber runs. */
const enroll = (visits: Visits, fiber: Fiber.RuntimeFiber<unknown, unknown>, visit: Visit): void => {
  visits.set(fiber, visit)
  fiber.addObserver(() => visits.delete(fiber))
}

const decline = (
  flow: Flow.Flow,
  response: HttpServerResponse.HttpServerResponse,
  timeout: Duration.Duration
): Effect.Effect<never, HandshakeError> =>
  Effect.zipRight(
    respond(flow, response, timeout),
    new HandshakeError({
      rule: "the application declined",
      address: Flow.formatAddress(flow.remoteAddress),
      status: response.status,
      headers: { ...response.headers }
    })
  )
