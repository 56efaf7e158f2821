// Messages as lines: for people, and as JSON for programs.

import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Message } from "../WebSocket.js"
import { hexDump, type Paint, printable } from "./format.js"

/** A line of JSON: a message, or the wish to close. */
const Line = Schema.parseJson(
  Schema.Union(
    Schema.Struct({ type: Schema.Literal("text"), data: Schema.String }),
    Schema.Struct({ type: Schema.Literal("binary"), base64: Schema.String }),
    Schema.Struct({
      type: Schema.Literal("close"),
      code: Schema.optional(Schema.Int),
      reason: Schema.optional(Schema.String)
    })
  )
)

/** What a line asks for. */
export type Command =
  | { readonly _tag: "Send"; readonly message: Message }
  | { readonly _tag: "Close"; readonly code: number | undefined; readonly reason: string | undefined }

const decode = Schema.decodeUnknownEither(Line)

/** A line of input, as a message to send or a wish to close; `Left` says what is wrong with it. */
export const readLine = (line: string, json: boolean): Either.Either<Command, string> =>
  json
    ? decode(line).pipe(
        Either.mapLeft(
          (error) => `no such line: ${ParseResult.TreeFormatter.formatErrorSync(error).split("\n").at(-1)}`
        ),
        Either.flatMap((value): Either.Either<Command, string> => {
          if (value.type === "text") return Either.right({ _tag: "Send", message: value.data })
          if (value.type === "close") return Either.right({ _tag: "Close", code: value.code, reason: value.reason })
          return Encoding.decodeBase64(value.base64).pipe(
            Either.mapLeft(({ message }) => `no base64: ${message}`),
            Either.map((message) => ({ _tag: "Send", message }))
          )
        })
      )
    : Either.right({ _tag: "Send", message: line })

/** A message as it is shown. */
export const showMessage = (message: Message, json: boolean, paint: Paint): string => {
  if (json) {
    return JSON.stringify(
      typeof message === "string"
        ? { type: "text", data: message }
        : { type: "binary", base64: Encoding.encodeBase64(message) }
    )
  }
  return typeof message === "string"
    ? `${paint.green("<")} ${printable(message)}`
    : `${paint.green("<")} ${paint.dim(`${message.length} bytes`)}\n${paint.cyan(hexDump(message))}`
}

/** Something that happened, as a line: for programs JSON like everything else. */
export const showEvent = (
  event: { readonly type: string; readonly [key: string]: unknown },
  text: string,
  json: boolean,
  paint: Paint
): string => (json ? JSON.stringify(event) : paint.dim(text))
