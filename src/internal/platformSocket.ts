// A connection as a Socket of @effect/platform.

import * as Socket from "@effect/platform/Socket"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { constVoid } from "effect/Function"
import * as Scope from "effect/Scope"
import type { Message } from "../protocol/connection.js"
import type { WebSocketError } from "../WebSocketError.js"

/** What is needed of a connection here. */
interface Connection {
  readonly isOpen: Effect.Effect<boolean>
  readonly receive: Effect.Effect<Message, WebSocketError>
  readonly send: (message: Message) => Effect.Effect<void, WebSocketError>
  readonly close: (code?: number, reason?: string) => Effect.Effect<void, WebSocketError>
}

export interface Manners {
  readonly concurrent: boolean
  readonly closeCodeIsError: (code: number) => boolean
}

type Chunk = Uint8Array | string | Socket.CloseEvent
type Handler<E, R> = (message: Message) => Effect.Effect<unknown, E, R> | undefined
type OnOpen = Effect.Effect<void> | undefined

/** A connection that is there already, and stays when `run` is left. */
export const fixed = (connection: Connection, manners: Manners): Socket.Socket =>
  socketOf(
    (handler, onOpen) => take(connection, handler, onOpen, manners),
    (chunk) => Effect.mapError(send(connection, chunk), (error) => fromEnding(error, "Write"))
  )

/** A new connection for each `run`. */
export const dialing = <E, R>(
  connect: Effect.Effect<Connection, E, R>,
  manners: Manners
): Effect.Effect<Socket.Socket, never, Exclude<R, Scope.Scope>> =>
  Effect.map(Effect.context<Exclude<R, Scope.Scope>>(), (context) => {
    const present = presence<Connection>()
    const open = (scope: Scope.Scope) =>
      Effect.uninterruptibleMask((restore) =>
        restore(Scope.extend(connect, scope)).pipe(
          Effect.mapInputContext((own: Context.Context<never>) => Context.merge(own, context)),
          Effect.mapError(fromConnecting),
          Effect.tap((connection) => {
            present.become(connection)
            const leave = Effect.sync(() => {
              if (present.current() === connection) present.become(undefined)
            })
            // It precedes the closing handshake: what is written during that belongs to the next connection.
            return Scope.addFinalizer(scope, leave)
          })
        )
      )
    return socketOf(
      (handler, onOpen) =>
        Effect.scopedWith((scope) =>
          Effect.flatMap(open(scope), (connection) => take(connection, handler, onOpen, manners))
        ),
      (chunk) =>
        Effect.flatMap(present.wait, (connection) =>
          // The end is `run`'s to tell: there is nobody here who could do something about it.
          Effect.catchAll(send(connection, chunk), (error) =>
            error._tag === "ProtocolError" && error.side === "local"
              ? Effect.fail(fromEnding(error, "Write"))
              : Effect.void
          )
        )
    )
  })

/** Something that is there at times, and can be waited for. */
export const presence = <A>() => {
  const latch = Effect.unsafeMakeLatch(false)
  let present: A | undefined
  // It may be gone again when a fiber that was woken gets its turn.
  const wait: Effect.Effect<A> = latch.whenOpen(
    Effect.suspend(() => (present === undefined ? wait : Effect.succeed(present)))
  )
  return {
    wait,
    current: () => present,
    become: (next: A | undefined): void => {
      present = next
      if (next === undefined) latch.unsafeClose()
      else latch.unsafeOpen()
    }
  }
}

const encoder = new TextEncoder()

const socketOf = (
  run: <E, R>(handler: Handler<E, R>, onOpen: OnOpen) => Effect.Effect<void, Socket.SocketError | E, R>,
  write: (chunk: Chunk) => Effect.Effect<void, Socket.SocketError>
): Socket.Socket => {
  const runRaw: Socket.Socket["runRaw"] = (handler, options) =>
    run((message) => {
      const result = handler(message)
      return Effect.isEffect(result) ? result : undefined
    }, options?.onOpen).pipe(
      // As the platform's own sockets do: an HTTP server runs its requests uninterruptibly.
      Effect.interruptible
    )
  return Socket.Socket.of({
    [Socket.TypeId]: Socket.TypeId,
    runRaw,
    run: (handler, options) =>
      runRaw((message) => handler(typeof message === "string" ? encoder.encode(message) : message), options),
    writer: Effect.succeed(write)
  })
}

const send = (connection: Connection, chunk: Chunk): Effect.Effect<void, WebSocketError> =>
  Socket.isCloseEvent(chunk) ? connection.close(chunk.code, chunk.reason) : connection.send(chunk)

/** Takes the messages until the connection ends. */
const take = <E, R>(
  connection: Connection,
  handler: Handler<E, R>,
  onOpen: OnOpen,
  manners: Manners
): Effect.Effect<void, Socket.SocketError | E, R> =>
  Effect.flatMap(connection.isOpen, (open) => {
    const taking = manners.concurrent ? atOnce(connection, handler, manners) : inTurn(connection, handler, manners)
    // Of a connection that is over only the last messages and the end are left.
    if (onOpen === undefined || !open) return taking
    // Begun before the first message, and not waited for: it may itself wait for one.
    return Effect.raceFirst(Effect.zipRight(onOpen, Effect.never), taking)
  })

/** Calls the handler for each message, one after the other. */
const inTurn = <E, R>(
  connection: Connection,
  handler: Handler<E, R>,
  { closeCodeIsError }: Manners
): Effect.Effect<void, Socket.SocketError | E, R> =>
  Effect.suspend(() => {
    let over = false
    const next = Effect.matchEffect(connection.receive, {
      onSuccess: (message): Effect.Effect<unknown, E, R> => handler(message) ?? Effect.void,
      onFailure: (ending) => {
        over = true
        return ending._tag === "ConnectionClosed" && !closeCodeIsError(ending.code)
          ? Effect.void
          : Effect.fail(fromEnding(ending, "Read"))
      }
    })
    return Effect.whileLoop({ while: () => !over, body: () => next, step: constVoid })
  })

/** Begins the handler for each message, in order, and waits for none. */
const atOnce = <E, R>(
  connection: Connection,
  handler: Handler<E, R>,
  manners: Manners
): Effect.Effect<void, Socket.SocketError | E, R> =>
  Effect.scopedWith((scope) =>
    Effect.gen(function* () {
      const fibers = yield* Scope.extend(FiberSet.make<unknown, E>(), scope)
      const fork = yield* FiberSet.runtime(fibers)<R>()
      const begin = (message: Message) => {
        const effect = handler(message)
        if (effect !== undefined) fork(effect)
        return undefined
      }
      return yield* Effect.raceFirst(inTurn<never, never>(connection, begin, manners), FiberSet.join(fibers))
    })
  )

const fromEnding = (error: WebSocketError, otherwise: "Read" | "Write"): Socket.SocketError =>
  error._tag === "ConnectionClosed"
    ? new Socket.SocketCloseError({
        reason: "Close",
        code: error.code,
        closeReason: error.reason === "" ? undefined : error.reason
      })
    : new Socket.SocketGenericError({
        reason: error._tag === "IoError" && error.operation === "write" ? "Write" : otherwise,
        cause: error
      })

const fromConnecting = (error: unknown): Socket.SocketError => {
  if (Socket.isSocketError(error)) return error
  const timeout = typeof error === "object" && error !== null && "reason" in error && error.reason === "timeout"
  return new Socket.SocketGenericError({ reason: timeout ? "OpenTimeout" : "Open", cause: error })
}
