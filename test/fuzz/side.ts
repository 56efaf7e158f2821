// A state machine with an application that does as it likes, and the wire in front of it.

import { expect } from "@effect/vitest"
import { deflate } from "../../src/internal/deflate.js"
import { Connection, type Limits, type Message } from "../../src/protocol/connection.js"
import type { MessageExtension } from "../../src/protocol/extension.js"
import * as Wire from "../../src/protocol/frame.js"
import { latin1 } from "./observe.js"
import type { Random } from "./random.js"

export const limits: Limits = { maxMessageSize: 100_000, maxFrameSize: 100_000, maxFragments: 1000 }
const texts = ["", "a", "größer", "日本語 \u{1f680}", "\ufeff\uffff", "x".repeat(200)] as const

const inWords = (message: Message): string => (typeof message === "string" ? `t${message}` : `b${latin1(message)}`)

export class Side {
  readonly connection: Connection
  /** Messages that were sent whole, and those that came in. */
  readonly sent: Array<string> = []
  readonly received: Array<string> = []
  readonly pings: Array<string> = []
  readonly pongs: Array<string> = []
  /** Every byte that left, and how many of them arrived. */
  wire = new Uint8Array(0)
  arrived = 0
  reason = ""
  private key = 1
  private fragments: Array<Uint8Array> = []
  private fragmented = 0

  constructor(
    readonly role: Wire.Role,
    private readonly random: Random,
    extension: MessageExtension | undefined
  ) {
    this.connection = new Connection(
      role,
      limits,
      {
        message: (message) => {
          // What is handed out must not keep a chunk alive that it is a small part of.
          if (typeof message !== "string") expect(message.buffer.byteLength).toBeLessThanOrEqual(2 * message.length)
          this.received.push(inWords(message))
        },
        frame: () => {},
        pong: (payload) => this.pongs.push(latin1(payload)),
        closing() {}
      },
      () => {
        this.key = (Math.imul(this.key, 0x0019_660d) + 0x3c6e_f35f) >>> 0
        return this.key
      },
      extension
    )
  }

  /** Does one thing that an application may do. */
  act(): void {
    const { connection, random } = this
    if (!connection.isOpen) return
    switch (random.int(8)) {
      case 0:
      case 1:
        this.send(random.pick(texts))
        break
      case 2:
        this.send(random.bytes(random.oneIn(20) ? 70_000 : random.int(200)))
        break
      case 3:
      case 4:
        this.fragment()
        break
      case 5: {
        const payload = new Uint8Array(Buffer.from(`${this.role} ${this.pings.length}`))
        this.pings.push(latin1(payload))
        expect(connection.sendFrame({ opcode: Wire.ping, rsv: 0, fin: true, payload })).toBeUndefined()
        break
      }
      case 6:
        connection.sendFrame({ opcode: Wire.pong, rsv: 0, fin: true, payload: new Uint8Array([0x21]) })
        break
      default:
        connection.setCongested(random.oneIn(2))
    }
  }

  private send(message: Message): void {
    const breach = this.connection.sendMessage(message)
    // While a message is sent in fragments, no other can be.
    expect(breach === undefined).toBe(this.fragmented === 0)
    if (breach === undefined) this.sent.push(inWords(message))
  }

  private fragment(): void {
    const { random } = this
    const opcode = this.fragmented === 0 ? random.pick([Wire.text, Wire.binary] as const) : Wire.continuation
    if (this.fragmented === 0) this.fragmented = opcode
    const text = this.fragmented === Wire.text
    const payload = text ? new Uint8Array(Buffer.from(random.pick(texts))) : random.bytes(random.int(100))
    const fin = random.oneIn(3)
    this.fragments.push(payload)
    expect(this.connection.sendFrame({ opcode, rsv: 0, fin, payload })).toBeUndefined()
    if (!fin) return
    const whole = new Uint8Array(Buffer.concat(this.fragments.splice(0)))
    this.sent.push(text ? `t${Buffer.from(whole)}` : inWords(whole))
    this.fragmented = 0
  }

  close(): void {
    const { connection, random } = this
    if (!connection.isOpen) return
    const code = random.pick([undefined, 1000, 1001, 1011, 3000, 4999] as const)
    this.reason = code === undefined ? "" : random.pick(["", "bye", "größer"])
    expect(connection.sendClose(code, this.reason)).toBeUndefined()
  }

  flush(): void {
    this.wire = new Uint8Array(Buffer.concat([this.wire, ...this.connection.output.take()]))
  }

  get inFlight(): number {
    return this.wire.length - this.arrived
  }

  /** Lets some bytes arrive, now and then as a part of a larger buffer. */
  deliver(to: Side, most: number): void {
    const size = Math.min(most, this.inFlight)
    const bytes = this.wire.slice(this.arrived, this.arrived + size)
    this.arrived += size
    const offset = this.random.oneIn(4) ? this.random.int(5000) : 0
    const chunk = new Uint8Array(new ArrayBuffer(offset * 2 + size), offset, size)
    chunk.set(bytes)
    to.connection.receive(chunk)
    // What arrived is the receiver's no more: it may be overwritten.
    if (chunk.buffer.byteLength > 2 * size) chunk.fill(0xee)
  }
}

export const pairOf = (random: Random): readonly [Side, Side] => {
  if (random.oneIn(2)) return [new Side("client", random, undefined), new Side("server", random, undefined)]
  const options = {
    threshold: random.pick([0, 50]),
    serverNoContextTakeover: random.oneIn(2),
    clientNoContextTakeover: random.oneIn(2)
  }
  const support = deflate(options)
  const [offer] = support.offers
  const accepted = offer === undefined ? undefined : support.accept(offer)
  const confirmed = accepted === undefined ? "nothing was accepted" : support.confirm(accepted.response)
  if (accepted === undefined || typeof confirmed === "string") throw new Error(`no agreement: ${confirmed}`)
  return [new Side("client", random, confirmed), new Side("server", random, accepted.extension)]
}

/** Bytes in memory that a value keeps alive. */
export const retained = (value: unknown): number => {
  const seen = new Set<unknown>()
  let bytes = 0
  const visit = (each: unknown): void => {
    if (typeof each === "string") bytes += 2 * each.length
    if (typeof each !== "object" || each === null || seen.has(each)) return
    seen.add(each)
    if (each instanceof Uint8Array) visit(each.buffer)
    else if (each instanceof ArrayBuffer) bytes += each.byteLength
    else {
      bytes += 16
      for (const inner of Object.values(each)) visit(inner)
    }
  }
  visit(value)
  return bytes
}
