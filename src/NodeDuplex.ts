/**
 * Node streams over what is ours: a connection, or a flow.
 *
 * @since 0.1.0
 */
import { Duplex } from "node:stream"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as CloseCode from "./CloseCode.js"
import type { Flow } from "./Flow.js"
import { closingFor, endsWell } from "./internal/endings.js"
import { FlowDuplex } from "./internal/nodeDuplex.js"
import type { Message, WebSocket } from "./WebSocket.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface DuplexOptions {
  /**
   * True: each chunk is a message, text a string, binary a `Buffer`, both ways. False: a stream of
   * bytes; each chunk written is a binary message, what is received comes without its boundaries, text as UTF-8.
   * Default false.
   */
  readonly objectMode?: boolean | undefined
}

/**
 * A connection as a Node `Duplex`, for what speaks streams: `pipeline`, loggers, terminals, other protocols.
 *
 * - Nothing is received before somebody reads. `write` answers false while the peer reads slowly.
 * - The stream ends when the connection was closed with 1000, 1001 or no code; otherwise it fails with the
 *   `WebSocketError`, behind all that was received. Who writes after that hears of it, too.
 * - `end` sends what was written, then performs the closing handshake with 1000: `finish` comes when
 *   it is done. `destroy` closes with 1000, with an error 1011, and `close` comes when that is done; an
 *   error with a `closeCode` (1000, or 3000 to 4999) and a `reason` chooses others.
 * - Bytes written must not change, not even after the callback of `write`.
 *
 * It belongs to the scope: when that closes, the stream is destroyed, what it holds is dropped, and the
 * connection isn't touched. Wait for `finish` before. An error that nobody listens for doesn't end the process: whoever
 * uses the connection hears of it there.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { NodeDuplex, type WebSocket } from "effect-websocket"
 * import { createReadStream } from "node:fs"
 * import { pipeline } from "node:stream/promises"
 *
 * const upload = (socket: WebSocket.WebSocket, file: string) =>
 *   Effect.gen(function*() {
 *     const duplex = yield* NodeDuplex.fromWebSocket(socket)
 *     yield* Effect.tryPromise(() => pipeline(createReadStream(file), duplex.resume()))
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromWebSocket = (
  socket: WebSocket,
  { objectMode = false }: DuplexOptions = {}
): Effect.Effect<Duplex, never, Scope.Scope> =>
  Effect.gen(function* () {
    const run = yield* FiberSet.makeRuntime<never, void, Error>()
    let lent = true
    const settle = (effect: Effect.Effect<unknown, Error>, done: (error?: Error | null) => void) => {
      run(Effect.asVoid(effect)).addObserver((exit) => done(Exit.isSuccess(exit) ? null : asError(exit.cause)))
    }
    const send = (chunks: ReadonlyArray<unknown>) =>
      chunks.every(isMessage)
        ? socket.sendAll(chunks)
        : Effect.fail(new TypeError("a message must be a string or a Uint8Array"))

    const receive: Effect.Effect<void> = Effect.suspend(() =>
      Effect.matchEffect(socket.receiveAll, {
        onFailure: (error) =>
          Effect.sync(() => {
            if (endsWell(error)) duplex.push(null)
            else duplex.destroy(error)
          }),
        onSuccess: (messages) => {
          if (duplex.destroyed) return Effect.void
          const chunks = objectMode ? messages : messages.filter(({ length }) => length > 0)
          // Whatever the stream answers: it is one read of the socket, and the next one waits until it is asked for.
          for (const chunk of chunks) duplex.push(asChunk(chunk))
          return chunks.length === 0 ? receive : Effect.void
        }
      })
    )
    const duplex: Duplex = new Duplex({
      objectMode,
      decodeStrings: !objectMode,
      // A WebSocket is never half open: when its messages have ended, nothing can be sent.
      allowHalfOpen: false,
      // Zero: what nobody asks for stays with the connection, whose own limit holds.
      readableHighWaterMark: 0,
      writableHighWaterMark: objectMode ? 1 : undefined,
      read() {
        run(receive)
      },
      write(chunk: unknown, _encoding, done) {
        settle(send([chunk]), done)
      },
      writev(chunks, done) {
        settle(send(chunks.map(({ chunk }: { readonly chunk: unknown }) => chunk)), done)
      },
      final(done) {
        settle(socket.close(), done)
      },
      destroy(error, done) {
        if (!lent) return done(error)
        const close = socket.close(...closingFor(error, error === null ? CloseCode.normal : CloseCode.internalError))
        settle(Effect.ignore(close), () => done(error))
      }
    })
    duplex.on("error", () => {})
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        lent = false
        duplex.destroy()
      })
    )
    return duplex
  })

const isMessage = (chunk: unknown): chunk is Message => typeof chunk === "string" || chunk instanceof Uint8Array

const asChunk = (message: Message): string | Buffer =>
  typeof message === "string" ? message : Buffer.from(message.buffer, message.byteOffset, message.length)

const asError = (cause: Cause.Cause<Error>): Error => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error : new Error(String(error))
}

/**
 * A flow as a Node `Duplex` of bytes, for what speaks streams only: a tunnel through a proxy as the socket of
 * another library. The mirror of `NodeNetwork.fromDuplex`.
 *
 * The stream owns the flow from then on, and destroys it when it is destroyed. It is half open, as flows
 * are, and fails with the flow's `IoError`: listen for `error`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFlow = (flow: Flow): Duplex => new FlowDuplex(flow)
