// From the fields of a head to the headers that an application sees.

import * as Headers from "@effect/platform/Headers"
import { type Fields, requestReader } from "../protocol/head.js"

/**
 * Fields of one name are one list (RFC 9110 5.3), except Set-Cookie, which is no
 * list and may hold commas (RFC 6265 3): its values are separated by a line feed,
 * which no field can hold.
 */
export const headersOf = ({ pairs }: Fields): Headers.Headers => {
  const values = new Map<string, string>()
  for (const [name, value] of pairs) {
    const before = values.get(name)
    const separator = name === "set-cookie" ? "\n" : ", "
    values.set(name, before === undefined ? value : before + separator + value)
  }
  return Headers.fromInput(values)
}

/** The headers in the text of a request that was read before. */
export const headersIn = (text: string): Headers.Headers => {
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0))
  const read = requestReader({ maxBytes: bytes.length, maxHeaders: bytes.length }).push(bytes)
  return read?._tag === "Complete" ? headersOf(read.head.fields) : Headers.empty
}
