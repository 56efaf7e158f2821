// Addresses of the internet, from text.

import { byteAt } from "./bytes.js"

/** The 4 bytes of an IPv4 address, or the 16 of an IPv6 address without brackets; `undefined` for anything else. */
export const parseIp = (text: string): Uint8Array | undefined => (text.includes(":") ? parseV6(text) : parseV4(text))

const parseV4 = (text: string): Uint8Array | undefined => {
  const bytes = new Uint8Array(4)
  let start = 0
  for (let index = 0; index < 4; index++) {
    const end = index < 3 ? text.indexOf(".", start) : text.length
    const value = octetOf(text, start, end)
    if (value === undefined) return undefined
    bytes[index] = value
    start = end + 1
  }
  return bytes
}

/** A decimal number below 256. No leading zeros: some readers take them for octal, and two opinions on an address are one too many. */
const octetOf = (text: string, start: number, end: number): number | undefined => {
  const digits = end - start
  if (digits < 1 || (digits > 1 && text.charCodeAt(start) === zero)) return undefined
  let value = 0
  for (let at = start; at < end; at++) {
    const digit = text.charCodeAt(at) - zero
    if (!(digit >= 0 && digit <= 9)) return undefined
    value = 10 * value + digit
  }
  return value < 256 ? value : undefined
}

const zero = 0x30

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
