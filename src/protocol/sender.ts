// The sending half of a connection: messages and frames become bytes, by the rules of RFC 6455 sections 5.1 to 5.4.

import type { MessageExtension } from "./extension.js"
import * as Wire from "./frame.js"
import { Output } from "./output.js"
import { Prepared } from "./prepared.js"
import { interleaved, invalidText, reservedBits, strayContinuation } from "./rules.js"
import { Utf8Validator } from "./utf8.js"
import type { Breach } from "./violation.js"

/** A message: text is a string, binary is bytes. */
export type Message = string | Uint8Array

const encoder = new TextEncoder()

export class Sender {
  readonly output = new Output()
  /** The opcode of the message that was begun in frames and has not ended, or 0. */
  private begun = 0
  private utf8: Utf8Validator | undefined = undefined

  /** `nextKey` gives an unpredictable masking key (RFC 6455 10.3); a server never asks for one. */
  constructor(
    private readonly role: Wire.Role,
    private readonly nextKey: () => number,
    private readonly extension: MessageExtension | undefined
  ) {}

  /** A breach if no message can begin: one that was sent in frames has not ended. */
  checkMessage(): Breach | undefined {
    return this.begun === 0 ? undefined : interleaved
  }

  /** Queues a message that was checked. */
  writeMessage(message: Message | Prepared, compress?: boolean | undefined): void {
    if (typeof message === "string") {
      if (this.extension?.applies(message.length, compress)) this.writeTransformed(message, this.extension)
      else this.output.text(message, this.key())
    } else if (message instanceof Prepared) {
      this.writePrepared(message, compress)
    } else if (this.extension?.applies(message.length, compress)) {
      this.writeTransformed(message, this.extension)
    } else {
      this.output.binary(message, this.key())
    }
  }

  private writePrepared(prepared: Prepared, compress: boolean | undefined): void {
    const frame = this.frameOf(prepared, compress)
    if (frame === undefined) this.writeMessage(prepared.message, compress)
    else this.output.made(frame)
  }

  /** The frame that was prepared, if it is one for this connection. */
  frameOf(prepared: Prepared, compress: boolean | undefined): Uint8Array | undefined {
    // RFC 6455 5.3: each frame of a client is masked with a key of its own.
    if (this.role === "client") return undefined
    return this.extension?.applies(prepared.message.length, compress)
      ? prepared.frameBy(this.extension)
      : prepared.frame
  }

  private writeTransformed(message: Message, extension: MessageExtension): void {
    const [opcode, payload] = encoded(message)
    this.output.frame(true, extension.rsv, opcode, extension.encode(payload), this.key())
  }

  /** What the frames of a message consist of, for whoever cuts it. */
  encodeMessage(
    message: Message | Prepared,
    compress: boolean | undefined
  ): { readonly opcode: number; readonly rsv: number; readonly payload: Uint8Array } {
    const content = message instanceof Prepared ? message.message : message
    const [opcode, payload] = encoded(content)
    return this.extension?.applies(content.length, compress)
      ? { opcode, rsv: this.extension.rsv, payload: this.extension.encode(payload) }
      : { opcode, rsv: 0, payload }
  }

  /** A breach if a frame would break the protocol behind those that were checked before it. */
  checkFrame(frame: Wire.Frame): Breach | undefined {
    if (frame.rsv !== 0) return reservedBits
    const malformed = Wire.checkStart(frame.fin, frame.opcode) ?? Wire.checkLength(frame.opcode, frame.payload.length)
    if (malformed !== undefined || Wire.isControl(frame.opcode)) return malformed
    return this.checkFragment(frame)
  }

  /** Queues a frame that was checked, or that is part of a message. */
  writeFrame(fin: boolean, rsv: number, opcode: number, payload: Uint8Array): void {
    this.output.frame(fin, rsv, opcode, payload, this.key())
  }

  /** The rules of fragmentation and text, for what we send. */
  private checkFragment(frame: Wire.Frame): Breach | undefined {
    if (frame.opcode === Wire.continuation) {
      if (this.begun === 0) return strayContinuation
    } else if (this.begun !== 0) {
      return interleaved
    }
    const opcode = this.begun === 0 ? frame.opcode : this.begun
    if (opcode === Wire.text) {
      const utf8 = this.utf8?.copy() ?? new Utf8Validator()
      const valid = utf8.push(frame.payload, 0, frame.payload.length) && (!frame.fin || utf8.complete)
      if (!valid) return invalidText
      this.utf8 = frame.fin ? undefined : utf8
    }
    this.begun = frame.fin ? 0 : opcode
    return undefined
  }

  private key(): number | undefined {
    return this.role === "client" ? this.nextKey() : undefined
  }
}

const encoded = (message: Message): readonly [opcode: number, payload: Uint8Array] =>
  typeof message === "string" ? [Wire.text, encoder.encode(message)] : [Wire.binary, message]
