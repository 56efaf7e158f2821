// What was received, for an application that takes frames.

import { Assembly } from "../protocol/assembly.js"
import type { Message } from "../protocol/connection.js"
import * as Wire from "../protocol/frame.js"
import { decodeValid } from "../protocol/utf8.js"

const frameOverhead = 64
const encoder = new TextEncoder()

/** Frames in order, and the messages that they make for whoever asks for one in between. */
export class FrameQueue {
  private readonly queue: Array<Wire.Frame> = []
  private readonly assembly = new Assembly()
  private opcode: number = Wire.continuation
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
    for (let frame = this.take(); frame !== undefined; frame = this.take()) {
      if (Wire.isControl(frame.opcode)) continue
      if (frame.opcode !== Wire.continuation) this.opcode = frame.opcode
      this.assembly.append(frame.payload, 0, frame.payload.length)
      if (!frame.fin) continue
      const payload = this.assembly.take()
      return this.opcode === Wire.text ? decodeValid(payload) : payload
    }
    return undefined
  }

  clear(): void {
    this.queue.length = 0
    this.assembly.clear()
    this.weight = 0
  }
}
