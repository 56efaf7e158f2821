// What the ways out of a connection's shapes have in common: when its end is a good one, and what
// a platform's reason for leaving says to the peer.

import * as CloseCode from "../CloseCode.js"
import { fitReason } from "../protocol/close.js"
import type { WebSocketError } from "../WebSocketError.js"

/** Whether a connection ended as a stream of messages ends: closed by both sides, with a code that says that all is well. */
export const endsWell = (error: WebSocketError): boolean =>
  error._tag === "ConnectionClosed" && error.clean && CloseCode.isClean(error.code)

/**
 * The code and the reason to close with for what a stream was cancelled, aborted or destroyed with: its
 * own, if it has some, as WHATWG's `WebSocketError` does. Codes that blame the peer are nobody's to choose there.
 */
export const closingFor = (reason: unknown, otherwise: number): readonly [code: number, reason: string] => {
  if (typeof reason !== "object" || reason === null || !("closeCode" in reason)) return [otherwise, ""]
  const { closeCode } = reason
  if (typeof closeCode !== "number" || !CloseCode.isSendable(closeCode)) return [otherwise, ""]
  if (closeCode !== CloseCode.normal && closeCode < 3000) return [otherwise, ""]
  return [closeCode, "reason" in reason && typeof reason.reason === "string" ? fitReason(reason.reason) : ""]
}
