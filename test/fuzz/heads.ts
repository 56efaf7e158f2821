// Heads of HTTP messages, read by us and by the parser of node:http. What we accept
// it has to accept too, with the same meaning: two readings of the same bytes are
// what requests get smuggled with (RFC 9112 11.2). We may refuse more.

import { createServer, get, type IncomingMessage, METHODS } from "node:http"
import { Duplex } from "node:stream"
import { checkRequest, checkResponse } from "../../src/protocol/handshake.js"
import { type HeaderPairs, type HeadReader, requestReader, responseReader } from "../../src/protocol/head.js"
import { latin1 } from "./observe.js"
import { Random, split } from "./random.js"

export interface Result {
  readonly count: number
  /** How many of them both sides accepted. */
  readonly accepted: number
  readonly failure: string | undefined
}

interface Meaning {
  readonly start: string
  readonly pairs: HeaderPairs
  /** What stands behind the head, where the connection leaves HTTP. */
  readonly rest: string | undefined
}

const key = "dGhlIHNhbXBsZSBub25jZQ=="
const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

const requests: readonly [string, ...ReadonlyArray<string>] = [
  "GET / HTTP/1.1",
  "GET /chat?a=b%20c|d HTTP/1.1",
  "GET //a/../b HTTP/1.1",
  "GET / HTTP/1.0",
  "POST /a HTTP/1.1",
  "HEAD / HTTP/1.1",
  "GET http://a/ HTTP/1.1",
  "GET * HTTP/1.1",
  "GET / HTTP/2.0",
  "GET /"
]

const responses: readonly [string, ...ReadonlyArray<string>] = [
  "HTTP/1.1 101 Switching Protocols",
  "HTTP/1.1 101 Switching Protocols",
  "HTTP/1.1 101",
  "HTTP/1.1 101 ",
  "HTTP/1.1 200 OK",
  "HTTP/1.0 503 na\xefve",
  "HTTP/1.1 103 Early Hints",
  "HTTP/1.1 999 x",
  "HTTP/1.1 1011 x",
  "HTTP/2 101 x"
]

const common: readonly [string, ...ReadonlyArray<string>] = [
  "Host: a",
  "Host: a:80",
  "Connection: keep-alive, Upgrade",
  "Connection: close",
  "Upgrade: h2c, websocket",
  "Content-Length: 0",
  "Content-Length: 3",
  "Content-Length: 0, 0",
  "Transfer-Encoding: chunked",
  "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
  "Sec-WebSocket-Protocol: v1, v2",
  "Sec-WebSocket-Protocol: v1",
  'Cookie: a=\xe9\x80; b="c"',
  "A:",
  "B: \t b \t c \t ",
  "!#$%&'*+-.^_`|~: c",
  "__proto__: constructor",
  "Origin: http://a",
  "Expect: 100-continue",
  "Proxy-Connection: Upgrade",
  " folded: line",
  "Space : before",
  "X: \x7f",
  "Y: a\x00b"
]

const needed = ["Upgrade: websocket", "Connection: Upgrade"]
const neededByServer = ["Host: a", ...needed, "Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${key}`]
const neededByClient = [...needed, `Sec-WebSocket-Accept: ${accept}`]

// Bytes on which parsers have differed.
const odd: readonly [string, ...ReadonlyArray<string>] = [
  "\r\n",
  "\n",
  "\r",
  "\n ",
  "\r\n\t",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  "\x0b",
  "\x7f",
  "\xa0",
  "\xff",
  '"',
  "1",
  "A",
  "#"
]

const lines = (random: Random, start: string, due: ReadonlyArray<string>): string => {
  const fields = random.oneIn(8) ? [] : [...due]
  for (let count = random.int(5); count > 0; count--)
    fields.splice(random.int(fields.length + 1), 0, random.pick(common))
  const end = random.oneIn(60) ? "\n" : "\r\n"
  let text =
    [start, ...fields, "", ""].join(end) + random.pick(["", "", "\x81\x00", "\x82\x85abcd", "GET / HTTP/1.1\r\n"])
  if (random.oneIn(2)) {
    for (let count = 1 + random.int(2); count > 0; count--) {
      const at = random.int(text.length)
      text = text.slice(0, at) + random.pick(odd) + text.slice(at + random.int(3))
    }
  }
  return text
}

const streamOf = (text: string): Duplex => {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  stream.push(Buffer.from(text, "latin1"))
  stream.push(null)
  return stream
}

const pairsOf = (raw: ReadonlyArray<string>): HeaderPairs =>
  raw.flatMap((name, index) => (index % 2 === 0 ? [[name.toLowerCase(), raw[index + 1] ?? ""] as const] : []))

// What the sockets' answers are waited for by. A refusal is the parser's code.
const waiting = new WeakMap<Duplex, (answer: Meaning | string) => void>()

const server = createServer({ requireHostHeader: false })
const heardBy = (upgraded: boolean) => (request: IncomingMessage, _: unknown, head?: Buffer) => {
  waiting.get(request.socket)?.({
    start: `${request.method} ${request.url} ${request.httpVersionMinor}`,
    pairs: pairsOf(request.rawHeaders),
    rest: upgraded ? head?.toString("latin1") : undefined
  })
}
for (const event of ["request", "checkContinue", "checkExpectation"]) server.on(event, heardBy(false))
server.on("upgrade", heardBy(true))
server.on("clientError", (error: Error & { readonly code?: string }, socket) =>
  waiting.get(socket)?.(error.code ?? "?")
)

const asNodeServer = (text: string) =>
  new Promise<Meaning | string>((resolve) => {
    const stream = streamOf(text)
    waiting.set(stream, (answer) => {
      resolve(answer)
      stream.destroy()
    })
    server.emit("connection", stream)
  })

const asNodeClient = (text: string) =>
  new Promise<Meaning | string>((resolve) => {
    const stream = streamOf(text)
    const answer = (answered: Meaning | string) => {
      resolve(answered)
      stream.destroy()
    }
    const request = get({ createConnection: () => stream, headers: { connection: "upgrade", upgrade: "websocket" } })
    const heard =
      (upgraded: boolean) =>
      (response: Pick<IncomingMessage, "statusCode" | "httpVersionMinor" | "rawHeaders">, _?: unknown, head?: Buffer) =>
        answer({
          start: `${response.statusCode} ${response.httpVersionMinor}`,
          pairs: pairsOf(response.rawHeaders),
          rest: upgraded ? head?.toString("latin1") : undefined
        })
    request.on("upgrade", heard(true))
    request.on("response", heard(false))
    request.on("information", (information) => heard(false)(information))
    request.on("error", (error: Error & { readonly code?: string }) => answer(error.code ?? error.message))
  })

// What the parser refuses that isn't a matter of the head's syntax: a method that it has no number
// for, and a body that it can't find the end of. We refuse these later, as no upgrade.
const refusedLater = new Set([
  "HPE_INVALID_METHOD",
  "HPE_INVALID_CONTENT_LENGTH",
  "HPE_UNEXPECTED_CONTENT_LENGTH",
  "HPE_INVALID_TRANSFER_ENCODING"
])

// Its parser misses an option of Connection that a tab follows, and so the upgrade. A tab is optional
// whitespace like a space, and no part of the value (RFC 9110 5.5, 5.6.3).
const tabbed = /^connection:.*\t/im

// Nor does it take a Content-Length that a tab follows, for the same reason.
const tabbedLength = /^content-length:[ \t]*\d+[ \t]*\t[ \t]*\r?$/im

const read = <Head>(reader: HeadReader<Head>, text: string, random: Random) => {
  const bytes = new Uint8Array(Buffer.from(text, "latin1"))
  let answer: ReturnType<HeadReader<Head>["push"]>
  const cuts = random.cuts(bytes.length)
  let start = 0
  for (const chunk of split(bytes, cuts)) {
    answer = reader.push(chunk)
    start += chunk.length
    if (answer !== undefined) break
  }
  return answer?._tag === "Complete"
    ? { head: answer.head, rest: latin1(answer.rest) + latin1(bytes.subarray(start)) }
    : undefined
}

type Verdict = "accepted" | { readonly failure: string } | undefined

const judge = (seed: number): Promise<Verdict> => {
  const random = new Random(seed)
  const asServer = random.oneIn(2)
  const text = asServer
    ? lines(random, random.pick(requests), neededByServer)
    : lines(random, random.pick(responses), neededByClient)
  return judgeHead(asServer, text, random, seed)
}

/** Whether both sides make the same of a head, if we accept it. It is cut at random. */
export const judgeHead = async (asServer: boolean, text: string, random: Random, seed: number): Promise<Verdict> => {
  try {
    let ours: Meaning
    let upgraded: boolean
    let theirs: Meaning | string
    if (asServer) {
      const got = read(requestReader(), text, random)
      if (got === undefined) return undefined
      const { method, target, minorVersion, fields } = got.head
      upgraded = !("_tag" in checkRequest(got.head))
      ours = { start: `${method} ${target} ${minorVersion}`, pairs: fields.pairs, rest: got.rest }
      if (!upgraded && !METHODS.includes(method)) return undefined
      theirs = await asNodeServer(text)
    } else {
      const got = read(responseReader(), text, random)
      if (got === undefined) return undefined
      const { status, minorVersion, fields } = got.head
      const offered = { accept, subprotocols: ["v1"], extensions: ["permessage-deflate"] }
      upgraded = !("_tag" in checkResponse(got.head, offered))
      // Without the upgrade there is nothing that a 101 could mean.
      if (!upgraded && status === 101) return undefined
      ours = { start: `${status} ${minorVersion}`, pairs: fields.pairs, rest: got.rest }
      theirs = await asNodeClient(text)
    }
    // A 101 ends at its empty line whatever its fields say of a body (RFC 9112 6.3).
    if ((!upgraded || !asServer) && typeof theirs === "string" && refusedLater.has(theirs)) return undefined
    if (theirs === "HPE_INVALID_CONTENT_LENGTH" && tabbedLength.test(text)) return undefined
    const same =
      typeof theirs !== "string" &&
      theirs.start === ours.start &&
      JSON.stringify(theirs.pairs) === JSON.stringify(ours.pairs) &&
      (!upgraded || theirs.rest === ours.rest || (theirs.rest === undefined && tabbed.test(text)))
    if (same) return "accepted"
    const both = `ours   ${upgraded} ${JSON.stringify(ours)}\ntheirs ${JSON.stringify(theirs)}`
    return { failure: `head ${seed}: ${JSON.stringify(text)}\n${both}` }
  } catch (error) {
    return { failure: `head ${seed}: ${JSON.stringify(text)}\nthrown: ${error}` }
  }
}

export const fuzzHeads = async (seed: number, most: number, goOn: () => boolean = () => true): Promise<Result> => {
  let accepted = 0
  let count = 0
  for (; count < most && goOn(); count++) {
    const verdict = await judge((seed + Math.imul(count, 0x9e3779b1)) | 0)
    if (verdict === "accepted") accepted++
    else if (verdict !== undefined) return { count, accepted, failure: verdict.failure }
  }
  return { count, accepted, failure: undefined }
}
