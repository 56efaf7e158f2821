// Messages in pieces, as they come and as they are made: for those that are too large to hold, or not
// complete for a long time.

import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CloseCode from "../CloseCode.js"
import * as Wire from "../protocol/frame.js"
import type { WebSocketError } from "../WebSocketError.js"
import type { Engine } from "./engine.js"
import type { Piece } from "./frameQueue.js"

/** A message that is arriving. */
export type Incoming =
  | { readonly _tag: "Text"; readonly chunks: Stream.Stream<string, WebSocketError> }
  | { readonly _tag: "Binary"; readonly chunks: Stream.Stream<Uint8Array, WebSocketError> }

/** What the operations of a connection lend. */
interface Lent {
  readonly engine: Engine
  /** Takes now if something is there, else waits for the next read. */
  readonly receiving: <A>(take: () => A | undefined) => Effect.Effect<A, WebSocketError>
  /** Fails with what ended the connection. */
  readonly fail: Effect.Effect<never, WebSocketError>
  /** Waits until sending may have become possible. */
  readonly room: Effect.Effect<void>
  /** Sends a frame, and waits for room before. */
  readonly sendFrame: (frame: Wire.Frame) => Effect.Effect<void, WebSocketError>
}

/** Takes messages in pieces. */
export const receiver = ({ engine, receiving }: Lent): Effect.Effect<Incoming, WebSocketError> => {
  // Tells the stream of a message that a later one was asked for.
  let serial = 0
  const firstPiece = receiving(() => engine.takePiece(true))
  const nextPiece = receiving(() => engine.takePiece(false))
  return Effect.map(firstPiece, (first) => {
    const mine = ++serial
    let held: Piece | undefined = first
    let over = false
    const piece: Effect.Effect<Piece, Option.Option<WebSocketError>> = Effect.suspend(() => {
      if (over || mine !== serial) return Effect.fail(Option.none())
      const now = held
      held = undefined
      return Effect.map(now === undefined ? Effect.mapError(nextPiece, Option.some) : Effect.succeed(now), (taken) => {
        over = taken.last
        return taken
      })
    })
    if (!first.text) {
      return { _tag: "Binary", chunks: nonEmpty(Effect.map(piece, ({ bytes }) => bytes)) }
    }
    // What it is given was validated; it holds back what is there of a code point that isn't whole.
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
    return {
      _tag: "Text",
      chunks: nonEmpty(Effect.map(piece, ({ bytes, last }) => decoder.decode(bytes, { stream: !last })))
    }
  })
}

const nonEmpty = <A extends { readonly length: number }>(
  pieces: Effect.Effect<A, Option.Option<WebSocketError>>
): Stream.Stream<A, WebSocketError> =>
  Stream.repeatEffectChunkOption(
    Effect.map(pieces, (piece) => (piece.length === 0 ? Chunk.empty<A>() : Chunk.of(piece)))
  )

/**
 * The largest frame of a streamed message: 64 KiB, what a socket takes at once, so that pings
 * and pongs wait for no more than that.
 */
const frameSize = 64 * 1024

const none = new Uint8Array(0)

/** Sends the pieces of a stream as one message. */
export const sender =
  ({ engine, fail, room, sendFrame }: Lent) =>
  <A extends string | Uint8Array, E, R>(
    opcode: typeof Wire.text | typeof Wire.binary,
    chunks: Stream.Stream<A, E, R>
  ): Effect.Effect<void, WebSocketError | E, R> =>
    Effect.uninterruptibleMask((restore) => {
      const claim: Effect.Effect<void, WebSocketError> = Effect.suspend(() => {
        if (!engine.isOpen) return fail
        if (engine.out.claim()) return Effect.void
        return Effect.zipRight(restore(room), claim)
      })
      let begun = false
      const encoder = new Encoder()
      const send = (bytes: Uint8Array, fin: boolean) =>
        Effect.suspend(() => {
          const frame: Wire.Frame = { opcode: begun ? Wire.continuation : opcode, rsv: 0, fin, payload: bytes }
          begun = true
          return sendFrame(frame)
        })
      const sendPiece = (piece: A) =>
        Effect.suspend(() => {
          const bytes = encoder.encode(piece)
          let at = 0
          return Effect.whileLoop({
            while: () => at < bytes.length,
            body: () => send(bytes.subarray(at, at + frameSize), false),
            step: () => {
              at += frameSize
            }
          })
        })
      const sendAll = Stream.runForEach(chunks, sendPiece).pipe(
        Effect.zipRight(Effect.suspend(() => send(encoder.end(), true)))
      )
      return Effect.zipRight(
        claim,
        Effect.onExit(restore(sendAll), (exit) =>
          Effect.sync(() => {
            // A message can't be taken back: what is missing of it must not look like its end.
            if (Exit.isFailure(exit) && begun) engine.sendClose(CloseCode.internalError, "a message was broken off")
            engine.out.release()
          })
        )
      )
    })

const utf8 = new TextEncoder()

/** Encodes text that comes in pieces, which may cut a surrogate pair. Bytes are bytes already. */
class Encoder {
  private high = ""

  encode(piece: string | Uint8Array): Uint8Array {
    if (typeof piece !== "string") return piece
    const whole = this.high + piece
    const last = whole.charCodeAt(whole.length - 1)
    const cut = last >= 0xd800 && last <= 0xdbff
    this.high = cut ? whole.slice(-1) : ""
    return utf8.encode(cut ? whole.slice(0, -1) : whole)
  }

  /** What is left: a surrogate without its other half becomes U+FFFD. */
  end(): Uint8Array {
    return this.high === "" ? none : utf8.encode(this.high)
  }
}
