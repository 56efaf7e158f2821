// How many connections a server lets in.

import type * as Flow from "../Flow.js"
import { type Refusal, refusalOf } from "../protocol/head.js"
import { parseIp } from "../protocol/ip.js"

/** Connections that are being told that there is no room. Beyond so many there is no room for that either. */
const maxTurnedAway = 1_000

/** Counts connections, altogether and by address. */
export class Admission {
  /** Those that were let in, in their opening handshake or beyond. */
  open = 0
  private turnedAway = 0
  private readonly byAddress = new Map<string, number>()

  constructor(
    private readonly max: number,
    private readonly maxPerAddress: number
  ) {}

  /**
   * Lets one in, if there is room: counted until `leave`. Those without are counted apart, so
   * that a crowd at the door takes no place inside; `undefined` if not even a refusal can be afforded.
   */
  enter(): { readonly refusal: Refusal | undefined; readonly leave: () => void } | undefined {
    if (this.open < this.max) {
      this.open++
      return { refusal: undefined, leave: () => void this.open-- }
    }
    if (this.turnedAway >= maxTurnedAway) return undefined
    this.turnedAway++
    return { refusal: refusalOf(503, "the server has no room left"), leave: () => void this.turnedAway-- }
  }

  /**
   * Lets one in from an address; answers how to count it out again. This machine's own
   * programs are no strangers, and a proxy among them speaks for many.
   */
  enterFrom(address: Flow.Address): Refusal | (() => void) {
    const name = address._tag === "TcpAddress" ? networkOf(address.hostname) : undefined
    if (name === undefined) return notCounted
    const count = (this.byAddress.get(name) ?? 0) + 1
    if (count > this.maxPerAddress) {
      return refusalOf(429, "this address has as many connections as it may have")
    }
    this.byAddress.set(name, count)
    return () => {
      const left = (this.byAddress.get(name) ?? 1) - 1
      if (left === 0) this.byAddress.delete(name)
      else this.byAddress.set(name, left)
    }
  }
}

const notCounted = () => {}

/** RFC 4291 2.5.5.2: IPv4 inside of IPv6. */
const mappedPrefix = "0,0,0,0,0,0,0,0,0,0,255,255"
/** RFC 4291 2.5.3. */
const loopback = "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1"

/** What counts as one address: of IPv6 the first 64 bits, for that is the least that anybody is given. */
const networkOf = (hostname: string): string | undefined => {
  const zone = hostname.indexOf("%")
  const ip = parseIp(zone < 0 ? hostname : hostname.slice(0, zone))
  if (ip === undefined) return hostname === "localhost" ? undefined : hostname
  const v4 = ip.length === 4 ? ip : ip.subarray(0, 12).join() === mappedPrefix ? ip.subarray(12) : undefined
  if (v4 === undefined) return ip.join() === loopback ? undefined : `${ip.subarray(0, 8).join()}/64`
  return v4[0] === 127 ? undefined : v4.join(".")
}
