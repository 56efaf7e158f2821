/**
 * Between messages and the values that they carry: JSON in text, MessagePack in binary, or
 * anything else.
 *
 * A codec is seen from one end of the connection: `incoming` is what this side receives,
 * `outgoing` what it sends. {@link TypedWebSocket} puts one over a connection; alone it serves
 * where messages are handled by other means.
 *
 * Whatever a peer sends, decoding ends with a value or a {@link DecodeError}, and its cost is
 * bounded by the size of the message.
 *
 * @since 0.1.0
 */
import * as MsgPack from "@effect/platform/MsgPack"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as CloseCode from "./CloseCode.js"
import { andThen, hasFailed, hasSucceeded, mapFailure } from "./internal/messageEffect.js"
import { describeFailure, describeIssue, oneLine } from "./internal/messageIssue.js"
import { parseJson, printJson } from "./internal/messageJson.js"
import { objection } from "./internal/messageMsgPack.js"
import type { Message } from "./WebSocket.js"

/**
 * Why a message has no value:
 *
 * - `"unsupported"`: it is binary where text is due, or the other way round.
 * - `"malformed"`: it isn't JSON, or MessagePack, or whatever the codec expects.
 * - `"mismatch"`: it is, but not a value of the schema.
 *
 * @since 0.1.0
 * @category errors
 */
export const Reason = Schema.Literal("unsupported", "malformed", "mismatch")

/**
 * @since 0.1.0
 * @category errors
 */
export type Reason = typeof Reason.Type

/**
 * A message that was received has no value.
 *
 * - `issue`: what is wrong and where, in one line of at most 200 characters. It may name keys of
 *   the message, and text that the schema's own messages quote.
 * - `excerpt`: the first 64 characters of the message, or the first 32 bytes in hex. It is no part
 *   of the error's `message`, so that what peers send isn't logged by the way.
 *
 * @since 0.1.0
 * @category errors
 */
export class DecodeError extends Schema.TaggedError<DecodeError>("effect-websocket/MessageCodec/DecodeError")(
  "DecodeError",
  { reason: Reason, issue: Schema.String, excerpt: Schema.String }
) {
  /**
   * What to close the connection with. RFC 6455 7.4.1: 1003 is for a type of data that can't be
   * accepted, as binary by who understands only text; 1007 for data within a message that isn't
   * consistent with the type of the message.
   */
  get closeCode(): number {
    return this.reason === "unsupported" ? CloseCode.unsupportedData : CloseCode.invalidPayload
  }

  override get message(): string {
    return `${this.reason} message: ${this.issue}`
  }
}

/**
 * A value can't be sent: it isn't one of the schema, or the format can't express it. Nothing was
 * sent, and the connection is unharmed. `issue` is as that of a {@link DecodeError}.
 *
 * @since 0.1.0
 * @category errors
 */
export class EncodeError extends Schema.TaggedError<EncodeError>("effect-websocket/MessageCodec/EncodeError")(
  "EncodeError",
  { issue: Schema.String }
) {
  override get message(): string {
    return `refused to send a value: ${this.issue}`
  }
}

/**
 * Decodes messages to `In` and encodes `Out` to messages, with the services that each of them
 * needs. An effect that is done at once should be an `Either`: it costs no step of a fiber.
 *
 * @since 0.1.0
 * @category models
 */
export interface MessageCodec<
  out In,
  in Out,
  out RIn = never,
  out ROut = never,
  out E extends DecodeError = DecodeError
> {
  readonly decode: (message: Message) => Effect.Effect<In, E, RIn>
  readonly encode: (value: Out) => Effect.Effect<Message, EncodeError, ROut>
}

/**
 * What this side receives, and what it sends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Schemas<In, InEncoded, RIn, Out, OutEncoded, ROut> {
  readonly incoming: Schema.Schema<In, InEncoded, RIn>
  readonly outgoing: Schema.Schema<Out, OutEncoded, ROut>
}

/**
 * JSON in text messages.
 *
 * Numbers are those of JavaScript. Integers beyond 2^53 have lost digits when they are decoded
 * (`Schema.Int` refuses them): let them travel as strings, with `Schema.BigInt`. `NaN` and the
 * infinities become `null` when they are encoded, unless the schema refuses them, as
 * `Schema.Finite` does. A message with a key `__proto__` is malformed: nobody needs one, and a copy
 * of it would inherit what the peer chose.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { MessageCodec } from "effect-websocket"
 *
 * class Say extends Schema.TaggedClass<Say>()("Say", { text: Schema.String }) {}
 * class Said extends Schema.TaggedClass<Said>()("Said", { by: Schema.String, text: Schema.String }) {}
 *
 * const server = MessageCodec.json({ incoming: Say, outgoing: Said })
 * const client = MessageCodec.json({ incoming: Said, outgoing: Say })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const json = <In, InEncoded, RIn, Out, OutEncoded, ROut>({
  incoming,
  outgoing
}: Schemas<In, InEncoded, RIn, Out, OutEncoded, ROut>): MessageCodec<In, Out, RIn, ROut> => {
  const decode = ParseResult.decodeUnknown(incoming)
  const encode = ParseResult.encode(outgoing)
  return text({
    decode: (message) => andThen(parseJson(message), (parsed) => mapFailure(decode(parsed), parseError)),
    encode: (value) => andThen(mapFailure(encode(value), parseError), printJson)
  })
}

const parseError = (issue: ParseResult.ParseIssue) => new ParseResult.ParseError({ issue })

/**
 * MessagePack in binary messages, one value in each.
 *
 * Besides the values of JSON there are bytes (`Schema.Uint8ArrayFromSelf`, which share the
 * message's memory), dates (`Schema.DateFromSelf`), `undefined` and `bigint`. Integers that a
 * peer writes with 64 bits come as `bigint`; for such peers take
 * `Schema.Union(Schema.Number, Schema.BigIntFromSelf)`. Extensions other than timestamps are
 * malformed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const msgPack = <In, InEncoded, RIn, Out, OutEncoded, ROut>({
  incoming,
  outgoing
}: Schemas<In, InEncoded, RIn, Out, OutEncoded, ROut>): MessageCodec<In, Out, RIn, ROut> => {
  const decode = ParseResult.decodeUnknown(incoming)
  const encode = ParseResult.encode(outgoing)
  return binary({
    decode: (message) => andThen(unpackOne(message), (unpacked) => mapFailure(decode(unpacked), parseError)),
    encode: (value) =>
      andThen(mapFailure(encode(value), parseError), (encoded) => Either.mapLeft(pack(encoded), parseError))
  })
}

const unpackOne = (message: Uint8Array): Either.Either<unknown, string> => {
  const wrong = objection(message)
  return wrong === undefined
    ? Either.mapLeft(unpack(message), () => "it is no MessagePack")
    : Either.left(`it is no MessagePack: ${wrong}`)
}

const unpack = ParseResult.decodeUnknownEither(MsgPack.schema(Schema.Unknown))
const pack = ParseResult.encodeUnknownEither(MsgPack.schema(Schema.Unknown))

/**
 * How the values of a custom codec become content, and back. What they fail with is told in the
 * `issue` of a {@link DecodeError}, as `"mismatch"` if it is a `ParseError` and as `"malformed"`
 * otherwise, or of an {@link EncodeError}; those two are taken as they are. They must not throw.
 *
 * @since 0.1.0
 * @category models
 */
export interface Format<Content, In, Out, RIn, ROut> {
  readonly decode: (content: Content) => Effect.Effect<In, unknown, RIn>
  readonly encode: (value: Out) => Effect.Effect<Content, unknown, ROut>
}

/**
 * A codec of your own for text messages; binary ones are unsupported.
 *
 * @since 0.1.0
 * @category constructors
 */
export const text = <In, Out, RIn = never, ROut = never>(
  format: Format<string, In, Out, RIn, ROut>
): MessageCodec<In, Out, RIn, ROut> => ({
  decode: (message) =>
    typeof message === "string"
      ? guarded(message, format.decode)
      : Either.left(undecodable("unsupported", "it is binary, and text is due", message)),
  encode: (value) => refusing(value, format.encode)
})

/**
 * A codec of your own for binary messages; text is unsupported.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { MessageCodec } from "effect-websocket"
 *
 * // a reading of a sensor: two bytes
 * const readings = MessageCodec.binary({
 *   decode: (bytes) => Effect.try(() => new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getInt16(0)),
 *   encode: (reading: number) => Effect.succeed(new Uint8Array([reading >> 8, reading]))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const binary = <In, Out, RIn = never, ROut = never>(
  format: Format<Uint8Array, In, Out, RIn, ROut>
): MessageCodec<In, Out, RIn, ROut> => ({
  decode: (message) =>
    typeof message === "string"
      ? Either.left(undecodable("unsupported", "it is text, and binary is due", message))
      : guarded(message, format.decode),
  encode: (value) => refusing(value, format.encode)
})

/**
 * A codec whose undecodable messages are values, too: each is handed over as a `Left`, and the
 * connection goes on. Without it a {@link TypedWebSocket} closes the connection.
 *
 * @since 0.1.0
 * @category combinators
 */
export const either = <In, Out, RIn, ROut, E extends DecodeError>(
  codec: MessageCodec<In, Out, RIn, ROut, E>
): MessageCodec<Either.Either<In, E>, Out, RIn, ROut, never> => ({
  decode: (message) => {
    const decoding = codec.decode(message)
    return hasSucceeded(decoding) || hasFailed(decoding) ? Either.right(decoding) : Effect.either(decoding)
  },
  encode: codec.encode
})

// ------------------------------------------------------------------- failures

const undecodable = (reason: Reason, issue: string, message: Message): DecodeError =>
  new DecodeError({ reason, issue, excerpt: excerptOf(message) })

const excerptOf = (message: Message): string =>
  typeof message === "string" ? oneLine(message, 64) : oneLine(Encoding.encodeHex(message.subarray(0, 33)), 64)

/** Decodes, and explains what goes wrong. */
const guarded = <Content extends Message, In, RIn>(
  content: Content,
  decode: (content: Content) => Effect.Effect<In, unknown, RIn>
): Effect.Effect<In, DecodeError, RIn> => {
  const explain = (failure: unknown): DecodeError => {
    if (failure instanceof DecodeError) return failure
    return ParseResult.isParseError(failure)
      ? undecodable("mismatch", describeIssue(failure.issue), content)
      : undecodable("malformed", describeFailure(failure), content)
  }
  return withinStack(() => mapFailure(decode(content), explain), explain)
}

const refusing = <Content, Out, ROut>(
  value: Out,
  encode: (value: Out) => Effect.Effect<Content, unknown, ROut>
): Effect.Effect<Content, EncodeError, ROut> => {
  const explain = (failure: unknown): EncodeError => {
    if (failure instanceof EncodeError) return failure
    const issue = ParseResult.isParseError(failure) ? describeIssue(failure.issue) : describeFailure(failure)
    return new EncodeError({ issue })
  }
  return withinStack(() => mapFailure(encode(value), explain), explain)
}

/** A recursive schema goes as deep as the value: what has no room on the stack is refused, and no defect. */
const withinStack = <A, E, R>(
  attempt: () => Effect.Effect<A, E, R>,
  explain: (overflow: RangeError) => E
): Effect.Effect<A, E, R> => {
  let effect: Effect.Effect<A, E, R>
  try {
    effect = attempt()
  } catch (thrown) {
    if (thrown instanceof RangeError) return Either.left(explain(thrown))
    throw thrown
  }
  return hasSucceeded(effect) || hasFailed(effect)
    ? effect
    : Effect.catchSomeDefect(effect, (defect) =>
        defect instanceof RangeError ? Option.some(Effect.fail(explain(defect))) : Option.none()
      )
}
