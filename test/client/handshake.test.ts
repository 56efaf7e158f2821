import { Cookies } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Fiber, Layer, Option, Redacted } from "effect"
import * as Frame from "effect-websocket/Frame"
import * as WebSocket from "effect-websocket/WebSocket"
import { headersOf } from "../../src/internal/headers.js"
import { Fields } from "../../src/protocol/head.js"
import { settle } from "../fixtures/heard.js"
import { refusedBy } from "../fixtures/joined.js"
import { testInMemory } from "../fixtures/leaks.js"
import { rawServer, upgradeResponse } from "../fixtures/rawPeer.js"

/** What a client makes of a server's answer. */
const answered = (answer: (request: string) => string, options?: WebSocket.ConnectOptions) =>
  Effect.gen(function* () {
    const server = yield* rawServer()
    const connecting = yield* Effect.fork(WebSocket.connect(server.url, options))
    const peer = yield* server.next
    const request = yield* peer.head
    yield* peer.send(answer(request))
    const result = yield* Effect.either(Fiber.join(connecting))
    yield* peer.destroy
    return { request, result }
  })

const succeeded = (answer: (request: string) => string, options?: WebSocket.ConnectOptions) =>
  Effect.flatMap(answered(answer, options), ({ request, result }) =>
    Effect.map(result, (socket) => ({ request, socket }))
  )

const failed = (answer: (request: string) => string, options?: WebSocket.ConnectOptions) =>
  // A whole socket where an error was due couldn't be printed.
  Effect.flatMap(answered(answer, options), ({ result }) => Effect.flip(Effect.asVoid(result)))

describe("a required subprotocol", () => {
  const options = { subprotocols: ["feed.v2", "feed.v1"], requireSubprotocol: true }

  testInMemory(
    "that the server doesn't choose fails the handshake",
    Effect.gen(function* () {
      const error = yield* failed(upgradeResponse, options)
      expect(error).toMatchObject({ _tag: "HandshakeError", status: 101 })
      expect(error.message).toContain("the server chose none of the subprotocols feed.v2, feed.v1, and one is required")
    })
  )

  testInMemory(
    "that the server chooses is there",
    Effect.gen(function* () {
      const choose = (request: string) => upgradeResponse(request, { "Sec-WebSocket-Protocol": "feed.v1" })
      expect((yield* succeeded(choose, options)).socket.subprotocol).toBe("feed.v1")
    })
  )

  testInMemory(
    "is not the default",
    Effect.gen(function* () {
      expect((yield* succeeded(upgradeResponse, { subprotocols: ["a"] })).socket.subprotocol).toBeUndefined()
      const { socket } = yield* succeeded(upgradeResponse, { subprotocols: ["a"], requireSubprotocol: false })
      expect(socket.subprotocol).toBeUndefined()
    })
  )
})

describe("headers", () => {
  testInMemory(
    "are sent, cookies among them, several values of a name as a list",
    Effect.gen(function* () {
      const { request } = yield* succeeded(upgradeResponse, {
        headers: { "X-A": ["1", "2"], cookie: "session=1; theme=dark", "x-absent": undefined }
      })
      expect(request).toContain("\r\nx-a: 1, 2\r\n")
      expect(request).toContain("\r\ncookie: session=1; theme=dark\r\n")
      expect(request).not.toContain("x-absent")
    })
  )

  testInMemory(
    "that the 101 has several times are all there",
    Effect.gen(function* () {
      const { socket } = yield* succeeded((request) =>
        upgradeResponse(request, { Via: "1.1 a\r\nVia: 1.1 b", "Set-Cookie": "a=1\r\nSet-Cookie: b=2; Path=/" })
      )
      expect(socket.headers["via"]).toBe("1.1 a, 1.1 b")
      const cookies = Cookies.fromSetCookie(socket.headers["set-cookie"]?.split("\n") ?? [])
      expect(Cookies.getValue(cookies, "a")).toEqual(Option.some("1"))
      expect(Cookies.getValue(cookies, "b")).toEqual(Option.some("2"))
    })
  )

  testInMemory(
    "that a refusal has several times are all there",
    Effect.gen(function* () {
      const error = yield* failed(
        () => "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n"
      )
      expect(error).toMatchObject({ status: 401, headers: { "www-authenticate": "Basic, Bearer" } })
    })
  )

  it("that are called like a prototype's members are headers like others", () => {
    const headers = headersOf(
      new Fields([
        ["constructor", "a"],
        ["__proto__", "b"],
        ["constructor", "c"]
      ])
    )
    expect(headers["constructor"]).toBe("a, c")
    expect(Object.entries(headers)).toContainEqual(["__proto__", "b"])
  })
})

describe("maxHeadSize", () => {
  const padded = (size: number) => (request: string) => {
    const response = upgradeResponse(request, { "X-Padding": "" })
    return upgradeResponse(request, { "X-Padding": "x".repeat(size - response.length) })
  }

  testInMemory(
    "bounds the head of the answer",
    Effect.gen(function* () {
      const { socket } = yield* succeeded(padded(1000), { maxHeadSize: 1000 })
      expect(socket.headers["x-padding"]).toMatch(/^x+$/)
      const error = yield* failed(padded(1001), { maxHeadSize: 1000 })
      expect(error._tag).toBe("HandshakeError")
      expect(error.message).toContain("the head is longer than 1000 bytes")
    })
  )

  testInMemory(
    "is 16 KiB by default",
    Effect.gen(function* () {
      expect(WebSocket.defaultMaxHeadSize).toBe(16_384)
      yield* succeeded(padded(16_384))
      expect((yield* failed(padded(16_385))).message).toContain("longer than 16384 bytes")
      yield* succeeded(padded(16_385), { maxHeadSize: 20_000 })
    })
  )
})

describe("what would inject something into the request is refused before anything is opened:", () => {
  const bad = ["\r", "\n", "\r\n", "\0", "\r\nx-injected: 1"]
  const cases: ReadonlyArray<readonly [string, WebSocket.ConnectOptions]> = [
    ...bad.flatMap((text) => [
      [`${JSON.stringify(text)} in a header's value`, { headers: { "x-a": `b${text}` } }] as const,
      [`${JSON.stringify(text)} in a list of values`, { headers: { "x-a": ["b", `c${text}`] } }] as const,
      [`${JSON.stringify(text)} in a header's name`, { headers: { [`x-a${text}`]: "b" } }] as const,
      [`${JSON.stringify(text)} in a cookie`, { headers: { cookie: `session=${text}` } }] as const,
      [`${JSON.stringify(text)} in a subprotocol`, { subprotocols: [`a${text}`] }] as const
    ]),
    ["a space in a header's name", { headers: { "x a": "b" } }],
    ["a colon in a header's name", { headers: { "x-a:": "b" } }],
    ["an empty header's name", { headers: { "": "b" } }],
    ["a character beyond latin1 in a header's value", { headers: { "x-a": "\u010d\u010a" } }],
    ["a body's length", { headers: { "content-length": "5" } }],
    ["a body's coding", { headers: { "transfer-encoding": "chunked" } }],
    ["another host", { headers: { Host: "b.example" } }],
    ["a comma in a subprotocol", { subprotocols: ["a,b"] }]
  ]
  for (const [what, options] of cases) {
    testInMemory(
      what,
      Effect.gen(function* () {
        const server = yield* rawServer()
        const error = yield* refusedBy(server.url, options)
        expect(error._tag).toBe("HandshakeError")
        expect(error).not.toHaveProperty("status")
        yield* settle
        expect(yield* server.waiting).toBe(0)
      })
    )
  }
})

describe("layerConfig", () => {
  const provided = (...entries: ReadonlyArray<readonly [string, string]>) =>
    Layer.setConfigProvider(ConfigProvider.fromMap(new Map(entries)))

  const feed = WebSocket.layerConfig({
    url: Config.url("URL"),
    subprotocols: Config.array(Config.string(), "PROTOCOLS"),
    handshakeTimeout: Config.duration("TIMEOUT").pipe(Config.withDefault("5 seconds")),
    tls: { key: Config.redacted("KEY").pipe(Config.withDefault(Redacted.make(""))) }
  })

  testInMemory(
    "connects as the configuration says",
    Effect.gen(function* () {
      const server = yield* rawServer()
      const use = Effect.flatMap(WebSocket.WebSocket, (socket) => Effect.as(socket.send("hello"), socket.url))
      const config = provided(["URL", server.url], ["PROTOCOLS", "a, b"])
      const using = yield* Effect.fork(Effect.provide(use, Layer.provide(feed, config)))
      const peer = yield* server.next
      const request = yield* peer.head
      expect(request).toContain("\r\nSec-WebSocket-Protocol: a, b\r\n")
      yield* peer.send(upgradeResponse(request))
      expect(yield* peer.frame(() => true)).toEqual(Frame.text("hello"))
      yield* peer.destroy
      expect(yield* Fiber.join(using)).toBe(server.url)
    })
  )

  testInMemory(
    "fails with what the configuration lacks, and opens nothing",
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.provide(feed, provided(["PROTOCOLS", "a"])))))
      expect(String(error)).toContain("URL")
    })
  )

  testInMemory(
    "takes all options from one config, too",
    Effect.gen(function* () {
      const { url } = yield* Effect.scoped(rawServer())
      const all = Config.map(Config.string("PLACE"), (place) => ({ url: place, maxPayloadSize: 10 }))
      const layer = Layer.provide(WebSocket.layerConfig(all), provided(["PLACE", url]))
      expect(yield* Effect.flip(Effect.scoped(Layer.build(layer)))).toMatchObject({ code: "ECONNREFUSED" })
    })
  )
})
