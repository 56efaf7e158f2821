// What the core reports, as the typed errors of the public API.

import * as CloseCode from "../CloseCode.js"
import type { Breach, Violation } from "../protocol/violation.js"
import { ConnectionClosed, IoError, PayloadTooLarge, ProtocolError, type WebSocketError } from "../WebSocketError.js"
import type { Ending } from "./engine.js"

/** What the state machine says is what the types say: to have it checked again was half of what the error costs. */
const unchecked = { disableValidation: true }

export const fromEnding = (ending: Ending, address: string): WebSocketError => {
  if (ending instanceof IoError) return ending
  if (ending._tag === "Failed") return fromViolation(ending.violation, address)
  const { code, reason, sentCode, initiator, clean } = ending
  // Every connection ends so. A stack would tell where this line is, and to collect it is a twentieth of all that
  // a connection costs from its opening to its end.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const closed = new ConnectionClosed({ code, reason, sentCode, initiator, clean, address }, unchecked)
  Error.stackTraceLimit = stackTraceLimit
  return closed
}

/** How a connection ended, as it is counted and told. */
export interface Farewell {
  /** What the peer's Close said, 1006 without one; what a violation was answered with. */
  readonly code: number
  readonly reason: string
  /** What our own Close said, if one was sent. */
  readonly sentCode: number | undefined
  /** Who began; unknown where it broke. */
  readonly initiator: "local" | "remote" | undefined
  /** What went wrong, if something did. */
  readonly failure: string | undefined
}

/** The code that an ended connection is counted under. */
export const codeOf = (ending: Ending | undefined): number => {
  if (ending === undefined || ending instanceof IoError) return CloseCode.abnormal
  if (ending._tag === "Closed") return ending.code
  const { violation } = ending
  return violation._tag === "Breach" ? violation.closeCode : CloseCode.messageTooBig
}

export const farewellOf = (ending: Ending | undefined): Farewell => {
  const code = codeOf(ending)
  if (ending === undefined || ending instanceof IoError) {
    const failure = ending === undefined ? "destroyed" : broken(ending)
    return { code, reason: "", sentCode: undefined, initiator: undefined, failure }
  }
  if (ending._tag === "Failed") {
    const { violation } = ending
    const failure = violation._tag === "Breach" ? violation.rule : `${violation.which} over ${violation.limit}`
    return { code, reason: "", sentCode: code, initiator: "local", failure }
  }
  const { reason, sentCode, initiator } = ending
  // From 3000 on, what a code means is the application's business.
  const failure = code >= 3000 || CloseCode.isClean(code) ? undefined : CloseCode.format(code)
  return { code, reason, sentCode, initiator, failure }
}

const broken = ({ operation, code, cause }: IoError): string =>
  `${operation} failed${code === undefined ? "" : ` (${code})`}${cause instanceof Error ? `: ${cause.message}` : ""}`

/** For operations after our Close was sent and before the peer's came. */
export const closing = (sentCode: number | undefined, address: string): ConnectionClosed =>
  new ConnectionClosed(
    { code: CloseCode.abnormal, reason: "", sentCode, initiator: "local", clean: false, address },
    unchecked
  )

export const fromBreach = (breach: Breach, address: string): ProtocolError =>
  new ProtocolError({ side: "local", rule: breach.rule, closeCode: breach.closeCode, address })

const fromViolation = (violation: Violation, address: string): WebSocketError =>
  violation._tag === "Breach"
    ? new ProtocolError({ side: "remote", rule: violation.rule, closeCode: violation.closeCode, address })
    : new PayloadTooLarge({ which: violation.which, limit: violation.limit, size: violation.size, address })
