/**
 * The status codes of a Close frame: their names, which of them may travel on
 * the wire, and which of them mean that all is well.
 *
 * A close code is a plain number, as in every other WebSocket API, so that a
 * code of your own (4000 to 4999) needs no conversion.
 *
 * @see RFC 6455 section 7.4 and the IANA registry "WebSocket Close Code Number"
 * @since 0.1.0
 */

/**
 * 1000: the purpose of the connection was fulfilled.
 *
 * @since 0.1.0
 * @category codes
 */
export const normal = 1000

/**
 * 1001: an endpoint goes away: a server shuts down, a browser leaves the page.
 *
 * @since 0.1.0
 * @category codes
 */
export const goingAway = 1001

/**
 * 1002: the peer broke a rule of the protocol.
 *
 * @since 0.1.0
 * @category codes
 */
export const protocolError = 1002

/**
 * 1003: the endpoint can't accept this type of data, for example binary where
 * it understands text only.
 *
 * @since 0.1.0
 * @category codes
 */
export const unsupportedData = 1003

/**
 * 1005: stands for "the Close frame had no code". Never sent.
 *
 * @since 0.1.0
 * @category codes
 */
export const noStatus = 1005

/**
 * 1006: stands for "the connection ended without a Close frame". Never sent.
 *
 * @since 0.1.0
 * @category codes
 */
export const abnormal = 1006

/**
 * 1007: a message's content doesn't fit its type: invalid UTF-8 in text.
 *
 * @since 0.1.0
 * @category codes
 */
export const invalidPayload = 1007

/**
 * 1008: the peer broke a policy of the application; the code to choose where
 * no other fits.
 *
 * @since 0.1.0
 * @category codes
 */
export const policyViolation = 1008

/**
 * 1009: a message is too big to be processed.
 *
 * @since 0.1.0
 * @category codes
 */
export const messageTooBig = 1009

/**
 * 1010: a client needs an extension that the server didn't negotiate. Only a
 * client has cause to send it.
 *
 * @since 0.1.0
 * @category codes
 */
export const mandatoryExtension = 1010

/**
 * 1011: an unexpected condition on the endpoint that closes.
 *
 * @since 0.1.0
 * @category codes
 */
export const internalError = 1011

/**
 * 1012: the service restarts; a client may reconnect after a random delay.
 *
 * @since 0.1.0
 * @category codes
 */
export const serviceRestart = 1012

/**
 * 1013: the service is overloaded; a client should try again later.
 *
 * @since 0.1.0
 * @category codes
 */
export const tryAgainLater = 1013

/**
 * 1014: a gateway got an invalid answer from upstream.
 *
 * @since 0.1.0
 * @category codes
 */
export const badGateway = 1014

/**
 * 1015: stands for "the TLS handshake failed". Never sent.
 *
 * @since 0.1.0
 * @category codes
 */
export const tlsHandshake = 1015

/**
 * Whether a code may stand in a Close frame, sent or received.
 *
 * True for 1000 to 1003 and 1007 to 1014 (the registered codes that are not
 * placeholders), 3000 to 3999 (registered by libraries) and 4000 to 4999
 * (private). Everything else on the wire is a protocol error (RFC 6455 7.4).
 *
 * @since 0.1.0
 * @category predicates
 */
export const isSendable = (code: number): boolean =>
  Number.isInteger(code) &&
  ((code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999))

/**
 * Whether a connection that ended with this code ended well: 1000, 1001, and
 * 1005, which is what a browser's `close()` without arguments leads to.
 *
 * A stream of messages ends on a clean code and fails on any other.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isClean = (code: number): boolean => code === normal || code === goingAway || code === noStatus

const names: ReadonlyMap<number, string> = new Map([
  [normal, "normal closure"],
  [goingAway, "going away"],
  [protocolError, "protocol error"],
  [unsupportedData, "unsupported data"],
  [noStatus, "no status received"],
  [abnormal, "abnormal closure"],
  [invalidPayload, "invalid payload"],
  [policyViolation, "policy violation"],
  [messageTooBig, "message too big"],
  [mandatoryExtension, "mandatory extension"],
  [internalError, "internal error"],
  [serviceRestart, "service restart"],
  [tryAgainLater, "try again later"],
  [badGateway, "bad gateway"],
  [tlsHandshake, "TLS handshake"]
])

/**
 * A code with its registered name, for logs: `1002 (protocol error)`.
 *
 * @example
 * ```ts
 * import { CloseCode } from "effect-websocket"
 *
 * console.log(CloseCode.format(1001)) // 1001 (going away)
 * console.log(CloseCode.format(4000)) // 4000
 * ```
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = (code: number): string => {
  const name = names.get(code)
  return name === undefined ? String(code) : `${code} (${name})`
}
