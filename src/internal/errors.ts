// What the core reports, as the typed errors of the public API.

import * as CloseCode from "../CloseCode.js"
import type { Breach, Violation } from "../protocol/violation.js"
import { ConnectionClosed, IoError, PayloadTooLarge, ProtocolError, type WebSocketError } from "../WebSocketError.js"
import type { Ending } from "./engine.js"

export const fromEnding = (ending: Ending, address: string): WebSocketError => {
  if (ending instanceof IoError) return ending
  if (ending._tag === "Failed") return fromViolation(ending.violation, address)
  const { code, reason, sentCode, initiator, clean } = ending
  return new ConnectionClosed({ code, reason, sentCode, initiator, clean, address })
}

/** The code that an ended connection is counted under. */
export const codeOf = (ending: Ending | undefined): number => {
  if (ending === undefined || ending instanceof IoError) return CloseCode.abnormal
  if (ending._tag === "Closed") return ending.code
  const { violation } = ending
  return violation._tag === "Breach" ? violation.closeCode : CloseCode.messageTooBig
}

/** For operations after our Close was sent and before the peer's came. */
export const closing = (sentCode: number | undefined, address: string): ConnectionClosed =>
  new ConnectionClosed({
    code: CloseCode.abnormal,
    reason: "",
    sentCode,
    initiator: "local",
    clean: false,
    address
  })

export const fromBreach = (breach: Breach, address: string): ProtocolError =>
  new ProtocolError({ side: "local", rule: breach.rule, closeCode: breach.closeCode, address })

const fromViolation = (violation: Violation, address: string): WebSocketError =>
  violation._tag === "Breach"
    ? new ProtocolError({ side: "remote", rule: violation.rule, closeCode: violation.closeCode, address })
    : new PayloadTooLarge({ which: violation.which, limit: violation.limit, size: violation.size, address })
