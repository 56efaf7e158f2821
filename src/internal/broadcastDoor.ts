// The way of a broadcast into a connection: plain functions, for it goes to thousands of them in one step.

import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as CloseCode from "../CloseCode.js"
import type { Prepared } from "../protocol/prepared.js"
import type { Driven } from "./driver.js"
import type { SendOptions, Sent } from "./operations.js"
import type { Patience } from "./outflow.js"

export type { Patience } from "./outflow.js"

export interface Door {
  readonly isOpen: () => boolean
  /** Never waits. Only while open. */
  readonly send: (message: Prepared, options: SendOptions, patience: Patience) => Sent
  /** Calls `over` once when the connection is over, at once if it is; answers how to take that back. */
  readonly onOver: (over: () => void) => () => void
}

/** What is asked of a socket. */
export interface Socket {
  readonly isOpen: Effect.Effect<boolean>
  readonly offer: (message: Prepared, options?: SendOptions) => Effect.Effect<Sent, unknown>
  readonly closed: Effect.Effect<unknown, unknown>
}

// By `offer`, which a socket that somebody extends keeps, unless it is just that what is to be different.
const connections = new WeakMap<Socket["offer"], Driven>()

/** Lets broadcasts go by the engine where they would go by `offer`. */
export const openDoor = (offer: Socket["offer"], driven: Driven): void => {
  connections.set(offer, driven)
}

const doors = new WeakMap<object, Door>()

/** One door for each connection. */
export const doorOf = (socket: Socket): Door => {
  const driven = connections.get(socket.offer)
  const key = driven ?? socket
  const door = doors.get(key) ?? (driven === undefined ? foreign(socket) : native(driven))
  doors.set(key, door)
  return door
}

const native = ({ engine, reading }: Driven): Door => ({
  isOpen: () => engine.isOpen,
  send: (message, { compress, droppable }, patience) => {
    const fate = engine.out.deliver(message, compress, droppable ?? true, patience)
    if (fate !== "overflow") return fate
    engine.giveUp(CloseCode.tryAgainLater, "too slow")
    return "dropped"
  },
  onOver: (over) => {
    reading.addObserver(over)
    return () => reading.removeObserver(over)
  }
})

/** A socket of somebody else's making, which knows by itself what to do where there is no room. */
const foreign = (socket: Socket): Door => ({
  isOpen: () => now(socket.isOpen, false),
  send: (message, options) => now(socket.offer(message, options), "dropped"),
  onOver: (over) => {
    const fiber = Effect.runFork(Effect.exit(socket.closed))
    fiber.addObserver(over)
    return () => {
      fiber.removeObserver(over)
      Effect.runFork(Fiber.interruptFork(fiber))
    }
  }
})

const now = <A>(effect: Effect.Effect<A, unknown>, otherwise: A): A => {
  const exit = Effect.runSyncExit(effect)
  return Exit.isSuccess(exit) ? exit.value : otherwise
}
