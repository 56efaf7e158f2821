// When to connect again, and when not to: what an error says about the next attempt.

import * as Cause from "effect/Cause"
import * as CloseCode from "../CloseCode.js"
import { ConnectError, ConnectionClosed, HandshakeError, IoError } from "../WebSocketError.js"

export const isRetryable = (error: unknown): boolean => {
  if (error instanceof IoError) return true
  if (error instanceof ConnectionClosed) return error.initiator === "remote" && transientCodes.has(error.code)
  if (error instanceof HandshakeError) {
    // A server that dies while it answers is down; one that answers nonsense isn't.
    return error.status === undefined ? error.cause instanceof IoError : isTransientStatus(error.status)
  }
  if (error instanceof ConnectError) return isTransientStage(error)
  return Cause.isTimeoutException(error)
}

// RFC 6455 7.4.1 and the IANA registry. 1000 says that the purpose is fulfilled, and so ends
// this too; 1005 says nothing, which is what a server does that goes without a word.
const transientCodes: ReadonlySet<number> = new Set([
  CloseCode.goingAway,
  CloseCode.noStatus,
  CloseCode.abnormal,
  CloseCode.internalError,
  CloseCode.serviceRestart,
  CloseCode.tryAgainLater,
  CloseCode.badGateway,
  // "Timeout" of the registry: what HTTP calls 408.
  3008
])

const isTransientStatus = (status: number): boolean => status === 408 || status === 429 || status >= 500

const isTransientStage = ({ cause, code = "", reason }: ConnectError): boolean => {
  switch (reason) {
    case "url":
      return false
    case "tls":
      return code === "" || isTransientTls(code)
    case "proxy":
      // The cause is there where the way to the proxy failed, or the proxy itself.
      return isRetryable(cause) || isTransientProxy(code)
    default:
      return true
  }
}

/**
 * Whether TLS may work the next time: after an errno (ECONNRESET), or an alert that isn't
 * about certificates. A certificate that isn't trusted, a key that can't be read and a port
 * without TLS want a person. Node names the first by bare words (CERT_HAS_EXPIRED).
 */
const isTransientTls = (code: string): boolean =>
  /^E[A-Z0-9]+$/.test(code) ||
  (code.startsWith("ERR_SSL_") && !/CERT|UNKNOWN_CA|WRONG_VERSION|PACKET_LENGTH/.test(code))

/** What a proxy answered: an HTTP status, or a SOCKS reply (RFC 1928 6), of which 2, 7 and 8 are refusals for good. */
const isTransientProxy = (code: string): boolean => {
  const [kind, answer = ""] = code.split(" ")
  return kind === "HTTP" ? isTransientStatus(Number(answer)) : kind === "SOCKS" && !["2", "7", "8"].includes(answer)
}

/**
 * The milliseconds for which a server that refused asked to be left alone (RFC 6585 4,
 * RFC 9110 10.2.3), at most `most`; 0 if it didn't.
 */
export const retryAfter = (error: unknown, now: number, most: number): number => {
  if (!(error instanceof HandshakeError) || (error.status !== 429 && error.status !== 503)) return 0
  const value = error.headers?.["retry-after"]?.trim() ?? ""
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : (httpDate(value) ?? now) - now
  return Math.max(0, Math.min(most, wait))
}

// RFC 9110 5.6.7: the form that is sent, and two older ones that must be understood. The last
// has no zone, and means UTC.
const dateForms = [
  /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/,
  /^[A-Z][a-z]+day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/,
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/
]

const httpDate = (value: string): number | undefined => {
  if (!dateForms.some((form) => form.test(value))) return undefined
  const time = Date.parse(value.endsWith("GMT") ? value : `${value} GMT`)
  return Number.isNaN(time) ? undefined : time
}
