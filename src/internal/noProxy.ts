// Which addresses are reached without a proxy: the list of the NO_PROXY variable.

import type { Address } from "../Flow.js"
import { byteAt } from "../protocol/bytes.js"
import { parseIp } from "../protocol/ip.js"
import { parseHost } from "../protocol/tokens.js"

/** A host as it was asked for. `ip` is there if it is an address, not a name. */
interface Host {
  readonly name: string
  readonly ip: Uint8Array | undefined
  readonly port: number
}

type Rule = (host: Host) => boolean

/**
 * Whether an address is on the list. Names are not resolved, so only addresses match
 * addresses. Sockets in the file system are reached without a proxy in any case.
 */
export const exempts = (list: string): ((address: Address) => boolean) => {
  const rules = list
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .map(ruleOf)
  return (address) => {
    if (address._tag === "UnixAddress") return true
    const name = address.hostname.toLowerCase().replace(/\.$/, "")
    const host = { name, ip: ipOf(name), port: address.port }
    return rules.some((rule) => rule(host))
  }
}

const never: Rule = () => false

const ruleOf = (entry: string): Rule => {
  if (entry === "*") return () => true
  const slash = entry.indexOf("/")
  if (slash >= 0) return networkOf(entry.slice(0, slash), entry.slice(slash + 1))
  // An IPv6 address may stand there without brackets; then its colons lead to no port.
  const parsed = ipOf(entry) === undefined ? parseHost(entry) : { hostname: entry, port: undefined }
  if (parsed === undefined) return never
  const ofHost = ruleOfHost(parsed.hostname)
  return (host) => (parsed.port === undefined || parsed.port === host.port) && ofHost(host)
}

const ruleOfHost = (hostname: string): Rule => {
  const ip = ipOf(hostname)
  if (ip !== undefined) return (host) => host.ip !== undefined && shares(host.ip, ip, ip.length * 8)
  // As curl has it: with a dot before it or not, a name stands for itself and all names below it.
  const name = hostname.replace(/^\*?\./, "").replace(/\.$/, "")
  return (host) => host.ip === undefined && `.${host.name}`.endsWith(`.${name}`)
}

const networkOf = (address: string, length: string): Rule => {
  const ip = parseIp(unbracketed(address))
  const bits = /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN
  if (ip === undefined || !(bits <= ip.length * 8)) return never
  return (host) => host.ip !== undefined && shares(host.ip, ip, bits)
}

/** Whether two addresses are of one family and begin with the same bits. */
const shares = (one: Uint8Array, other: Uint8Array, bits: number): boolean => {
  if (one.length !== other.length) return false
  for (let bit = 0; bit < bits; bit++) {
    const differing = byteAt(one, bit >> 3) ^ byteAt(other, bit >> 3)
    if ((differing & (0x80 >> (bit & 7))) !== 0) return false
  }
  return true
}

const unbracketed = (text: string): string => text.replace(/^\[(.*)\]$/, "$1")

const mappedV4 = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0)

/** An IPv4 address that is written as an IPv6 one (RFC 4291 2.5.5.2) is the IPv4 address. */
const ipOf = (text: string): Uint8Array | undefined => {
  const ip = parseIp(unbracketed(text))
  return ip !== undefined && shares(ip, mappedV4, 96) ? ip.subarray(12) : ip
}
