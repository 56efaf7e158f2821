/**
 * Everything that can go wrong, as tagged errors split by what the caller does
 * next.
 *
 * - before there is a connection: {@link ConnectError}, {@link HandshakeError},
 *   {@link ListenError}
 * - in the life of a connection: {@link ConnectionClosed}, {@link ProtocolError},
 *   {@link PayloadTooLarge}, {@link IoError}
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as CloseCode from "./CloseCode.js"

const Cause = Schema.optional(Schema.Defect)

/**
 * The connection is closed: the peer closed it, or we did, or it broke without
 * a Close frame.
 *
 * - `code`, `reason`: what the peer's Close frame said; 1005 if it had no code,
 *   1006 if there was no Close frame.
 * - `sentCode`: what our own Close frame said, if we sent one.
 * - `initiator`: who began: `local` or `remote`.
 * - `clean`: both Close frames were exchanged.
 *
 * @see RFC 6455 section 7.1
 * @since 0.1.0
 * @category errors
 */
export class ConnectionClosed extends Schema.TaggedError<ConnectionClosed>(
  "effect-websocket/WebSocketError/ConnectionClosed"
)("ConnectionClosed", {
  code: Schema.Int,
  reason: Schema.String,
  sentCode: Schema.optional(Schema.Int),
  initiator: Schema.Literal("local", "remote"),
  clean: Schema.Boolean,
  address: Schema.String
}) {
  override get message(): string {
    const { code, reason } = this
    const received =
      code === CloseCode.abnormal
        ? `without a Close frame from the peer${reason === "" ? "" : `: ${reason}`}`
        : `with ${CloseCode.format(code)}${reason === "" ? "" : ` "${reason}"`}`
    const sent = this.sentCode === undefined ? "" : `, sent ${CloseCode.format(this.sentCode)}`
    return `connection to ${this.address} closed by ${
      this.initiator === "local" ? "this side" : "the peer"
    } ${received}${sent}`
  }
}

/**
 * A rule of the protocol was broken.
 *
 * - `side`: `remote` means that the peer broke it, and the connection was failed
 *   with `closeCode`; `local` means that the caller asked for something that must
 *   not be sent, nothing was sent, and the connection is unharmed.
 * - `rule`: the rule in words, with its section of the RFC.
 * - `closeCode`: the code the breach is answered with: 1002, or 1007 for invalid
 *   UTF-8.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProtocolError extends Schema.TaggedError<ProtocolError>("effect-websocket/WebSocketError/ProtocolError")(
  "ProtocolError",
  {
    side: Schema.Literal("local", "remote"),
    rule: Schema.String,
    closeCode: Schema.Int,
    address: Schema.String
  }
) {
  override get message(): string {
    return this.side === "local"
      ? `refused to send to ${this.address}: ${this.rule}`
      : `${this.address} broke the protocol, closed with ${CloseCode.format(this.closeCode)}: ${this.rule}`
  }
}

/**
 * What a {@link PayloadTooLarge} measured.
 *
 * @since 0.1.0
 * @category models
 */
export const Limit = Schema.Literal("message size", "frame size", "fragments per message")

/**
 * @since 0.1.0
 * @category models
 */
export type Limit = typeof Limit.Type

/**
 * The peer sent more than a limit allows; the connection was failed with 1009
 * before the excess was buffered.
 *
 * `size` is what was declared or counted when the limit was crossed, so the
 * whole message may have been larger. Units: bytes, or fragments.
 *
 * @since 0.1.0
 * @category errors
 */
export class PayloadTooLarge extends Schema.TaggedError<PayloadTooLarge>(
  "effect-websocket/WebSocketError/PayloadTooLarge"
)("PayloadTooLarge", {
  which: Limit,
  limit: Schema.Number,
  size: Schema.Number,
  address: Schema.String
}) {
  override get message(): string {
    return `${this.address} sent too much: ${this.which} ${this.size} is over the limit of ${this.limit}; raise the limit if such messages are expected`
  }
}

/**
 * The transport failed: a reset, a broken pipe, a TLS failure in mid-stream.
 *
 * `code` is the errno as the platform spells it (`ECONNRESET`), where it gave one.
 *
 * @since 0.1.0
 * @category errors
 */
export class IoError extends Schema.TaggedError<IoError>("effect-websocket/WebSocketError/IoError")("IoError", {
  operation: Schema.Literal("read", "write"),
  code: Schema.optional(Schema.String),
  address: Schema.String,
  cause: Cause
}) {
  override get message(): string {
    return `${this.operation === "read" ? "reading from" : "writing to"} ${this.address} failed${
      this.code === undefined ? "" : ` (${this.code})`
    }`
  }
}

/**
 * The opening handshake failed.
 *
 * On a client: the server answered with something else than a valid 101. If it
 * refused with another status, `status`, `headers` and `body` (its first bytes,
 * as text) say what it answered. On a server: the request was no valid upgrade,
 * and `status` is what it was answered with.
 *
 * @see RFC 6455 section 4
 * @since 0.1.0
 * @category errors
 */
export class HandshakeError extends Schema.TaggedError<HandshakeError>(
  "effect-websocket/WebSocketError/HandshakeError"
)("HandshakeError", {
  rule: Schema.String,
  address: Schema.String,
  status: Schema.optional(Schema.Int),
  headers: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String })),
  body: Schema.optional(Schema.String),
  cause: Cause
}) {
  override get message(): string {
    return `opening handshake with ${this.address} failed${
      this.status === undefined ? "" : ` with HTTP ${this.status}`
    }: ${this.rule}`
  }
}

/**
 * Why a connection attempt failed before the opening handshake.
 *
 * @since 0.1.0
 * @category models
 */
export const ConnectReason = Schema.Literal("url", "dns", "tcp", "tls", "proxy", "timeout")

/**
 * @since 0.1.0
 * @category models
 */
export type ConnectReason = typeof ConnectReason.Type

/**
 * No connection could be made: `reason` names the stage that failed, `code` the
 * platform's code for it (`ECONNREFUSED`, `CERT_HAS_EXPIRED`), where it gave one,
 * or what a proxy answered (`HTTP 407`, `SOCKS 5`).
 *
 * @since 0.1.0
 * @category errors
 */
export class ConnectError extends Schema.TaggedError<ConnectError>("effect-websocket/WebSocketError/ConnectError")(
  "ConnectError",
  {
    reason: ConnectReason,
    address: Schema.String,
    detail: Schema.String,
    code: Schema.optional(Schema.String),
    cause: Cause
  }
) {
  override get message(): string {
    return `connecting to ${this.address} failed (${this.reason}): ${this.detail}`
  }
}

/**
 * A server could not listen: the port is taken, the address isn't local, the
 * certificate can't be read.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenError extends Schema.TaggedError<ListenError>("effect-websocket/WebSocketError/ListenError")(
  "ListenError",
  {
    address: Schema.String,
    detail: Schema.String,
    code: Schema.optional(Schema.String),
    cause: Cause
  }
) {
  override get message(): string {
    return `listening on ${this.address} failed: ${this.detail}`
  }
}

/**
 * What ends a connection, and what every operation on an ended connection fails
 * with.
 *
 * @since 0.1.0
 * @category errors
 */
export type WebSocketError = ConnectionClosed | ProtocolError | PayloadTooLarge | IoError

/**
 * Whether a value is one of the errors that end a connection.
 *
 * @since 0.1.0
 * @category refinements
 */
export const isWebSocketError = (value: unknown): value is WebSocketError =>
  value instanceof ConnectionClosed ||
  value instanceof ProtocolError ||
  value instanceof PayloadTooLarge ||
  value instanceof IoError
