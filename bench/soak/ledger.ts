// What must hold of numbered messages that come back: each, once, in order, unharmed.

import type { WebSocket } from "effect-websocket"

/** Words, so that there is something to compress. */
const filler = Array.from({ length: 300_000 }, (_, at) => `${(at * 2654435761) % 9973} `).join("")
const fillerBytes = Buffer.from(filler, "latin1")
const places = 50_000

/** The message of this number, of about this size: even ones are text, odd ones bytes. */
export const message = (number: number, size: number): WebSocket.Message => {
  const from = (number * 7919) % places
  const head = `${number}:`
  return number % 2 === 0
    ? head + filler.slice(from, from + size)
    : Buffer.concat([Buffer.from(head), fillerBytes.subarray(from, from + size)])
}

const numberOf = (received: WebSocket.Message): number =>
  Number.parseInt(
    typeof received === "string" ? received.slice(0, 12) : Buffer.from(received.subarray(0, 12)).toString("latin1"),
    10
  )

const same = (a: WebSocket.Message, b: WebSocket.Message): boolean =>
  typeof a === "string" || typeof b === "string" ? a === b : Buffer.compare(a, b) === 0

export interface Faults {
  readonly lost: number
  readonly reordered: number
  readonly duplicated: number
  readonly damaged: number
}

/** The book of one connection. */
export class Ledger {
  private sentCount = 0
  private highest = -1
  private readonly missing = new Set<number>()
  private reordered = 0
  private duplicated = 0
  private damaged = 0
  /** How large each message is: a function of its number, so that nothing has to be kept. */
  constructor(private readonly sizeOf: (number: number) => number) {}

  get sent(): number {
    return this.sentCount
  }

  get received(): number {
    return this.highest + 1 - this.missing.size
  }

  next(): WebSocket.Message {
    const number = this.sentCount++
    return message(number, this.sizeOf(number))
  }

  receive(received: WebSocket.Message): void {
    const number = numberOf(received)
    if (!(number >= 0 && number < this.sentCount) || !same(received, message(number, this.sizeOf(number)))) {
      this.damaged++
    } else if (number > this.highest) {
      for (let gap = this.highest + 1; gap < number; gap++) this.missing.add(gap)
      this.highest = number
    } else if (this.missing.delete(number)) {
      this.reordered++
    } else {
      this.duplicated++
    }
  }

  /** `whole` if the connection stayed until all had to be back; else what is behind the last echo is nobody's fault. */
  faults(whole: boolean): Faults {
    const tail = whole ? this.sentCount - 1 - this.highest : 0
    return {
      lost: this.missing.size + tail,
      reordered: this.reordered,
      duplicated: this.duplicated,
      damaged: this.damaged
    }
  }
}
