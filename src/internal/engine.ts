// A connection in motion: the state machine, the flow under it and the buffers
// between them and the application. Plain synchronous code, driven by the flow's
// callbacks on one side and by whoever sends and receives on the other; fibers,
// scopes and clocks are the shell's business (driver.ts).
//
// Laws:
// 1. `data` runs the state machine over the whole chunk, then wakes each waiting
//    reader once.
// 2. `flush` is the only door to the socket.
// 3. Frames of one turn leave together: a send only schedules the flush, once.
// 4. `onClosing` is called once, when a Close was sent or there is an ending;
//    `onDone` is called once, when the flow is released. Nothing follows.

import type * as Flow from "../Flow.js"
import { Connection, type Events, type Limits, type Message, type Outcome } from "../protocol/connection.js"
import type { MessageExtension } from "../protocol/extension.js"
import type { Frame, Role } from "../protocol/frame.js"
import * as Wire from "../protocol/frame.js"
import type { Breach } from "../protocol/violation.js"
import type { IoError } from "../WebSocketError.js"
import type { Meter } from "./backlog.js"
import { FrameQueue, type Piece } from "./frameQueue.js"
import { Outflow, type SlowConsumer } from "./outflow.js"
import { Pings, type Settle } from "./pings.js"
import { type Reader, Readers, type Wake } from "./readers.js"
import { Share } from "./share.js"
import { turn } from "./turn.js"

export interface EngineOptions extends Limits {
  readonly role: Role
  /** Bytes of received messages above which reading pauses. */
  readonly receiveBufferSize: number
  /** Bytes not yet taken by the operating system above which sending waits. */
  readonly sendBufferSize: number
  /** Messages above this size leave in frames of it. */
  readonly fragmentSize: number
  readonly slowConsumer: SlowConsumer
  readonly nextKey: () => number
  /** What was negotiated in the opening handshake. */
  readonly extension: MessageExtension | undefined
  readonly meter: Meter
}

/** How a connection ended: by the protocol, or by the transport. */
export type Ending = Outcome | IoError

const compactAt = 1024

// DEFLATE makes at most 1,032 bytes of one, so a piece becomes a message of about 1 MiB at the most.
const pieceSize = 1024

// Copied where a new inbox is needed: V8 takes lists that are made here by `[]` for long-lived after a
// while, and a dead one keeps the messages alive that it holds.
const nothing: ReadonlyArray<Message> = []

// What a queued message costs beyond its content, so that empty ones count too.
const messageOverhead = 32

const weigh = (message: Message): number => message.length + messageOverhead

export class Engine implements Flow.Handler, Events {
  ending: Ending | undefined = undefined
  /** A Close was sent, or there is an ending. */
  closingBegun = false
  /** The flow is released. */
  done = false
  /** What is kept of a read is copied, or most of its memory. */
  readonly borrows = true
  /** The way out. */
  readonly out: Outflow
  private readonly connection: Connection
  /** Messages from `taken` to `filled`; the places are used again, for a new array for each read would be most of the cost. */
  private inbox: Array<Message> = [""]
  private taken = 0
  private filled = 0
  private inboxWeight = 0
  private frames: FrameQueue | undefined = undefined
  private discarding = false
  private paused = true
  /** It has had its share of this turn of the event loop, and others come first. */
  private resting = false
  private readonly share = new Share()
  private heard = false
  private concluding = false
  private readonly readers = new Readers()
  private readonly pings = new Pings()
  /** Messages since the meter was told. */
  private received = 0
  private active = true
  /** When it was last asked for a sign of life: what the operating system had taken, and whether it had to wait. */
  private progress = 0
  private backlogged = false

  constructor(
    readonly flow: Flow.Flow,
    private readonly options: EngineOptions,
    private readonly onClosing: () => void,
    private readonly onDone: () => void
  ) {
    this.connection = new Connection(options.role, options, this, options.nextKey, options.extension)
    this.out = new Outflow(flow, this.connection, options)
  }

  get isOpen(): boolean {
    return this.connection.isOpen && this.ending === undefined
  }

  /** The code of the Close that was sent, if one was and had one. */
  get sentCode(): number | undefined {
    return this.connection.sentCode
  }

  /** Takes the flow over; `rest` is what came behind the handshake. */
  start(rest: Uint8Array): void {
    this.flow.attach(this)
    this.paused = false
    this.flow.resume()
    if (rest.length > 0) this.data(rest)
  }

  // ------------------------------------------------------------ from the flow

  data(bytes: Uint8Array): void {
    this.heard = true
    const size = this.consume(bytes)
    if (this.connection.ends) this.concludeSoon()
    const { received } = this
    this.options.meter.received(received, size)
    if (received > 0) this.active = true
    this.received = 0
    this.settle()
    if (this.share.isUsedUp(size, received)) this.rest()
  }

  /** Lets others come first. */
  private rest(): void {
    if (this.resting || this.paused || this.done) return
    this.resting = true
    this.flow.pause()
    setImmediate(() => {
      this.resting = false
      if (!this.paused && !this.done) this.flow.resume()
    })
  }

  /**
   * An end that came right behind messages waits for one turn: what a reader sends at
   * once in answer to them leaves before our Close, as if they had come in a read of
   * their own. Nothing more is taken from the peer meanwhile.
   */
  private concludeSoon(): void {
    if (this.weight === 0) this.connection.conclude()
    else if (!this.concluding) {
      this.concluding = true
      setImmediate(() => {
        this.connection.conclude()
        this.settle()
      })
    }
  }

  /** Takes no more of a compressed read than the receive buffer has room for, and answers how much that was. */
  private consume(bytes: Uint8Array): number {
    if (this.options.extension === undefined) {
      this.connection.consume(bytes)
      return bytes.length
    }
    for (let at = 0; at < bytes.length; at += pieceSize) {
      this.connection.consume(bytes.subarray(at, at + pieceSize))
      if (!this.crowded || this.connection.outcome !== undefined || this.connection.isClosing) continue
      this.pause()
      this.flow.unshift(bytes.subarray(at + pieceSize))
      return Math.min(at + pieceSize, bytes.length)
    }
    return bytes.length
  }

  end(): void {
    this.connection.receiveEnd()
    this.settle()
    this.out.finish()
  }

  drain(): void {
    this.out.drain()
  }

  close(error: IoError | undefined): void {
    if (this.done) return
    this.done = true
    this.connection.receiveEnd()
    this.ending ??= error ?? this.connection.outcome
    this.out.close()
    this.beginClosing()
    this.readers.wake()
    this.pings.end()
    this.onDone()
  }

  /** After anything that may have brought messages, answers or an end. */
  private settle(): void {
    this.out.flush()
    const { outcome } = this.connection
    if (outcome !== undefined && this.ending === undefined) this.conclude(outcome)
    if (this.readers.some && this.readable) this.wakeReaders()
    if (!this.paused && this.ending === undefined && !this.connection.isClosing && this.crowded) this.pause()
  }

  /** Whether reading should pause. With nothing to take, nothing could end the pause, however small the buffer. */
  private get crowded(): boolean {
    const { weight } = this
    return weight > 0 && weight >= this.options.receiveBufferSize
  }

  /** The readers run now, and what they send leaves at once. */
  private wakeReaders(): void {
    this.out.cork()
    turn.run(this.readers)
    this.out.uncork()
  }

  private pause(): void {
    this.paused = true
    this.flow.pause()
  }

  private conclude(outcome: Outcome): void {
    this.ending = outcome
    // RFC 6455 7.1.1: the server closes TCP first, and the client waits for it to do so; who
    // fails the connection doesn't wait (7.1.7).
    if (this.options.role === "server" || outcome._tag === "Failed") this.out.finish()
    this.beginClosing()
  }

  private tellClosing(): void {
    if (this.closingBegun) return
    this.closingBegun = true
    this.onClosing()
  }

  // ---------------------------------------------------- from the state machine

  message(message: Message): void {
    this.received++
    if (this.isDropping()) return
    this.inbox[this.filled++] = message
    this.inboxWeight += weigh(message)
  }

  frame(frame: Frame): void {
    if (frame.fin && !Wire.isControl(frame.opcode)) this.received++
    if (!this.isDropping()) this.frames?.push(frame)
  }

  pong(payload: Uint8Array): void {
    this.pings.pong(payload)
  }

  /** After our own Close, reading goes on to find the peer's: from the first message that has no room, all are dropped. */
  private isDropping(): boolean {
    if (!this.discarding && this.connection.isClosing && this.crowded) this.discarding = true
    return this.discarding
  }

  // ---------------------------------------------------------------- receiving

  /** Whether a reader needn't wait: something is there, or nothing will come. */
  get readable(): boolean {
    return this.ending !== undefined || this.taken < this.filled || (this.frames?.readable ?? false)
  }

  /** The next message that is there, which stays there. Knows nothing of frames. */
  peek(): Message | undefined {
    return this.taken < this.filled ? this.inbox[this.taken] : undefined
  }

  /** The next message that is there. */
  take(): Message | undefined {
    if (this.frames !== undefined) return this.afterTake(this.frames.takeMessage())
    const message = this.peek()
    if (message === undefined) return undefined
    // What was taken must not be kept alive until the inbox is empty, which it may never be.
    this.inbox[this.taken++] = ""
    this.inboxWeight -= weigh(message)
    if (this.taken === this.filled) {
      if (this.filled > compactAt) this.inbox = []
      this.taken = 0
      this.filled = 0
    } else if (this.taken >= compactAt) {
      // A reader that never quite catches up must not let the taken ones pile up in front.
      this.inbox = this.inbox.slice(this.taken, this.filled)
      this.filled -= this.taken
      this.taken = 0
    }
    return this.afterTake(message)
  }

  /** All messages that are there; may be none. */
  takeAll(): Array<Message> {
    if (this.frames !== undefined) {
      const all: Array<Message> = []
      for (let next = this.take(); next !== undefined; next = this.take()) all.push(next)
      return all
    }
    const { inbox, taken, filled } = this
    const all = taken === 0 && filled === inbox.length ? inbox : inbox.slice(taken, filled)
    this.inbox = nothing.slice()
    this.taken = 0
    this.filled = 0
    this.inboxWeight = 0
    return this.afterTake(all)
  }

  /** The next frame that is there. The first call turns the connection to frames. */
  takeFrame(): Frame | undefined {
    return this.afterTake(this.framed("frames").take())
  }

  /** The first piece of the next message. The first call turns the connection to pieces. */
  takeFirstPiece(): Piece | undefined {
    return this.afterTake(this.framed("pieces").takeFirstPiece())
  }

  /** The next piece of a message that was begun. */
  takePiece(message: number): Piece | "skipped" | undefined {
    return this.afterTake(this.framed("pieces").takePiece(message))
  }

  private framed(delivery: "frames" | "pieces"): FrameQueue {
    if (this.frames === undefined) {
      const messages = this.takeAll()
      this.frames = new FrameQueue()
      for (const message of messages) this.frames.pushMessage(message)
    }
    // Pieces are frames, too: once they are wanted, they stay.
    if (this.connection.delivery !== "pieces") this.connection.deliver(delivery)
    return this.frames
  }

  /** Calls `wake` once, when the reader needn't wait any more. */
  whenReadable(reader: Reader, wake: Wake): void {
    this.readers.add(reader, wake)
  }

  /** Drops what was received, and what will be: nobody is left to take it. */
  discard(): void {
    this.discarding = true
    if (this.frames === undefined) this.takeAll()
    else this.frames.clear()
    this.resume()
  }

  private afterTake<A>(taken: A): A {
    const { weight } = this
    if (this.paused && (weight === 0 || weight < this.options.receiveBufferSize / 2)) this.resume()
    return taken
  }

  /** Estimated bytes of all that was received and not taken. */
  get weight(): number {
    return this.inboxWeight + (this.frames?.weight ?? 0)
  }

  private resume(): void {
    if (!this.paused || this.done) return
    this.paused = false
    if (!this.resting) this.flow.resume()
  }

  // ------------------------------------------------------------------ sending

  /** Sends a frame as it is. Only while open. */
  sendFrame(frame: Frame): Breach | undefined {
    if (frame.opcode !== Wire.close) return this.out.sendFrame(frame)
    const breach = this.connection.sendFrame(frame)
    this.out.scheduleFlush()
    if (breach === undefined) this.beginClosing()
    return breach
  }

  /** Begins the closing handshake; does nothing more if it has begun. */
  sendClose(code: number | undefined, reason: string): Breach | undefined {
    if (this.ending !== undefined) return undefined
    const breach = this.connection.sendClose(code, reason)
    if (breach !== undefined) return breach
    this.out.scheduleFlush()
    this.beginClosing()
    return undefined
  }

  private beginClosing(): void {
    // Whatever the application left unread, the peer's Close or FIN has to be seen.
    this.resume()
    this.tellClosing()
    this.out.wakeWriters()
  }

  /**
   * Asks the peer for a sign of life, and calls `settle` once: when the pong came, or
   * with false when none can come any more. Answers how to take that back.
   */
  ping(settle: Settle): () => void {
    if (!this.isOpen) {
      settle(false)
      return () => {}
    }
    const { payload, forget } = this.pings.expect(settle)
    this.connection.sendPing(payload)
    this.out.scheduleFlush()
    return forget
  }

  /**
   * Whether the peer gave a sign of life since this was last asked: something came from
   * it, or it took something. One that we don't read from can't be heard.
   */
  isAlive(): boolean {
    const { progress } = this.out
    // What the operating system takes while it has room says nothing of the peer; what it takes of a backlog does.
    const alive = this.heard || this.paused || (this.backlogged && progress > this.progress)
    this.heard = false
    this.backlogged = this.flow.bufferedBytes() > 0
    this.progress = progress
    return alive
  }

  /** Whether messages went either way since this was last asked. */
  isActive(): boolean {
    const active = this.active || this.out.active || this.weight > 0 || this.out.full
    this.active = false
    this.out.active = false
    return active
  }

  /** Closes, and drops all that waits, so that the Close needn't wait for it. */
  giveUp(code: number, reason: string): void {
    this.out.abandon()
    this.sendClose(code, reason)
  }

  /** What was accepted leaves before a Close; unless the connection has failed, when nothing may follow but the Close. */
  closing(failed: boolean): void {
    if (failed) this.out.abandon()
    else this.out.spill()
  }

  /** Lets go of the flow at once. */
  destroy(): void {
    this.flow.destroy()
  }

  /** Ends the connection for a reason of ours, without a Close frame. */
  abort(error: IoError): void {
    this.ending ??= error
    this.flow.destroy()
  }
}
