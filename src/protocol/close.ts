// The payload of a Close frame (RFC 6455 5.5.1): nothing, or a code and a reason.

import * as CloseCode from "../CloseCode.js"
import { byteAt } from "./bytes.js"
import { maxControlPayload } from "./frame.js"
import { decodeUtf8 } from "./utf8.js"
import { type Breach, breach } from "./violation.js"

const encoder = new TextEncoder()

/** A control frame's 125 bytes, less two for the code. */
const maxReason = maxControlPayload - 2

/** The payload of a Close frame; without a code it is empty. */
export const closePayload = (code: number | undefined, reason: string): Uint8Array => {
  if (code === undefined) return new Uint8Array(0)
  const text = encoder.encode(reason)
  const payload = new Uint8Array(2 + text.length)
  payload[0] = code >>> 8
  payload[1] = code
  payload.set(text, 2)
  return payload
}

/** As much of a reason as fits, cut between two code points. */
export const fitReason = (reason: string): string =>
  reason.slice(0, encoder.encodeInto(reason, new Uint8Array(maxReason)).read)

/** What a Close frame says; its code is 1005 if it has none. */
export interface Close {
  readonly _tag: "Close"
  readonly code: number
  readonly reason: string
}

/** A payload of one byte holds no code. */
export const shortClose = breach(
  CloseCode.protocolError,
  "a Close frame's payload must be empty or at least two bytes (RFC 6455 5.5.1)"
)

/** What a Close frame says, or the rule it breaks. */
export const readClose = (payload: Uint8Array): Breach | Close => {
  if (payload.length === 0) return { _tag: "Close", code: CloseCode.noStatus, reason: "" }
  if (payload.length === 1) return shortClose
  const code = (byteAt(payload, 0) << 8) | byteAt(payload, 1)
  if (!CloseCode.isSendable(code)) {
    return breach(CloseCode.protocolError, `close code ${code} must not be sent (RFC 6455 7.4)`)
  }
  const reason = decodeUtf8(payload, 2, payload.length)
  return reason === undefined
    ? breach(CloseCode.invalidPayload, "a close reason must be UTF-8 (RFC 6455 5.5.1)")
    : { _tag: "Close", code, reason }
}

/** Why a code and a reason can't be sent, or undefined if they can. */
export const checkClose = (code: number | undefined, reason: string): Breach | undefined => {
  if (code !== undefined && !CloseCode.isSendable(code)) {
    return breach(CloseCode.protocolError, `close code ${code} must not be sent (RFC 6455 7.4)`)
  }
  if (code === undefined && reason !== "") {
    return breach(CloseCode.protocolError, "a close reason needs a close code (RFC 6455 5.5.1)")
  }
  if (encoder.encode(reason).length > maxReason) {
    return breach(CloseCode.protocolError, `a close reason must be at most ${maxReason} bytes of UTF-8 (RFC 6455 5.5)`)
  }
  return undefined
}
