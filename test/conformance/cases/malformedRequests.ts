// What a server refuses because of how it is written (RFC 9112), and requests that never end.

import type { Answer, RequestCase } from "../opening.js"
import { asFarAs, each, get, refused, startedBy } from "./requestLines.js"

const badStart = [400, "the start line isn't that of an HTTP/1.1 message (RFC 9112 2.1)"] as const
const badTarget = [400, "the request target isn't in origin form: a path and perhaps a query (RFC 9112 3.2.1)"] as const
const badToken = [400, "the method isn't a token followed by one space (RFC 9112 3)"] as const
const badLineEnd = [400, "a line ends with something else than CR LF (RFC 9112 2.2)"] as const
const badName = [400, "a header name isn't a token followed at once by a colon (RFC 9112 5.1)"] as const
const badValue = [400, "a header value holds a control character (RFC 9110 5.5)"] as const
const folded = [400, "a header line begins with whitespace; folded lines are obsolete (RFC 9112 5.2)"] as const

const malformed: ReadonlyArray<RequestCase> = [
  ...each(
    "start",
    "RFC 9112 2.1, 3",
    "the start line is that of a request, refused at its first wrong byte",
    badStart,
    {
      "empty line before it": "\r",
      "lower-case http": "GET / h",
      "bare LF": "GET / HTTP/1.1\n",
      "space behind": "GET / HTTP/1.1 ",
      "two digits": "GET / HTTP/1.10"
    }
  ),
  ...each("method-bytes", "RFC 9112 3", "the method is a token and one space", badToken, {
    slash: "GET/",
    tab: "GET\t",
    "line end": "GET\r"
  }),
  ...each("target", "4.1, RFC 9112 3.2", "the target is in origin form, refused at its first wrong byte", badTarget, {
    "absolute form": "GET h",
    asterisk: "GET *",
    "two spaces": "GET  ",
    fragment: "GET /a#",
    "above ASCII": "GET /\xe4"
  }),
  ...each("line-end", "RFC 9112 2.2", "lines end with CR LF", badLineEnd, {
    "bare LF": asFarAs("Host: a\n"),
    "bare CR": asFarAs("Host: a\rX"),
    "LF for the empty line": asFarAs("Host: a\r\n\n"),
    "CR for the empty line": asFarAs("Host: a\r\n\rX")
  }),
  ...each("folding", "RFC 9112 5.2", "no line is folded", folded, {
    space: asFarAs("Host: a\r\n "),
    tab: asFarAs("Host: a\r\n\t"),
    first: `${get}\r\n `
  }),
  ...each("name", "RFC 9112 5.1", "a header name is a token with the colon right behind", badName, {
    "space before the colon": asFarAs("Host "),
    empty: asFarAs(":"),
    "no colon": asFarAs("Host\r"),
    "control character": asFarAs("Ho\x01"),
    "above ASCII": asFarAs("X-\xe4")
  }),
  ...each("value", "RFC 9110 5.5", "a header value holds no control character", badValue, {
    NUL: asFarAs("Host: a\0"),
    "vertical tab": asFarAs("Host: a\x0b"),
    DEL: asFarAs("Host: a\x7f")
  }),
  refused("tls", "RFC 8446 5.1", "TLS where none is spoken, refused at the first byte", "\x16", [
    400,
    "the peer speaks TLS where plain HTTP was expected"
  ]),
  refused(
    "too-long",
    "10.4",
    "a head of more than 16 KiB is refused at its last byte allowed",
    `${get}\r\nX: `.padEnd(16_384, "x"),
    [431, "the head is longer than 16384 bytes"]
  ),
  refused(
    "too-many-headers",
    "10.4",
    "more than 100 header fields are refused at the first byte of the one too many",
    `${asFarAs(...Array.from({ length: 100 }, (_, index) => `X-${index}: x`))}\r\nY`,
    [431, "more than 100 header fields"]
  )
]

const hangsUp: Answer = { _tag: "Hangs up" }

const unfinished: ReadonlyArray<RequestCase> = [
  {
    id: "fin-at-once",
    section: "4.2",
    rule: "the client ends TCP without a request: so do we, without a word",
    roles: "server",
    outcome: "TCP ended",
    request: "",
    answer: hangsUp
  },
  {
    id: "fin-in-request",
    section: "4.2",
    rule: "so it is inside a request",
    roles: "server",
    outcome: "TCP ended",
    request: startedBy(get).slice(0, -2),
    answer: hangsUp
  },
  ...["", startedBy(get).slice(0, -1)].map(
    (request): RequestCase => ({
      id: request === "" ? "silence" : "silence-in-request",
      section: "4.2, 10.4",
      rule: `the client stays silent ${request === "" ? "from the beginning" : "before the last byte"}: after handshakeTimeout it is refused`,
      roles: "server",
      outcome: "refused with 408",
      request,
      stops: true,
      answer: { _tag: "Refused", status: 408, rule: "no whole request came in time", lines: [] }
    })
  )
]

export const malformedRequests = [...malformed, ...unfinished]
