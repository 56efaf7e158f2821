// permessage-deflate's codec over node:zlib, one call for each message.
//
// A call of zlib's own streams takes a trip through the thread pool: 16 us to inflate
// and 26 us to deflate 1 KiB of JSON, where a synchronous call takes 5 and 8 (the best
// of many runs), and it keeps a context of about 300 KiB for each connection. So
// nothing of zlib outlives a call here. With context takeover, what a context would
// hold of earlier messages goes in as the dictionary (10 and 9 us), which is the same
// to the format (RFC 7692 7.2).

import { constants, deflateRawSync, inflateRawSync } from "node:zlib"
import * as CloseCode from "../CloseCode.js"
import { own } from "../protocol/assembly.js"
import { concat, plain } from "../protocol/bytes.js"
import * as Deflate from "../protocol/deflate.js"
import type { ExtensionSupport, MessageExtension } from "../protocol/extension.js"
import { breach, excess, type Violation } from "../protocol/violation.js"

/** 1 is the fastest, 9 the smallest. */
export type Level = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9

/** The exponent of a window's size: 8 is 256 bytes, 15 is 32 KiB. */
export type WindowBits = 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15

/**
 * How messages are compressed (permessage-deflate, RFC 7692). Between two messages a
 * connection holds nothing but, where a side takes its context over, the last bytes
 * of that side's messages: at most 4 KiB of ours and, for the peer's, as many as its
 * window has.
 */
export interface DeflateOptions {
  /** Smallest message that is compressed, in bytes (or UTF-16 units of text). Default 1024. */
  readonly threshold?: number | undefined
  /**
   * How hard to try. Default 1. On JSON, 6 takes 1.2 times as long for 1 KiB and 3.5 times
   * for 300 KiB, 9 as much as 20 times, and both make it smaller by a sixth at most.
   */
  readonly level?: Level | undefined
  /** The server compresses each message on its own. Default true: nothing is kept for a connection. */
  readonly serverNoContextTakeover?: boolean | undefined
  /** The client compresses each message on its own. Default true. */
  readonly clientNoContextTakeover?: boolean | undefined
  /** The server's largest window. A client fails a server that doesn't keep to it. Default 15. */
  readonly serverMaxWindowBits?: WindowBits | undefined
  /** The client's largest window. A server declines a client that would take over a larger one. Default 15. */
  readonly clientMaxWindowBits?: WindowBits | undefined
}

export const defaultThreshold = 1024

/** permessage-deflate as the options want it. */
export const deflate = (options: DeflateOptions): ExtensionSupport =>
  Deflate.support(
    {
      serverNoContextTakeover: options.serverNoContextTakeover ?? true,
      clientNoContextTakeover: options.clientNoContextTakeover ?? true,
      serverMaxWindowBits: options.serverMaxWindowBits ?? 15,
      clientMaxWindowBits: options.clientMaxWindowBits ?? 15
    },
    (send, receive) => new Codec(send, receive, options.threshold ?? defaultThreshold, options.level ?? 1)
  )

// RFC 7692 7.2.1: a message ends with an empty stored block, the last four bytes of which, the block's
// size, the sender removes.
const tailSize = 4

// What goes in their place. The four bytes alone would do for whole messages; but in one that was cut
// short they may be taken for the missing end of a block. So the block gets a size of 1 and a byte, the
// marker, with which no block can begin, and after it comes a final block, without which zlib complains.
// Only if the marker comes out last, and at the end of all input, was the message whole.
const marker = 0x07
const ending = new Uint8Array([0x01, 0x00, 0xfe, 0xff, marker, 0x03, 0x00])

// One more way to look whole: a stored block that lacks five bytes takes the first five of the ending for
// them. Of another ending, with two markers, it would take too few.
const longerEnding = new Uint8Array([0x02, 0x00, 0xfd, 0xff, marker, marker, 0x03, 0x00])
const taken = ending.subarray(0, 5)

const maxWindow = 2 ** 15

// No Buffer is larger in all supported versions of Node.
const maxBuffer = 2 ** 32 - 1

const none = new Uint8Array(0)

// Priming the compressor with a dictionary costs 2 us for each KiB of it; 4 KiB hold the last few
// messages, which is where what repeats is found.
const maxSendWindow = 4096

class Codec implements MessageExtension {
  readonly rsv = Deflate.rsv
  readonly manner: string | undefined
  private readonly sent: Window | undefined
  private readonly received: Window | undefined

  constructor(
    private readonly send: Deflate.Direction,
    receive: Deflate.Direction,
    private readonly threshold: number,
    private readonly level: Level
  ) {
    this.manner = send.contextTakeover ? undefined : `deflate ${send.windowBits} ${level}`
    this.sent = send.contextTakeover ? new Window(Math.min(2 ** send.windowBits, maxSendWindow)) : undefined
    this.received = receive.contextTakeover ? new Window(2 ** receive.windowBits) : undefined
  }

  applies(length: number, compress: boolean | undefined): boolean {
    return compress ?? length >= this.threshold
  }

  encode(payload: Uint8Array): Uint8Array {
    const context = this.sent?.bytes() ?? none
    // No distance reaches further back than the message and its context do, and a small window is
    // set up faster than a large one.
    const needed = Math.ceil(Math.log2(Math.max(256, payload.length + context.length + minLookahead)))
    const windowBits = Math.min(needed, this.send.windowBits)
    const compressed = deflateRawSync(payload, {
      level: this.level,
      // zlib has no raw window of 256 bytes, and takes 512 instead. Run-length matches reach back by
      // one byte only, so they keep within any window.
      ...(this.send.windowBits === 8
        ? { windowBits: 9, strategy: constants.Z_RLE }
        : { windowBits: Math.max(9, windowBits), strategy: constants.Z_DEFAULT_STRATEGY }),
      memLevel: Math.max(1, Math.min(8, windowBits - 7)),
      finishFlush: constants.Z_SYNC_FLUSH,
      chunkSize: payload.length + 64,
      ...(context.length === 0 ? {} : { dictionary: context })
    })
    this.sent?.append(payload)
    return own(plain(compressed), 0, compressed.length - tailSize)
  }

  decode(payload: Uint8Array, limit: number): Uint8Array | Violation {
    const input = join(payload, ending)
    const parts: Array<Uint8Array> = []
    const window = this.received ?? new Window(maxWindow)
    let size = 0
    // A block with BFINAL ends zlib's stream, but not the message, nor the window (RFC 7692 7.2.3.4).
    for (let at = 0, streams = 0; at < input.length; streams++) {
      if (streams === maxStreams) return tooManyStreams
      // One byte more than the limit, for the marker.
      const inflated = inflate(input.subarray(at), limit - size + 1, window.bytes())
      if (inflated === "tooLarge") return excess("message size", limit, limit + 1)
      if (inflated === "invalid") return invalidData
      const whole = at + inflated.consumed === input.length
      if (whole) {
        if (inflated.bytes.at(-1) !== marker) return invalidData
        const suspect = endsWith(inflated.bytes, taken)
        if (suspect && inflate(join(payload.subarray(at), longerEnding), limit + 2, window.bytes()) === "invalid") {
          return invalidData
        }
      }
      at += inflated.consumed
      const bytes = own(inflated.bytes, 0, inflated.bytes.length - (whole ? 1 : 0))
      size += bytes.length
      if (size > limit) return excess("message size", limit, limit + 1)
      parts.push(bytes)
      if (window === this.received || !whole) window.append(bytes)
    }
    return concat(parts, size)
  }

  // At worst 9 bits for a byte, or 5 bytes for each of the smallest stored blocks that zlib makes.
  bound(size: number): number {
    return size + Math.ceil(size / 7) + 64
  }
}

/** zlib's MIN_LOOKAHEAD: the part of its window that it never matches against. */
const minLookahead = 262

// Each costs a call of zlib, about 5 us, for as little as two bytes.
const maxStreams = 256

const tooManyStreams = breach(
  CloseCode.policyViolation,
  `a compressed message must not have more than ${maxStreams} final blocks, a limit of ours`
)

const invalidData = breach(
  CloseCode.invalidPayload,
  "a compressed message must be whole blocks of DEFLATE, the last one empty and stored (RFC 7692 7.2.2)"
)

interface Inflated {
  readonly bytes: Uint8Array
  readonly consumed: number
}

/** Inflates up to the end of the stream. What ends before that is invalid. */
const inflate = (input: Uint8Array, limit: number, context: Uint8Array): Inflated | "tooLarge" | "invalid" => {
  if (context.length === 0) return inflateWith(input, limit, undefined)
  if (takesDictionary()) return inflateWith(input, limit, context)
  // The context comes in front, as a block that isn't compressed, and out of it, too. A window fits into one block.
  const before = stored(context)
  const inflated = inflateWith(join(before, input), limit + context.length, undefined)
  if (typeof inflated === "string") return inflated
  return { bytes: inflated.bytes.subarray(context.length), consumed: inflated.consumed - before.length }
}

const inflateWith = (
  input: Uint8Array,
  limit: number,
  dictionary: Uint8Array | undefined
): ReturnType<typeof inflate> => {
  try {
    const result: unknown = inflateRawSync(input, {
      // zlib stops at the limit: what a bomb would become is never made.
      maxOutputLength: Math.min(limit, maxBuffer),
      chunkSize: Math.min(65_536, Math.max(1024, input.length * 4)),
      info: true,
      ...(dictionary === undefined ? {} : { dictionary })
    })
    return isInflated(result) ? { bytes: plain(result.buffer), consumed: result.engine.bytesWritten } : "invalid"
  } catch (error) {
    return error instanceof RangeError && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE"
      ? "tooLarge"
      : "invalid"
  }
}

// RFC 7692 7.2.3.2, as a final block: "Hello" again, and nothing but a reference to it.
const hello = new TextEncoder().encode("Hello")
const helloAgain = new Uint8Array([0xf3, 0x00, 0x11, 0x00])
let dictionaryTaken: boolean | undefined

/**
 * Whether zlib looks at a dictionary of raw DEFLATE. Deno 2.9 doesn't, and says nothing. Its compressor does
 * without one, which is no more than a waste; but what refers back is then invalid to it.
 */
const takesDictionary = (): boolean => {
  dictionaryTaken ??= typeof inflateWith(helloAgain, hello.length, hello) !== "string"
  return dictionaryTaken
}

/** One block of DEFLATE that isn't the last: up to 65,535 bytes as they are. */
const stored = (bytes: Uint8Array): Uint8Array => {
  const { length } = bytes
  const head = new Uint8Array([0, length, length >> 8, ~length, ~length >> 8])
  return join(head, bytes)
}

/** What zlib answers with `info`, which its types leave out. */
const isInflated = (
  result: unknown
): result is { readonly buffer: Uint8Array; readonly engine: { readonly bytesWritten: number } } =>
  typeof result === "object" &&
  result !== null &&
  "buffer" in result &&
  result.buffer instanceof Uint8Array &&
  "engine" in result &&
  typeof result.engine === "object" &&
  result.engine !== null &&
  "bytesWritten" in result.engine &&
  typeof result.engine.bytesWritten === "number"

const join = (first: Uint8Array, second: Uint8Array): Uint8Array =>
  concat([first, second], first.length + second.length)

const endsWith = (bytes: Uint8Array, end: Uint8Array): boolean =>
  bytes.length >= end.length && end.every((byte, index) => bytes[bytes.length - end.length + index] === byte)

/** The last bytes of all that was appended. */
class Window {
  private held = none

  constructor(private readonly size: number) {}

  bytes(): Uint8Array {
    return this.held
  }

  append(bytes: Uint8Array): void {
    if (bytes.length >= this.size) {
      this.held = plain(bytes).slice(bytes.length - this.size)
      return
    }
    const kept = this.held.subarray(Math.max(0, this.held.length + bytes.length - this.size))
    const next =
      kept.length + bytes.length === this.held.length ? this.held : new Uint8Array(kept.length + bytes.length)
    next.set(kept)
    next.set(bytes, kept.length)
    this.held = next
  }
}
