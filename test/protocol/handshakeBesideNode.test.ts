import { createServer, get, type IncomingMessage } from "node:http"
import { Duplex } from "node:stream"
import { describe, expect, it } from "@effect/vitest"
import { acceptResponse, checkRequest, refusal, writeUpgradeRequest } from "../../src/protocol/handshake.js"
import { type HeaderPairs, requestReader, responseReader } from "../../src/protocol/head.js"

const key = "dGhlIHNhbXBsZSBub25jZQ=="
const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))
const textOf = (bytes: unknown): string => {
  if (!(bytes instanceof Uint8Array)) throw new Error(`no bytes but ${JSON.stringify(bytes)}`)
  return Buffer.from(bytes).toString("latin1")
}

/** A stream whose other side is this text. */
const streamOf = (text: string): Duplex => {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  stream.push(Buffer.from(text, "latin1"))
  return stream
}

const pairsOf = (message: IncomingMessage): HeaderPairs =>
  message.rawHeaders.flatMap((name, index) =>
    index % 2 === 0 ? [[name.toLowerCase(), message.rawHeaders[index + 1] ?? ""] as const] : []
  )

/** What node:http makes of the head of a request. */
const asNodeServer = (text: string) =>
  new Promise<unknown>((resolve) => {
    const server = createServer()
    const stream = streamOf(text)
    const understood = (upgraded: boolean) => (request: IncomingMessage, _: unknown, head?: Buffer) => {
      resolve({
        upgraded,
        method: request.method,
        target: request.url,
        minorVersion: request.httpVersionMinor,
        pairs: pairsOf(request),
        rest: upgraded ? head?.toString("latin1") : undefined
      })
      stream.destroy()
    }
    server.on("upgrade", understood(true))
    server.on("request", understood(false))
    server.on("clientError", (error) => {
      resolve(error.message)
      stream.destroy()
    })
    server.emit("connection", stream)
  })

/** What node:http makes of the head of a response. */
const asNodeClient = (text: string) =>
  new Promise<unknown>((resolve) => {
    const stream = streamOf(text)
    const understood = (upgraded: boolean) => (response: IncomingMessage, _?: unknown, head?: Buffer) => {
      resolve({
        status: response.statusCode,
        minorVersion: response.httpVersionMinor,
        pairs: pairsOf(response),
        rest: upgraded ? head?.toString("latin1") : undefined
      })
      stream.destroy()
    }
    const request = get({ createConnection: () => stream, headers: { connection: "upgrade", upgrade: "websocket" } })
    request.on("upgrade", understood(true))
    request.on("response", understood(false))
    request.on("error", (error) => resolve(error.message))
  })

describe("beside node:http", () => {
  const upgrade = `Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n`

  const accepted = [
    `GET /chat?a=b HTTP/1.1\r\n${upgrade}\r\n`,
    `GET /chat?a=b HTTP/1.1\r\n${upgrade}\r\n\x81\x85abcd`,
    `GET / HTTP/1.1\r\n${upgrade}A:\r\nB: \t b \t c \t \r\n\r\n`,
    `GET / HTTP/1.1\r\n${upgrade}A: 1\r\na: 2\r\nCookie: \xe9\x80\r\n\r\n`,
    `GET / HTTP/1.1\r\n${upgrade}Constructor: a\r\n__proto__: b\r\n!#$%&'*+-.^_\`|~: c\r\n\r\n`,
    `GET //a/../b?c|d^e"{}[]<>\`\\ HTTP/1.1\r\n${upgrade}\r\n`,
    `GET / HTTP/1.1\r\n${upgrade}Content-Length: 0\r\n\r\n\x81\x00`,
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
  ]

  it.each(accepted)("%j is accepted by both, and means the same", async (text) => {
    const answer = requestReader().push(latin1(text))
    if (answer?._tag !== "Complete") throw new Error("no head")
    const { method, target, minorVersion, fields } = answer.head
    const upgraded = !("_tag" in checkRequest(answer.head))
    expect(await asNodeServer(text)).toEqual({
      upgraded,
      method,
      target,
      minorVersion,
      pairs: fields.pairs,
      rest: upgraded ? textOf(answer.rest) : undefined
    })
  })

  it.each([
    `GET / HTTP/1.1\nHost: a\n\n`,
    `GET / HTTP/1.1\r\nHost : a\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\nB: c\0d\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\nB: c\rD: e\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\n: c\r\n\r\n`,
    `G(T / HTTP/1.1\r\nHost: a\r\n\r\n`,
    `GET / HTTP/3.1\r\nHost: a\r\n\r\n`,
    `GET / HTTP/1.1 \r\nHost: a\r\n\r\n`,
    `\x16\x03\x01\x02\x00\x01`
  ])("%j is refused by both", async (text) => {
    expect(requestReader().push(latin1(text))).toMatchObject({ _tag: "Refusal" })
    expect(await asNodeServer(text)).toContain("Parse Error")
  })

  it("node:http understands the request that the client writes", async () => {
    const text = textOf(
      writeUpgradeRequest({
        host: "a",
        key,
        extensions: [],
        target: "/a",
        subprotocols: ["v1"],
        headers: [["A", "\xe9"]]
      })
    )
    expect(await asNodeServer(text)).toMatchObject({ upgraded: true, method: "GET", target: "/a" })
  })

  it.each([
    textOf(
      acceptResponse({
        accept,
        subprotocol: "v1",
        headers: [
          ["Set-Cookie", "a=b"],
          ["A", "\xe9"]
        ]
      })
    ),
    `${textOf(acceptResponse({ accept }))}\x81\x01a`,
    "HTTP/1.1 101\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x88\x00",
    textOf(refusal({ status: 426, headers: [["Upgrade", "websocket"]], rule: "upgrade" })),
    "HTTP/1.0 503 na\xefve\r\nA: \t b \r\n\r\n"
  ])("%j is a response that means the same to both", async (text) => {
    const answer = responseReader().push(latin1(text))
    if (answer?._tag !== "Complete") throw new Error("no head")
    const { status, minorVersion, fields } = answer.head
    const rest = status === 101 ? textOf(answer.rest) : undefined
    expect(await asNodeClient(text)).toEqual({ status, minorVersion, pairs: fields.pairs, rest })
  })
})
