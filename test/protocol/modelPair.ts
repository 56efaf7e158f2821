// The state machine of `src/protocol`, two of them, with wires between them: what `model.ts` is a model of.

import { Connection, type Outcome as RealOutcome } from "../../src/protocol/connection.js"
import { join, wire } from "../fixtures/bytes.js"
import { type Action, codes, type Item, isOpen, type Outcome, other, type Side, type State, sides } from "./model.js"

interface Sent {
  readonly item: Item
  readonly bytes: Uint8Array
}

/** The payloads of a message's two fragments. */
type Fragments = readonly [string, string]

const outcomeOf = (outcome: RealOutcome | undefined): Outcome | undefined => {
  if (outcome?._tag !== "Failed") return outcome
  const { violation } = outcome
  return { _tag: "Failed", code: violation._tag === "Breach" ? violation.closeCode : 1009 }
}

const itemOf = (opcode: number, payload: Uint8Array): Item => {
  switch (opcode) {
    case 0:
      return "rest"
    case 1:
      return "begin"
    case 8:
      return ((payload[0] ?? 0) << 8) | (payload[1] ?? 0)
    case 9:
      return "ping"
    default:
      return "pong"
  }
}

/** The frames that bytes consist of. */
const framesOf = (bytes: Uint8Array): ReadonlyArray<Sent> => {
  const found: Array<Sent> = []
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; at < bytes.length; ) {
    const declared = view.getUint8(at + 1) & 0x7f
    const extended = declared === 126 ? 2 : declared === 127 ? 8 : 0
    const length = extended === 2 ? view.getUint16(at + 2) : extended === 8 ? view.getUint32(at + 6) : declared
    // The keys are zero.
    const start = at + 2 + extended + (view.getUint8(at + 1) >= 0x80 ? 4 : 0)
    const end = start + length
    found.push({ item: itemOf(view.getUint8(at) & 0xf, bytes.subarray(start, end)), bytes: bytes.slice(at, end) })
    at = end
  }
  return found
}

/** Two machines, and the wires between them. */
export class Pair {
  private readonly delivered: Record<Side, Array<unknown>> = { client: [], server: [] }
  private readonly wires: Record<Side, Array<Sent>> = { client: [], server: [] }
  /** Bytes of the next item that are delivered. */
  private readonly torn: Record<Side, number> = { client: 0, server: 0 }
  private readonly ended: Record<Side, boolean> = { client: false, server: false }
  private readonly ends: Record<Side, Connection>
  /** What no model foresees. */
  private readonly problems: Array<string> = []

  constructor(private readonly fragments: Fragments = ["a", "b"]) {
    const end = (side: Side) =>
      new Connection(
        side,
        { maxMessageSize: 1e6, maxFrameSize: 1e6, maxFragments: 10 },
        { message: (message) => this.delivered[side].push(message), frame() {}, pong() {}, closing() {} },
        () => 0,
        undefined
      )
    this.ends = { client: end("client"), server: end("server") }
  }

  do(action: Action): void {
    switch (action._tag) {
      case "begin":
      case "rest": {
        const [first, last] = this.fragments
        const [opcode, payload] = action._tag === "begin" ? ([1, first] as const) : ([0, last] as const)
        const frame = { opcode, rsv: 0, fin: opcode === 0, payload: Buffer.from(payload) }
        if (this.ends[action.by].sendFrame(frame) !== undefined) this.problems.push("a fragment was refused")
        break
      }
      case "ping":
        this.ends[action.by].sendPing(new Uint8Array(0))
        break
      case "close":
        this.ends[action.by].sendClose(codes[action.by], "")
        break
      case "nonsense": {
        const bytes = wire(3, "", { key: action.from === "client" ? 0 : undefined })
        this.put(action.from, { item: "nonsense", bytes })
        break
      }
      case "end":
        this.put(action.from, { item: "end", bytes: new Uint8Array(0) })
        this.ended[action.from] = true
        break
      case "first byte":
        this.bring(action.from, 1)
        break
      case "deliver":
        this.bring(action.from, (this.wires[action.from][0]?.bytes.length ?? 0) - this.torn[action.from])
        break
      case "cut":
        for (const side of sides) {
          this.wires[side] = []
          this.ended[side] = true
        }
        for (const side of sides) this.ends[side].receiveEnd()
        break
    }
    this.collect()
  }

  /** Delivers so many bytes in one read, or the end if it is next. Answers how many items that made whole. */
  private bring(from: Side, size: number): { readonly whole: number; readonly torn: boolean } {
    const wire = this.wires[from]
    const to = this.ends[other(from)]
    const read: Array<Uint8Array> = []
    let left = size
    let whole = 0
    for (let head = wire[0]; head !== undefined && head.item !== "end"; head = wire[0]) {
      const piece = head.bytes.slice(this.torn[from], this.torn[from] + left)
      read.push(piece)
      left -= piece.length
      this.torn[from] += piece.length
      if (this.torn[from] < head.bytes.length) break
      this.torn[from] = 0
      wire.shift()
      whole++
    }
    if (read.length > 0) to.receive(join(...read))
    if (whole === 0 && wire[0]?.item === "end") {
      wire.shift()
      whole++
      to.receiveEnd()
    }
    return { whole, torn: this.torn[from] > 0 }
  }

  /** `bring`, and what comes of it. */
  read(from: Side, size: number): { readonly whole: number; readonly torn: boolean } {
    const brought = this.bring(from, size)
    this.collect()
    return brought
  }

  private put(from: Side, sent: Sent): void {
    if (!this.ended[from]) this.wires[from].push(sent)
  }

  /** Puts what was said on the wires. */
  private collect(): void {
    for (const side of sides) {
      const { output } = this.ends[side]
      if (output.size > 0) for (const sent of framesOf(join(...output.take()))) this.put(side, sent)
    }
    for (const side of sides) if (this.ends[side].outcome !== undefined) this.ignore(side)
  }

  /** The model has nothing on its way to an end that is over; here that is delivered, and must change nothing. */
  private ignore(side: Side): void {
    const from = other(side)
    const end = this.ends[side]
    for (const { bytes, item } of this.wires[from].splice(0)) {
      if (item === "end") end.receiveEnd()
      else end.receive(bytes.slice(this.torn[from]))
      this.torn[from] = 0
    }
    this.torn[from] = 0
    if (end.output.size > 0) this.problems.push("something is said after the end")
  }

  /** What there is to see, as one string. */
  seen(): string {
    return JSON.stringify(
      sides.map((side) => {
        const { isOpen, outcome, sentCode } = this.ends[side]
        const [first, last] = this.fragments
        const whole = this.delivered[side].length === 1 && this.delivered[side][0] === first + last
        const found = this.delivered[side].length === 0 ? "none" : whole ? "whole" : "wrong"
        const delivered = [found, ...this.problems].join(", ")
        const said = this.wires[side].map(({ item }) => item)
        return seen(isOpen, sentCode, outcomeOf(outcome), delivered, said, this.torn[side] > 0)
      })
    )
  }
}

const seen = (
  ...all: readonly [boolean, number | undefined, Outcome | undefined, string, ReadonlyArray<Item>, boolean]
) => {
  const [open, sentCode, outcome, delivered, said, torn] = all
  const told =
    outcome?._tag === "Closed"
      ? [outcome.code, outcome.reason, outcome.sentCode, outcome.initiator, outcome.clean]
      : [outcome?.code]
  return { open, sentCode, told, delivered, said, torn }
}

/** What there is to see of the model, in the same words. */
export const seenOfModel = ({ ends, torn, wires }: State): string =>
  JSON.stringify(
    sides.map((side) => {
      const { incoming, outcome, sentCode } = ends[side]
      const delivered = incoming === "delivered" ? "whole" : "none"
      return seen(isOpen(ends[side]), sentCode, outcome, delivered, wires[side], torn[side])
    })
  )
