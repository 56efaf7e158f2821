// What was received, for an application that takes frames.

import { Assembly } from "../protocol/assembly.js"
import type { Message } from "../protocol/connection.js"
import * as Wire from "../protocol/frame.js"
import { decodeValid } from "../protocol/utf8.js"
import { Fifo } from "./fifo.js"

const frameOverhead = 64
const encoder = new TextEncoder()

/** A piece of a message. */
export interface Piece {
  /** The number of its message. */
  readonly message: number
  readonly text: boolean
  readonly bytes: Uint8Array
  /** Nothing of the message follows. */
  readonly last: boolean
}

/**
 * Frames in order, and the messages or pieces that they make for whoever asks for those. What is left of a message
 * that was begun in frames or in pieces is dropped by whoever asks for the next one in another way.
 */
export class FrameQueue {
  private readonly queue = new Fifo<Wire.Frame>()
  private readonly assembly = new Assembly()
  private opcode: number = Wire.continuation
  /** In what the message under way is taken: as a whole, the beginning of which is in the assembly; or it is dropped. */
  private taking: "nothing" | "whole" | "frames" | "pieces" | "rest" = "nothing"
  private messages = 0
  /** Estimated bytes held. */
  weight = 0

  get readable(): boolean {
    return this.queue.length > 0
  }

  push(frame: Wire.Frame): void {
    this.queue.push(frame)
    this.weight += frame.payload.length + frameOverhead
  }

  pushMessage(message: Message): void {
    this.push(
      typeof message === "string"
        ? { opcode: Wire.text, rsv: 0, fin: true, payload: encoder.encode(message) }
        : { opcode: Wire.binary, rsv: 0, fin: true, payload: message }
    )
  }

  /** The next frame. */
  take(): Wire.Frame | undefined {
    if (this.taking === "whole") return this.takeGathered()
    for (let frame = this.shift(); frame !== undefined; frame = this.shift()) {
      if (Wire.isControl(frame.opcode)) return frame
      const skipped: boolean = this.taking === "pieces" || this.taking === "rest"
      this.taking = frame.fin ? "nothing" : skipped ? "rest" : "frames"
      if (!skipped) return frame
    }
    return undefined
  }

  /** What somebody who wanted a whole message had gathered of it, and left behind: as one frame (RFC 6455 5.4). */
  private takeGathered(): Wire.Frame {
    this.taking = "frames"
    const opcode = this.opcode === Wire.text ? Wire.text : Wire.binary
    return { opcode, rsv: 0, fin: false, payload: this.assembly.take() }
  }

  /** The next message, if all of its frames are there. Control frames on the way are passed over. */
  takeMessage(): Message | undefined {
    if (!this.skipRest()) return undefined
    for (let frame = this.takeData(); frame !== undefined; frame = this.takeData()) {
      this.assembly.append(frame.payload, 0, frame.payload.length, 0, frame.fin)
      this.taking = frame.fin ? "nothing" : "whole"
      if (!frame.fin) continue
      const payload = this.assembly.take()
      return this.opcode === Wire.text ? decodeValid(payload) : payload
    }
    return undefined
  }

  /** The first piece of the next message. */
  takeFirstPiece(): Piece | undefined {
    return this.skipRest() ? this.gatherPiece(++this.messages, this.taking === "whole") : undefined
  }

  /** The next piece of a message: all that is there of it. */
  takePiece(message: number): Piece | "skipped" | undefined {
    return this.taking === "pieces" && message === this.messages ? this.gatherPiece(message, false) : "skipped"
  }

  private gatherPiece(message: number, begun: boolean): Piece | undefined {
    let found = begun
    let last = false
    while (!last) {
      const frame = this.takeData()
      if (frame === undefined) break
      found = true
      last = frame.fin
      this.assembly.append(frame.payload, 0, frame.payload.length, 0, frame.fin)
    }
    if (!found) return undefined
    this.taking = last ? "nothing" : "pieces"
    return { message, text: this.opcode === Wire.text, bytes: this.assembly.take(), last }
  }

  /** Drops what is left of a message that was taken in part; false if not all of it is there yet. */
  private skipRest(): boolean {
    if (this.taking === "nothing" || this.taking === "whole") return true
    this.taking = "rest"
    for (let frame = this.takeData(); frame !== undefined; frame = this.takeData()) {
      if (!frame.fin) continue
      this.taking = "nothing"
      return true
    }
    return false
  }

  private takeData(): Wire.Frame | undefined {
    for (let frame = this.shift(); frame !== undefined; frame = this.shift()) {
      if (Wire.isControl(frame.opcode)) continue
      if (frame.opcode !== Wire.continuation) this.opcode = frame.opcode
      return frame
    }
    return undefined
  }

  private shift(): Wire.Frame | undefined {
    const frame = this.queue.shift()
    if (frame !== undefined) this.weight -= frame.payload.length + frameOverhead
    return frame
  }

  clear(): void {
    this.queue.clear()
    this.assembly.clear()
    // Whoever takes pieces isn't to believe that somebody else has dropped the rest.
    if (this.taking !== "pieces") this.taking = "nothing"
    this.weight = 0
  }
}
