/**
 * Other shapes of a connection: a duplex `Channel`, a stream of bytes, the streams of the web.
 * A Node `Duplex` is `NodeDuplex.fromWebSocket`. Whatever the shape, it keeps the same laws: order, each
 * message once, backpressure both ways, an end that is a failure exactly if `messages` fails.
 *
 * | | `socket.messages` and `socket.sink` | {@link toChannel} | {@link toWebStreams} | `NodeDuplex.fromWebSocket` |
 * |---|---|---|---|---|
 * | a message | an element; `Stream.chunks` has what each read brought | an element of a `Chunk` | a chunk | a chunk in object mode, bytes otherwise |
 * | the peer is slow | the sink suspends | the input isn't pulled | `ready` and `write` stay pending, `desiredSize` is 0 | `write` answers false, `drain` follows |
 * | nobody takes | reading pauses, and the peer has to wait | the same | the same | the same |
 * | closed with 1000, 1001 or no code | the stream ends | the output is done | the readable closes | `end` |
 * | any other end | `WebSocketError` | `WebSocketError` | the readable is errored with it | `error` is it |
 * | sending after the end | `WebSocketError` | the output tells | the writable is errored with it | `error` is it |
 * | the consumer leaves | usable; the rest of its chunk is gone | the same, and the input is left | `cancel` closes with 1000 | `destroy` closes with 1000 |
 * | the producer ends | closes nothing | closes nothing | `close` closes with 1000 | `end` closes with 1000 |
 * | the producer fails | its failure, closes nothing | closes with 1011; its failure | `abort` closes with 1011 | `destroy` with an error closes with 1011 |
 *
 * A WebSocket has no half-close: where a platform can only say "no more from me" by closing, the closing
 * handshake begins, and what the peer sends until its own Close is still received.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type * as SingleProducerAsyncInput from "effect/SingleProducerAsyncInput"
import * as Stream from "effect/Stream"
import * as CloseCode from "./CloseCode.js"
import { closingFor, endsWell } from "./internal/endings.js"
import type { Message, WebSocket } from "./WebSocket.js"
import type { WebSocketError } from "./WebSocketError.js"

/**
 * A connection as a duplex channel: its input is sent, its output is what is received.
 *
 * It is done when the connection was closed cleanly, as `messages` is. The end of its input closes
 * nothing; where it should, let the input end with `Stream.execute(socket.close())`. A failure of the input closes
 * with 1011, and is the channel's own failure, behind what is received until then.
 *
 * @example
 * ```ts
 * import { Stream } from "effect"
 * import { type WebSocket, WebSocketShapes } from "effect-websocket"
 *
 * // the answers to some questions, as many as there are
 * const ask = (socket: WebSocket.WebSocket, questions: ReadonlyArray<string>) =>
 *   Stream.fromIterable(questions).pipe(
 *     Stream.pipeThroughChannel(WebSocketShapes.toChannel(socket)),
 *     Stream.take(questions.length)
 *   )
 * ```
 *
 * @since 0.1.0
 * @category conversions
 */
export const toChannel = <IE = never>(
  socket: WebSocket
): Channel.Channel<Chunk.Chunk<Message>, Chunk.Chunk<Message>, WebSocketError | IE, IE, void, unknown> =>
  Channel.suspend(() => {
    let failure: Cause.Cause<WebSocketError | IE> | undefined
    const fail = (cause: Cause.Cause<WebSocketError | IE>) =>
      Effect.suspend(() => {
        failure = cause
        return Effect.ignore(socket.close(CloseCode.internalError))
      })
    const input: SingleProducerAsyncInput.AsyncInputProducer<IE, Chunk.Chunk<Message>, unknown> = {
      awaitRead: () => Effect.void,
      emit: (chunk) =>
        Effect.catchAll(socket.sendAll(chunk), (error) =>
          // What ended the connection is for the output to tell, behind what was received before.
          error._tag === "ProtocolError" && error.side === "local" ? fail(Cause.fail(error)) : Effect.never
        ),
      error: fail,
      done: () => Effect.void
    }
    const received: Channel.Channel<
      Chunk.Chunk<Message>,
      unknown,
      WebSocketError | IE,
      unknown,
      void
    > = Stream.toChannel(socket.messages).pipe(
      Channel.catchAllCause(
        (cause): Channel.Channel<never, unknown, WebSocketError | IE> => Channel.failCause(failure ?? cause)
      ),
      Channel.flatMap(() => (failure === undefined ? Channel.void : Channel.failCause(failure)))
    )
    return Channel.embedInput(received, input)
  })

const encoder = new TextEncoder()

/** The bytes of a message: text is UTF-8. */
const bytesOf = (message: Message): Uint8Array => (typeof message === "string" ? encoder.encode(message) : message)

/**
 * The bytes of all messages, text as UTF-8, for protocols that don't care where a message ends.
 * It ends and fails as `messages` does. Empty messages leave nothing.
 *
 * @example
 * ```ts
 * import { Stream } from "effect"
 * import { type WebSocket, WebSocketShapes } from "effect-websocket"
 *
 * const lines = (socket: WebSocket.WebSocket) =>
 *   WebSocketShapes.byteStream(socket).pipe(Stream.decodeText(), Stream.splitLines)
 * ```
 *
 * @since 0.1.0
 * @category conversions
 */
export const byteStream = (socket: WebSocket): Stream.Stream<Uint8Array, WebSocketError> =>
  Stream.mapChunks(socket.messages, (messages) =>
    Chunk.map(
      Chunk.filter(messages, ({ length }) => length > 0),
      bytesOf
    )
  )

/**
 * The two halves of a connection as the web has them: those of a `WebSocketStream`.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebStreams {
  readonly readable: ReadableStream<Message>
  readonly writable: WritableStream<Message>
}

/**
 * A connection as a pair of web streams, for what speaks them: `pipeThrough`, `Response`, workers.
 *
 * Nothing is received before somebody reads. `close` of the writable and `cancel` of the readable perform the
 * closing handshake with 1000, `abort` with 1011; a reason with a `closeCode` (1000, or 3000 to 4999) and a `reason`
 * chooses others. The writable is errored when the connection ends, with the `WebSocketError` that says how.
 *
 * The streams belong to the scope: when it closes, what is left of them is errored, what they hold is dropped, and
 * the connection isn't touched. Wait for `close` of the writable before.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { type WebSocket, WebSocketShapes } from "effect-websocket"
 *
 * const echo = (socket: WebSocket.WebSocket) =>
 *   Effect.gen(function*() {
 *     const { readable, writable } = yield* WebSocketShapes.toWebStreams(socket)
 *     yield* Effect.promise(() => readable.pipeTo(writable))
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @see https://websockets.spec.whatwg.org/ for `WebSocketStream`'s own rules
 * @since 0.1.0
 * @category conversions
 */
export const toWebStreams = (socket: WebSocket): Effect.Effect<WebStreams, never, Scope.Scope> =>
  Effect.gen(function* () {
    const fibers = yield* FiberSet.make<void, Error>()
    const fork = yield* FiberSet.runtime(fibers)()
    const run = yield* FiberSet.runtimePromise(fibers)()
    const close = (reason: unknown, otherwise: number) => socket.close(...closingFor(reason, otherwise))
    let reading: ReadableStreamDefaultController<Message> | undefined
    let writing: WritableStreamDefaultController | undefined

    const pull = Effect.match(socket.receiveAll, {
      onSuccess: (messages) => {
        for (const message of messages) reading?.enqueue(message)
      },
      onFailure: (error) => {
        if (endsWell(error)) reading?.close()
        else reading?.error(error)
      }
    })
    const readable = new ReadableStream<Message>(
      {
        start: (controller) => {
          reading = controller
        },
        pull: () => run(pull),
        cancel: (reason) => {
          // Nobody is left to hear of what comes.
          reading = undefined
          return run(close(reason, CloseCode.normal))
        }
      },
      // Zero: what nobody asks for stays with the connection, whose own limit holds.
      { highWaterMark: 0 }
    )

    const writable = new WritableStream<Message>({
      start: (controller) => {
        writing = controller
        // `abort` waits for the write under way, which may wait for a peer that reads nothing.
        onAbort(controller, (reason) => fork(close(reason, CloseCode.internalError)))
      },
      write: (message) => run(Effect.asVoid(socket.send(message))),
      close: () => run(socket.close()),
      abort: (reason) => run(close(reason, CloseCode.internalError))
    })

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        const left = new Error("the scope of this stream was closed")
        reading?.error(left)
        writing?.error(left)
      })
    )
    yield* Effect.forkScoped(
      // While `close` is under way this changes nothing: what that leads to counts.
      Effect.map(Effect.merge(socket.closed), (ending) => writing?.error(ending))
    )
    return { readable, writable }
  })

/** Hears of `abort` when it is called. Not all types of the platform know of the signal. */
const onAbort = (controller: WritableStreamDefaultController, abort: (reason: unknown) => void): void => {
  if (!("signal" in controller) || !(controller.signal instanceof AbortSignal)) return
  const { signal } = controller
  signal.addEventListener("abort", () => abort(signal.reason), { once: true })
}
