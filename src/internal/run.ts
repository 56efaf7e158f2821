// A handler that is run for each message, in order.

import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { constVoid } from "effect/Function"
import type { Message } from "../protocol/connection.js"
import type { WebSocketError } from "../WebSocketError.js"
import { endsWell } from "./endings.js"
import type { Engine } from "./engine.js"
import { dropped, Sending, sent } from "./sending.js"

type Handler<E, R> = (message: Message) => Effect.Effect<unknown, E, R>
type Step<E, R> = Effect.Effect<unknown, WebSocketError | E, R>

/**
 * Runs a handler until the connection ends. What its handler answers is carried out without a fiber where it is a send
 * that needn't wait, or is done already, and else in the fiber that it was called in.
 *
 * It is an object, and needs no finalizer: both together spare each quiet connection a kilobyte.
 */
export const run = <E, R>(
  engine: Engine,
  handler: Handler<E, R>,
  fail: Effect.Effect<never, WebSocketError>
): Effect.Effect<void, WebSocketError | E, R> =>
  Effect.withFiberRuntime((fiber) => {
    const running = new Running(engine, handler, fail, fiber)
    return Effect.whileLoop({ while: () => !running.over, body: () => running.step(), step: constVoid })
  })

class Running<E, R> {
  over = false
  private resume: ((step: Step<E, R>) => void) | undefined = undefined

  constructor(
    private readonly engine: Engine,
    private readonly handler: Handler<E, R>,
    private readonly fail: Effect.Effect<never, WebSocketError>,
    private readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  ) {}

  step(): Step<E, R> {
    const message = this.engine.take()
    if (message !== undefined) return this.handler(message)
    return this.engine.ending === undefined ? this.more() : this.end()
  }

  private end(): Step<E, R> {
    return Effect.catchAll(this.fail, (error) => {
      this.over = true
      return endsWell(error) ? Effect.void : Effect.fail(error)
    })
  }

  private more(): Step<E, R> {
    return Effect.async((resume) => {
      this.resume = resume
      this.wait()
    })
  }

  private wait(): void {
    this.engine.whenReadable(this.fiber, () => this.wake())
  }

  private wake(): void {
    // A fiber that is being interrupted has to see to itself whether it still waits here.
    const interrupted = !Cause.isEmpty(this.fiber.getFiberRef(FiberRef.interruptedCause))
    const next = interrupted ? Effect.void : this.withoutFiber()
    if (next === undefined) this.wait()
    else this.resume?.(next)
  }

  /**
   * Handles messages as long as no fiber is needed for that; answers what one is needed for. What it is given to do
   * takes its message when it begins: whoever is interrupted before has taken nothing.
   */
  private withoutFiber(): Step<E, R> | undefined {
    const { engine } = this
    for (let message = engine.peek(); message !== undefined; message = engine.peek()) {
      const handling = this.attempt(message)
      if (handling instanceof Sending) {
        engine.take()
        const outcome = handling.commit()
        if (outcome !== sent && outcome !== dropped) return outcome
      } else if (Exit.isExit(handling) && Exit.isSuccess(handling)) {
        engine.take()
      } else {
        return this.taking(message, handling)
      }
    }
    return engine.readable ? Effect.void : undefined
  }

  private attempt(message: Message): Effect.Effect<unknown, E, R> {
    try {
      return this.handler(message)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  private taking(message: Message, handling: Effect.Effect<unknown, E, R>): Step<E, R> {
    return Effect.suspend(() => {
      if (this.engine.peek() !== message) return Effect.void
      this.engine.take()
      return handling
    })
  }
}
