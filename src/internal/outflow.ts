// The way out: from what is to be sent to the flow.
//
// While the flow takes all that it is given, a message becomes a frame at once, and the frames of
// one turn leave in one write. Once it doesn't, messages wait as they are, in order, and frames
// are made of them when there is room again. So pings, pongs and what else is no message overtake
// all that waits, and what waits can still be dropped.

import type * as Flow from "../Flow.js"
import type { Connection, Message } from "../protocol/connection.js"
import * as Wire from "../protocol/frame.js"
import { Prepared } from "../protocol/prepared.js"
import { noMessage } from "../protocol/rules.js"
import type { Sender } from "../protocol/sender.js"
import type { Breach } from "../protocol/violation.js"
import { Backlog, type Meter } from "./backlog.js"
import { burst } from "./burst.js"
import { Fifo } from "./fifo.js"

export interface OutflowOptions {
  /** Bytes not yet taken by the operating system above which sending waits. */
  readonly sendBufferSize: number
  /** Messages above this size leave in frames of it. */
  readonly fragmentSize: number
  readonly slowConsumer: SlowConsumer
  readonly meter: Meter
}

/** What happens to a message when there is no room for it. */
export type SlowConsumer = "suspend" | "dropNewest" | "dropOldest" | "close"

/** What a broadcast does with a subscriber that has no room. */
export interface Patience {
  /** In place of the connection's own. */
  readonly slowConsumer: SlowConsumer | undefined
  /** Bytes that may wait of what isn't dropped. */
  readonly maxBacklog: number
}

/** Something to be sent that waits for room. */
interface Waiting {
  readonly content: Message | Prepared | Wire.Frame
  readonly size: number
  readonly compress: boolean | undefined
  /** Whether it may be dropped in favour of a later one. */
  readonly droppable: boolean
}

/** A message of which some fragments have left. */
interface Cut {
  readonly payload: Uint8Array
  readonly opcode: number
  readonly rsv: number
  at: number
}

type Wake = () => void

// A burst in one turn is written when this much has gathered: enough for large
// writes, little enough to learn soon that the peer reads slowly.
const flushSize = 64 * 1024

// As much goes to the flow at once, and more when all of that has left: a socket doesn't tell of
// parts of a write, so 10 MiB to a slow peer would look like no progress at all.
const writeSize = 2 * flushSize

// What a waiting message costs beyond its content, so that empty ones count too.
const overhead = 64

export class Outflow {
  /** Messages that were dropped for a slow peer. */
  dropped = 0
  /** Whether messages left since this was last set to false. */
  active = true
  /** The flow takes no more. */
  private congested = false
  /** Messages have to wait: for room, or for those before them. */
  private queueing = false
  private readonly waiting = new Fifo<Waiting>()
  /** Of all that waits, what is held included. */
  private waitingSize = 0
  /** What overtook messages since the flow last took something. */
  private overtaken = 0
  private cut: Cut | undefined
  /** Somebody sends a message in pieces, which no other may come between. */
  private claimed = false
  /** What was broadcast meanwhile. */
  private readonly held = new Fifo<Waiting>()
  private flushing = false
  /** FIN is to be sent once all that is queued has left; and has been. */
  private finishing = false
  private finished = false
  private released = false
  private writers: Array<Wake> = []
  private sent = 0
  private written = 0
  private readonly sender: Sender
  private readonly backlog: Backlog

  constructor(
    private readonly flow: Flow.Flow,
    private readonly connection: Connection,
    private readonly options: OutflowOptions
  ) {
    this.sender = connection.sender
    this.backlog = new Backlog(options.meter)
  }

  // ------------------------------------------------------------------ state

  /** Bytes that the operating system hasn't taken yet. */
  get buffered(): number {
    const { cut } = this
    const uncut = cut === undefined ? 0 : cut.payload.length - cut.at
    return this.sender.output.size + uncut + this.waitingSize + this.flow.bufferedBytes()
  }

  /** Whether there is no room. */
  get full(): boolean {
    return this.congested && this.crowded(this.options.slowConsumer)
  }

  private crowded(slowConsumer: SlowConsumer): boolean {
    // What the socket has been given can't be taken back: to drop what is old, something has to wait here.
    return (slowConsumer === "dropOldest" ? this.waitingSize : this.buffered) >= this.options.sendBufferSize
  }

  /** Whether a message can't just be sent: for want of room, or because one is being sent in pieces. */
  get busy(): boolean {
    return this.claimed || this.full
  }

  /** Whether even pings have to wait: so many were sent while the flow took nothing. */
  get flooded(): boolean {
    return this.overtaken > 0 && this.overtaken >= this.options.sendBufferSize
  }

  /** What is to become of a message while it is busy. Counts what is dropped. */
  decide(droppable: boolean): "send" | "wait" | "drop" {
    if (this.claimed || !droppable) return "wait"
    const { slowConsumer } = this.options
    if (slowConsumer === "dropOldest" && this.makeRoom()) return "send"
    if (slowConsumer === "suspend" || slowConsumer === "close") return "wait"
    this.dropped++
    return "drop"
  }

  /** Bytes that the operating system has taken. */
  get progress(): number {
    return this.written - this.flow.bufferedBytes()
  }

  /** Calls `writer` once, when it may not have to wait any more; answers how to take that back. */
  whenWritable(writer: Wake): () => void {
    this.writers.push(writer)
    return () => {
      this.writers = this.writers.filter((each) => each !== writer)
    }
  }

  wakeWriters(): void {
    for (const wake of this.writers.splice(0)) wake()
  }

  // ---------------------------------------------------------------- sending

  /** Sends a message. Only while open. */
  send(message: Message | Prepared, compress?: boolean, droppable = true): Breach | undefined {
    // What comes out of JSON may have any length, and be as little of a message as it likes.
    const isMessage = typeof message === "string" || message instanceof Uint8Array || message instanceof Prepared
    const breach = isMessage ? this.sender.checkMessage() : noMessage
    // What has been accepted is dropped only where the connection's own option says so, not for a broadcast's sake.
    if (breach === undefined) {
      this.accept(message, compress, droppable && this.options.slowConsumer === "dropOldest", false)
    }
    return breach
  }

  /**
   * Sends a message of a broadcast, which can't wait, whatever is in the way. Only while open. Answers
   * `"overflow"` if it may not be dropped, and no more may wait. Written at once, it costs a tenth less than in a round
   * of its own over all connections: what a connection consists of is in the processor's cache only now.
   */
  deliver(
    message: Prepared,
    compress: boolean | undefined,
    droppable: boolean,
    atOnce: boolean,
    { slowConsumer = this.options.slowConsumer, maxBacklog }: Patience
  ): "sent" | "dropped" | "overflow" {
    if ((this.congested || this.claimed) && this.crowded(slowConsumer)) {
      if (!droppable || slowConsumer === "suspend" || slowConsumer === "close") {
        if (this.buffered + message.length > maxBacklog) return "overflow"
      } else if (slowConsumer === "dropNewest" || !this.makeRoom()) {
        return this.drop()
      }
    }
    const yields = droppable && slowConsumer === "dropOldest"
    if (this.claimed) this.hold(waiting(message, compress, yields))
    else if (this.sender.checkMessage() !== undefined) return this.drop()
    else this.accept(message, compress, yields, atOnce)
    return "sent"
  }

  private hold(item: Waiting): void {
    this.held.push(item)
    this.waitingSize += item.size
  }

  private drop(): "dropped" {
    this.dropped++
    return "dropped"
  }

  private accept(
    message: Message | Prepared,
    compress: boolean | undefined,
    droppable: boolean,
    atOnce: boolean
  ): void {
    if (this.queueing || message.length > this.options.fragmentSize) {
      this.wait(waiting(message, compress, droppable))
      return
    }
    this.sent++
    const made = atOnce && message instanceof Prepared ? this.sender.frameOf(message, compress) : undefined
    if (made !== undefined && this.sender.output.size === 0 && !this.finished) {
      // Nothing is before it: it needn't go by the buffers of a connection that isn't in the processor's cache.
      this.wrote(made.length, this.flow.write(made, false))
      return
    }
    this.sender.writeMessage(message, compress)
    if (atOnce) this.flush()
    else this.scheduleFlush()
  }

  /** Sends a frame. Only while open. What is no part of a message overtakes those that wait. */
  sendFrame(frame: Wire.Frame): Breach | undefined {
    const breach = this.sender.checkFrame(frame)
    if (breach !== undefined) return breach
    if (this.queueing && !Wire.isControl(frame.opcode)) {
      this.wait({ content: frame, size: frame.payload.length + overhead, compress: undefined, droppable: false })
      return undefined
    }
    this.writeFrame(frame)
    if (this.congested) this.overtaken += frame.payload.length + overhead
    this.scheduleFlush()
    return undefined
  }

  /** Takes the floor for a message that is sent in pieces, unless others are before it. */
  claim(): boolean {
    if (this.claimed || this.queueing) return false
    this.claimed = true
    return true
  }

  /** Gives the floor back. */
  release(): void {
    this.claimed = false
    if (this.queueHeld() && !this.congested) this.pump()
    this.wakeWriters()
  }

  /** What was held waits behind all else from now on, unless the message that it was held for was broken off. */
  private queueHeld(): boolean {
    if (this.held.length === 0 || this.sender.checkMessage() !== undefined) return false
    for (let item = this.held.shift(); item !== undefined; item = this.held.shift()) this.waiting.push(item)
    this.queueing = true
    return true
  }

  /** Drops the oldest messages that wait and may be dropped, until there is room; answers whether a new one may take their place. */
  private makeRoom(): boolean {
    const before = this.dropped
    while (this.crowded("dropOldest")) {
      const oldest = this.waiting.take(isDroppable) ?? this.held.take(isDroppable)
      if (oldest === undefined) return this.dropped > before
      this.waitingSize -= oldest.size
      this.drop()
    }
    return true
  }

  private wait(item: Waiting): void {
    this.waiting.push(item)
    this.waitingSize += item.size
    this.queueing = true
    if (this.congested) this.measure()
    else this.pump()
  }

  /** Makes frames of what waits, as long as the flow takes them. */
  private pump(): void {
    do if (this.sender.output.size >= flushSize) this.flush()
    while (!this.congested && this.makeNext())
    if (!this.congested) this.queueing = false
    this.scheduleFlush()
  }

  /** Makes the next frame, or message; false if nothing waits. */
  private makeNext(): boolean {
    if (this.cut !== undefined) {
      this.cutNext(this.cut, this.options.fragmentSize)
      return true
    }
    const next = this.waiting.shift()
    if (next === undefined) return false
    this.waitingSize -= next.size
    this.make(next)
    return true
  }

  private make({ content, size, compress }: Waiting): void {
    if (isFrame(content)) {
      this.writeFrame(content)
      return
    }
    this.sent++
    if (size - overhead <= this.options.fragmentSize) this.sender.writeMessage(content, compress)
    else this.cut = { ...this.sender.encodeMessage(content, compress), at: 0 }
  }

  private writeFrame(frame: Wire.Frame): void {
    if (frame.fin && !Wire.isControl(frame.opcode)) this.sent++
    this.sender.writeFrame(frame.fin, frame.rsv, frame.opcode, frame.payload)
  }

  private cutNext(cut: Cut, size: number): void {
    const { at, opcode, payload, rsv } = cut
    cut.at = Math.min(at + size, payload.length)
    const fin = cut.at === payload.length
    const piece = payload.subarray(at, cut.at)
    // RFC 7692 6.1: the bit stands on the first fragment only.
    this.sender.writeFrame(fin, at === 0 ? rsv : 0, at === 0 ? opcode : Wire.continuation, piece)
    if (fin) this.cut = undefined
  }

  /** Makes frames of all that waits, before a Close: what was accepted leaves. */
  spill(): void {
    this.queueHeld()
    if (this.cut !== undefined) this.cutNext(this.cut, Number.POSITIVE_INFINITY)
    while (this.makeNext()) if (this.cut !== undefined) this.cutNext(this.cut, Number.POSITIVE_INFINITY)
  }

  /** Drops all that waits, for it will never leave. */
  abandon(): void {
    this.waiting.clear()
    this.held.clear()
    this.waitingSize = 0
    this.cut = undefined
  }

  // --------------------------------------------------------------- the door

  scheduleFlush(): void {
    if (this.sender.output.size >= flushSize) this.flush()
    else if (this.flushing) burst.goOn()
    else {
      this.flushing = true
      burst.add(this)
    }
  }

  /** Whoever sends within this turn needn't see to the flush: `uncork` does. */
  cork(): void {
    this.flushing = true
  }

  uncork(): void {
    this.flushing = false
    this.flush()
  }

  flush(): void {
    const { output } = this.sender
    if (this.congested) {
      output.release()
      this.measure()
      return
    }
    if (output.size === 0) return
    if (this.released || this.finished) {
      output.clear()
      return
    }
    const before = output.size
    let free = true
    while (free && output.size > 0) {
      const pieces = output.take(writeSize)
      free = this.write(pieces)
      output.giveBack(pieces)
      if (free && this.flow.returnsBytes) output.giveBackBytes()
    }
    this.wrote(before - output.size, free)
    // The socket sends the FIN behind what it has not yet taken; no drain need be waited for.
    if (this.finishing) this.finish()
  }

  /** So many bytes were written; `free` tells whether the flow takes more. */
  private wrote(size: number, free: boolean): void {
    this.written += size
    this.options.meter.sent(this.sent, size)
    if (this.sent > 0) this.active = true
    this.sent = 0
    if (free) return
    this.congested = true
    this.queueing = true
    this.connection.setCongested(true)
    this.measure()
  }

  private write(pieces: ReadonlyArray<Uint8Array>): boolean {
    let left = pieces.length
    let free = true
    for (const piece of pieces) free = this.flow.write(piece, --left > 0)
    return free
  }

  /** The flow takes more again. */
  drain(): void {
    const { flooded } = this
    this.overtaken = 0
    this.congested = false
    this.connection.setCongested(false)
    this.pump()
    this.flush()
    this.measure()
    if (flooded || !this.full) this.wakeWriters()
  }

  private measure(): void {
    this.backlog.is(this.congested && !this.released ? this.buffered : 0)
  }

  /** Sends FIN, after all that is queued. */
  finish(): void {
    if (!this.finishing) this.spill()
    this.finishing = true
    this.flush()
    if (this.finished || this.released || this.sender.output.size > 0) return
    this.finished = true
    this.flow.end()
  }

  /** The flow is gone. */
  close(): void {
    this.released = true
    this.abandon()
    this.sender.output.clear()
    this.measure()
  }
}

const waiting = (content: Message | Prepared, compress: boolean | undefined, droppable: boolean): Waiting => ({
  content,
  size: content.length + overhead,
  compress,
  droppable
})

const isFrame = (content: Message | Prepared | Wire.Frame): content is Wire.Frame =>
  typeof content === "object" && "opcode" in content

const isDroppable = ({ droppable }: Waiting): boolean => droppable
