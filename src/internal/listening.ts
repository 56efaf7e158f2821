// A server that listens: flows come in, are led through the opening handshake, and go to a handler.

import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as Flow from "../Flow.js"
import { type ListenOptions, Network } from "../Network.js"
import { type Refusal, type RequestHead, refusalOf } from "../protocol/head.js"
import { hasToken } from "../protocol/tokens.js"
import { HandshakeError } from "../WebSocketError.js"
import { Admission } from "./admission.js"
import { seenBy } from "./forwarded.js"
import { headersOf } from "./headers.js"
import { requestOf, respond } from "./http.js"
import { type Asked, limitWarning, logRefusal } from "./logs.js"
import { refused } from "./meters.js"
import type { ConnectionOptions } from "./options.js"
import type { runConnection } from "./running.js"
import { agree, answer, check, type HandshakeOptions, type Request, readRequest, refuse, type Terms } from "./server.js"
import { drain, type Patience, runHandler, schedulerIn, Visit } from "./serving.js"
import { type Facts, handshakeSpan } from "./tracing.js"

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

/** What answers the requests that are no upgrades. */
interface Site {
  readonly handler: HttpHandler
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
  readonly rule = "the application declined"
  constructor(readonly response: HttpServerResponse.HttpServerResponse) {}

  get status(): number {
    return this.response.status
  }
}

const isDone = <A>(decision: Effect.Effect<A, unknown, unknown>): decision is Exit.Success<A, never> =>
  Exit.isExit(decision) && Exit.isSuccess(decision)

/** Lets the application decide, in bounded time, also where all else is uninterruptible. */
export const decided = <A, R>(
  decision: Effect.Effect<A, HttpServerRespondable.Respondable, R>,
  timeout: Duration.Duration
): Effect.Effect<A, Refusal | Declined, R> => {
  // Where there is nothing to wait for, a time limit would be half of the cost of the handshake.
  if (isDone(decision)) return decision
  return decision.pipe(
    Effect.catchAll((respondable) =>
      Effect.flatMap(HttpServerRespondable.toResponse(respondable), (response) => Effect.fail(new Declined(response)))
    ),
    // What can't be interrupted goes on without us.
    Effect.disconnect,
    Effect.timeoutFail({ duration: timeout, onTimeout: () => refusalOf(503, "the server didn't decide in time") }),
    Effect.interruptible,
    Effect.catchAllDefect((defect) =>
      Effect.zipRight(
        Effect.logError("WebSocket handshake decision failed", defect),
        Effect.fail(refusalOf(500, "the server failed to decide"))
      )
    )
  )
}

/** Listens until the scope closes. */
export const listening = (listen: ListenOptions, options: ListeningOptions) =>
  Effect.gen(function* () {
    const network = yield* Network
    const { handshakeTimeout, closeTimeout, trustedProxies = 0 } = options
    const { maxConnections, maxConnectionsPerAddress } = options
    const admission = new Admission(maxConnections, maxConnectionsPerAddress)
    const warnOfAll = limitWarning("the server is full", "maxConnections", maxConnections)
    const warnOfAddress = limitWarning("an address has its share", "maxConnectionsPerAddress", maxConnectionsPerAddress)
    const routes = new Set<Route>()
    const served = yield* Deferred.make<void>()
    const visits: Visits = new Map()
    let site: Site | undefined
    const scope = yield* Effect.scope
    const door = yield* Scope.fork(scope, ExecutionStrategy.sequential)

    /** Stops accepting, and ends all connections at once. */
    const shutDown = Effect.zipRight(Scope.close(door, Exit.void), drain(visits, options))

    /**
     * Ends what has visits when the scope that asks for it closes. Where that is the server's own, all of the server
     * ends there and then: one handler after the other would take as often as long.
     */
    const drainAtEnd = (some: Visits) =>
      Effect.flatMap(Effect.scope, (own) =>
        Effect.addFinalizer(() => (own === scope ? shutDown : drain(some, options)))
      )

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

    const admit = (flow: Flow.Flow, visit: Visit, head: RequestHead, leaves: Leaves) =>
      Effect.gen(function* () {
        if (routes.size === 0) {
          yield* Effect.timeoutFail(Deferred.await(served), {
            duration: handshakeTimeout,
            onTimeout: () => refusalOf(503, "the server has no handler yet")
          })
        }
        const route = yield* routeFor(head.target)
        yield* Effect.withFiberRuntime((fiber) => Effect.sync(() => enroll(route.visits, fiber, visit)))
        const handshake = { ...options, ...given(route.handshake) }
        const checked = check(head, flow, handshake)
        if ("_tag" in checked) return yield* Effect.fail(checked)
        yield* enterFrom(checked.request.remoteAddress, leaves)
        const { terms, handler } = yield* decided(route.admit(checked.request), handshakeTimeout)
        const accepted = agree(checked, handshake, terms)
        return "_tag" in accepted ? yield* Effect.fail(accepted) : { accepted, handler }
      }).pipe(handshakeSpan(() => factsOf(head, flow, trustedProxies)))

    /** Counts a visit by address: once more when proxies have told another one, in place of their own. */
    const enterFrom = (address: Flow.Address, leaves: Leaves): Effect.Effect<void, Refusal> =>
      Effect.suspend(() => {
        for (const leave of leaves.splice(1)) leave()
        const entered = admission.enterFrom(address)
        if (typeof entered !== "function") return Effect.zipRight(warnOfAddress(address), Effect.fail(entered))
        leaves.push(entered)
        return Effect.void
      })

    const handle = (flow: Flow.Flow, visit: Visit, refusal: Refusal | undefined, leaves: Leaves) => {
      let told: Asked | undefined
      return Effect.gen(function* () {
        if (refusal !== undefined) return yield* Effect.zipRight(warnOfAll(flow.remoteAddress), Effect.fail(refusal))
        if (trustedProxies <= 0) yield* enterFrom(flow.remoteAddress, leaves)
        const request = yield* readRequest(flow, { maxBytes: options.maxHeadSize }, handshakeTimeout)
        told = askedBy(flow, request.head, trustedProxies)
        if (site === undefined || hasToken(request.head.fields.get("upgrade"), "websocket")) {
          const { accepted, handler } = yield* admit(flow, visit, request.head, leaves)
          return yield* runHandler(answer(flow, request.rest, accepted, options, visit.opened), handler, visit, options)
        }
        const { handler, visits } = site
        yield* Effect.withFiberRuntime((fiber) => Effect.sync(() => enroll(visits, fiber, visit)))
        const incoming = yield* requestOf(flow, request, options, handshakeTimeout)
        visit.begin()
        yield* handler(incoming, (response) => respond(flow, request.head, response, closeTimeout))
      }).pipe(
        Effect.catchTag("Refusal", (refused) => refuse(flow, refused, closeTimeout)),
        Effect.catchTag("Declined", (declined) => decline(flow, declined, closeTimeout)),
        Effect.catchAll((error) => logRefusal(error, told)),
        Effect.ensuring(
          Effect.sync(() => {
            for (const leave of leaves) leave()
            flow.destroy()
          })
        )
      )
    }

    // The span that the server is started in is no parent of what its clients do for days.
    const fork = Runtime.runFork(Runtime.updateContext(yield* Effect.runtime<never>(), Context.omit(Tracer.ParentSpan)))
    const scheduler = schedulerIn(yield* FiberRef.get(FiberRef.currentScheduler))
    yield* Effect.addFinalizer(() => shutDown)
    const listener = yield* network
      .listen(listen, (flow) => {
        const entered = admission.enter()
        if (entered === undefined) {
          refused(undefined)
          return flow.destroy()
        }
        const visit = new Visit(flow)
        enroll(visits, fork(handle(flow, visit, entered.refusal, [entered.leave]), { scheduler }), visit)
      })
      .pipe(Scope.extend(door))
    yield* Effect.annotateLogs(Effect.logDebug("WebSocket server listens"), {
      address: Flow.formatAddress(listener.address)
    })

    return {
      listener,
      connections: Effect.sync(() => admission.open),
      /** Serves a path until the scope closes, and then ends the connections that it has. */
      addRoute: (path: string | undefined, handshake: HandshakeOptions, admit: Admit) =>
        Effect.gen(function* () {
          const route: Route = { path, handshake, admit, visits: new Map() }
          yield* drainAtEnd(route.visits)
          yield* Effect.acquireRelease(
            Effect.sync(() => routes.add(route)),
            () => Effect.sync(() => routes.delete(route))
          )
          yield* Deferred.succeed(served, undefined)
        }),
      /** Answers what is no upgrade until the scope closes. */
      setHttp: (handler: HttpHandler) =>
        Effect.gen(function* () {
          const own: Site = { handler, visits: new Map() }
          yield* drainAtEnd(own.visits)
          yield* Effect.acquireRelease(
            Effect.sync(() => {
              site = own
            }),
            () =>
              Effect.sync(() => {
                if (site === own) site = undefined
              })
          )
        })
    }
  })

const askedBy = (flow: Flow.Flow, { fields, target }: RequestHead, trustedProxies: number): Asked => ({
  target,
  origin: fields.get("origin"),
  address: Flow.formatAddress(seenBy(flow, fields, trustedProxies).remoteAddress)
})

const factsOf = (head: RequestHead, flow: Flow.Flow, trustedProxies: number): Facts => {
  const { host, remoteAddress, secure } = seenBy(flow, head.fields, trustedProxies)
  return {
    role: "server",
    // Other forms of a target, which no client of ours sends, might hold user info (RFC 9112 3.2).
    url: head.target.startsWith("/") ? `${secure ? "wss" : "ws"}://${host}${head.target}` : "",
    headers: headersOf(head.fields),
    flow,
    remoteAddress
  }
}

/** What counts a visit out again: first altogether, then by address. */
type Leaves = Array<() => void>

/** Keeps a visit for as long as its fiber runs. */
const enroll = (visits: Visits, fiber: Fiber.RuntimeFiber<unknown, unknown>, visit: Visit): void => {
  visits.set(fiber, visit)
  fiber.addObserver(() => visits.delete(fiber))
}

const decline = (
  flow: Flow.Flow,
  { response, rule, status }: Declined,
  timeout: Duration.Duration
): Effect.Effect<never, HandshakeError> =>
  Effect.zipRight(
    respond(flow, { method: "GET", minorVersion: 1 }, response, timeout),
    new HandshakeError({
      rule,
      address: Flow.formatAddress(flow.remoteAddress),
      status,
      headers: { ...response.headers }
    })
  )

/** Without what is `undefined`, which means that it isn't given. */
const given = (options: HandshakeOptions): HandshakeOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
