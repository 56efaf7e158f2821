import { HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { checkHost, seenBy } from "../../src/internal/forwarded.js"
import { Fields } from "../../src/protocol/head.js"
import { refusedBy } from "../fixtures/joined.js"
import { testInMemory } from "../fixtures/leaks.js"
import { rawClient } from "../fixtures/rawPeer.js"

const proxy = { _tag: "TcpAddress", hostname: "10.0.0.1", port: 4711 } as const

const seen = (trustedProxies: number, ...pairs: ReadonlyArray<readonly [string, string]>) =>
  seenBy({ remoteAddress: proxy, secure: false }, new Fields([["host", "inside:8080"], ...pairs]), trustedProxies)

const xFor = "x-forwarded-for"
const xProto = "x-forwarded-proto"
const xHost = "x-forwarded-host"

describe("what proxies say", () => {
  it.each([0, -1, Number.NaN])("is ignored if %d of them are trusted", (trusted) => {
    expect(seen(trusted, [xFor, "192.0.2.1"], [xProto, "https"], [xHost, "app.example"])).toEqual({
      ...{ remoteAddress: proxy, secure: false, host: "inside:8080" }
    })
  })

  it("is what the connection says where they say nothing", () => {
    expect(seen(1)).toEqual({ remoteAddress: proxy, secure: false, host: "inside:8080" })
    expect(seen(1, [xFor, ""], [xProto, " "], [xHost, "a,"])).toEqual(seen(1))
    const secure = { remoteAddress: proxy, secure: true }
    expect(seenBy(secure, new Fields([["host", "a"]]), 1)).toEqual({ ...secure, host: "a" })
  })

  it.each([
    [1, "203.0.113.7, 192.0.2.1, 10.0.0.2", "10.0.0.2"],
    [2, "203.0.113.7, 192.0.2.1, 10.0.0.2", "192.0.2.1"],
    [3, "203.0.113.7,192.0.2.1 ,10.0.0.2", "203.0.113.7"],
    [2, "192.0.2.1", "192.0.2.1"]
  ])("counts from the end: with %d trusted, %s is %s", (trusted, value, hostname) => {
    expect(seen(trusted, [xFor, value]).remoteAddress).toMatchObject({ hostname })
  })

  it("counts fields of one name as one list", () => {
    expect(seen(2, [xFor, "203.0.113.7, 192.0.2.1"], [xFor, "10.0.0.2"]).remoteAddress).toMatchObject({
      hostname: "192.0.2.1"
    })
  })

  it.each([
    ["192.0.2.1", "192.0.2.1", 0],
    ["192.0.2.1:4711", "192.0.2.1", 4711],
    ["2001:db8::1", "2001:db8::1", 0],
    ["[2001:db8::1]", "2001:db8::1", 0],
    ["[2001:db8::1]:4711", "2001:db8::1", 4711],
    ["192.0.2.1:0", "192.0.2.1", 0],
    ["192.0.2.1:65536", "192.0.2.1", 0],
    ["192.0.2.1:x", "192.0.2.1", 0],
    ["unknown", "unknown", 0]
  ])("reads the address %s", (text, hostname, port) => {
    expect(seen(1, [xFor, text]).remoteAddress).toEqual({ _tag: "TcpAddress", hostname, port })
  })

  it.each([
    ["https", true],
    ["HTTPS", true],
    ["wss", true],
    ["http", false],
    ["ws", false],
    ["https, http", false],
    ["http, https", true],
    ["ftp", false]
  ])("reads the scheme %s", (scheme, secure) => {
    expect(seen(1, [xProto, scheme]).secure).toBe(secure)
  })

  it("includes the host, with its port", () => {
    expect(seen(1, [xHost, "evil.example, app.example:8443"]).host).toBe("app.example:8443")
  })
})

describe("the host of a request", () => {
  it.each([
    ["app.example", ["app.example"]],
    ["APP.example:8443", ["app.EXAMPLE"]],
    ["app.example", ["app.example:443"]],
    ["[::1]:80", ["localhost", "[::1]"]],
    ["anything", undefined],
    [undefined, ["app.example"]],
    [undefined, undefined]
  ])("%s is one of %j", (host, hosts) => {
    expect(checkHost(host, hosts)).toBeUndefined()
  })

  it.each([
    ["evil.example", ["app.example"]],
    ["app.example.evil", ["app.example"]],
    ["sub.app.example", ["app.example"]],
    ["app.example.", ["app.example"]],
    ["[::1]", ["::1"]],
    ["app.example", ["https://app.example"]],
    ["app.example", []]
  ])("%s is none of %j", (host, hosts) => {
    expect(checkHost(host, hosts)).toMatchObject({ status: 421 })
  })

  it.each(["", "a b", "a/b", "ada@a", "a,a", "[::1"])("%j is malformed", (host) => {
    expect(checkHost(host, undefined)).toMatchObject({ status: 400 })
    expect(checkHost(host, [host])).toMatchObject({ status: 400 })
  })
})

describe("a server that trusts a proxy", () => {
  const says = (socket: WebSocket.WebSocket) => Effect.zipRight(socket.send(socket.url), Effect.never)
  const serving = (options: WebSocketServer.ServerOptions) =>
    Effect.tap(WebSocketServer.make({ drainTimeout: 0, ...options }), (server) => server.serve(says))
  const through = (url: string, headers: Readonly<Record<string, string>>) =>
    Effect.flatMap(WebSocket.connect(url, { headers }), (socket) => socket.receive)

  testInMemory(
    "limits connections by the address that the proxy tells",
    Effect.gen(function* () {
      const { url } = yield* serving({ trustedProxies: 1, maxConnectionsPerAddress: 1 })
      yield* through(url, { [xFor]: "192.0.2.1" })
      expect(yield* refusedBy(url, { headers: { [xFor]: "203.0.113.7, 192.0.2.1" } })).toMatchObject({ status: 429 })
      yield* through(url, { [xFor]: "192.0.2.1, 192.0.2.2" })
    })
  )

  testInMemory(
    "judges the host and the origin that the proxy tells",
    Effect.gen(function* () {
      const { url } = yield* serving({ trustedProxies: 1, hosts: ["app.example"] })
      const outside = { [xProto]: "https", [xHost]: "app.example" }
      expect(yield* through(`${url}a?b`, { ...outside, origin: "https://app.example" })).toBe("wss://app.example/a?b")
      for (const [headers, status] of [
        [{ ...outside, origin: "http://app.example" }, 403],
        [{ ...outside, [xHost]: "evil.example", origin: "https://evil.example" }, 421],
        [{ ...outside, [xHost]: "app.example/evil" }, 400],
        [{}, 421]
      ] as const) {
        expect(yield* refusedBy(url, { headers })).toMatchObject({ status })
      }
    })
  )

  testInMemory(
    "answers plain requests for its hosts, and those without one",
    Effect.gen(function* () {
      const server = yield* serving({ trustedProxies: 1, hosts: ["app.example"] })
      const app = HttpRouter.empty.pipe(
        HttpRouter.get(
          "/",
          Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) =>
            HttpServerResponse.text(`${headers["host"]}`)
          )
        )
      )
      yield* server.serveHttp(app)
      const status = (...lines: ReadonlyArray<string>) =>
        Effect.gen(function* () {
          const peer = yield* rawClient(server.address)
          yield* peer.send([...lines, "", ""].join("\r\n"))
          return Number((yield* peer.head).slice(9, 12))
        })
      expect(yield* status("GET / HTTP/1.1", "Host: app.example:80")).toBe(200)
      expect(yield* status("GET / HTTP/1.1", "Host: inside", "X-Forwarded-Host: app.example")).toBe(200)
      // How HAProxy asks for the health of a server.
      expect(yield* status("GET / HTTP/1.0")).toBe(200)
      expect(yield* status("GET / HTTP/1.1", "Host: evil.example")).toBe(421)
      expect(yield* status("GET / HTTP/1.1", "Host: app.example", "Host: app.example")).toBe(400)
      expect(yield* status("GET / HTTP/1.1", "Host: ada@app.example")).toBe(400)
    })
  )
})
