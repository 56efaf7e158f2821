// Addresses of the internet, from text.

import { byteAt } from "./bytes.js"

/** The 4 bytes of an IPv4 address, or the 16 of an IPv6 address without brackets; `undefined` for anything else. */
export const parseIp = (text: string): Uint8Array | undefined => (text.includes(":") ? parseV6(text) : parseV4(text))

const parseV4 = (text: string): Uint8Array | undefined => {
  const parts = text.split(".")
  // No leading zeros: some readers take them for octal, and two opinions on an address are one too many.
  const wellFormed = parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)
  return wellFormed ? Uint8Array.from(parts, Number) : undefined
}

/** RFC 4291 2.2: eight groups, of which `::` stands for one or more that are zero, and two may be an IPv4 address. */
const parseV6 = (text: string): Uint8Array | undefined => {
  const tail = text.lastIndexOf(":") + 1
  const v4 = text.includes(".") ? parseV4(text.slice(tail)) : undefined
  const halves = (v4 === undefined ? text : `${text.slice(0, tail)}${hex(v4, 0)}:${hex(v4, 2)}`).split("::")
  const groups = halves.map((half) => (half === "" ? [] : half.split(":")))
  const [head = [], rest = []] = groups
  const given = head.length + rest.length
  const complete = halves.length === 1 ? given === 8 : halves.length === 2 && given < 8
  if (!complete || !groups.flat().every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined
  const bytes = new Uint8Array(16)
  const put = (group: string, index: number) => {
    const value = Number.parseInt(group, 16)
    bytes[2 * index] = value >> 8
    bytes[2 * index + 1] = value & 255
  }
  head.forEach(put)
  rest.forEach((group, index) => {
    put(group, 8 - rest.length + index)
  })
  return bytes
}

const hex = (bytes: Uint8Array, at: number): string => ((byteAt(bytes, at) << 8) | byteAt(bytes, at + 1)).toString(16)
