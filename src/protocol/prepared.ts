// A message for many connections: its frame is made once.

import type { MessageExtension } from "./extension.js"
import { binary, headerSize, text, writeHeader } from "./frame.js"

const encoder = new TextEncoder()

/**
 * A message and the frames that were made of it: the plain one, and one for each way in
 * which it was compressed. They go to any number of connections, but only from servers: what
 * a client sends is masked with a key of its own each time (RFC 6455 5.3).
 */
export class Prepared {
  private plain: Uint8Array | undefined
  private readonly transformed = new Map<string, Uint8Array>()

  /** Bytes, the message's own, must not change afterwards. */
  constructor(readonly message: string | Uint8Array) {}

  get length(): number {
    return this.message.length
  }

  /** The frame without an extension. */
  get frame(): Uint8Array {
    this.plain ??= this.framed(0, this.payload)
    return this.plain
  }

  /** The frame that an extension made; undefined if it makes another one for each connection. */
  frameBy(extension: MessageExtension): Uint8Array | undefined {
    const { manner } = extension
    if (manner === undefined) return undefined
    const found = this.transformed.get(manner)
    if (found !== undefined) return found
    const made = this.framed(extension.rsv, extension.encode(this.payload))
    this.transformed.set(manner, made)
    return made
  }

  private get payload(): Uint8Array {
    return typeof this.message === "string" ? encoder.encode(this.message) : this.message
  }

  private framed(rsv: number, payload: Uint8Array): Uint8Array {
    const { length } = payload
    const frame = new Uint8Array(headerSize(length, false) + length)
    const opcode = typeof this.message === "string" ? text : binary
    frame.set(payload, writeHeader(frame, 0, true, rsv, opcode, length, undefined))
    return frame
  }
}
