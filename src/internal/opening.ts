// The opening handshake over a flow, as effects: a head read, an answer written.

import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Flow from "../Flow.js"
import { type Complete, type HeadReader, type Refusal, refusalOf } from "../protocol/head.js"
import { IoError } from "../WebSocketError.js"
import { schedule } from "./timers.js"

/** How long a head may take, and how one is refused that takes longer. */
interface Deadline {
  readonly time: Duration.Duration
  readonly refusal: () => Refusal
}

const none: Deadline = { time: Duration.infinity, refusal: () => refusalOf(408, "") }

/** Reads a head. What follows it comes along as `rest`; the flow is left paused. */
export const readHead = <Head>(
  flow: Flow.Flow,
  reader: HeadReader<Head>,
  deadline: Deadline = none
): Effect.Effect<Complete<Head>, Refusal | IoError> =>
  Effect.clockWith((clock) => readHeadBy(clock, flow, reader, deadline))

const readHeadBy = <Head>(
  clock: Clock.Clock,
  flow: Flow.Flow,
  reader: HeadReader<Head>,
  { time, refusal }: Deadline
): Effect.Effect<Complete<Head>, Refusal | IoError> =>
  Effect.async((resume) => {
    const late = schedule(clock, Duration.toMillis(time), () => {
      settle(Effect.fail(refusal()))
      return undefined
    })
    const settle = (result: Effect.Effect<Complete<Head>, Refusal | IoError>) => {
      late()
      flow.pause()
      flow.attach(Flow.silent)
      resume(result)
    }
    const ended = () => settle(Effect.fail(endedEarly(flow)))
    flow.attach({
      ...Flow.silent,
      data(bytes) {
        const read = reader.push(bytes)
        if (read !== undefined) settle(read._tag === "Complete" ? Effect.succeed(read) : Effect.fail(read))
      },
      end: ended,
      close: (error) => (error === undefined ? ended() : settle(Effect.fail(error)))
    })
    flow.resume()
    return Effect.sync(() => {
      late()
      flow.attach(Flow.silent)
    })
  })

export const endedEarly = (flow: Flow.Flow): IoError =>
  new IoError({
    operation: "read",
    address: Flow.formatAddress(flow.remoteAddress),
    cause: new Error("the peer ended the connection before the opening handshake was complete")
  })

/**
 * Reads what comes until `complete` says so, until `size` bytes, the end, a failure
 * or the time is over: whatever there is then. For the body of a refusal, of which
 * some is better than none.
 */
export const readSome = (
  flow: Flow.Flow,
  rest: Uint8Array,
  size: number,
  time: Duration.Duration,
  complete: (bytes: Uint8Array) => boolean
): Effect.Effect<Uint8Array> =>
  Effect.suspend(() => {
    const buffer = new Uint8Array(size)
    let length = 0
    const add = (bytes: Uint8Array): boolean => {
      const part = bytes.subarray(0, size - length)
      buffer.set(part, length)
      length += part.length
      return length === size || complete(buffer.subarray(0, length))
    }
    const read = Effect.async<void>((resume) => {
      const settle = () => {
        flow.pause()
        flow.attach(Flow.silent)
        resume(Effect.void)
      }
      const data = (bytes: Uint8Array) => {
        if (add(bytes)) settle()
      }
      flow.attach({ ...Flow.silent, data, end: settle, close: settle })
      flow.resume()
      return Effect.sync(() => flow.attach(Flow.silent))
    })
    const reading = add(rest) ? Effect.void : Effect.timeoutOption(read, time)
    return Effect.map(reading, () => buffer.subarray(0, length))
  })

/** Writes the last bytes of a flow, and waits until the peer has had them and closed. */
export const finishWith = (flow: Flow.Flow, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.async((resume) => {
    // Unread bytes would turn our FIN into a reset, and the peer might lose the answer.
    flow.attach({ ...Flow.silent, close: () => resume(Effect.void) })
    flow.write(bytes, false)
    flow.end()
    flow.resume()
  })

/**
 * Runs an effect that acquires things, in a scope that becomes part of the
 * surrounding one if it succeeds, and is closed at once if it doesn't.
 */
export const acquiring = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
      const exit = yield* Effect.exit(restore(Scope.extend(effect, scope)))
      if (Exit.isFailure(exit)) yield* Scope.close(scope, exit)
      return yield* exit
    })
  )
