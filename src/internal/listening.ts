// A server that listens: flows come in, are led through the opening handshake, and go to a handler.

import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
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
import { type Complete, type Refusal, type RequestHead, refusalOf, requestReader } from "../protocol/head.js"
import { hasToken } from "../protocol/tokens.js"
import { Rng } from "../Rng.js"
import { HandshakeError } from "../WebSocketError.js"
import { Admission } from "./admission.js"
import { type Admitted, isUnobserved, opener } from "./admitting.js"
import { Arrival, type Arrived } from "./arriving.js"
import type { Driven } from "./driver.js"
import { seenBy } from "./forwarded.js"
import { headersOf } from "./headers.js"
import { requestOf, respond } from "./http.js"
import { type Asked, limitWarning, logRefusal } from "./logs.js"
import { refused } from "./meters.js"
import { endedEarly } from "./opening.js"
import type { ConnectionOptions } from "./options.js"
import { agree, answer, check, type HandshakeOptions, judge, type Request, refuse, unasked } from "./server.js"
import { drain, type Patience, runHandler, schedulerIn, Visit } from "./serving.js"
import { type Facts, handshakeSpan } from "./tracing.js"

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
  readonly handshake: HandshakeOptions & ListeningOptions
  readonly admit: Admit
  /** What is decided for all requests at once. */
  readonly settled: Admitted | undefined
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
    const arrivals = new Set<Arrival>()
    const visits: Visits = new Map()
    let site: Site | undefined
    const scope = yield* Effect.scope
    const door = yield* Scope.fork(scope, ExecutionStrategy.sequential)

    /** Stops accepting, and ends all connections at once. */
    const shutDown = Scope.close(door, Exit.void).pipe(
      Effect.zipRight(Effect.sync(() => cancelAll(arrivals))),
      Effect.zipRight(drain(visits, options))
    )

    /**
     * Ends what has visits when the scope that asks for it closes. Where that is the server's own, all of the server
     * ends there and then: one handler after the other would take as often as long.
     */
    const drainAtEnd = (some: Visits) =>
      Effect.flatMap(Effect.scope, (own) =>
        Effect.addFinalizer(() => (own === scope ? shutDown : drain(some, options)))
      )

    const routeFor = (target: string): Route | undefined => {
      const [path] = target.split("?", 1)
      let rest: Route | undefined
      for (const route of routes) {
        if (route.path === path) return route
        if (route.path === undefined) rest ??= route
      }
      return rest
    }

    const admit = (flow: Flow.Flow, visit: Visit, head: RequestHead, leaves: Leaves) =>
      Effect.gen(function* () {
        if (routes.size === 0) {
          yield* Effect.timeoutFail(Deferred.await(served), {
            duration: handshakeTimeout,
            onTimeout: () => refusalOf(503, "the server has no handler yet")
          })
        }
        const route = routeFor(head.target)
        if (route === undefined) {
          return yield* Effect.fail(
            routes.size === 0
              ? refusalOf(503, "the server is closing")
              : refusalOf(404, "nothing is served at this path")
          )
        }
        const { handshake } = route
        yield* Effect.withFiberRuntime((fiber) => Effect.sync(() => enroll(route.visits, fiber, visit)))
        const checked = check(head, flow, handshake)
        if ("_tag" in checked) return yield* Effect.fail(checked)
        yield* enterFrom(checked.request.remoteAddress, leaves)
        const { terms, handler } = yield* decided(route.admit(checked.request), handshakeTimeout)
        const accepted = agree(checked.judged, handshake, terms)
        return "_tag" in accepted ? yield* Effect.fail(accepted) : { accepted, handler, request: checked.request }
      }).pipe(handshakeSpan(() => factsOf(head, flow, trustedProxies)))

    /** Counts a visit by address: once more when proxies have told another one, in place of their own. */
    const countFrom = (address: Flow.Address, leaves: Leaves): Refusal | undefined => {
      for (const leave of leaves.splice(1)) leave()
      const entered = admission.enterFrom(address)
      if (typeof entered !== "function") return entered
      leaves.push(entered)
      return undefined
    }

    const enterFrom = (address: Flow.Address, leaves: Leaves): Effect.Effect<void, Refusal> =>
      Effect.suspend(() => {
        const refusal = countFrom(address, leaves)
        return refusal === undefined ? Effect.void : turnedAway(address, refusal)
      })

    const turnedAway = (address: Flow.Address, refusal: Refusal): Effect.Effect<never, Refusal> =>
      Effect.zipRight(warnOfAddress(address), Effect.fail(refusal))

    /** Goes on with what was read, in a fiber. */
    const handle = (
      flow: Flow.Flow,
      visit: Visit,
      read: Effect.Effect<Complete<RequestHead>, Refusal | HandshakeError>,
      leaves: Leaves
    ) => {
      let told: Asked | undefined
      return Effect.gen(function* () {
        const asked = yield* read
        told = askedBy(flow, asked.head, trustedProxies)
        if (site === undefined || hasToken(asked.head.fields.get("upgrade"), "websocket")) {
          const { accepted, handler, request } = yield* admit(flow, visit, asked.head, leaves)
          const opened = (driven: Driven) => visit.opened(driven)
          return yield* runHandler(
            answer(flow, asked.rest, accepted, request, options, opened),
            handler,
            visit,
            options
          )
        }
        const { handler, visits } = site
        yield* Effect.withFiberRuntime((fiber) => Effect.sync(() => enroll(visits, fiber, visit)))
        const incoming = yield* requestOf(flow, asked, options, handshakeTimeout)
        visit.begin()
        yield* handler(incoming, (response) => respond(flow, asked.head, response, closeTimeout))
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
    const runtime = Runtime.updateContext(yield* Effect.runtime<never>(), Context.omit(Tracer.ParentSpan))
    const fork = Runtime.runFork(runtime)
    const scheduler = schedulerIn(yield* FiberRef.get(FiberRef.currentScheduler))
    const clock = yield* Effect.clock
    const unobserved = yield* isUnobserved
    const open = opener(options, runtime, scheduler, clock, yield* Rng)

    const visitWith = (
      flow: Flow.Flow,
      leaves: Leaves,
      read: Effect.Effect<Complete<RequestHead>, Refusal | HandshakeError>
    ) => {
      const visit = new Visit(flow)
      enroll(visits, fork(handle(flow, visit, read, leaves), { scheduler }), visit)
    }

    /** Lets a request in without an effect, if nothing about it is one; else answers false, and nothing has happened. */
    const letIn = ({ flow, leaves }: Arrival, { head, rest }: Complete<RequestHead>): boolean => {
      if (!unobserved) return false
      if (site !== undefined && !hasToken(head.fields.get("upgrade"), "websocket")) return false
      const route = routeFor(head.target)
      if (route?.settled === undefined || (route.handshake.trustedProxies ?? 0) > 0) return false
      const judged = judge(head, flow, route.handshake)
      if ("_tag" in judged) return false
      const agreed = agree(judged, route.handshake, route.settled.terms)
      if ("_tag" in agreed) return false
      const { fiber, visit } = open(flow, rest, head.fields.text, judged, agreed, route.settled)
      visits.set(fiber, visit)
      route.visits.set(fiber, visit)
      fiber.addObserver(() => {
        visits.delete(fiber)
        route.visits.delete(fiber)
        for (const leave of leaves) leave()
        flow.destroy()
      })
      return true
    }

    const arrived = (what: Arrived, arrival: Arrival): void => {
      arrivals.delete(arrival)
      if (what?._tag === "Complete" && letIn(arrival, what)) return
      arrival.release()
      const { flow, leaves } = arrival
      if (what?._tag === "Complete") visitWith(flow, leaves, Effect.succeed(what))
      else
        visitWith(flow, leaves, what?._tag === "Refusal" ? Effect.fail(what) : unasked(flow, what ?? endedEarly(flow)))
    }

    yield* Effect.addFinalizer(() => shutDown)
    const listener = yield* network
      .listen(listen, (flow) => {
        const entered = admission.enter()
        if (entered === undefined) {
          refused(undefined)
          return flow.destroy()
        }
        const leaves = [entered.leave]
        if (entered.refusal !== undefined) {
          return visitWith(flow, leaves, Effect.zipRight(warnOfAll(flow.remoteAddress), Effect.fail(entered.refusal)))
        }
        const refusal = trustedProxies > 0 ? undefined : countFrom(flow.remoteAddress, leaves)
        if (refusal !== undefined) return visitWith(flow, leaves, turnedAway(flow.remoteAddress, refusal))
        const reader = requestReader({ maxBytes: options.maxHeadSize })
        arrivals.add(new Arrival(clock, flow, leaves, reader, Duration.toMillis(handshakeTimeout), arrived))
      })
      .pipe(Scope.extend(door))
    yield* Effect.annotateLogs(Effect.logDebug("WebSocket server listens"), {
      address: Flow.formatAddress(listener.address)
    })

    return {
      listener,
      connections: Effect.sync(() => admission.open),
      /** Serves a path until the scope closes, and then ends the connections that it has. */
      addRoute: (path: string | undefined, handshake: HandshakeOptions, admit: Admit | Admitted) =>
        Effect.gen(function* () {
          const settled = typeof admit === "function" ? undefined : admit
          const route: Route = {
            path,
            handshake: { ...options, ...given(handshake) },
            admit: typeof admit === "function" ? admit : () => Effect.succeed(admit),
            settled,
            visits: new Map()
          }
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

const cancelAll = (arrivals: Set<Arrival>): void => {
  for (const arrival of arrivals) arrival.cancel()
  arrivals.clear()
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
