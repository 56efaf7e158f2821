import { describe } from "@effect/vitest"
import { Effect, Fiber, type Layer, Stream, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { refusedBy } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { key, type RawPeer, rawClient, rawServer, upgradeRequest, upgradeResponse } from "../fixtures/rawPeer.js"

/** What must not get through an opening handshake, byte by byte, and what it is answered with. */
export const badInputSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  const echoing = (options?: WebSocketServer.ServerOptions) =>
    Effect.tap(WebSocketServer.make(options), (server) =>
      server.serve((socket) => Stream.run(socket.messages, socket.sink))
    )

  const servesOn = (url: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const socket = yield* WebSocket.connect(url)
        yield* socket.send("still there?")
        expect(yield* socket.receive).toBe("still there?")
      })
    )

  describe(`${name}: a server answers`, () => {
    interface Expected {
      readonly status: number
      /** Header lines that have to be there. */
      readonly headers?: ReadonlyArray<string>
      /** What the text says about it. */
      readonly text: RegExp
    }

    /** Everything that holds for any refusal. */
    const isRefusal = (peer: RawPeer, { status, headers = [], text }: Expected) =>
      Effect.gen(function* () {
        const head = yield* peer.head
        yield* peer.ended
        expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
        expect(peer.heard.text()).not.toContain("HTTP/1.1 101")
        const lines = head.toLowerCase().split("\r\n")
        for (const line of headers) expect(lines).toContain(line.toLowerCase())
        expect(lines.some((line) => /^connection: (upgrade, )?close$/.test(line))).toBe(true)
        expect(lines).toContain(`content-length: ${peer.body().length}`)
        expect(String(peer.body())).toMatch(text)
        // The server closed first; our half is left.
        yield* peer.end
        yield* peer.closed
      })

    const refuses = (title: string, request: string | Uint8Array, expected: Expected) => {
      for (const [how, pieces] of [
        ["", (all: Uint8Array) => [all]],
        [", a byte at a time", (all: Uint8Array) => Array.from(all, (byte) => Uint8Array.of(byte))]
      ] as const) {
        test(
          `${title} with ${expected.status}${how}`,
          Effect.gen(function* () {
            const server = yield* echoing()
            const peer = yield* rawClient(server.address)
            for (const piece of pieces(new Uint8Array(Buffer.from(request)))) yield* peer.send(piece)
            yield* isRefusal(peer, expected)
            yield* servesOn(server.url)
          })
        )
      }
    }

    const upgradeHeaders = ["upgrade: websocket", "connection: upgrade, close", "sec-websocket-version: 13"]
    const { text: noUpgrade } = { text: /Upgrade: websocket/ }

    refuses("a request without Upgrade", upgradeRequest({ Upgrade: undefined }), {
      status: 426,
      headers: upgradeHeaders,
      text: noUpgrade
    })
    refuses("a request without Connection", upgradeRequest({ Connection: undefined }), {
      status: 426,
      headers: upgradeHeaders,
      text: noUpgrade
    })
    refuses("a browser's plain GET", "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n", {
      status: 426,
      headers: upgradeHeaders,
      text: noUpgrade
    })
    refuses("an upgrade to something else", upgradeRequest({ Upgrade: "h2c" }), {
      status: 426,
      headers: upgradeHeaders,
      text: noUpgrade
    })
    for (const version of ["8", "12", "130", "", undefined, ["13", "13"]]) {
      refuses(`version ${JSON.stringify(version)}`, upgradeRequest({ "Sec-WebSocket-Version": version }), {
        status: 426,
        headers: upgradeHeaders,
        text: /Sec-WebSocket-Version spoken is 13/
      })
    }
    const badKey: Expected = { status: 400, text: /Sec-WebSocket-Key is due exactly once/ }
    refuses("no key", upgradeRequest({ "Sec-WebSocket-Key": undefined }), badKey)
    refuses("an empty key", upgradeRequest({ "Sec-WebSocket-Key": "" }), badKey)
    refuses("a short key", upgradeRequest({ "Sec-WebSocket-Key": btoa("fifteen bytes..") }), badKey)
    refuses("a key that isn't base64", upgradeRequest({ "Sec-WebSocket-Key": "!".repeat(24) }), badKey)
    refuses("two keys", upgradeRequest({ "Sec-WebSocket-Key": [key, key] }), badKey)
    refuses("POST", upgradeRequest({}, "POST / HTTP/1.1"), { status: 405, headers: ["allow: GET"], text: /is a GET/ })
    refuses("get in lower case", upgradeRequest({}, "get / HTTP/1.1"), { status: 405, text: /is a GET/ })
    refuses("HTTP/1.0", upgradeRequest({}, "GET / HTTP/1.0"), { status: 505, text: /needs HTTP\/1\.1/ })
    refuses("HTTP/2.0", upgradeRequest({}, "GET / HTTP/2.0"), { status: 505, text: /HTTP\/1\.1/ })
    refuses("no Host", upgradeRequest({ Host: undefined }), { status: 400, text: /exactly one Host/ })
    refuses("two Hosts", upgradeRequest({ Host: ["a", "b"] }), { status: 400, text: /exactly one Host/ })
    refuses("a body by length", `${upgradeRequest({ "Content-Length": "5" })}hello`, { status: 400, text: /no body/ })
    refuses("a chunked body", `${upgradeRequest({ "Transfer-Encoding": "chunked" })}0\r\n\r\n`, {
      status: 400,
      text: /no body/
    })
    refuses("a folded header", upgradeRequest({ "X-Folded": "a\r\n b" }), { status: 400, text: /folded/ })
    refuses("lone LFs", upgradeRequest().replaceAll("\r\n", "\n"), { status: 400, text: /start line/ })
    refuses("a lone LF behind a header", upgradeRequest().replace("13\r\n", "13\n"), { status: 400, text: /CR LF/ })
    refuses("a space before a colon", upgradeRequest({ "X-Space ": "a" }), { status: 400, text: /header name/ })
    refuses("a control character in a header", upgradeRequest({ "X-Control": "a\0b" }), {
      status: 400,
      text: /control character/
    })
    refuses("an absolute target", upgradeRequest({}, "GET http://a/ HTTP/1.1"), { status: 400, text: /origin form/ })
    refuses("a malformed subprotocol list", upgradeRequest({ "Sec-WebSocket-Protocol": "a b" }), {
      status: 400,
      text: /list of tokens/
    })
    refuses("a malformed extension list", upgradeRequest({ "Sec-WebSocket-Extensions": "a;=b" }), {
      status: 400,
      text: /./
    })
    refuses("two Origins", upgradeRequest({ Origin: ["http://a", "http://b"] }), { status: 400, text: /one Origin/ })
    refuses("another page's Origin", upgradeRequest({ Origin: "http://evil.example" }), { status: 403, text: /origin/ })
    refuses("garbage", "\0\x01\x02\x03 garbage\r\n\r\n", { status: 400, text: /start line/ })
    refuses("an empty line", "\r\n\r\n", { status: 400, text: /start line/ })
    refuses("TLS without TLS", Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3), { status: 400, text: /TLS/ })
    refuses("a WebSocket frame", Uint8Array.of(0x81, 0x80, 1, 2, 3, 4), { status: 400, text: /start line/ })
    refuses("too long a head", upgradeRequest({ "X-Long": "x".repeat(16_384) }), { status: 431, text: /16384 bytes/ })
    refuses("too long a target", upgradeRequest({}, `GET /${"x".repeat(16_384)} HTTP/1.1`), {
      status: 431,
      text: /16384 bytes/
    })
    refuses("too many headers", upgradeRequest({ "X-Many": Array.from({ length: 101 }, () => "x") }), {
      status: 431,
      text: /100 header fields/
    })

    test(
      "a head that doesn't come in time with 408",
      Effect.gen(function* () {
        const server = yield* echoing({ handshakeTimeout: "3 seconds" })
        const peer = yield* rawClient(server.address)
        yield* peer.send(upgradeRequest().slice(0, -2))
        yield* settle
        yield* TestClock.adjust("2999 millis")
        yield* settle
        expect(peer.heard.size()).toBe(0)
        // One more header now and then gains no time.
        yield* peer.send("X")
        yield* TestClock.adjust("1 millis")
        yield* isRefusal(peer, { status: 408, text: /in time/ })
        yield* servesOn(server.url)
      })
    )

    test(
      "nothing to whoever goes before the head is whole, and serves on",
      Effect.gen(function* () {
        const server = yield* echoing()
        for (const part of ["", "GET", upgradeRequest().slice(0, -1)]) {
          const peer = yield* rawClient(server.address)
          yield* peer.send(part)
          yield* peer.end
          yield* peer.ended
          expect(peer.heard.text()).toBe("")
        }
        yield* servesOn(server.url)
        while ((yield* server.connections) > 0) yield* settle
      })
    )

    test(
      "a refusal in bounded time, whatever the peer does afterwards",
      Effect.gen(function* () {
        const server = yield* echoing({ closeTimeout: "1 second" })
        const peer = yield* rawClient(server.address)
        yield* peer.send(upgradeRequest({}, "POST / HTTP/1.1"))
        yield* peer.ended
        // It neither reads on nor closes.
        yield* peer.send("x".repeat(100_000))
        yield* settle
        expect(yield* server.connections).toBe(1)
        yield* TestClock.adjust("1 second")
        while ((yield* server.connections) > 0) yield* settle
      })
    )

    test(
      "headers of its own that can't be written with 500",
      Effect.gen(function* () {
        const server = yield* echoing({ headers: { connection: "keep-alive" } })
        const peer = yield* rawClient(server.address)
        yield* peer.send(upgradeRequest())
        yield* isRefusal(peer, { status: 500, text: /can't be given/ })
      })
    )
  })

  describe(`${name}: a client refuses`, () => {
    /** Connects to a server that answers what the test says. */
    const against = (
      answer: (request: string) => string | Uint8Array,
      options?: WebSocket.ConnectOptions,
      then: (peer: RawPeer) => Effect.Effect<void> = (peer) => peer.end
    ) =>
      Effect.gen(function* () {
        const server = yield* rawServer()
        const connecting = yield* Effect.fork(refusedBy(server.url, options))
        const peer = yield* server.next
        yield* peer.send(answer(yield* peer.head))
        yield* then(peer)
        const error = yield* Fiber.join(connecting)
        // Nothing of a connection was begun, and nothing of it is left.
        yield* peer.ended
        yield* peer.end
        yield* peer.closed
        expect(peer.body().length).toBe(0)
        if (error._tag !== "HandshakeError") return yield* Effect.dieMessage(error.message)
        expect(error.message).toContain("opening handshake with ws://127.0.0.1:")
        return error
      })

    const refuses = (
      title: string,
      answer: (request: string) => string | Uint8Array,
      rule: RegExp,
      options?: WebSocket.ConnectOptions
    ) =>
      test(
        title,
        Effect.map(against(answer, options), (error) => expect(error.message).toMatch(rule))
      )

    const changed =
      (changes: Readonly<Record<string, string | undefined>>, startLine?: string) =>
      (request: string): string =>
        upgradeResponse(request, changes, startLine)

    refuses("a wrong accept value", changed({ "Sec-WebSocket-Accept": btoa("x".repeat(20)) }), /Sec-WebSocket-Accept/)
    refuses(
      "the key as accept value",
      (request) => changed({ "Sec-WebSocket-Accept": /key: (.*)\r/i.exec(request)?.[1] })(request),
      /Accept/
    )
    refuses("no accept value", changed({ "Sec-WebSocket-Accept": undefined }), /Sec-WebSocket-Accept/)
    refuses(
      "a doubled accept value",
      (request) => {
        const response = upgradeResponse(request)
        const line = /Sec-WebSocket-Accept: .*\r\n/.exec(response)?.[0] ?? ""
        return response.replace(line, line + line)
      },
      /Sec-WebSocket-Accept/
    )
    refuses("no Upgrade", changed({ Upgrade: undefined }), /lacks Upgrade/)
    refuses("another Upgrade", changed({ Upgrade: "websocket, h2c" }), /lacks Upgrade/)
    refuses("no Connection", changed({ Connection: undefined }), /lacks Connection/)
    refuses("another Connection", changed({ Connection: "keep-alive" }), /lacks Connection/)
    refuses("a subprotocol where it asked for none", changed({ "Sec-WebSocket-Protocol": "chat" }), /subprotocol/)
    refuses("a subprotocol that it didn't ask for", changed({ "Sec-WebSocket-Protocol": "chat" }), /subprotocol/, {
      subprotocols: ["feed", "Chat"]
    })
    refuses(
      "an extension that it didn't ask for",
      changed({ "Sec-WebSocket-Extensions": "permessage-deflate" }),
      /extension/
    )
    refuses("HTTP/1.0", changed({}, "HTTP/1.0 101 Switching Protocols"), /HTTP\/1\.0/)
    refuses("garbage", () => Uint8Array.of(0, 1, 2, 3, 255), /start line/)
    refuses("TLS", () => Uint8Array.of(22, 3, 3, 0, 1, 0), /speaks TLS/)
    refuses("a frame instead of a head", () => Uint8Array.of(0x81, 0), /start line/)
    refuses("an endless head", () => `HTTP/1.1 101 x\r\n${"X-Y: z\r\n".repeat(4000)}`, /100 header fields|16384 bytes/)
    refuses("an end without an answer", () => "", /ended the connection without an answer/)
    refuses("an end in the middle of the answer", () => "HTTP/1.1 101 Switch", /ended the connection without an answer/)

    test(
      "another status, and tells status, headers and body",
      Effect.gen(function* () {
        const error = yield* against(
          () => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 12\r\n\r\nlog in first",
          {},
          // The server keeps the connection open, as HTTP allows.
          () => Effect.void
        )
        expect(error).toMatchObject({ status: 401, body: "log in first" })
        expect(error.headers).toMatchObject({ "www-authenticate": "Bearer" })
        expect(error.message).toContain("failed with HTTP 401")
      })
    )

    test(
      "another status without a body",
      Effect.gen(function* () {
        for (const head of [
          "204 No Content\r\n\r\n",
          "304 Not Modified\r\nContent-Length: 9\r\n\r\n",
          "404 Not Found\r\nContent-Length: 0\r\n\r\n"
        ]) {
          const error = yield* against(
            () => `HTTP/1.1 ${head}`,
            {},
            () => Effect.void
          )
          expect(error).toMatchObject({ status: Number(head.slice(0, 3)), body: "" })
        }
      })
    )

    test(
      "another status with a body in chunks, or of unknown length, on a connection that stays open",
      Effect.gen(function* () {
        for (const [head, body] of [
          ["404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n", "9\r\nnot found\r\n0\r\n\r\n"],
          ["500 Oops\r\n\r\n", "the rest never comes"]
        ] as const) {
          const error = yield* against(
            () => `HTTP/1.1 ${head}${body}`,
            {},
            () => Effect.zipRight(settle, TestClock.adjust("9999 millis"))
          )
          expect(error.status).toBe(Number(head.slice(0, 3)))
          expect(body).toContain(error.body)
          expect(error.body).toMatch(/not found|never comes/)
        }
      })
    )

    test(
      "a long body after its first 4096 bytes",
      Effect.gen(function* () {
        const error = yield* against(
          () => `HTTP/1.1 500 Oops\r\nContent-Length: 99999\r\n\r\n${"é".repeat(5000)}`,
          {},
          () => Effect.void
        )
        expect(error.body).toBe("é".repeat(2048))
      })
    )

    test(
      "a redirect, and tells where to",
      Effect.gen(function* () {
        const error = yield* against(() => "HTTP/1.1 302 Found\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n")
        expect(error).toMatchObject({ status: 302, headers: { location: "/else" } })
      })
    )

    test(
      "passes interim responses over",
      Effect.gen(function* () {
        const server = yield* rawServer()
        const connecting = yield* Effect.fork(WebSocket.connect(server.url))
        const peer = yield* server.next
        yield* peer.send(
          `HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${upgradeResponse(yield* peer.head)}`
        )
        const socket = yield* Fiber.join(connecting)
        yield* peer.sendFrames(Frame.text("hello"))
        expect(yield* socket.receive).toBe("hello")
        yield* peer.destroy
      })
    )

    test(
      "silence, after handshakeTimeout",
      Effect.gen(function* () {
        for (const [options, timeout] of [
          [{}, "10 seconds"],
          [{ handshakeTimeout: "20 millis" }, "20 millis"]
        ] as const) {
          const server = yield* rawServer()
          const connecting = yield* Effect.fork(refusedBy(server.url, options))
          const peer = yield* server.next
          yield* peer.send("HTTP/1.1 101 Sw")
          yield* peer.head
          yield* settle
          expect(connecting.unsafePoll()).toBeNull()
          yield* TestClock.adjust(timeout)
          const error = yield* Fiber.join(connecting)
          expect(error).toMatchObject({ _tag: "ConnectError", reason: "timeout" })
          expect(error.message).toContain(server.url)
          yield* peer.ended
        }
      })
    )

    test(
      "where nobody listens, and says so",
      Effect.gen(function* () {
        const { url } = yield* Effect.scoped(WebSocketServer.make())
        const error = yield* refusedBy(url)
        expect(error).toMatchObject({ _tag: "ConnectError", reason: "tcp", code: "ECONNREFUSED" })
        expect(error.message).toContain("127.0.0.1:")
      })
    )

    for (const [what, url, detail] of [
      ["what is no URL", "nonsense", /absolute ws:, wss:/],
      ["a relative URL", "/chat", /absolute ws:, wss:/],
      ["another scheme", "ftp://server.example/", /absolute ws:, wss:/],
      ["an empty one", "", /absolute ws:, wss:/],
      ["a fragment", "ws://server.example/#top", /fragment/],
      ["an empty fragment", "ws://server.example/#", /fragment/]
    ] as const) {
      test(
        `a URL that is ${what}`,
        Effect.gen(function* () {
          const error = yield* refusedBy(url)
          expect(error).toMatchObject({ _tag: "ConnectError", reason: "url", detail: expect.stringMatching(detail) })
        })
      )
    }

    test(
      "a bad URL without showing its password",
      Effect.gen(function* () {
        for (const url of [
          "ftp://ada:secret@server.example/",
          "ws://ada:secret@server.example/#x",
          "ws://ada:secret@server.example:99999/"
        ]) {
          const error = yield* refusedBy(url)
          expect(error.message).toContain("server.example")
          expect(JSON.stringify(error)).not.toContain("secret")
        }
      })
    )

    /** Requests that must not be sent: the server hears nothing. */
    for (const [what, options, rule] of [
      ["a line break in a header", { headers: { "x-a": "b\r\nx-injected: 1" } }, /./],
      ["a NUL in a header", { headers: { "x-a": "b\0" } }, /./],
      ["a header name that is no token", { headers: { "x a": "b" } }, /./],
      ["a header of the handshake", { headers: { "sec-websocket-key": key } }, /handshake itself/],
      ["a Host of its own", { headers: { host: "other.example" } }, /handshake itself/],
      ["a subprotocol that is no token", { subprotocols: ["a b"] }, /token/],
      ["a subprotocol with a line break", { subprotocols: ["a\r\nx-injected: 1"] }, /token/],
      ["an empty subprotocol", { subprotocols: [""] }, /token/],
      ["a subprotocol twice", { subprotocols: ["a", "a"] }, /none twice/]
    ] as const) {
      test(
        `${what} in its own request`,
        Effect.gen(function* () {
          const server = yield* rawServer()
          const error = yield* refusedBy(server.url, options)
          expect(error._tag).toBe("HandshakeError")
          expect(error.message).toMatch(rule)
          yield* settle
          expect(yield* server.waiting).toBe(0)
        })
      )
    }
  })
}
