// The way of a broadcast into a connection: plain functions, for it goes to thousands of them in one step.

import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as CloseCode from "../CloseCode.js"
import type { Prepared } from "../protocol/prepared.js"
import type { Driven } from "./driver.js"
import type { Engine } from "./engine.js"
import type { Patience } from "./outflow.js"
import type { SendOptions, Sent } from "./sending.js"

export type { Patience } from "./outflow.js"

export interface Door {
  readonly isOpen: boolean
  /** Sends without waiting, and writes `atOnce`, or together with the rest of the turn. Only while open. */
  send(message: Prepared, options: SendOptions, patience: Patience, atOnce: boolean): Sent
  /** Calls `over` once when the connection is over, at once if it is; answers how to take that back. */
  onOver(over: () => void): () => void
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
  const door = doors.get(key) ?? (driven === undefined ? new OutsideDoor(socket) : new ConnectionDoor(driven))
  doors.set(key, door)
  return door
}

class ConnectionDoor implements Door {
  private readonly engine: Engine

  constructor(private readonly driven: Driven) {
    this.engine = driven.engine
  }

  get isOpen(): boolean {
    return this.engine.isOpen
  }

  send(message: Prepared, { compress, droppable = true }: SendOptions, patience: Patience, atOnce: boolean): Sent {
    const fate = this.engine.out.deliver(message, compress, droppable, atOnce, patience)
    if (fate !== "overflow") return fate
    this.engine.giveUp(CloseCode.tryAgainLater, "too slow")
    return "dropped"
  }

  onOver(over: () => void): () => void {
    return this.driven.onOver({ over })
  }
}

/** To a socket of somebody else's making, which knows by itself what to do where there is no room. */
class OutsideDoor implements Door {
  constructor(private readonly socket: Socket) {}

  get isOpen(): boolean {
    return now(this.socket.isOpen, false)
  }

  send(message: Prepared, options: SendOptions): Sent {
    return now(this.socket.offer(message, options), "dropped")
  }

  onOver(over: () => void): () => void {
    const waiting = Effect.runFork(Effect.exit(this.socket.closed))
    waiting.addObserver(over)
    return () => {
      waiting.removeObserver(over)
      Effect.runFork(Fiber.interruptFork(waiting))
    }
  }
}

const now = <A>(effect: Effect.Effect<A, unknown>, otherwise: A): A => {
  const exit = Effect.runSyncExit(effect)
  return Exit.isSuccess(exit) ? exit.value : otherwise
}
