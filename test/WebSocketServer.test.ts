import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { afterAll, describe, expect } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import type { Address } from "effect-websocket/Flow"
import * as Frame from "effect-websocket/Frame"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { makeCertificates } from "./fixtures/certificates.js"
import { httpServer } from "./fixtures/httpServer.js"
import { joined, refusedBy } from "./fixtures/joined.js"
import { testsOn } from "./fixtures/leaks.js"
import * as overTls from "./fixtures/overTls.js"
import { rawClient, upgradedClient, upgradeRequest } from "./fixtures/rawPeer.js"
import { badInputSuite } from "./suites/badInput.js"
import { serverSuite } from "./suites/server.js"

const networks = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer],
  ["over TLS", overTls.layer]
] as const

for (const [name, network] of networks) {
  serverSuite(name, network)
  badInputSuite(name, network)
}

const certificates = makeCertificates()
const directory = mkdtempSync(join(tmpdir(), "effect-websocket-server-"))
afterAll(() => rmSync(directory, { recursive: true }))

describe("a server of Node", () => {
  const test = testsOn(NodeNetwork.layer)

  test(
    "speaks wss, and its clients verify it",
    Effect.gen(function* () {
      const { ca, good } = certificates
      const { client, server, listening } = yield* joined({ server: { tls: good }, client: { tls: { ca } } })
      expect(listening.url).toMatch(/^wss:\/\/127\.0\.0\.1:/)
      expect([client.secure, server.secure]).toEqual([true, true])
      yield* client.send("secret")
      expect(yield* server.receive).toBe("secret")
      const error = yield* refusedBy(listening.url)
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "tls" })
    })
  )

  test(
    "listens on a Unix socket",
    Effect.gen(function* () {
      const path = join(directory, "server.sock")
      const { client, server, listening } = yield* joined({
        server: { path },
        client: { address: { _tag: "UnixAddress", path } }
      })
      expect(listening.url).toBe(path)
      expect(listening.address).toEqual({ _tag: "UnixAddress", path })
      yield* client.send("hello")
      expect(yield* server.receive).toBe("hello")
      yield* client.close()
      expect((yield* server.closed).message).toContain(`unix:${path}`)
    })
  )

  test(
    "says which certificate it can't read",
    Effect.gen(function* () {
      const tls = { ...certificates.good, cert: "nonsense" }
      const error = yield* Effect.flip(WebSocketServer.make({ tls }))
      expect(error).toMatchObject({ _tag: "ListenError" })
      expect(error.message).toContain("listening on 127.0.0.1:0 failed")
    })
  )
})

describe("upgrade inside an HTTP server", () => {
  const test = testsOn(NodeNetwork.layer)

  const router = HttpRouter.empty.pipe(
    HttpRouter.get("/hello", HttpServerResponse.text("hello")),
    HttpRouter.get(
      "/echo",
      WebSocketServer.upgrade((socket) => Stream.run(socket.messages, socket.sink), {
        subprotocols: ["echo.v1"],
        headers: { "x-from": "route" },
        maxPayloadSize: 1000
      })
    ),
    HttpRouter.get(
      "/fails",
      WebSocketServer.upgrade(() => Effect.fail("no"))
    )
  )

  const addressOf = (url: string): Address => ({
    _tag: "TcpAddress",
    hostname: "127.0.0.1",
    port: Number(new URL(url).port)
  })

  test(
    "makes a connection of a route, with its options, beside other routes",
    Effect.gen(function* () {
      const url = yield* httpServer(router)
      const socket = yield* WebSocket.connect(`${url}echo`, { subprotocols: ["echo.v1"] })
      expect(socket.subprotocol).toBe("echo.v1")
      expect(socket.headers["x-from"]).toBe("route")
      yield* socket.sendAll(["a", "b"])
      expect([yield* socket.receive, yield* socket.receive]).toEqual(["a", "b"])
      const response = yield* Effect.promise(() => fetch(`${url.replace("ws:", "http:")}hello`))
      expect(yield* Effect.promise(() => response.text())).toBe("hello")
      yield* socket.close(4000, "bye")
      expect(yield* socket.closed).toMatchObject({ code: 4000, clean: true })
    })
  )

  test(
    "keeps the limits, and closes with 1011 when the handler fails; the server serves on",
    Effect.gen(function* () {
      const url = yield* httpServer(router)
      const large = yield* upgradedClient(addressOf(url), upgradeRequest({}, "GET /echo HTTP/1.1"))
      yield* large.sendFrames(Frame.text("x".repeat(1001)))
      expect(yield* large.closeCode).toBe(1009)
      yield* large.ended
      yield* large.end
      const failing = yield* upgradedClient(addressOf(url), upgradeRequest({}, "GET /fails HTTP/1.1"))
      expect(yield* failing.closeCode).toBe(1011)
      yield* failing.sendFrames(Frame.close(1011))
      yield* failing.ended
      // Nothing of an HTTP response is written to what is no longer HTTP.
      expect(failing.frames()).toHaveLength(1)
      yield* failing.end
      const socket = yield* WebSocket.connect(`${url}echo`)
      yield* socket.send("still there?")
      expect(yield* socket.receive).toBe("still there?")
    })
  )

  for (const [what, request, status, lines] of [
    [
      "no upgrade",
      "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      426,
      ["upgrade: websocket", "sec-websocket-version: 13"]
    ],
    [
      "another version",
      upgradeRequest({ "Sec-WebSocket-Version": "12" }, "GET /echo HTTP/1.1"),
      426,
      ["sec-websocket-version: 13"]
    ],
    ["no key", upgradeRequest({ "Sec-WebSocket-Key": undefined }, "GET /echo HTTP/1.1"), 400, []],
    ["two keys", upgradeRequest({ "Sec-WebSocket-Key": ["a", "b"] }, "GET /echo HTTP/1.1"), 400, []],
    ["another page's origin", upgradeRequest({ Origin: "http://evil.example" }, "GET /echo HTTP/1.1"), 403, []],
    ["a path that isn't there", upgradeRequest({}, "GET /nowhere HTTP/1.1"), 404, []]
  ] as const) {
    test(
      `answers ${what} with ${status}, and serves on`,
      Effect.gen(function* () {
        const url = yield* httpServer(router)
        const peer = yield* rawClient(addressOf(url))
        yield* peer.send(request)
        const head = (yield* peer.head).toLowerCase()
        expect(head).toMatch(new RegExp(`^http/1\\.1 ${status} `))
        for (const line of lines) expect(head.split("\r\n")).toContain(line)
        yield* peer.ended
        yield* peer.end
        const socket = yield* WebSocket.connect(`${url}echo`)
        yield* socket.send("still there?")
        expect(yield* socket.receive).toBe("still there?")
      })
    )
  }

  test(
    "closes with 1001 when the HTTP server shuts down",
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const url = yield* Scope.extend(httpServer(router), scope)
      const peer = yield* upgradedClient(addressOf(url), upgradeRequest({}, "GET /echo HTTP/1.1"))
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      expect(yield* peer.closeCode).toBe(1001)
      yield* peer.sendFrames(Frame.close(1001))
      yield* peer.ended
      yield* peer.end
      yield* Fiber.join(closing)
    })
  )

  test(
    "fails on a network that isn't the HTTP server's",
    Effect.gen(function* () {
      const url = yield* httpServer(
        WebSocketServer.upgrade(() => Effect.void).pipe(
          Effect.provide(TestNetwork.layer),
          Effect.catchTag("HandshakeError", (error) => HttpServerResponse.text(error.message, { status: 500 }))
        )
      )
      const peer = yield* rawClient(addressOf(url))
      yield* peer.send(upgradeRequest())
      expect(yield* peer.head).toMatch(/^HTTP\/1\.1 500 /)
      yield* peer.ended
      expect(peer.heard.text()).toContain("no HTTP server in a TestNetwork")
      yield* peer.end
    })
  )
})
