/**
 * A flow over a Node `Duplex`: the data path of `NodeNetwork`.
 *
 * One object per socket, whose five listeners live as long as the socket and
 * hand on to whoever is the handler at that moment. A read costs the event
 * listener and the handler's `data`, and allocates nothing.
 */
import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { TLSSocket } from "node:tls"
import { type Address, type Flow, formatAddress, type Handler } from "../Flow.js"
import { IoError } from "../WebSocketError.js"
import { stringOf } from "./nodeErrors.js"
import { expectMore } from "./nodeMemory.js"
import type { SharedReading } from "./nodeReading.js"

/** What the caller knows better than the socket. */
export interface Ends {
  readonly remoteAddress?: Address | undefined
  readonly localAddress?: Address | undefined
  readonly secure?: boolean | undefined
}

const nobody: Handler = { data() {}, end() {}, drain() {}, close() {} }

export class NodeFlow implements Flow {
  readonly remoteAddress: Address
  readonly localAddress: Address
  readonly secure: boolean
  /** A socket has nothing left of a write that is done; other streams may keep it. */
  readonly returnsBytes: boolean

  private onData: ((chunk: Uint8Array) => void) | undefined = undefined
  private handler: Handler = nobody
  private resumed = false
  private corked = false
  private awaitsDrain = false
  /** The stream emitted 'end': all its data was delivered. */
  private ended = false
  /** Destroyed or broken: nothing but `close` may be told any more. */
  private over = false
  /** The stream emitted 'close'. */
  private closed = false
  private error: IoError | undefined
  /** Bytes put back. */
  private held: Array<Uint8Array> = []
  /** What the present handler has heard. */
  private toldEnd = false
  private toldClose = false
  private signalled = false

  constructor(
    private readonly duplex: Duplex,
    ends: Ends,
    reading?: SharedReading | undefined
  ) {
    const socket = duplex instanceof Socket ? duplex : undefined
    this.remoteAddress = ends.remoteAddress ?? addressOf(socket?.remoteAddress, socket?.remotePort)
    this.localAddress = ends.localAddress ?? addressOf(socket?.localAddress, socket?.localPort)
    this.secure = ends.secure ?? duplex instanceof TLSSocket
    this.returnsBytes = socket !== undefined
    duplex.on("error", this.onError)
    duplex.on("close", this.onClose)
    // The FIN is ours to send, also when the peer's came first.
    duplex.allowHalfOpen = true
    if (socket !== undefined) {
      socket.setNoDelay(true)
      socket.setTimeout(0)
    }
    // Without an explicit pause the 'data' listener would start the stream.
    duplex.pause()
    if (reading === undefined) {
      this.onData = (chunk) => {
        expectMore(chunk.length)
        this.handler.data(chunk)
      }
      duplex.on("data", this.onData)
    } else {
      reading.taker = this
    }
    duplex.on("end", this.onEnd)
    // A stream that ended or closed earlier doesn't say so again.
    this.ended = duplex.readableEnded
    if (duplex.errored !== null) this.broke(duplex.errored)
    if (duplex.closed) this.onClose()
  }

  attach(handler: Handler): void {
    this.handler = handler
    this.toldEnd = false
    this.toldClose = false
    this.start()
  }

  write(bytes: Uint8Array, more: boolean): boolean {
    const duplex = this.duplex
    // False as soon as it was ended, destroyed or broken, by whomever.
    if (!duplex.writable) return false
    if (more) {
      if (!this.corked) {
        this.corked = true
        duplex.cork()
      }
      duplex.write(bytes)
      // These bytes had no chance to leave yet: the write that follows answers for them.
      return !this.awaitsDrain
    }
    duplex.write(bytes, this.onWritten)
    if (this.corked) {
      this.corked = false
      duplex.uncork()
    }
    if (duplex.writableLength === 0) return true
    this.awaitsDrain = true
    return false
  }

  bufferedBytes(): number {
    return this.duplex.destroyed ? 0 : this.duplex.writableLength
  }

  pause(): void {
    this.resumed = false
    this.duplex.pause()
  }

  resume(): void {
    if (this.resumed) return
    this.resumed = true
    this.start()
  }

  unshift(bytes: Uint8Array): void {
    // Whoever borrows bytes may put them back, too.
    if (bytes.length > 0 && !this.over) this.held.unshift(this.handler.borrows ? copy(bytes) : bytes)
  }

  end(): void {
    if (this.duplex.writable) this.duplex.end()
  }

  destroy(): void {
    if (this.over) return
    this.over = true
    // A stream that is destroyed in the middle of a 'data' would empty its buffer first.
    this.duplex.pause()
    this.duplex.destroy()
    if (this.closed) this.signal()
  }

  /**
   * Hands the stream on to whoever speaks another protocol through it; what was put
   * back is in it. From now on this flow can only be destroyed.
   */
  release(): Duplex {
    this.forget()
    // A stream that has ended takes nothing back; nobody speaks through one, either.
    if (!this.ended) for (const bytes of this.held.reverse()) this.duplex.unshift(bytes)
    return this.duplex
  }

  private start(): void {
    if (this.ended || this.closed || this.over || this.held.length > 0) this.signal()
    else this.read()
  }

  private read(): void {
    if (this.resumed && this.handler !== nobody) this.duplex.resume()
  }

  /** Takes bytes of memory that is shared with others. */
  take(bytes: Uint8Array): void {
    expectMore(bytes.length)
    if (this.resumed) {
      this.handler.data(this.handler.borrows ? bytes : copy(bytes))
    } else {
      // A stream that was paused in the turn in which it was resumed begins to read all the same.
      this.held.push(copy(bytes))
      this.duplex.pause()
    }
  }

  private readonly onEnd = (): void => {
    this.ended = true
    this.tell()
  }

  private readonly onWritten = (error: Error | null | undefined): void => {
    if (!this.awaitsDrain || this.over || error || this.duplex.writableLength > 0) return
    this.awaitsDrain = false
    this.handler.drain()
  }

  private readonly onError = (error: Error): void => {
    this.broke(error)
    // For a stream without autoDestroy; the others are on their way already.
    this.duplex.destroy()
  }

  private readonly onClose = (): void => {
    this.closed = true
    // Somebody else destroyed it, so no 'end' will come.
    if (!this.ended) this.over = true
    // A closed stream emits no error: nobody is left to be surprised by one.
    this.forget()
    this.tell()
  }

  private forget(): void {
    if (this.onData !== undefined) this.duplex.removeListener("data", this.onData)
    this.duplex.removeListener("end", this.onEnd)
    this.duplex.removeListener("close", this.onClose)
    this.duplex.removeListener("error", this.onError)
  }

  private broke(error: Error): void {
    if (this.over) return
    this.over = true
    const syscall = stringOf(error, "syscall")
    const code = stringOf(error, "code")
    this.error = new IoError({
      operation: code === "EPIPE" || syscall?.startsWith("write") || syscall === "shutdown" ? "write" : "read",
      address: formatAddress(this.remoteAddress),
      cause: error,
      ...(code === undefined ? undefined : { code })
    })
  }

  private signal(): void {
    if (this.signalled) return
    this.signalled = true
    queueMicrotask(() => {
      this.signalled = false
      this.tell()
    })
  }

  /**
   * Tells what has happened and may be told now, in order: bytes put back, the
   * end, the close. A clean close waits until its end may be told, that is,
   * until the flow is resumed.
   */
  private tell(): void {
    if (this.handler === nobody) return
    while (this.resumed && !this.over) {
      const bytes = this.held.shift()
      if (bytes === undefined) break
      this.handler.data(bytes)
    }
    if (!this.ended && !this.closed && !this.over && this.held.length === 0) this.read()
    if (this.ended && !this.toldEnd && this.resumed && !this.over && this.held.length === 0) {
      this.toldEnd = true
      this.handler.end()
    }
    if (this.closed && !this.toldClose && (this.over || this.toldEnd)) {
      this.toldClose = true
      this.held = []
      this.handler.close(this.error)
    }
  }
}

const copy = (bytes: Uint8Array): Uint8Array => Uint8Array.prototype.slice.call(bytes)

const addressOf = (hostname: string | undefined, port: number | undefined): Address =>
  hostname === undefined || port === undefined
    ? { _tag: "UnixAddress", path: "" }
    : { _tag: "TcpAddress", hostname, port }
