// Messages in pieces, as they come and as they are made: for those that are too large to hold, or not
// complete for a long time.

import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CloseCode from "../CloseCode.js"
import * as Wire from "../protocol/frame.js"
import { type Breach, breach } from "../protocol/violation.js"
import type { WebSocketError } from "../WebSocketError.js"
import type { Engine } from "./engine.js"
import type { Piece } from "./frameQueue.js"

/** A message that is arriving. */
export type Incoming =
  | { readonly _tag: "Text"; readonly chunks: Stream.Stream<string, WebSocketError> }
  | { readonly _tag: "Binary"; readonly chunks: Stream.Stream<Uint8Array, WebSocketError> }

/** What the operations of a connection lend. */
export interface Lent {
  readonly engine: Engine
  /** Takes now if something is there, else waits for the next read. */
  readonly receiving: <A>(take: () => A | undefined) => Effect.Effect<A, WebSocketError>
  /** Fails with what ended the connection. */
  readonly fail: Effect.Effect<never, WebSocketError>
  /** Fails with what was done wrong. */
  readonly refuse: (breach: Breach) => Effect.Effect<never, WebSocketError>
  /** Waits until sending may have become possible, or is no more. */
  readonly room: Effect.Effect<void>
  /** Queues a frame, and waits for room before. */
  readonly sending: (queue: () => Breach | undefined) => Effect.Effect<void, WebSocketError>
}

const skipped = breach(CloseCode.protocolError, "what is left of a message is dropped once the next one is taken")

/** Takes messages in pieces. */
export const receiver = ({ engine, receiving, refuse }: Lent): Effect.Effect<Incoming, WebSocketError> => {
  /** All in the step that takes, so that whoever is interrupted has taken nothing. */
  const chunks = <A extends string | Uint8Array>(first: Piece, read: (piece: Piece) => A) => {
    let held: Piece | undefined = first
    let over = false
    const next = receiving((): Chunk.Chunk<A> | "end" | "skipped" | undefined => {
      if (over) return "end"
      const piece = held ?? engine.takePiece(first.message)
      held = undefined
      if (piece === undefined || piece === "skipped") return piece
      over = piece.last
      const content = read(piece)
      return content.length === 0 ? Chunk.empty() : Chunk.of(content)
    })
    return Stream.repeatEffectChunkOption(
      Effect.flatMap(Effect.mapError(next, Option.some), (taken) => {
        if (taken === "end") return Effect.fail(Option.none())
        return taken === "skipped" ? Effect.mapError(refuse(skipped), Option.some) : Effect.succeed(taken)
      })
    )
  }
  return Effect.map(
    receiving(() => engine.takeFirstPiece()),
    (first): Incoming => {
      if (!first.text) return { _tag: "Binary", chunks: chunks(first, ({ bytes }) => bytes) }
      // What it is given was validated; it holds back what is there of a code point that isn't whole.
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
      return { _tag: "Text", chunks: chunks(first, ({ bytes, last }) => decoder.decode(bytes, { stream: !last })) }
    }
  )
}

/**
 * The largest frame of a streamed message: 64 KiB, what a socket takes at once, so that pings
 * and pongs wait for no more than that.
 */
const frameSize = 64 * 1024

const none = new Uint8Array(0)

/** Sends the pieces of a stream as one message. */
export const sender =
  ({ engine, fail, room, sending }: Lent) =>
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
      const send = (payload: Uint8Array, fin: boolean) =>
        sending(() => {
          const breach = engine.sendFrame({ opcode: begun ? Wire.continuation : opcode, rsv: 0, fin, payload })
          begun ||= breach === undefined
          return breach
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
      // A stream may bring nothing for ever, and must not be waited for once nothing can be sent.
      const over: Effect.Effect<never, WebSocketError> = Effect.suspend(() =>
        engine.isOpen ? Effect.zipRight(room, over) : fail
      )
      return Effect.zipRight(
        claim,
        Effect.onExit(restore(Effect.raceFirst(sendAll, over)), (exit) =>
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
