// What was received, for an application that takes frames.

import { Assembly } from "../protocol/assembly.js"
import type { Message } from "../protocol/connection.js"
import * as Wire from "../protocol/frame.js"
import { decodeValid } from "../protocol/utf8.js"

const frameOverhead = 64
const encoder = new TextEncoder()

/** A piece of a message. */
export interface Piece {
  readonly text: boolean
  readonly bytes: Uint8Array
  /** Nothing of the message follows. */
  readonly last: boolean
}

/** Frames in order, and the messages or pieces that they make for whoever asks for those. */
export class FrameQueue {
  private readonly queue: Array<Wire.Frame> = []
  private readonly assembly = new Assembly()
  private opcode: number = Wire.continuation
  /** A message was taken in pieces, and its last one wasn't. */
  private open = false
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

  take(): Wire.Frame | undefined {
    const frame = this.queue.shift()
    if (frame !== undefined) this.weight -= frame.payload.length + frameOverhead
    return frame
  }

  /** The next message, if all of its frames are there. Control frames on the way are passed over. */
  takeMessage(): Message | undefined {
    if (!this.skipRest()) return undefined
    for (let frame = this.takeData(); frame !== undefined; frame = this.takeData()) {
      this.assembly.append(frame.payload, 0, frame.payload.length)
      if (!frame.fin) continue
      const payload = this.assembly.take()
      return this.opcode === Wire.text ? decodeValid(payload) : payload
    }
    return undefined
  }

  /** The first piece of the next message; what nobody took of the one before is dropped. */
  takeFirstPiece(): Piece | undefined {
    return this.skipRest() ? this.takePiece() : undefined
  }

  /** The next piece of the message under way: all that is there of it. */
  takePiece(): Piece | undefined {
    let last = false
    let found = false
    while (!last) {
      const frame = this.takeData()
      if (frame === undefined) break
      found = true
      last = frame.fin
      this.assembly.append(frame.payload, 0, frame.payload.length)
    }
    if (!found) return undefined
    this.open = !last
    return { text: this.opcode === Wire.text, bytes: this.assembly.take(), last }
  }

  /** Drops what is left of a message that was begun in pieces; false if not all of it is there yet. */
  private skipRest(): boolean {
    while (this.open) {
      const frame = this.takeData()
      if (frame === undefined) return false
      this.open = !frame.fin
    }
    return true
  }

  private takeData(): Wire.Frame | undefined {
    for (let frame = this.take(); frame !== undefined; frame = this.take()) {
      if (Wire.isControl(frame.opcode)) continue
      if (frame.opcode !== Wire.continuation) this.opcode = frame.opcode
      return frame
    }
    return undefined
  }

  clear(): void {
    this.queue.length = 0
    this.assembly.clear()
    this.open = false
    this.weight = 0
  }
}
