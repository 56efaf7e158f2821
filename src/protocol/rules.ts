// The rules that both directions of a connection keep.

import * as CloseCode from "../CloseCode.js"
import { breach } from "./violation.js"

export const reservedBits = breach(
  CloseCode.protocolError,
  "RSV bits must be 0 unless an extension that defines them was negotiated (RFC 6455 5.2)"
)

export const strayContinuation = breach(
  CloseCode.protocolError,
  "a continuation frame must follow a data frame without FIN (RFC 6455 5.4)"
)

export const interleaved = breach(
  CloseCode.protocolError,
  "a message must end before the next one begins (RFC 6455 5.4)"
)

export const noMessage = breach(CloseCode.unsupportedData, "a message is a string or a Uint8Array")

export const invalidText = breach(CloseCode.invalidPayload, "a text message must be UTF-8 (RFC 6455 8.1)")
