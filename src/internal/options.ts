// The options that both roles share, and the limits that hold where none is given.

import * as Duration from "effect/Duration"
import type { ExtensionSupport, MessageExtension } from "../protocol/extension.js"
import type { Role } from "../protocol/frame.js"
import type { Service as Random } from "../Rng.js"
import { type DeflateOptions, deflate } from "./deflate.js"
import type { DriverOptions } from "./driver.js"

/**
 * How a connection behaves, in either role. All limits are finite; each default
 * is an exported constant of `WebSocket` that tells its reason.
 */
export interface ConnectionOptions {
  /** Largest message accepted, in bytes, fragments added up. Default `defaultMaxPayloadSize`, 1 MiB. */
  readonly maxPayloadSize?: number | undefined
  /** Largest frame accepted, in bytes, judged by its declared length. Default: `maxPayloadSize`. */
  readonly maxFrameSize?: number | undefined
  /** Most frames that one message may consist of, empty ones included. Default `defaultMaxFragments`, 16,384. */
  readonly maxFragments?: number | undefined
  /**
   * Bytes of received messages, not yet taken by the application, above which
   * reading pauses. Default `defaultReceiveBufferSize`, 64 KiB.
   */
  readonly receiveBufferSize?: number | undefined
  /**
   * Bytes sent, not yet taken by the operating system, above which sending waits.
   * Default `defaultSendBufferSize`, 64 KiB.
   */
  readonly sendBufferSize?: number | undefined
  /**
   * How long the closing handshake and the end of TCP may take before the
   * connection is destroyed. Default `defaultCloseTimeout`, 5 seconds.
   */
  readonly closeTimeout?: Duration.DurationInput | undefined
  /**
   * Sends a ping when nothing arrived for this long, and ends the connection when
   * `maxMissedPongs` in a row brought nothing. Default: no pings.
   */
  readonly pingInterval?: Duration.DurationInput | undefined
  /**
   * Compress messages, if the peer does too (permessage-deflate, RFC 7692). Default
   * false: it costs some 13 microseconds for each KiB there and back, and a secret that travels
   * beside text of an attacker's choice can be guessed from the sizes.
   */
  readonly deflate?: boolean | DeflateOptions | undefined
  /** Pings in a row that may bring nothing. Default `defaultMaxMissedPongs`, 2. */
  readonly maxMissedPongs?: number | undefined
}

/**
 * The largest message accepted where no other limit is given: 1 MiB. Far above what
 * chat, RPC and feeds send; at 10,000 connections it is what a machine can bear if a
 * few hundred of them fill it at once.
 */
export const defaultMaxPayloadSize = 1024 * 1024

/** The most fragments of a message: 16,384, which is 64 bytes each at the default size. */
export const defaultMaxFragments = 16_384

/** The receive high-water mark: 64 KiB, which is what Node reads from a socket at once. */
export const defaultReceiveBufferSize = 64 * 1024

/** The send high-water mark: 64 KiB, enough to keep a socket busy between two turns. */
export const defaultSendBufferSize = 64 * 1024

/** Bound on closing: 5 seconds, several round trips of the slowest links. */
export const defaultCloseTimeout: Duration.Duration = Duration.seconds(5)

/** Bound on the opening handshake, from the first packet to the last header: 10 seconds. */
export const defaultHandshakeTimeout: Duration.Duration = Duration.seconds(10)

/** Pings that may go unanswered: 2, so that one lost in a busy moment ends nothing. */
export const defaultMaxMissedPongs = 2

/** The extensions that the options ask for. */
export const extensions = ({ deflate: wanted }: ConnectionOptions): ReadonlyArray<ExtensionSupport> =>
  wanted === undefined || wanted === false ? [] : [deflate(wanted === true ? {} : wanted)]

export const driverOptions = (
  role: Role,
  rng: Random,
  extension: MessageExtension | undefined,
  options: ConnectionOptions
): DriverOptions => {
  const maxMessageSize = options.maxPayloadSize ?? defaultMaxPayloadSize
  return {
    role,
    nextKey: rng.uint32,
    extension,
    maxMessageSize,
    maxFrameSize: options.maxFrameSize ?? maxMessageSize,
    maxFragments: options.maxFragments ?? defaultMaxFragments,
    receiveBufferSize: options.receiveBufferSize ?? defaultReceiveBufferSize,
    sendBufferSize: options.sendBufferSize ?? defaultSendBufferSize,
    closeTimeout: Duration.decode(options.closeTimeout ?? defaultCloseTimeout)
  }
}
