// What a client makes of a response (RFC 6455 4.1, the second list).

import type { ConnectOptions, Message } from "effect-websocket/WebSocket"
import { type Bytes, binary, join, nothing, ping, pong, text } from "../bytes.js"
import { head, type ResponseCase } from "../opening.js"

const switching = "HTTP/1.1 101 Switching Protocols"

const ordinary = (accept: string) => [
  ["Upgrade", "websocket"] as const,
  ["Connection", "Upgrade"] as const,
  ["Sec-WebSocket-Accept", accept] as const
]

type Response = ResponseCase["response"]

const startedBy =
  (start: string): Response =>
  (accept) =>
    head(start, ...ordinary(accept).map(([name, value]) => `${name}: ${value}`))

/** The ordinary response with the lines of a name left out, replaced, or given several times. */
const withLines =
  (name: string, ...values: ReadonlyArray<string | ((accept: string) => string)>): Response =>
  (accept) =>
    head(
      switching,
      ...ordinary(accept).flatMap(([each, value]) =>
        each === name
          ? values.map((other) => `${name}: ${typeof other === "string" ? other : other(accept)}`)
          : [`${each}: ${value}`]
      )
    )

/** The ordinary response with more lines behind. */
const plus =
  (...lines: ReadonlyArray<string>): Response =>
  (accept) =>
    head(switching, ...ordinary(accept).map(([name, value]) => `${name}: ${value}`), ...lines)

const after =
  (before: string): Response =>
  (accept) =>
    before + startedBy(switching)(accept)

const rewritten =
  (rewrite: (response: string) => string): Response =>
  (accept) =>
    rewrite(startedBy(switching)(accept))

const ok = (
  id: string,
  section: string,
  rule: string,
  response: Response,
  {
    options,
    subprotocol,
    early,
    messages = [],
    replies = nothing
  }: {
    readonly options?: ConnectOptions
    readonly subprotocol?: string
    readonly early?: Bytes
    readonly messages?: ReadonlyArray<Message>
    readonly replies?: Bytes
  } = {}
): ResponseCase => ({
  id,
  section,
  rule,
  roles: "client",
  outcome: "ok, open",
  response,
  options,
  early,
  verdict: { _tag: "Open", subprotocol, messages, replies }
})

const interim = (status: string, ...lines: ReadonlyArray<string>) => head(`HTTP/1.1 ${status}`, ...lines)

const legal: ReadonlyArray<ResponseCase> = [
  ok("ordinary", "4.1", "the ordinary response", startedBy(switching)),
  ok("other-reason", "RFC 9112 4", "any reason phrase", startedBy("HTTP/1.1 101 Web Socket Protocol Handshake \xfc")),
  ok("empty-reason", "RFC 9112 4", "an empty reason phrase", startedBy("HTTP/1.1 101 ")),
  ok(
    "no-reason",
    "RFC 9112 4",
    "no space before a missing reason phrase: not legal, but common",
    startedBy("HTTP/1.1 101")
  ),
  ok(
    "names-lower-case",
    "4.1, RFC 9110 5.1",
    "header names in lower case",
    rewritten((all) => all.replace(/^[\w-]+:/gm, (name) => name.toLowerCase()))
  ),
  ok(
    "names-upper-case",
    "4.1, RFC 9110 5.1",
    "header names in upper case",
    rewritten((all) => all.replace(/^[\w-]+:/gm, (name) => name.toUpperCase()))
  ),
  ok(
    "no-space",
    "RFC 9112 5.1",
    "no whitespace between colon and value",
    rewritten((all) => all.replaceAll(": ", ":"))
  ),
  ok(
    "more-space",
    "4.1, RFC 9112 5.1",
    "whitespace around a value, that of Sec-WebSocket-Accept too",
    rewritten((all) => all.replace(/: (.*)\r/g, ": \t $1 \t\r"))
  ),
  ok("upgrade-case", "4.1", "Upgrade is websocket in any case", withLines("Upgrade", "WebSocket")),
  ok("connection-case", "4.1", "Connection names upgrade in any case", withLines("Connection", "UPGRADE")),
  ok("connection-list", "4.1", "Connection is a list", withLines("Connection", "keep-alive, Upgrade")),
  ok(
    "connection-twice",
    "4.1, RFC 9110 5.3",
    "several Connection fields are one list",
    withLines("Connection", "keep-alive", "upgrade")
  ),
  ok(
    "unknown-headers",
    "4.1",
    "headers that mean nothing here, some several times",
    plus("Set-Cookie: a=b", "Set-Cookie: c=d", "Server: x", "Sec-WebSocket-Version: 13")
  ),
  ok("subprotocol", "4.1", "one of the subprotocols that were asked for", plus("Sec-WebSocket-Protocol: b"), {
    options: { subprotocols: ["a", "b"] },
    subprotocol: "b"
  }),
  ok("subprotocol-none", "4.1", "none of the subprotocols that were asked for", startedBy(switching), {
    options: { subprotocols: ["a", "b"] }
  }),
  ok("interim-100", "4.1, RFC 9110 15.2", "a 100 before the 101 is passed over", after(interim("100 Continue"))),
  ok(
    "interim-103",
    "4.1, RFC 9110 15.2",
    "a 103 with headers before the 101 is passed over",
    after(interim("103 Early Hints", "Link: </a>; rel=preload", "Sec-WebSocket-Accept: x"))
  ),
  ok(
    "interim-several",
    "4.1, RFC 9110 15.2",
    "several interim responses are passed over",
    after(interim("102 Processing").repeat(15) + interim("199"))
  ),
  ok("frames-behind", "4.1", "the first frames in the packet of the 101", startedBy(switching), {
    early: join(text("hello"), ping("you"), binary(Uint8Array.of(1))),
    messages: ["hello", Uint8Array.of(1)],
    replies: pong("you")
  })
]

const failed = (
  id: string,
  section: string,
  rule: string,
  response: Response,
  because: string,
  {
    status = 101,
    body,
    options,
    behind
  }: {
    /** Of the response, if it could be read. */
    readonly status?: number | "none"
    readonly body?: string
    readonly options?: ConnectOptions
    readonly behind?: ResponseCase["behind"]
  } = {}
): ResponseCase => ({
  id,
  section,
  rule,
  roles: "client",
  outcome: "refused",
  response,
  options,
  behind,
  verdict: { _tag: "HandshakeError", rule: because, status: status === "none" ? undefined : status, body }
})

const each = (
  prefix: string,
  section: string,
  rule: string,
  because: string,
  variants: Readonly<Record<string, Response>>,
  options?: ConnectOptions
): ReadonlyArray<ResponseCase> =>
  Object.entries(variants).map(([name, response]) =>
    failed(
      `${prefix}-${name.replaceAll(" ", "-")}`,
      section,
      `${rule}: ${name}`,
      response,
      because,
      options && { options }
    )
  )

const refusals: ReadonlyArray<ResponseCase> = (
  [
    [200, "OK"],
    [201, "Created"],
    [301, "Moved Permanently"],
    [302, "Found"],
    [307, "Temporary Redirect"],
    [400, "Bad Request"],
    [401, "Unauthorized"],
    [403, "Forbidden"],
    [404, "Not Found"],
    [407, "Proxy Authentication Required"],
    [426, "Upgrade Required"],
    [500, "Internal Server Error"],
    [503, "Service Unavailable"]
  ] as const
).map(([status, reason]) =>
  failed(
    `status-${status}`,
    "4.1",
    `${status} ${reason}: no connection, and the application is told the status and the body`,
    (accept) =>
      head(
        `HTTP/1.1 ${status} ${reason}`,
        ...ordinary(accept).map(([name, value]) => `${name}: ${value}`),
        "Location: ws://elsewhere.example/",
        "WWW-Authenticate: Basic",
        "Content-Length: 7"
      ).concat("because"),
    `the server answered ${status} where 101 was due`,
    { status, body: "because" }
  )
)

const noUpgrade = "the response lacks Upgrade: websocket (RFC 6455 4.1)"
const noConnection = "the response lacks Connection: Upgrade (RFC 6455 4.1)"
const badAccept = "Sec-WebSocket-Accept isn't there once with the value that the key leads to (RFC 6455 4.1)"
const badSubprotocol = "the server chose a subprotocol that wasn't asked for (RFC 6455 4.1)"

const illegal: ReadonlyArray<ResponseCase> = [
  failed(
    "http-1.0",
    "4.1, RFC 9110 7.8",
    "a 101 of HTTP/1.0",
    startedBy("HTTP/1.0 101 Switching Protocols"),
    "the server answered with HTTP/1.0, which knows no upgrade (RFC 9110 7.8)"
  ),
  ...each("upgrade", "4.1", "Upgrade is websocket and nothing else", noUpgrade, {
    missing: withLines("Upgrade"),
    empty: withLines("Upgrade", ""),
    other: withLines("Upgrade", "h2c"),
    list: withLines("Upgrade", "websocket, h2c"),
    twice: withLines("Upgrade", "websocket", "websocket")
  }),
  ...each("connection", "4.1", "Connection names upgrade", noConnection, {
    missing: withLines("Connection"),
    empty: withLines("Connection", ""),
    close: withLines("Connection", "close"),
    "keep-alive": withLines("Connection", "keep-alive")
  }),
  ...each("accept", "4.1", "Sec-WebSocket-Accept is what the key leads to, once", badAccept, {
    missing: withLines("Sec-WebSocket-Accept"),
    empty: withLines("Sec-WebSocket-Accept", ""),
    "of another key": withLines("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    "in lower case": withLines("Sec-WebSocket-Accept", (accept) => accept.toLowerCase()),
    "without padding": withLines("Sec-WebSocket-Accept", (accept) => accept.slice(0, -1)),
    quoted: withLines("Sec-WebSocket-Accept", (accept) => `"${accept}"`),
    twice: withLines(
      "Sec-WebSocket-Accept",
      (accept) => accept,
      (accept) => accept
    )
  }),
  ...each("subprotocol-unasked", "4.1", "a subprotocol only if it was asked for", badSubprotocol, {
    one: plus("Sec-WebSocket-Protocol: chat"),
    empty: plus("Sec-WebSocket-Protocol:")
  }),
  ...each(
    "subprotocol",
    "4.1, 11.3.4",
    "one of the subprotocols that were asked for",
    badSubprotocol,
    {
      other: plus("Sec-WebSocket-Protocol: c"),
      "other case": plus("Sec-WebSocket-Protocol: A"),
      two: plus("Sec-WebSocket-Protocol: a, b"),
      "two fields": plus("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
      empty: plus("Sec-WebSocket-Protocol:")
    },
    { subprotocols: ["a", "b"] }
  ),
  ...each(
    "extension-unasked",
    "4.1, 9.1",
    "an extension only if it was asked for",
    "the server chose an extension that wasn't asked for (RFC 6455 4.1)",
    {
      one: plus("Sec-WebSocket-Extensions: permessage-deflate"),
      "with parameters": plus("Sec-WebSocket-Extensions: foo; bar=1, baz")
    }
  ),
  failed(
    "extensions-empty",
    "9.1",
    "Sec-WebSocket-Extensions lists at least one",
    plus("Sec-WebSocket-Extensions:"),
    "Sec-WebSocket-Extensions lists at least one extension (RFC 6455 9.1)"
  ),
  failed(
    "extensions-malformed",
    "9.1",
    "Sec-WebSocket-Extensions follows its grammar",
    plus("Sec-WebSocket-Extensions: a; b="),
    "Sec-WebSocket-Extensions isn't a list of extensions with parameters (RFC 6455 9.1)"
  ),
  failed(
    "interim-endless",
    "RFC 9110 15.2",
    "more than 16 interim responses",
    () => interim("100 Continue").repeat(17),
    "the server sent more than 16 interim responses",
    { status: "none" }
  )
]

const unread = (id: string, section: string, rule: string, response: string, because: string) =>
  failed(id, section, rule, () => response, because, { status: "none" })

const badStart = "the start line isn't that of an HTTP/1.1 message (RFC 9112 2.1)"
const badLineEnd = "a line ends with something else than CR LF (RFC 9112 2.2)"

const malformed: ReadonlyArray<ResponseCase> = [
  unread("start-other-protocol", "RFC 9112 4", "another protocol is refused at its first byte", "S", badStart),
  unread(
    "start-http-2",
    "RFC 9110 2.5",
    "another version of HTTP is refused at its number",
    "HTTP/2",
    "the only version spoken is HTTP/1.1 (RFC 9110 2.5)"
  ),
  unread("start-two-digits", "RFC 9112 4", "a status of two digits", "HTTP/1.1 10 ", badStart),
  unread("start-four-digits", "RFC 9112 4", "a status of four digits", "HTTP/1.1 1010", badStart),
  unread("start-bare-lf", "RFC 9112 2.2", "a status line that ends with LF alone", `${switching}\n`, badStart),
  unread(
    "tls",
    "RFC 8446 5.1",
    "TLS where none was asked for",
    "\x15",
    "the peer speaks TLS where plain HTTP was expected"
  ),
  unread(
    "line-end-bare-lf",
    "RFC 9112 2.2",
    "a header line that ends with LF alone",
    `${switching}\r\nUpgrade: websocket\n`,
    badLineEnd
  ),
  unread(
    "line-end-bare-cr",
    "RFC 9112 2.2",
    "a header line that ends with CR alone",
    `${switching}\r\nUpgrade: websocket\rC`,
    badLineEnd
  ),
  unread(
    "folding",
    "RFC 9112 5.2",
    "a folded line",
    `${switching}\r\nUpgrade:\r\n `,
    "a header line begins with whitespace; folded lines are obsolete (RFC 9112 5.2)"
  ),
  unread(
    "name-space",
    "RFC 9112 5.1",
    "a space before the colon",
    `${switching}\r\nUpgrade `,
    "a header name isn't a token followed at once by a colon (RFC 9112 5.1)"
  ),
  unread(
    "value-nul",
    "RFC 9110 5.5",
    "a NUL in a value",
    `${switching}\r\nUpgrade: web\0`,
    "a header value holds a control character (RFC 9110 5.5)"
  ),
  unread(
    "too-long",
    "10.4",
    "a head of more than 16 KiB",
    `${switching}\r\nX: `.padEnd(16_384, "x"),
    "the head is longer than 16384 bytes"
  ),
  unread(
    "too-many-headers",
    "10.4",
    "more than 100 header fields",
    `${switching}\r\n${"X: x\r\n".repeat(100)}Y`,
    "more than 100 header fields"
  )
]

const unfinished: ReadonlyArray<ResponseCase> = [
  ...["", `${switching}\r\nUpgrade: websocket\r\n`].map((response) =>
    failed(
      response === "" ? "fin-at-once" : "fin-in-response",
      "4.1, 7.1.7",
      response === "" ? "the server ends TCP without an answer" : "the server ends TCP inside its answer",
      () => response,
      "the server ended the connection without an answer",
      { status: "none", behind: "FIN" }
    )
  ),
  ...["", `${switching}\r\nUpgrade: websocket\r\n`].map(
    (response): ResponseCase => ({
      id: response === "" ? "silence" : "silence-in-response",
      section: "4.1, 10.4",
      rule: `the server stays silent ${response === "" ? "from the beginning" : "inside its answer"}: given up after handshakeTimeout`,
      roles: "client",
      outcome: "given up",
      response: () => response,
      behind: "silence",
      verdict: { _tag: "ConnectError", reason: "timeout" }
    })
  )
]

export const responses = [...legal, ...refusals, ...illegal, ...malformed, ...unfinished]
