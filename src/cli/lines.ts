// Messages as lines: as people type and read them, and as JSON for programs.

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
  | { readonly _tag: "Ping" }
  | { readonly _tag: "Help" }

/** Reads a line of input; `Left` says what is wrong with it. */
export type Reader = (line: string) => Either.Either<Command, string>

const send = (message: Message): Command => ({ _tag: "Send", message })

/** Each line is a message. */
export const readText: Reader = (line) => Either.right(send(line))

const decode = Schema.decodeUnknownEither(Line)

/** Each line is JSON: see {@link Line}. */
export const readJson: Reader = (line) =>
  decode(line).pipe(
    Either.mapLeft((error) => `no such line: ${ParseResult.ArrayFormatter.formatErrorSync(error)[0]?.message}`),
    Either.flatMap((value) => {
      if (value.type === "text") return Either.right(send(value.data))
      if (value.type === "close")
        return Either.right<Command>({ _tag: "Close", code: value.code, reason: value.reason })
      return Either.mapBoth(Encoding.decodeBase64(value.base64), {
        onLeft: ({ message }) => `no base64: ${message}`,
        onRight: send
      })
    })
  )

export const typingHelp = `Each line is sent as a message.
/binary 48 65 78       sends bytes
/ping                  tells how long a round trip takes
/close 4000 see you    closes, with a code and a reason if you like
//text                 sends a line that begins with a slash
Ctrl-D closes, Ctrl-C goes away.`

/** What a person types: messages, and commands that begin with a slash. */
export const readTyped: Reader = (line) => {
  if (!line.startsWith("/")) return Either.right(send(line))
  if (line.startsWith("//")) return Either.right(send(line.slice(1)))
  const [, name = "", rest = ""] = /^\/(\S*)\s*(.*?)\s*$/.exec(line) ?? []
  switch (name) {
    case "help":
      return Either.right({ _tag: "Help" })
    case "ping":
      return Either.right({ _tag: "Ping" })
    case "binary":
      return Either.mapBoth(Encoding.decodeHex(rest.replaceAll(/\s/g, "").toLowerCase()), {
        onLeft: ({ message }) => `/binary takes bytes in hexadecimal, as in 48 65 78: ${message}`,
        onRight: send
      })
    case "close": {
      const [, code, reason] = /^(\d+)?\s*(.*)$/.exec(rest) ?? []
      return reason !== "" && code === undefined
        ? Either.left("/close takes a code before the reason, as in 4000 see you")
        : Either.right({ _tag: "Close", code: code === undefined ? undefined : Number(code), reason })
    }
    default:
      return Either.left(
        `no command is called /${name}; /help tells them, and // sends a line that begins with a slash`
      )
  }
}

/** For whom it is shown: a program that reads JSON, a person, or whoever gets just the content. */
export type Audience = "program" | "person" | "pipe"

/** Messages as they are printed at once, and, where there are many peers, whose they are. */
export const showMessages = (
  messages: Iterable<Message>,
  audience: Audience,
  paint: Paint,
  from?: string
): string | Uint8Array => {
  const shown = Array.from(messages, (message) => showMessage(message, audience, paint, from))
  return shown.every((each) => typeof each === "string")
    ? shown.join("\n")
    : Buffer.concat(shown.flatMap((each) => (typeof each === "string" ? [Buffer.from(each), newline] : [each])))
}

const newline = new Uint8Array([0x0a])

const showMessage = (message: Message, audience: Audience, paint: Paint, from?: string): string | Uint8Array => {
  if (audience === "pipe") return message
  if (audience === "program") {
    const content =
      typeof message === "string"
        ? { type: "text", data: message }
        : { type: "binary", base64: Encoding.encodeBase64(message) }
    return JSON.stringify(from === undefined ? content : { ...content, from })
  }
  const mark = `${from === undefined ? "" : `${paint.dim(from)} `}${paint.green("<")}`
  if (typeof message !== "string")
    return `${mark} ${paint.dim(size(message))}\n${paint.cyan(hexDump(message))}`.trimEnd()
  // So that no line of a message looks like another one.
  return `${mark} ${printable(message).replaceAll("\n", "\n  ")}`
}

const size = ({ length }: Uint8Array) => (length === 1 ? "1 byte" : `${length} bytes`)
