// A flow over a Socket of @effect/platform: callbacks on one side, effects on the other.

import * as Socket from "@effect/platform/Socket"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as CloseCode from "../CloseCode.js"
import * as Flow from "../Flow.js"
import { concat } from "../protocol/bytes.js"
import { IoError } from "../WebSocketError.js"

export interface SocketFlowOptions {
  readonly remoteAddress: Flow.Address
  readonly localAddress: Flow.Address
  readonly secure: boolean
  /** Whether the end of writing can be told on its own; if it can't, it is the end of everything. */
  readonly halfClose: boolean
  /** Bytes that are held while paused, before the flow breaks. */
  readonly maxHeld: number
}

/** Above this the socket's handler waits, which pauses the socket if it is one that can pause. */
const highWater = 64 * 1024

/** The most that is written at once: what Node reads from a socket at once. */
const pieceSize = 64 * 1024

/** What the effects of the socket do for the flow. */
interface Ports {
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, Socket.SocketError>
  /** Tells the peer that no more bytes come. */
  readonly finish: Effect.Effect<void>
  /** Lets go of the socket; `finished` follows. `lost` says that bytes were lost by it, in either direction. */
  readonly release: (lost: boolean) => void
  /** Runs an effect in the flow's scope; answers how to stop it. */
  readonly fork: (effect: Effect.Effect<void>) => () => void
}

class SocketFlow implements Flow.Flow {
  readonly remoteAddress: Flow.Address
  readonly localAddress: Flow.Address
  readonly secure: boolean

  private handler: Flow.Handler | undefined
  private resumed = false
  private scheduled = false
  /** What came and wasn't told yet, and how much it is. */
  private held: Array<Uint8Array> = []
  private heldBytes = 0
  private waiting: Array<() => void> = []
  /** What is to be written, and how much it is with what is being written. */
  private queue: Array<Uint8Array> = []
  private queued = 0
  private writing = false
  private stopWriting = () => {}
  private awaitsDrain = false
  private finishing = false
  private ended = false
  /** Destroyed or broken: nothing but `close` may be told any more. */
  private over = false
  private closed = false
  private error: IoError | undefined
  private toldEnd = false
  private toldClose = false

  constructor(
    private readonly options: SocketFlowOptions,
    private readonly ports: Ports
  ) {
    this.remoteAddress = options.remoteAddress
    this.localAddress = options.localAddress
    this.secure = options.secure
  }

  // ---------------------------------------------------------- from the socket

  /** Bytes came. What it answers waits until there is room for more. */
  receive(bytes: Uint8Array): Effect.Effect<void> | undefined {
    if (this.over || bytes.length === 0) return undefined
    // A Buffer's `slice` is a view where a Uint8Array's is a copy, so a handler gets the latter.
    this.held.push(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length))
    this.heldBytes += bytes.length
    if (this.heldBytes > this.options.maxHeld) {
      this.break("read", new Error(`${this.heldBytes} bytes came while reading was paused, which this socket can't be`))
      return undefined
    }
    this.schedule()
    return this.heldBytes < highWater ? undefined : this.room
  }

  /** The socket is over, with an error if it broke. */
  finished(exit: Exit.Exit<void, Socket.SocketError>): void {
    const failure = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
    if (failure !== undefined && !isEnd(failure)) {
      this.error ??= ioError(failure.reason === "Write" ? "write" : "read", this.remoteAddress, failure)
      this.stop()
    }
    this.ended = true
    this.closed = true
    // A socket that isn't run makes writers wait until it is.
    this.stopWriting()
    this.queue = []
    this.queued = 0
    this.schedule()
  }

  private readonly room = Effect.async<void>((resume) => {
    if (this.heldBytes < highWater || this.over) resume(Effect.void)
    else this.waiting.push(() => resume(Effect.void))
  })

  // ------------------------------------------------------------ to the handler

  attach(handler: Flow.Handler): void {
    this.handler = handler
    this.toldEnd = false
    this.toldClose = false
    this.schedule()
  }

  pause(): void {
    this.resumed = false
  }

  resume(): void {
    this.resumed = true
    this.schedule()
  }

  unshift(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.over) return
    this.held.unshift(bytes)
    this.heldBytes += bytes.length
  }

  /** All callbacks come from here, one at a time, so that whoever was woken by the last one runs in between. */
  private readonly run = (): void => {
    this.scheduled = false
    if (this.step()) this.schedule()
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    queueMicrotask(this.run)
  }

  /** Tells at most one thing. Answers whether it did, so that there may be more. */
  private step(): boolean {
    const { handler } = this
    if (this.awaitsDrain && this.queued === 0 && !this.over && !this.closed) {
      this.awaitsDrain = false
      handler?.drain()
      return true
    }
    if (handler === undefined) return false
    if (!this.over && this.resumed) {
      const bytes = this.held.shift()
      if (bytes !== undefined) {
        this.heldBytes -= bytes.length
        if (this.heldBytes < highWater) this.wake()
        handler.data(bytes)
        return true
      }
      if (this.ended && !this.toldEnd) {
        this.toldEnd = true
        handler.end()
        return true
      }
    }
    if (!this.closed || this.toldClose || !(this.over || this.toldEnd)) return false
    this.toldClose = true
    handler.close(this.error)
    return true
  }

  private wake(): void {
    for (const resume of this.waiting.splice(0)) resume()
  }

  // ------------------------------------------------------------------ writing

  write(bytes: Uint8Array, _more: boolean): boolean {
    if (this.finishing || this.over || this.closed) return false
    if (bytes.length === 0) return this.queued === 0
    this.queue.push(bytes)
    this.queued += bytes.length
    this.startWriting()
    // Whether a socket took it, its effect tells, and not before the next turn.
    this.awaitsDrain = true
    return false
  }

  bufferedBytes(): number {
    return this.queued
  }

  end(): void {
    if (this.finishing || this.over) return
    this.finishing = true
    this.startWriting()
  }

  private startWriting(): void {
    if (this.writing) return
    this.writing = true
    queueMicrotask(() => {
      this.stopWriting = this.ports.fork(this.writeAll)
    })
  }

  private readonly writeAll: Effect.Effect<void> = Effect.suspend(() => {
    const bytes = this.over || this.closed ? undefined : this.takePiece()
    if (bytes === undefined) {
      this.writing = false
      return this.finishing && !this.over && !this.closed ? this.ports.finish : Effect.void
    }
    return Effect.matchEffect(this.ports.write(bytes), {
      onFailure: (error) => {
        // An end of the socket is told by its `run`, in order with what still came.
        if (error.reason !== "Close") this.break("write", error)
        return Effect.void
      },
      onSuccess: () => {
        this.queued = Math.max(0, this.queued - bytes.length)
        this.schedule()
        return this.writeAll
      }
    })
  })

  /** What has gathered leaves in one write, up to a size that every socket takes: a WebSocket has a largest message. */
  private takePiece(): Uint8Array | undefined {
    const pieces: Array<Uint8Array> = []
    let size = 0
    for (let next = this.queue[0]; next !== undefined && size < pieceSize; next = this.queue[0]) {
      const part = next.subarray(0, pieceSize - size)
      pieces.push(part)
      size += part.length
      if (part.length === next.length) this.queue.shift()
      else this.queue[0] = next.subarray(part.length)
    }
    const [only] = pieces
    return pieces.length > 1 ? concat(pieces, size) : only
  }

  // ------------------------------------------------------------------- ending

  destroy(): void {
    if (this.over) return
    const lost = this.heldBytes > 0 || this.queued > 0
    this.stop()
    if (this.closed) this.schedule()
    else this.ports.release(lost)
  }

  private break(operation: "read" | "write", cause: unknown): void {
    if (this.over) return
    this.error = ioError(operation, this.remoteAddress, cause)
    this.stop()
    this.ports.release(true)
  }

  private stop(): void {
    this.over = true
    this.held = []
    this.heldBytes = 0
    this.queue = []
    this.queued = 0
    this.wake()
  }
}

const isEnd = (error: Socket.SocketError): boolean => error.reason === "Close" && CloseCode.isClean(error.code)

const ioError = (operation: "read" | "write", address: Flow.Address, cause: unknown): IoError => {
  const code = errno(cause)
  return new IoError({
    operation,
    address: Flow.formatAddress(address),
    cause,
    ...(code === undefined ? undefined : { code })
  })
}

/** The platform's code of what is at the bottom of an error. */
const errno = (cause: unknown): string | undefined => {
  if (typeof cause !== "object" || cause === null) return undefined
  if ("code" in cause && typeof cause.code === "string") return cause.code
  return "cause" in cause ? errno(cause.cause) : undefined
}

/** Opens the socket, and runs it until the scope closes or the flow is destroyed. */
export const make = (
  socket: Socket.Socket,
  options: SocketFlowOptions
): Effect.Effect<Flow.Flow, Socket.SocketError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const writeScope = yield* Scope.fork(scope, ExecutionStrategy.sequential)
      const writer = yield* Scope.extend(socket.writer, writeScope)
      // What is forked later inherits the interruptibility of this moment.
      const fork = Runtime.runFork(yield* Effect.interruptible(Effect.runtime()))
      const opened = yield* Deferred.make<void, Socket.SocketError>()
      let release = (_lost: boolean) => {}
      const flow: SocketFlow = new SocketFlow(options, {
        write: writer,
        finish: options.halfClose
          ? Scope.close(writeScope, Exit.void)
          : Effect.ignore(writer(new Socket.CloseEvent(CloseCode.normal))),
        release: (lost) => release(lost),
        fork: (effect) => {
          const fiber = fork(effect, { scope })
          return () => fiber.unsafeInterruptAsFork(FiberId.none)
        }
      })
      const running = yield* socket
        .run((bytes) => flow.receive(bytes), { onOpen: Effect.asVoid(Deferred.succeed(opened, undefined)) })
        .pipe(
          Effect.interruptible,
          Effect.onExit((exit) =>
            Effect.sync(() => {
              Deferred.unsafeDone(opened, exit)
              flow.finished(exit)
            })
          ),
          Effect.forkIn(scope)
        )
      release = (lost) => {
        // Leaving `run` closes what `run` opened. A socket that was open before learns it from a CloseEvent, which
        // each begins at once; it isn't waited for.
        const code = lost ? CloseCode.internalError : CloseCode.normal
        const closing = Effect.ignore(writer(new Socket.CloseEvent(code)))
        fork(Effect.raceFirst(closing, Fiber.await(running)), { scope })
        fork(Fiber.interrupt(running), { scope })
      }
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          flow.destroy()
          return Fiber.await(running)
        })
      )
      yield* restore(Deferred.await(opened))
      return flow
    })
  )
