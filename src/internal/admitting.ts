// The way of a request that nobody has to think about: from its head to the fiber of its handler, in one step.

import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as LogLevel from "effect/LogLevel"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as Flow from "../Flow.js"
import type { Service as Random } from "../Rng.js"
import { Driven } from "./driver.js"
import { type ConnectionOptions, driverOptions, rhythm } from "./options.js"
import { connected } from "./running.js"
import type { Agreed, Judged, Terms } from "./server.js"
import { Services } from "./services.js"
import { limit, type Patience, runOpened, Visit } from "./serving.js"
import { isTracing } from "./tracing.js"

/** The socket as a handler gets it. */
export type Connected = ReturnType<typeof connected>

/** A request that was let in, and what is done with its connection. */
export interface Admitted {
  readonly terms: Terms
  readonly handler: (socket: Connected) => Effect.Effect<unknown, unknown, Scope.Scope>
  /** The same handler, for a fiber that is made for it: with what it needs beside its scope. */
  readonly launch: (by: Launch) => Fiber.RuntimeFiber<void>
}

type Launch = <R>(
  context: Context.Context<R>,
  handler: (socket: Connected) => Effect.Effect<unknown, unknown, R | Scope.Scope>
) => Fiber.RuntimeFiber<void>

/** Whether nobody wants to hear of each connection: neither a tracer nor, at Debug, a logger. */
export const isUnobserved: Effect.Effect<boolean> = Effect.withFiberRuntime((fiber) =>
  Effect.succeed(
    !isTracing(fiber) && LogLevel.greaterThan(fiber.getFiberRef(FiberRef.currentMinimumLogLevel), LogLevel.Debug)
  )
)

/** A connection that was opened, and the fiber of its handler. */
export interface Opened {
  readonly visit: Visit
  readonly fiber: Fiber.RuntimeFiber<void>
}

const none = FiberRefs.empty()
const nobody = FiberId.runtime(0, 0)

/** Opens connections that were agreed to, for handlers that were. What they have in common is made once. */
export const opener = (
  options: ConnectionOptions & Patience,
  runtime: Runtime.Runtime<never>,
  scheduler: Scheduler.Scheduler,
  clock: Clock.Clock,
  random: Random
) => {
  const driving = driverOptions("server", random, undefined, options)
  const pace = rhythm("server", options)
  const drainTimeout = Duration.toMillis(options.drainTimeout)
  // Whoever ends a handler is uninterruptible, so that is how its fiber begins.
  const runtimeFlags = RuntimeFlags.disable(runtime.runtimeFlags, RuntimeFlags.Interruption)
  const fiberRefs = FiberRefs.delete(runtime.fiberRefs, FiberRef.currentContext).pipe(
    FiberRefs.forkAs(nobody),
    FiberRefs.updateAs({ fiberId: nobody, fiberRef: FiberRef.currentScheduler, value: scheduler })
  )
  // To fork a fiber, Effect goes through all references of a runtime. That was done here, once for all.
  const withServices = (own: FiberRefs.FiberRefs, fiberId: FiberId.Runtime): FiberRefs.FiberRefs =>
    FiberRefs.updateAs(fiberRefs, {
      fiberId,
      fiberRef: FiberRef.currentContext,
      value: FiberRefs.getOrDefault(own, FiberRef.currentContext)
    })

  return (
    flow: Flow.Flow,
    rest: Uint8Array,
    head: string,
    judged: Judged,
    agreed: Agreed,
    admitted: Admitted
  ): Opened => {
    flow.write(agreed.response, false)
    const { extension, subprotocol } = agreed
    const driven = new Driven(flow, extension === undefined ? driving : { ...driving, extension }, clock)
    driven.engine.start(rest)
    const visit = new Visit(flow)
    visit.opened(driven)
    const { remoteAddress, secure, url } = judged
    const established = { role: "server", url, headers: head, subprotocol, remoteAddress, secure } as const
    const socket = connected(driven, established, pace, Flow.formatAddress(remoteAddress))
    const fiber = admitted.launch((context, handler) => {
      const [services, own] = Services.over(context)
      const handling = Effect.suspend(() => handler(socket))
      const forking = Runtime.make({ context: own, fiberRefs: none, runtimeFlags })
      return Runtime.runFork(forking)(runOpened(driven, socket, handling, services), { updateRefs: withServices })
    })
    limit(fiber, visit, clock, drainTimeout)
    return { visit, fiber }
  }
}
