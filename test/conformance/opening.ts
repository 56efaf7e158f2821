// What a case of the opening handshake is.

import type { ConnectOptions, Message } from "effect-websocket/WebSocket"
import type { ServerOptions } from "effect-websocket/WebSocketServer"
import type { Bytes } from "./bytes.js"
import type { Named } from "./model.js"

/** The example key of RFC 6455 1.3, and what it leads to. */
export const key = "dGhlIHNhbXBsZSBub25jZQ=="
export const acceptValue = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

export const head = (start: string, ...lines: ReadonlyArray<string>): string => [start, ...lines, "", ""].join("\r\n")

/** What a server does with a request. */
export type Answer =
  | { readonly _tag: "Accepted"; readonly lines: ReadonlyArray<string> }
  | {
      readonly _tag: "Refused"
      readonly status: keyof typeof reasons
      readonly rule: string
      readonly lines: ReadonlyArray<string>
    }
  /** TCP ends without a byte, because the client ended it first. */
  | { readonly _tag: "Hangs up" }

/** Our server, and a request in the order of its bytes. */
export interface RequestCase extends Named {
  readonly request: string
  readonly options?: ServerOptions | undefined
  readonly answer: Answer
  /** Follows in the same packet; `messages` of it come to the application. */
  readonly early?: { readonly bytes: Bytes; readonly messages: ReadonlyArray<Message> } | undefined
  /** The client says nothing more, until `handshakeTimeout` is over. */
  readonly stops?: boolean | undefined
}

export const reasons = {
  400: "Bad Request",
  403: "Forbidden",
  405: "Method Not Allowed",
  408: "Request Timeout",
  426: "Upgrade Required",
  431: "Request Header Fields Too Large",
  505: "HTTP Version Not Supported"
} as const

/** The bytes of an answer. */
export const answerText = (answer: Answer): string => {
  switch (answer._tag) {
    case "Hangs up":
      return ""
    case "Accepted":
      return head(
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        `Sec-WebSocket-Accept: ${acceptValue}`,
        ...answer.lines
      )
    case "Refused": {
      const { status, rule, lines } = answer
      const upgrade = lines.some((line) => line.startsWith("Upgrade:"))
      const start = head(
        `HTTP/1.1 ${status} ${reasons[status]}`,
        `Content-Length: ${rule.length + 1}`,
        `Connection: ${upgrade ? "Upgrade, close" : "close"}`,
        "Content-Type: text/plain; charset=utf-8",
        ...lines
      )
      return `${start}${rule}\n`
    }
  }
}

/** What our client makes of a response. */
export type Verdict =
  | {
      readonly _tag: "Open"
      readonly subprotocol: string | undefined
      readonly messages: ReadonlyArray<Message>
      readonly replies: Bytes
    }
  | {
      readonly _tag: "HandshakeError"
      readonly rule: string
      readonly status: number | undefined
      readonly body: string | undefined
    }
  | { readonly _tag: "ConnectError"; readonly reason: string }

/** Our client, and a response; `accept` is the value that the client's key leads to. */
export interface ResponseCase extends Named {
  readonly response: (accept: string) => string
  readonly options?: ConnectOptions | undefined
  readonly verdict: Verdict
  /** Follows in the same packet. */
  readonly early?: Bytes | undefined
  /** What comes behind the response: FIN, or nothing for ever. */
  readonly behind?: "FIN" | "silence" | undefined
}

/** What our client asks for, byte for byte, but for the key. */
export interface OwnRequestCase extends Named {
  readonly path: string
  readonly options: ConnectOptions
  readonly request: (host: string, key: string) => string
}
