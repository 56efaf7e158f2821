// The options that both roles share, and the limits that hold where none is given.

import * as Duration from "effect/Duration"
import type { ExtensionSupport, MessageExtension } from "../protocol/extension.js"
import type { Role } from "../protocol/frame.js"
import { defaultMaxBytes } from "../protocol/head.js"
import type { Service as Random } from "../Rng.js"
import { type DeflateOptions, deflate } from "./deflate.js"
import type { DriverOptions } from "./driver.js"
import type { Rhythm } from "./heartbeat.js"
import { meters } from "./meters.js"
import type { SlowConsumer } from "./outflow.js"

/**
 * How a connection behaves, in either role. All limits are finite; each default
 * is an exported constant of `WebSocket` that tells its reason.
 */
export interface ConnectionOptions {
  /**
   * Largest head of the peer's half of the opening handshake, in bytes. Default
   * `defaultMaxHeadSize`, 16 KiB.
   */
  readonly maxHeadSize?: number | undefined
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
   * Messages larger than this, in bytes (characters of text), are sent in fragments of it, so that pings and
   * pongs need not wait for all of one. Default: messages are sent whole, for some peers know no fragments.
   */
  readonly fragmentSize?: number | undefined
  /**
   * What `send` does while the peer reads so slowly that `sendBufferSize` is exceeded.
   *
   * - `"suspend"` waits for room: the default.
   * - `"dropNewest"` drops the message.
   * - `"dropOldest"` drops the oldest message that still waits, in favour of this one.
   * - `"close"` waits, and closes the connection with 1013 once the peer has taken nothing at all
   *   for `progressTimeout`. Progress decides, not how much waits: a slow peer isn't a dead one.
   *
   * What is dropped is told to the sender and counted in `dropped`. `send` with `droppable: false` waits
   * in any case, and is never dropped afterwards.
   */
  readonly slowConsumer?: SlowConsumer | undefined
  /** With `slowConsumer: "close"`: without any progress. Default `defaultProgressTimeout`, 10 seconds. */
  readonly progressTimeout?: Duration.DurationInput | undefined
  /**
   * How long the closing handshake and the end of TCP may take before the
   * connection is destroyed. Default `defaultCloseTimeout`, 5 seconds.
   */
  readonly closeTimeout?: Duration.DurationInput | undefined
  /**
   * How often a ping is sent, which keeps proxies from closing a quiet connection, and
   * finds the peer that vanished without a word. `Duration.infinity` sends none.
   * Default `defaultPingInterval`, 30 seconds.
   */
  readonly pingInterval?: Duration.DurationInput | undefined
  /**
   * How long after a ping a sign of life may take: the pong, anything else that the peer
   * sends, or its taking of what we sent. Then another ping is sent at once, until
   * `maxMissedPongs` are missed. Default `defaultPingTimeout`, 10 seconds, or `pingInterval` if that is shorter.
   */
  readonly pingTimeout?: Duration.DurationInput | undefined
  /** Pings in a row that may bring nothing; one more ends the connection with an `IoError`. Default `defaultMaxMissedPongs`, 2. */
  readonly maxMissedPongs?: number | undefined
  /**
   * How long no message may go in either direction; pings don't count. Then the connection
   * is closed with 1001. It may take a fourth longer. Default `defaultIdleTimeout`: an hour
   * on a server, never on a client.
   */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /**
   * Compress messages, if the peer does too (permessage-deflate, RFC 7692). Default
   * false: it costs some 13 microseconds for each KiB there and back, and a secret that travels
   * beside text of an attacker's choice can be guessed from the sizes.
   */
  readonly deflate?: boolean | DeflateOptions | undefined
}

/**
 * The largest head of an opening handshake: 16 KiB. A browser's request is below 1 KiB
 * plus its cookies; 16 KiB is what Node's own HTTP server allows.
 */
export const defaultMaxHeadSize = defaultMaxBytes

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

/**
 * For a handler, when its connection is over or its server closes: 5 seconds, which finishes
 * what is under way, and leaves half of the 10 seconds that most supervisors give a process.
 */
export const defaultDrainTimeout: Duration.Duration = Duration.seconds(5)

/** Bound on the opening handshake, from the first packet to the last header: 10 seconds. */
export const defaultHandshakeTimeout: Duration.Duration = Duration.seconds(10)

/** From ping to ping: 30 seconds, half of the idle timeout that proxies and load balancers have by default. */
export const defaultPingInterval: Duration.Duration = Duration.seconds(30)

/** Without progress: 10 seconds, several retransmissions on the worst links. */
export const defaultProgressTimeout: Duration.Duration = Duration.seconds(10)

/** For a sign of life: 10 seconds, several round trips and retransmissions of the slowest links. */
export const defaultPingTimeout: Duration.Duration = Duration.seconds(10)

/** Pings that may go unanswered: 2, so that one lost in a busy moment ends nothing. A silent peer is gone a minute after its last word. */
export const defaultMaxMissedPongs = 2

/** Without any message: an hour, which no conversation lasts, so that what was forgotten open doesn't stay for ever. */
export const defaultIdleTimeout: Duration.Duration = Duration.hours(1)

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
    slowConsumer: options.slowConsumer ?? "suspend",
    fragmentSize: Math.max(1, options.fragmentSize ?? Number.POSITIVE_INFINITY),
    closeTimeout: Duration.decode(options.closeTimeout ?? defaultCloseTimeout),
    meter: meters[role]
  }
}

/** How a connection is watched. A client decides by itself how long it stays, so it has no idle timeout unless asked. */
export const rhythm = (role: Role, options: ConnectionOptions): Rhythm => ({
  pingInterval: Duration.toMillis(options.pingInterval ?? defaultPingInterval),
  pingTimeout: Duration.toMillis(
    options.pingTimeout ?? Duration.min(defaultPingTimeout, options.pingInterval ?? defaultPingInterval)
  ),
  maxMissedPongs: options.maxMissedPongs ?? defaultMaxMissedPongs,
  progressTimeout:
    options.slowConsumer === "close"
      ? Duration.toMillis(options.progressTimeout ?? defaultProgressTimeout)
      : Number.POSITIVE_INFINITY,
  idleTimeout: Duration.toMillis(options.idleTimeout ?? (role === "server" ? defaultIdleTimeout : Duration.infinity))
})
