/**
 * Two flows joined in memory: what TCP does between two sockets, without any.
 *
 * A `Lane` is one direction: the sender's own buffer, then the bytes in flight
 * (at most `capacity`, like a receive window), then the end or the reset that
 * follows them. A `MemoryFlow` is one end. All callbacks come from microtasks,
 * one at a time, so that whoever was woken by the last one runs in between.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Address, type Flow, formatAddress, type Handler } from "../Flow.js"
import { IoError } from "../WebSocketError.js"

export type Fragmentation = "write" | "coalesce" | number | ((available: number) => number)

/** What a wire does to the bytes; may change at any time. `latency` is in milliseconds. */
export interface Behaviour {
  latency: number
  fragmentation: Fragmentation
  capacity: number
}

interface Ends {
  readonly client: Address
  readonly server: Address
  readonly secure: boolean
}

export class Wire {
  readonly client: MemoryFlow
  readonly server: MemoryFlow
  readonly toServer: Lane
  readonly toClient: Lane

  constructor(
    readonly clock: Clock.Clock,
    readonly behaviour: Behaviour,
    ends: Ends,
    /** Called when both flows are closed. */
    private readonly onClosed: () => void
  ) {
    this.toServer = new Lane(this)
    this.toClient = new Lane(this)
    this.client = new MemoryFlow(this, this.toClient, this.toServer, ends.client, ends.server, ends.secure)
    this.server = new MemoryFlow(this, this.toServer, this.toClient, ends.server, ends.client, ends.secure)
    this.toServer.join(this.client, this.server)
    this.toClient.join(this.server, this.client)
  }

  reset(): void {
    this.client.break("read")
    this.server.break("read")
  }

  closed(): void {
    if (this.client.isOpen || this.server.isOpen) return
    this.onClosed()
  }
}

interface Segment {
  readonly bytes: Uint8Array
  readonly due: number
}

export class Lane {
  /** Bytes that the sender still holds. */
  queued = 0
  private queue: Array<Uint8Array> = []
  private flight: Array<Segment> = []
  private flying = 0
  private finWanted = false
  private finDue: number | undefined
  private reset: { readonly operation: "read" | "write"; readonly due: number } | undefined
  private stalled = false
  /** The receiver is gone: what is sent is lost, and answered with a reset. */
  private dead = false
  private lastDue = 0
  private cancelTimer: (() => void) | undefined
  private sender: MemoryFlow | undefined
  private receiver: MemoryFlow | undefined

  constructor(private readonly wire: Wire) {}

  join(sender: MemoryFlow, receiver: MemoryFlow): void {
    this.sender = sender
    this.receiver = receiver
  }

  /** Answers whether the receiver is still there. */
  push(bytes: Uint8Array): boolean {
    if (this.dead) return false
    if (bytes.length > 0) {
      this.queue.push(bytes)
      this.queued += bytes.length
      this.fill()
    }
    return true
  }

  /** Sends the FIN after what was pushed. */
  finish(): void {
    this.finWanted = true
    this.fill()
  }

  get finSent(): boolean {
    return this.finDue !== undefined
  }

  /** Loses what the sender still holds; what is in flight arrives, and a FIN after it. */
  abandon(): void {
    this.queue = []
    this.queued = 0
    this.finish()
  }

  /** Makes a reset the next thing that arrives. */
  sendReset(operation: "read" | "write"): void {
    if (this.reset !== undefined || this.dead) return
    this.reset = { operation, due: this.dueNow() }
    this.arm()
  }

  /** The receiver is gone. Answers whether bytes were on their way to it. */
  kill(): boolean {
    const lost = this.flying + this.queued > 0
    this.dead = true
    this.queue = []
    this.queued = 0
    this.flight = []
    this.flying = 0
    this.cancelTimer?.()
    this.cancelTimer = undefined
    return lost
  }

  stall(): void {
    this.stalled = true
  }

  unstall(): void {
    this.stalled = false
    this.arm()
  }

  /** For a change of the wire's behaviour: a larger capacity has room at once. */
  fill(): void {
    const { capacity } = this.wire.behaviour
    const wasFull = this.queued > 0
    for (let head = this.queue[0]; head !== undefined && this.flying < capacity; head = this.queue[0]) {
      const room = capacity - this.flying
      // RFC 9293 3.8.6.2.1: no part of a write goes into a small room, lest all that follows travels in such parts.
      if (head.length > room && room * 2 < capacity) break
      const size = Math.min(head.length, room)
      // The copy is what the operating system would make: the receiver owns its bytes, the sender may share its own.
      this.flight.push({ bytes: new Uint8Array(head.subarray(0, size)), due: this.dueNow() })
      this.flying += size
      this.queued -= size
      if (size === head.length) this.queue.shift()
      else this.queue[0] = head.subarray(size)
    }
    if (this.finWanted && this.finDue === undefined && this.queued === 0) {
      this.finDue = this.dueNow()
      this.sender?.schedule()
    }
    if (wasFull && this.queued === 0) this.sender?.schedule()
    this.arm()
  }

  /** The bytes of the next `data`, cut as the fragmentation says, if any have arrived. */
  take(): Uint8Array | undefined {
    const [head] = this.flight
    if (head === undefined || this.stalled || !this.isDue(head.due)) return undefined
    const { fragmentation } = this.wire.behaviour
    const bytes = fragmentation === "write" ? this.cut(head.bytes.length) : this.cut(this.sizeOfNext(fragmentation))
    this.fill()
    return bytes
  }

  get finArrived(): boolean {
    return !this.stalled && this.finDue !== undefined && this.flight.length === 0 && this.isDue(this.finDue)
  }

  get resetArrived(): "read" | "write" | undefined {
    return !this.stalled && this.reset !== undefined && this.isDue(this.reset.due) ? this.reset.operation : undefined
  }

  private sizeOfNext(fragmentation: Exclude<Fragmentation, "write">): number {
    let available = 0
    for (const { bytes, due } of this.flight) {
      if (!this.isDue(due)) break
      available += bytes.length
    }
    if (fragmentation === "coalesce") return available
    const wanted = typeof fragmentation === "number" ? fragmentation : fragmentation(available)
    return Math.min(available, Math.max(1, Math.floor(wanted)))
  }

  private cut(size: number): Uint8Array {
    this.flying -= size
    const [head] = this.flight
    if (head?.bytes.length === size) {
      this.flight.shift()
      return head.bytes
    }
    const piece = new Uint8Array(size)
    let filled = 0
    for (let next = this.flight[0]; next !== undefined && filled < size; next = this.flight[0]) {
      const part = next.bytes.subarray(0, size - filled)
      piece.set(part, filled)
      filled += part.length
      if (part.length === next.bytes.length) this.flight.shift()
      else this.flight[0] = { bytes: next.bytes.subarray(part.length), due: next.due }
    }
    return piece
  }

  /** When what is sent now arrives: never before what was sent earlier. 0 stands for at once, without a clock. */
  private dueNow(): number {
    const { latency } = this.wire.behaviour
    if (latency > 0) this.lastDue = Math.max(this.lastDue, this.wire.clock.unsafeCurrentTimeMillis() + latency)
    return this.lastDue
  }

  private isDue(due: number): boolean {
    return due === 0 || due <= this.wire.clock.unsafeCurrentTimeMillis()
  }

  /** Wakes the receiver for what has arrived, and sets the timer for what comes next. */
  private arm(): void {
    if (this.dead) return
    let next = Number.POSITIVE_INFINITY
    for (const due of [this.flight[0]?.due ?? this.finDue, this.reset?.due]) {
      if (due === undefined) continue
      if (this.isDue(due)) this.receiver?.schedule()
      else next = Math.min(next, due)
    }
    if (next === Number.POSITIVE_INFINITY || this.cancelTimer !== undefined) return
    const { clock } = this.wire
    const wake = Effect.sync(() => {
      this.cancelTimer = undefined
      this.arm()
    })
    const sleep = clock.sleep(Duration.millis(next - clock.unsafeCurrentTimeMillis()))
    const cancel = Effect.runCallback(Effect.zipRight(sleep, wake))
    this.cancelTimer = () => cancel()
  }
}

const nobody: Handler = { data() {}, end() {}, drain() {}, close() {} }

export class MemoryFlow implements Flow {
  private handler: Handler = nobody
  private resumed = false
  private awaitsDrain = false
  private finished = false
  /** Destroyed or broken: nothing but `close` may be told any more. */
  private over = false
  private closed = false
  private error: IoError | undefined
  /** Bytes put back. */
  private front: Array<Uint8Array> = []
  private toldEnd = false
  private toldClose = false
  private scheduled = false

  constructor(
    private readonly wire: Wire,
    private readonly incoming: Lane,
    private readonly outgoing: Lane,
    readonly localAddress: Address,
    readonly remoteAddress: Address,
    readonly secure: boolean
  ) {}

  get isOpen(): boolean {
    return !this.closed
  }

  attach(handler: Handler): void {
    this.handler = handler
    this.toldEnd = false
    this.toldClose = false
    this.schedule()
  }

  write(bytes: Uint8Array, _more: boolean): boolean {
    if (this.finished || this.over || this.closed) return false
    // Bytes for a socket that is closed are answered with a reset, one trip later.
    if (!this.outgoing.push(bytes)) this.incoming.sendReset("write")
    if (this.outgoing.queued === 0) return true
    this.awaitsDrain = true
    return false
  }

  bufferedBytes(): number {
    return this.outgoing.queued
  }

  pause(): void {
    this.resumed = false
  }

  resume(): void {
    this.resumed = true
    this.schedule()
  }

  unshift(bytes: Uint8Array): void {
    if (bytes.length > 0 && !this.over) this.front.unshift(bytes)
  }

  end(): void {
    if (this.finished || this.over) return
    this.finished = true
    this.outgoing.finish()
  }

  destroy(): void {
    if (this.over) return
    this.over = true
    // Like a kernel: closing a socket with unread bytes resets the connection, otherwise it sends a FIN.
    const unread = this.incoming.kill() || this.front.length > 0
    this.front = []
    if (unread && !this.closed) this.outgoing.sendReset("read")
    this.outgoing.abandon()
    this.release()
    this.schedule()
  }

  /** The connection is reset: nothing that was sent arrives any more. */
  break(operation: "read" | "write"): void {
    if (this.over || this.closed) return
    this.over = true
    this.error = new IoError({
      operation,
      code: "ECONNRESET",
      address: formatAddress(this.remoteAddress),
      cause: new Error("reset by the peer")
    })
    this.front = []
    this.incoming.kill()
    this.outgoing.abandon()
    this.release()
    this.schedule()
  }

  schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    queueMicrotask(this.run)
  }

  private release(): void {
    if (this.closed) return
    this.closed = true
    this.wire.closed()
  }

  private readonly run = (): void => {
    this.scheduled = false
    if (this.step()) this.schedule()
  }

  /** Tells at most one thing. Answers whether it did, so that there may be more. */
  private step(): boolean {
    return this.tellArrivals() || this.tellEndings()
  }

  private tellArrivals(): boolean {
    if (this.over || this.handler === nobody) return false
    if (this.awaitsDrain && this.outgoing.queued === 0) {
      this.awaitsDrain = false
      this.handler.drain()
      return true
    }
    const bytes = this.resumed ? (this.front.shift() ?? this.incoming.take()) : undefined
    if (bytes === undefined) return false
    this.handler.data(bytes)
    return true
  }

  private tellEndings(): boolean {
    if (!this.over && !this.closed) {
      // A reset comes after the data that a reader was quick enough to take, and costs a paused one the rest.
      const operation = this.incoming.resetArrived
      if (operation !== undefined) this.break(operation)
      else if (this.outgoing.finSent && this.incoming.finArrived) this.release()
    }
    if (this.handler === nobody) return false
    if (!this.over && this.resumed && !this.toldEnd && this.front.length === 0 && this.incoming.finArrived) {
      this.toldEnd = true
      this.handler.end()
      return true
    }
    if (this.closed && !this.toldClose && (this.over || this.toldEnd)) {
      this.toldClose = true
      this.handler.close(this.error)
      return true
    }
    return false
  }
}
