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
import { Backlog, type Meter } from "./backlog.js"
import { FrameQueue } from "./frameQueue.js"
import { Pings, type Settle } from "./pings.js"

export interface EngineOptions extends Limits {
  readonly role: Role
  /** Bytes of received messages above which reading pauses. */
  readonly receiveBufferSize: number
  /** Bytes not yet taken by the operating system above which sending waits. */
  readonly sendBufferSize: number
  readonly nextKey: () => number
  /** What was negotiated in the opening handshake. */
  readonly extension: MessageExtension | undefined
  readonly meter: Meter
}

/** How a connection ended: by the protocol, or by the transport. */
export type Ending = Outcome | IoError

type Wake = () => void

const compactAt = 1024

// A burst in one turn is written when this much has gathered: enough for large
// writes, little enough to learn soon that the peer reads slowly.
const flushSize = 64 * 1024

// DEFLATE makes at most 1,032 bytes of one, so a piece becomes a message of about 1 MiB at the most.
const pieceSize = 1024

// What a queued message costs beyond its content, so that empty ones count too.
const messageOverhead = 32

const weigh = (message: Message): number => message.length + messageOverhead

export class Engine implements Flow.Handler, Events {
  ending: Ending | undefined = undefined
  /** A Close was sent, or there is an ending. */
  closingBegun = false
  /** The flow is released. */
  done = false
  private readonly connection: Connection
  private inbox: Array<Message> = []
  private taken = 0
  private inboxWeight = 0
  private frames: FrameQueue | undefined = undefined
  private discarding = false
  private paused = true
  private heard = false
  private congested = false
  private flushing = false
  private concluding = false
  /** FIN is to be sent once all that is queued has left; and has been. */
  private finishing = false
  private finished = false
  private readers: Array<Wake> = []
  private writers: Array<Wake> = []
  private readonly pings = new Pings()
  private readonly backlog: Backlog
  /** Messages since the meter was told. */
  private received = 0
  private sent = 0
  private written = 0
  /** When it was last asked for a sign of life: what had left, and whether some had not. */
  private left = 0
  private backlogged = false
  private active = true

  constructor(
    readonly flow: Flow.Flow,
    private readonly options: EngineOptions,
    private readonly onClosing: () => void,
    private readonly onDone: () => void
  ) {
    this.connection = new Connection(options.role, options, this, options.nextKey, options.extension)
    this.backlog = new Backlog(options.meter)
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
    this.options.meter.received(this.received, size)
    if (this.received > 0) this.active = true
    this.received = 0
    this.settle()
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
    this.finish()
  }

  drain(): void {
    this.congested = false
    this.connection.setCongested(false)
    this.flush()
    this.measureBacklog()
    this.wakeWriters()
  }

  close(error: IoError | undefined): void {
    if (this.done) return
    this.done = true
    this.connection.receiveEnd()
    this.ending ??= error ?? this.connection.outcome
    this.connection.output.clear()
    this.measureBacklog()
    this.beginClosing()
    wake(this.readers)
    this.pings.end()
    this.onDone()
  }

  /** After anything that may have brought messages, answers or an end. */
  private settle(): void {
    this.flush()
    const { outcome } = this.connection
    if (outcome !== undefined && this.ending === undefined) this.conclude(outcome)
    if (this.readers.length > 0 && this.readable) wake(this.readers)
    if (!this.paused && this.ending === undefined && !this.connection.isClosing && this.crowded) this.pause()
  }

  /** Whether reading should pause. With nothing to take, nothing could end the pause, however small the buffer. */
  private get crowded(): boolean {
    const { weight } = this
    return weight > 0 && weight >= this.options.receiveBufferSize
  }

  private pause(): void {
    this.paused = true
    this.flow.pause()
  }

  private conclude(outcome: Outcome): void {
    this.ending = outcome
    // RFC 6455 7.1.1: the server closes TCP first, and the client waits for it to do so; who
    // fails the connection doesn't wait (7.1.7).
    if (this.options.role === "server" || outcome._tag === "Failed") this.finish()
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
    this.inbox.push(message)
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
    return this.ending !== undefined || this.taken < this.inbox.length || (this.frames?.readable ?? false)
  }

  /** The next message that is there. */
  take(): Message | undefined {
    if (this.frames !== undefined) return this.afterTake(this.frames.takeMessage())
    const message = this.inbox[this.taken]
    if (message === undefined) return undefined
    this.taken++
    this.inboxWeight -= weigh(message)
    // A reader that never quite catches up must not let the taken ones pile up in front.
    if (this.taken === this.inbox.length || this.taken >= compactAt) {
      this.inbox = this.inbox.slice(this.taken)
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
    const all = this.taken === 0 ? this.inbox : this.inbox.slice(this.taken)
    this.inbox = []
    this.taken = 0
    this.inboxWeight = 0
    return this.afterTake(all)
  }

  /** The next frame that is there. The first call turns the connection to frames. */
  takeFrame(): Frame | undefined {
    if (this.frames === undefined) {
      const messages = this.takeAll()
      this.frames = new FrameQueue()
      for (const message of messages) this.frames.pushMessage(message)
      this.connection.frames = true
    }
    return this.afterTake(this.frames.take())
  }

  /** Calls `reader` once, when it needn't wait any more; answers how to take that back. */
  whenReadable(reader: Wake): () => void {
    this.readers.push(reader)
    return () => remove(this.readers, reader)
  }

  /** Drops what was received, and what will be: nobody is left to take it. */
  discard(): void {
    this.discarding = true
    this.takeAll()
    this.frames?.clear()
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
    this.flow.resume()
  }

  // ------------------------------------------------------------------ sending

  /** Bytes that the operating system hasn't taken yet. */
  get buffered(): number {
    return this.connection.output.size + this.flow.bufferedBytes()
  }

  /** Whether a sender must wait. */
  get full(): boolean {
    return this.congested && this.buffered >= this.options.sendBufferSize
  }

  /** Queues a message. Only while open. */
  send(message: Message, compress?: boolean | undefined): Breach | undefined {
    const breach = this.connection.sendMessage(message, compress)
    if (breach === undefined) this.sent++
    this.scheduleFlush()
    return breach
  }

  /** Queues a frame. Only while open. */
  sendFrame(frame: Frame): Breach | undefined {
    const breach = this.connection.sendFrame(frame)
    if (breach === undefined && frame.fin && !Wire.isControl(frame.opcode)) this.sent++
    this.scheduleFlush()
    if (breach === undefined && frame.opcode === Wire.close) this.beginClosing()
    return breach
  }

  /** Begins the closing handshake; does nothing more if it has begun. */
  sendClose(code: number | undefined, reason: string): Breach | undefined {
    if (this.ending !== undefined) return undefined
    const breach = this.connection.sendClose(code, reason)
    if (breach !== undefined) return breach
    this.scheduleFlush()
    this.beginClosing()
    return undefined
  }

  private beginClosing(): void {
    // Whatever the application left unread, the peer's Close or FIN has to be seen.
    this.resume()
    this.tellClosing()
    wake(this.writers)
  }

  /** Calls `writer` once, when it needn't wait any more; answers how to take that back. */
  whenWritable(writer: Wake): () => void {
    this.writers.push(writer)
    return () => remove(this.writers, writer)
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
    this.scheduleFlush()
    return forget
  }

  /**
   * Whether the peer gave a sign of life since this was last asked: something came from
   * it, or it took something. One that we don't read from can't be heard.
   */
  isAlive(): boolean {
    const waiting = this.flow.bufferedBytes()
    const taken = this.written - waiting
    // What the operating system takes while it has room says nothing of the peer; what it takes of a backlog does.
    const alive = this.heard || this.paused || (this.backlogged && taken > this.left)
    this.heard = false
    this.backlogged = waiting > 0
    this.left = taken
    return alive
  }

  /** Whether messages went either way since this was last asked. */
  isActive(): boolean {
    const active = this.active || this.weight > 0 || this.full
    this.active = false
    return active
  }

  private wakeWriters(): void {
    if (!this.full) wake(this.writers)
  }

  private scheduleFlush(): void {
    if (this.connection.output.size >= flushSize) this.flush()
    else if (!this.flushing) {
      this.flushing = true
      Promise.resolve().then(this.flushLater)
    }
  }

  private readonly flushLater = (): void => {
    this.flushing = false
    this.flush()
  }

  private flush(): void {
    const { output } = this.connection
    if (this.congested) this.measureBacklog()
    if (output.size === 0 || this.congested) return
    if (this.done || this.finished) {
      output.clear()
      return
    }
    const { size } = output
    const pieces = output.take()
    const last = pieces.length - 1
    let free = true
    pieces.forEach((piece, index) => {
      free = this.flow.write(piece, index < last)
    })
    this.written += size
    this.options.meter.sent(this.sent, size)
    if (this.sent > 0) this.active = true
    this.sent = 0
    if (!free) {
      this.congested = true
      this.connection.setCongested(true)
      this.measureBacklog()
    }
    // The socket sends the FIN behind what it has not yet taken; no drain need be waited for.
    if (this.finishing) this.finish()
  }

  private measureBacklog(): void {
    this.backlog.is(this.congested && !this.done ? this.buffered : 0)
  }

  /** Sends FIN, after all that is queued. */
  private finish(): void {
    this.finishing = true
    this.flush()
    if (this.finished || this.done || this.connection.output.size > 0) return
    this.finished = true
    this.flow.end()
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

const wake = (waiting: Array<Wake>): void => {
  for (const resume of waiting.splice(0)) resume()
}

const remove = (waiting: Array<Wake>, wake: Wake): void => {
  const index = waiting.indexOf(wake)
  if (index >= 0) waiting.splice(index, 1)
}
