import { createServer } from "node:http"
import { Duplex } from "node:stream"
import { describe, expect, it } from "@effect/vitest"
import { checkRequest } from "../../src/protocol/handshake.js"
import { requestReader } from "../../src/protocol/head.js"

// What requests are smuggled with (RFC 9112 11.2), as upgrades: two parsers, one before the other, must not read them in
// two ways. What we accept, node:http must take for the same upgrade; what we refuse, it may read as it likes.

const request = (lines: string, start = "GET / HTTP/1.1\r\n") =>
  `${start}Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${lines}\r\n`

const behind = "\x81\x85abcdGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))

/** What we make of it: the head and what stands behind it, or nothing where we refuse. */
const ours = (text: string): unknown => {
  const read = requestReader().push(bytes(text))
  if (read?._tag !== "Complete" || "_tag" in checkRequest(read.head)) return undefined
  const { fields, method, target } = read.head
  return { method, target, fields: fields.pairs.flat(), rest: Buffer.from(read.rest).toString("latin1") }
}

/** What node:http makes of it: the same of an upgrade, or something else. */
const theirs = (text: string) =>
  new Promise<unknown>((resolve) => {
    const server = createServer()
    const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    const settle = (answer: unknown) => {
      resolve(answer)
      stream.destroy()
    }
    server.on("upgrade", ({ method, rawHeaders, url }, _, head: Buffer) =>
      settle({
        method,
        target: url,
        fields: rawHeaders.map((part, index) => (index % 2 === 0 ? part.toLowerCase() : part)),
        rest: head.toString("latin1")
      })
    )
    server.on("request", () => settle("an ordinary request"))
    server.on("clientError", (error) => settle(error.message))
    server.emit("connection", stream)
    stream.push(Buffer.from(text, "latin1"))
    stream.push(null)
  })

describe("a request that may be read in two ways", () => {
  const refused: ReadonlyArray<readonly [what: string, text: string]> = [
    ["a Content-Length", request("Content-Length: 5\r\n")],
    ["a Content-Length with a sign", request("Content-Length: +0\r\n")],
    ["a Content-Length in another base", request("Content-Length: 0x0\r\n")],
    ["a Content-Length of two digits", request("Content-Length: 00\r\n")],
    ["an empty Content-Length", request("Content-Length:\r\n")],
    ["a list of Content-Lengths", request("Content-Length: 0, 5\r\n")],
    ["two Content-Lengths that differ", request("Content-Length: 0\r\nContent-Length: 5\r\n")],
    ["two Content-Lengths that don't", request("Content-Length: 0\r\nContent-Length: 0\r\n")],
    ["Transfer-Encoding", request("Transfer-Encoding: chunked\r\n")],
    ["Transfer-Encoding: identity", request("Transfer-Encoding: identity\r\n")],
    ["an unknown Transfer-Encoding", request("Transfer-Encoding: xchunked\r\n")],
    ["an empty Transfer-Encoding", request("Transfer-Encoding:\r\n")],
    ["both of them", request("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")],
    ["Transfer-Encoding behind a tab", request("Transfer-Encoding:\tchunked\r\n")],
    ["a space before a colon", request("Transfer-Encoding : chunked\r\n")],
    ["a tab before a colon", request("Content-Length\t: 5\r\n")],
    ["a folded line", request("X: a\r\n Transfer-Encoding: chunked\r\n")],
    ["a folded line of a tab", request("X: a\r\n\tb\r\n")],
    ["a folded Content-Length", request("Content-Length:\r\n 5\r\n")],
    ["a line that begins with a space", request(" X: a\r\n")],
    ["a lone LF behind a header", request("X: a\nTransfer-Encoding: chunked\r\n")],
    ["a lone LF behind the start line", request("", "GET / HTTP/1.1\n")],
    ["a lone LF at the end", `${request("").slice(0, -2)}\n`],
    ["a lone CR in a value", request("X: a\rTransfer-Encoding: chunked\r\n")],
    ["two CRs", request("X: a\r\r\n")],
    ["a NUL in a value", request("X: a\0b\r\n")],
    ["a NUL in a name", request("X\0: a\r\n")],
    ["a NUL behind a name", request("Content-Length\0: 5\r\n")],
    ["a vertical tab in a value", request("X: a\x0bb\r\n")],
    ["a DEL in a value", request("X: a\x7f\r\n")],
    ["obs-text in a name", request("X\xa0: a\r\n")],
    ["no colon", request("Transfer-Encoding chunked\r\n")],
    ["no name", request(": chunked\r\n")],
    ["two Hosts", request("Host: b\r\n")],
    ["two keys", request("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")],
    ["two versions", request("Sec-WebSocket-Version: 13\r\n")],
    ["an empty line first", `\r\n${request("")}`],
    ["an absolute target", request("", "GET http://b/ HTTP/1.1\r\n")],
    ["a space in the target", request("", "GET /a b HTTP/1.1\r\n")],
    ["two spaces behind the method", request("", "GET  / HTTP/1.1\r\n")],
    ["a tab behind the method", request("", "GET\t/ HTTP/1.1\r\n")],
    ["a space behind the version", request("", "GET / HTTP/1.1 \r\n")],
    ["HTTP/1.0", request("", "GET / HTTP/1.0\r\n")],
    ["no version", request("", "GET /\r\n")]
  ]

  it.each(refused)("%s is refused, wherever the line stands and whatever follows", (_, text) => {
    expect(ours(request(""))).toBeDefined()
    expect(ours(text)).toBeUndefined()
    expect(ours(text + behind)).toBeUndefined()
  })

  const accepted: ReadonlyArray<readonly [what: string, text: string]> = [
    ["plain", request("")],
    ["with a body of nothing", request("Content-Length: 0\r\n")],
    ["with spaces round a value", request("X: \t a \t \r\n")],
    ["with an empty value", request("X:\r\n")],
    ["with a header twice", request("X: a\r\nx: b\r\n")],
    ["with lists in two fields", request("Upgrade: h2c\r\nConnection: keep-alive\r\n")],
    ["with obs-text in a value", request("X: \xff\xa0\x85\r\n")],
    ["with every character of a token in a name", request("!#$%&'*+-.^_`|~09azAZ: a\r\n")],
    ["with names of members of every object", request("__proto__: a\r\nconstructor: b\r\n")],
    ["with Expect", request("Expect: 100-continue\r\n")],
    ["with a Trailer and a TE, which are no body", request("TE: trailers\r\nTrailer: X\r\n")]
  ]

  it.each(accepted)(
    "that is accepted, %s, is the same upgrade to node:http, with the same bytes behind it",
    async (_, text) => {
      for (const rest of ["", "\x81\x00", behind]) {
        const read = ours(text + rest)
        expect(read).toMatchObject({ method: "GET", target: "/", rest })
        expect(await theirs(text + rest)).toEqual(read)
      }
    }
  )
})
