// Pings whose pongs are awaited.

import { uint32At, writeUint32 } from "../protocol/bytes.js"

/** Told once: whether the pong came, or the connection ended without it. */
export type Settle = (answered: boolean) => void

interface Pending {
  readonly number: number
  readonly settle: Settle
}

/** Each ping carries a number of its own, so that its pong can be told from others. */
export class Pings {
  private pending: Array<Pending> = []
  private last = 0

  /** Expects one more pong: for a ping with this payload. */
  expect(settle: Settle): { readonly payload: Uint8Array; readonly forget: () => void } {
    this.last = (this.last + 1) >>> 0
    const ping: Pending = { number: this.last, settle }
    const payload = new Uint8Array(4)
    writeUint32(payload, 0, ping.number)
    this.pending.push(ping)
    return {
      payload,
      forget: () => {
        this.pending = this.pending.filter((each) => each !== ping)
      }
    }
  }

  /** RFC 6455 5.5.3: a peer may answer only the latest of several pings, so a pong answers those before its own too. */
  pong(payload: Uint8Array): void {
    if (payload.length !== 4) return
    const number = uint32At(payload, 0)
    const at = this.pending.findIndex((ping) => ping.number === number)
    for (const { settle } of this.pending.splice(0, at + 1)) settle(true)
  }

  /** No pong will come any more. */
  end(): void {
    for (const { settle } of this.pending.splice(0)) settle(false)
  }
}
