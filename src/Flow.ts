/**
 * A two-way byte stream with callbacks: all that a connection needs of TCP or TLS.
 *
 * It is small on purpose. An adapter for another transport is a page of code,
 * and so is a double for a test.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { concat } from "./protocol/bytes.js"
import { IoError } from "./WebSocketError.js"

/**
 * Where one end of a flow lives.
 *
 * @since 0.1.0
 * @category models
 */
export type Address =
  | { readonly _tag: "TcpAddress"; readonly hostname: string; readonly port: number }
  | { readonly _tag: "UnixAddress"; readonly path: string }

/**
 * An address in one word: `127.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`.
 *
 * @since 0.1.0
 * @category formatting
 */
export const formatAddress = (address: Address): string =>
  address._tag === "UnixAddress"
    ? `unix:${address.path}`
    : `${address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname}:${address.port}`

/**
 * What an owner of a flow wants to hear. Each callback runs synchronously, and
 * must neither throw nor block.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler {
  /**
   * Bytes arrived. They belong to the handler from now on: it may modify them
   * and keep them, unless it {@link borrows}. Never called while the flow is paused.
   */
  readonly data: (bytes: Uint8Array) => void
  /**
   * Whether `data` is done with its bytes when it returns, and keeps only copies of what is less than half of their
   * memory. A flow may then read into the same memory again and again. Default false.
   */
  readonly borrows?: boolean | undefined
  /** The peer sent its FIN: no more data comes. Writing may still work. Called at most once. */
  readonly end: () => void
  /** All that was written has left: `bufferedBytes` fell to 0 after a `write` that answered `false`. */
  readonly drain: () => void
  /**
   * The flow is over in both directions, and its descriptor is released: with
   * an error if it broke, without one if it ended or was destroyed. Called
   * exactly once, as the last callback.
   */
  readonly close: (error: IoError | undefined) => void
}

/**
 * A two-way byte stream.
 *
 * Laws that every implementation keeps:
 * - A flow begins paused and without a handler. What happens in the meantime
 *   (an end, an error, a close) is kept, and told to the handler at `attach`
 *   or later, never lost and never thrown.
 * - `data` and `end` come only while the flow is resumed. A handler attached
 *   after an end or a close hears of it too, even if an earlier one did.
 * - No callback runs from inside a call of `attach`, `write`, `pause`, `resume`,
 *   `unshift`, `end` or `destroy`: each begins from the event loop.
 * - After `destroy`, and after a reset by the peer, no `data`, `end` or `drain`
 *   comes, only one `close`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Flow {
  readonly remoteAddress: Address
  readonly localAddress: Address
  /** Whether the bytes travel inside TLS. */
  readonly secure: boolean
  /** Makes `handler` the one that hears of this flow. The last call counts. Doesn't resume. */
  readonly attach: (handler: Handler) => void
  /**
   * Queues bytes to be sent, in order. They belong to the flow from now on, and
   * must not be modified. Answers `false` if they could not leave at once; then
   * `drain` follows. `more` promises that another `write` follows in the same
   * turn, so that both may leave in one packet.
   *
   * On a flow that was ended, destroyed or broken it does nothing and answers `false`.
   */
  readonly write: (bytes: Uint8Array, more: boolean) => boolean
  /**
   * Whether bytes belong to whoever wrote them again as soon as a `write` without `more` has answered `true`: the operating
   * system has a copy, and nobody looks at them any more. Default false.
   */
  readonly returnsBytes?: boolean | undefined
  /** Bytes given to `write` that the operating system hasn't taken yet. */
  readonly bufferedBytes: () => number
  /** Stops `data`. What the operating system's buffers can't hold stays with the sender. */
  readonly pause: () => void
  /** Lets `data` come. */
  readonly resume: () => void
  /** Puts bytes back in front of those not yet delivered. Only while paused. */
  readonly unshift: (bytes: Uint8Array) => void
  /** Sends FIN after all that was written; reading goes on. */
  readonly end: () => void
  /** Releases everything now; what was not yet sent is lost. Safe to call again. */
  readonly destroy: () => void
}

/**
 * A handler that ignores everything, to begin from.
 *
 * @since 0.1.0
 * @category models
 */
export const silent: Handler = { data() {}, end() {}, drain() {}, close() {} }

/**
 * The same flow, said to be inside TLS or not. For a wrapper of a network that
 * knows better than the socket: bytes that a proxy takes out of TLS are not secure.
 *
 * @since 0.1.0
 * @category constructors
 */
export const withSecure = (flow: Flow, secure: boolean): Flow =>
  flow.secure === secure
    ? flow
    : {
        remoteAddress: flow.remoteAddress,
        localAddress: flow.localAddress,
        secure,
        attach: (handler) => flow.attach(handler),
        write: (bytes, more) => flow.write(bytes, more),
        returnsBytes: flow.returnsBytes,
        bufferedBytes: () => flow.bufferedBytes(),
        pause: () => flow.pause(),
        resume: () => flow.resume(),
        unshift: (bytes) => flow.unshift(bytes),
        end: () => flow.end(),
        destroy: () => flow.destroy()
      }

/**
 * Reads exactly `size` bytes, and leaves what follows in the flow.
 *
 * For what comes before or beside WebSocket on a flow (a proxy's greeting, a
 * header of your own): it takes the flow over while it runs, so it must not be
 * used on a flow that a connection already owns. Interrupting it puts the bytes
 * it holds back.
 *
 * Fails with `IoError` if the flow ends or breaks first.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Flow } from "effect-websocket"
 *
 * // four bytes of a header of our own, before the opening handshake
 * const readHeader = (flow: Flow.Flow) => Effect.map(
 *   Flow.readExactly(flow, 4),
 *   (bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
 * )
 * ```
 *
 * @since 0.1.0
 * @category reading
 */
export const readExactly = (flow: Flow, size: number): Effect.Effect<Uint8Array, IoError> =>
  Effect.async<Uint8Array, IoError>((resume) => {
    const chunks: Array<Uint8Array> = []
    let held = 0
    const release = () => {
      flow.pause()
      flow.attach(silent)
    }
    const broken = (cause?: IoError) => {
      release()
      resume(
        Effect.fail(
          cause ??
            new IoError({
              operation: "read",
              address: formatAddress(flow.remoteAddress),
              cause: new Error(`ended after ${held} of ${size} bytes`)
            })
        )
      )
    }
    flow.attach({
      data(bytes) {
        chunks.push(bytes)
        held += bytes.length
        if (held < size) return
        release()
        const all = concat(chunks, held)
        if (held > size) flow.unshift(all.subarray(size))
        resume(Effect.succeed(all.subarray(0, size)))
      },
      end: () => broken(),
      drain() {},
      close: broken
    })
    flow.resume()
    return Effect.sync(() => {
      release()
      if (held > 0) flow.unshift(concat(chunks, held))
    })
  })
