// The connection as a state machine: RFC 6455 sections 5, 7 and 8 for either role.
//
// Bytes go in by `receive`, what they mean comes out through `Events`, and what is
// to be sent gathers in `output`. Nothing here does I/O, waits, or throws.
//
// Laws:
// 1. Whatever bytes come in, `receive` returns. It ends with all of them consumed,
//    or with an outcome.
// 2. There is at most one outcome, and after it no event and no frame but the one
//    Close that belongs to it.
// 3. At most one Close frame is sent, and no frame after it (RFC 6455 5.5.1).
// 4. Every message is delivered once, in order, and only if it was whole, valid and
//    within the limits.
// 5. Bytes held are at most the size of one message, within a constant factor.

import * as CloseCode from "../CloseCode.js"
import { Assembly, own } from "./assembly.js"
import { copyOf } from "./bytes.js"
import { type Close, checkClose, closePayload, fitReason, readClose, shortClose } from "./close.js"
import { Decoder, type FrameSink } from "./decoder.js"
import type { MessageExtension } from "./extension.js"
import * as Wire from "./frame.js"
import type { Output } from "./output.js"
import type { Prepared } from "./prepared.js"
import { interleaved, invalidText, reservedBits, strayContinuation } from "./rules.js"
import { type Message, Sender } from "./sender.js"
import { decodeUtf8, decodeValid, Utf8Validator } from "./utf8.js"
import { type Breach, breach, excess, type Violation } from "./violation.js"

export type { Message } from "./sender.js"

/** All in bytes, but for `maxFragments`. */
export interface Limits {
  readonly maxMessageSize: number
  readonly maxFrameSize: number
  /** Frames that one message may consist of; empty ones count. */
  readonly maxFragments: number
}

/** How a connection ended: closed, or failed because of what the peer sent. */
export type Outcome =
  | {
      readonly _tag: "Closed"
      /** What the peer's Close said: 1005 without a code, 1006 without a Close. */
      readonly code: number
      readonly reason: string
      readonly sentCode: number | undefined
      readonly initiator: "local" | "remote"
      readonly clean: boolean
    }
  | { readonly _tag: "Failed"; readonly violation: Violation }

/** What a connection has to tell. Runs inside `receive`. */
export interface Events {
  readonly message: (message: Message) => void
  /** Instead of `message`, once `frames` is on; control frames too. */
  readonly frame: (frame: Wire.Frame) => void
  readonly pong: (payload: Uint8Array) => void
  /** A Close is about to be queued; whatever is to leave before it has to be queued now. `failed`: RFC 6455 7.1.7. */
  readonly closing: (failed: boolean) => void
}

const empty = new Uint8Array(0)

// Pongs waiting beyond this many bytes are superseded by the latest (RFC 6455 5.5.3
// lets an endpoint answer only the most recent ping): a peer that sends pings and
// reads nothing gets one pong more, not a queue.
const maxPendingPongs = 64 * 1024

export class Connection implements FrameSink {
  /** What is to be sent. */
  readonly sender: Sender
  /** Set once the connection is over for the application. */
  outcome: Outcome | undefined = undefined
  /**
   * What the application takes: messages; frames; or frames whose payload is delivered as it
   * arrives, each piece as a frame of its own, which any intermediary is allowed to do (RFC 6455 5.4).
   */
  delivery: "messages" | "frames" | "pieces" = "messages"

  /** The code of the Close that was sent, if it had one. */
  sentCode: number | undefined = undefined

  private readonly decoder: Decoder
  private closeSent = false
  /** The Close or the violation that was found and not yet concluded. */
  private end: Close | Violation | undefined = undefined
  private closedFirst: "local" | "remote" = "remote"

  /** The opcode of the message under way, or 0. */
  private messageOpcode = 0
  /** What has to transform it back, if it was transformed. */
  private transforming: MessageExtension | undefined = undefined
  private messageSize = 0
  private fragments = 0
  /** Whether a frame of it was delivered. */
  private begun = false
  private assembly: Assembly | undefined = undefined
  private utf8: Utf8Validator | undefined = undefined

  /** The frame under way. */
  private fin = false
  private rsv = 0
  private opcode = 0
  private control: Assembly | undefined = undefined

  /** True while the transport takes no more; pongs then wait, the latest only. */
  private congested = false
  private latestPong: Uint8Array | undefined = undefined

  /** `nextKey` gives an unpredictable masking key (RFC 6455 10.3); a server never asks for one. */
  constructor(
    readonly role: Wire.Role,
    private readonly limits: Limits,
    private readonly events: Events,
    nextKey: () => number,
    private readonly extension: MessageExtension | undefined
  ) {
    this.sender = new Sender(role, nextKey, extension)
    this.decoder = new Decoder(role === "server", this)
  }

  get output(): Output {
    return this.sender.output
  }

  /** Whether messages can be sent: no Close was sent, and there is no outcome. */
  get isOpen(): boolean {
    return !this.closeSent && this.outcome === undefined
  }

  /** Whether a Close frame was sent. */
  get isClosing(): boolean {
    return this.closeSent
  }

  // ---------------------------------------------------------------- receiving

  /** Takes what the transport read; the chunk is unmasked in place. */
  receive(chunk: Uint8Array): void {
    this.consume(chunk)
    this.conclude()
  }

  /**
   * Like `receive`, but an end that the chunk brings is left for `conclude`. What is
   * sent before that, in answer to messages before the end, still leaves.
   */
  consume(chunk: Uint8Array): void {
    // RFC 6455 5.5.1: after a Close frame, nothing that follows counts.
    if (this.outcome !== undefined || this.end !== undefined) return
    const violation = this.decoder.push(chunk)
    if (violation === undefined) this.answerPing()
    else this.end ??= violation
  }

  /** Whether there is an end to conclude. */
  get ends(): boolean {
    return this.end !== undefined
  }

  /** Answers the end that was found with the Close frame that is due, and makes it the outcome. */
  conclude(): void {
    const { end } = this
    if (end === undefined) return
    this.end = undefined
    if (end._tag === "Close") this.onClose(end)
    else this.fail(end)
  }

  /** The transport will bring nothing more. */
  receiveEnd(): void {
    this.conclude()
    if (this.outcome !== undefined) return
    this.outcome = {
      _tag: "Closed",
      code: CloseCode.abnormal,
      reason: this.decoder.atBoundary ? "" : "the stream ended inside a frame",
      sentCode: this.sentCode,
      initiator: this.closeSent ? "local" : "remote",
      clean: false
    }
    this.release()
  }

  /** Changes what the application takes, in the middle of a message too: what is there of one is its first piece. */
  deliver(delivery: "frames" | "pieces"): void {
    this.delivery = delivery
    const { assembly } = this
    if (delivery === "frames" || this.transforming !== undefined || assembly === undefined) return
    if (assembly.size > 0 || !this.begun) this.deliverPart(assembly, false)
  }

  frameStarts(_fin: boolean, rsv: number, opcode: number): Violation | undefined {
    // RFC 6455 5.2: a nonzero RSV bit that no extension defines fails the connection. An extension's
    // bits stand on the first frame of a message (RFC 7692 6.1).
    const begins = opcode === Wire.text || opcode === Wire.binary
    if ((rsv & ~(begins ? (this.extension?.rsv ?? 0) : 0)) !== 0) return reservedBits
    if (Wire.isControl(opcode)) return undefined
    if (opcode === Wire.continuation) {
      if (this.messageOpcode === 0) return strayContinuation
    } else if (this.messageOpcode !== 0) {
      return interleaved
    } else {
      this.transforming = rsv === 0 ? undefined : this.extension
    }
    if (this.fragments >= this.limits.maxFragments) {
      return excess("fragments per message", this.limits.maxFragments, this.fragments + 1)
    }
    return undefined
  }

  frameDeclares(opcode: number, length: number): Violation | undefined {
    if (opcode === Wire.close && length === 1) return shortClose
    if (Wire.isControl(opcode)) return undefined
    const { maxFrameSize, maxMessageSize } = this.limits
    // What counts of a transformed message is what it was before. That may have been smaller, so as
    // yet it is held to the most that the largest one accepted can have become, which a limit on
    // frames stands in the way of only if it is the smaller one.
    const most = this.transforming === undefined ? maxMessageSize : this.transforming.bound(maxMessageSize)
    if (length > (maxFrameSize < maxMessageSize ? maxFrameSize : Math.max(maxFrameSize, most))) {
      return excess("frame size", maxFrameSize, length)
    }
    // By subtraction, so that no sum can lose precision.
    if (length > most - this.messageSize) return excess("message size", maxMessageSize, this.messageSize + length)
    return undefined
  }

  frameBegins(fin: boolean, rsv: number, opcode: number, length: number): void {
    this.fin = fin
    this.rsv = rsv
    this.opcode = opcode
    if (Wire.isControl(opcode)) return
    if (opcode !== Wire.continuation) this.messageOpcode = opcode
    this.messageSize += length
    this.fragments++
  }

  framePayload(bytes: Uint8Array, start: number, end: number, left: number): Violation | undefined {
    if (Wire.isControl(this.opcode)) return this.controlPayload(bytes, start, end, left)
    if (this.transforming !== undefined) return this.transformedPayload(this.transforming, bytes, start, end, left)
    const text = this.messageOpcode === Wire.text
    const last = left === 0
    // Most messages are one frame that lies whole in one chunk. Any other frame finds what its first one left: an assembly.
    if (last && this.fin && this.assembly === undefined && this.delivery === "messages") {
      this.endMessage()
      if (!text) {
        this.events.message(own(bytes, start, end))
        return undefined
      }
      const content = decodeUtf8(bytes, start, end)
      if (content === undefined) return invalidText
      this.events.message(content)
      return undefined
    }
    // RFC 6455 8.1: invalid UTF-8 fails the connection; here, at its first bad byte.
    if (text) {
      this.utf8 ??= new Utf8Validator()
      if (!this.utf8.push(bytes, start, end)) return invalidText
      if (last && this.fin && !this.utf8.complete) return invalidText
    }
    this.assembly ??= new Assembly()
    const pieces = this.delivery === "pieces"
    // What goes on as a part is complete with its frame, or at once.
    this.assembly.append(bytes, start, end, pieces ? 0 : left, this.fin || this.delivery !== "messages")
    if (!last && !pieces) return undefined
    if (this.delivery !== "messages") {
      const fin = last && this.fin
      this.deliverPart(this.assembly, fin)
      if (fin) this.endMessage()
    } else if (this.fin) {
      const payload = this.assembly.take()
      this.endMessage()
      this.events.message(text ? decodeValid(payload) : payload)
    }
    return undefined
  }

  /** What an extension has transformed has a meaning only as a whole. */
  private transformedPayload(
    extension: MessageExtension,
    bytes: Uint8Array,
    start: number,
    end: number,
    left: number
  ): Violation | undefined {
    let payload: Uint8Array
    if (left === 0 && this.fin && this.assembly === undefined) {
      payload = bytes.subarray(start, end)
    } else {
      this.assembly ??= new Assembly()
      this.assembly.append(bytes, start, end, left, this.fin)
      if (left > 0 || !this.fin) return undefined
      payload = this.assembly.take()
    }
    const opcode = this.messageOpcode
    this.endMessage()
    const decoded = extension.decode(payload, this.limits.maxMessageSize)
    if ("_tag" in decoded) return decoded
    const content = opcode === Wire.text ? decodeUtf8(decoded, 0, decoded.length) : decoded
    if (content === undefined) return invalidText
    if (this.delivery !== "messages")
      this.events.frame({ opcode: opcode === Wire.text ? opcode : Wire.binary, rsv: 0, fin: true, payload: decoded })
    else this.events.message(content)
    return undefined
  }

  /** Delivers what is there of a message; what came before frames were asked for is part of the first one. */
  private deliverPart(assembly: Assembly, fin: boolean): void {
    const opcode = this.begun ? Wire.continuation : this.messageOpcode
    this.begun = true
    this.deliverFrame(opcode, assembly.take(), fin)
  }

  private deliverFrame(opcode: number, payload: Uint8Array, fin: boolean): void {
    if (Wire.isOpcode(opcode)) this.events.frame({ opcode, rsv: this.rsv, fin, payload })
  }

  private endMessage(): void {
    this.messageOpcode = 0
    this.messageSize = 0
    this.fragments = 0
    this.begun = false
    this.assembly = undefined
  }

  private controlPayload(bytes: Uint8Array, start: number, end: number, left: number): Violation | undefined {
    let payload: Uint8Array
    if (left === 0 && this.control === undefined) {
      payload = end === start ? empty : copyOf(bytes, start, end)
    } else {
      this.control ??= new Assembly()
      this.control.append(bytes, start, end, left, true)
      if (left > 0) return undefined
      payload = this.control.take()
      this.control = undefined
    }
    const close = this.opcode === Wire.close ? readClose(payload) : undefined
    if (close?._tag === "Breach") return close
    if (this.delivery !== "messages") this.deliverFrame(this.opcode, payload, true)
    if (close !== undefined) {
      this.end = close
      this.closedFirst = this.closeSent ? "local" : "remote"
      return closed
    }
    if (this.opcode === Wire.ping) this.onPing(payload)
    else this.events.pong(payload)
    return undefined
  }

  private onPing(payload: Uint8Array): void {
    this.latestPong = payload
    if (this.output.size < maxPendingPongs) this.answerPing()
  }

  /** Queues the pong that waits, if it need wait no longer. */
  private answerPing(): void {
    const pong = this.latestPong
    // RFC 6455 5.5.2: a Pong in response, as soon as is practical, unless a Close was sent or received.
    if (pong === undefined || this.congested || this.closeSent) return
    this.latestPong = undefined
    this.sender.writeFrame(true, 0, Wire.pong, pong)
  }

  private onClose(close: Close): void {
    // RFC 6455 5.5.1: the answer echoes the code; none was given, none is sent.
    if (!this.closeSent) this.writeClose(close.code === CloseCode.noStatus ? undefined : close.code, "")
    this.outcome = {
      _tag: "Closed",
      code: close.code,
      reason: close.reason,
      sentCode: this.sentCode,
      initiator: this.closedFirst,
      clean: true
    }
    this.release()
  }

  /** RFC 6455 7.1.7: fail the connection. */
  private fail(violation: Violation): void {
    if (!this.closeSent) {
      const [code, reason] =
        violation._tag === "Breach"
          ? [violation.closeCode, violation.rule]
          : [CloseCode.messageTooBig, `${violation.which} is limited to ${violation.limit}`]
      this.writeClose(code, fitReason(reason), true)
    }
    this.outcome = { _tag: "Failed", violation }
    this.release()
  }

  /** What a finished connection needs no more. */
  private release(): void {
    this.endMessage()
    this.control = undefined
    this.latestPong = undefined
  }

  // ------------------------------------------------------------------ sending

  /**
   * Queues a whole message; `compress` is passed to the extension, if there is one. Only while
   * open. A breach if one that `sendFrame` began has not ended.
   */
  sendMessage(message: Message | Prepared, compress?: boolean | undefined): Breach | undefined {
    const breach = this.sender.checkMessage()
    if (breach === undefined) this.sender.writeMessage(message, compress)
    return breach
  }

  /**
   * Queues a frame as it is; a breach, and nothing is queued, if that would break
   * the protocol. A Close counts as `sendClose`. Only while open.
   */
  sendFrame(frame: Wire.Frame): Breach | undefined {
    const breach = this.sender.checkFrame(frame)
    if (breach !== undefined) return breach
    if (frame.opcode !== Wire.close) {
      this.sender.writeFrame(frame.fin, 0, frame.opcode, frame.payload)
      return undefined
    }
    const close = readClose(frame.payload)
    if (close._tag === "Breach") return close
    this.writeClose(close.code === CloseCode.noStatus ? undefined : close.code, close.reason)
    return undefined
  }

  /** Queues a ping; at most 125 bytes. Only while open. */
  sendPing(payload: Uint8Array): void {
    this.sender.writeFrame(true, 0, Wire.ping, payload)
  }

  /** Queues a Close frame; without a code an empty one. A breach if code or reason can't be sent. */
  sendClose(code: number | undefined, reason: string): Breach | undefined {
    const unsendable = checkClose(code, reason)
    if (unsendable !== undefined) return unsendable
    if (this.isOpen) this.writeClose(code, reason)
    return undefined
  }

  /** Tells whether the transport takes more. When it does again, the pong that waited is queued. */
  setCongested(congested: boolean): void {
    this.congested = congested
    this.answerPing()
  }

  private writeClose(code: number | undefined, reason: string, failed = false): void {
    this.events.closing(failed)
    this.closeSent = true
    this.sentCode = code
    this.sender.writeFrame(true, 0, Wire.close, closePayload(code, reason))
  }
}

/** Ends the decoder after a Close frame; never seen outside. */
const closed: Breach = breach(CloseCode.normal, "closed")
