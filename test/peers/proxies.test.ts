import { inspect } from "node:util"
import { describe, expect, it, vi } from "@effect/vitest"
import { type ConfigError, ConfigProvider, Effect, Layer, Redacted, type Scope, Stream } from "effect"
import {
  type Network,
  NodeNetwork,
  ProxyNetwork,
  WebSocket,
  type WebSocketError,
  WebSocketServer
} from "effect-websocket"
import { type Certificate, makeCertificates } from "../fixtures/certificates.js"
import { pattern } from "../fixtures/heard.js"
import { danted, microsocks, squid, tinyproxy, user } from "../fixtures/proxies.js"

const { ca, good, wrongName } = makeCertificates()

/** An echo server that no proxy stands before: its port. */
const echo = (tls?: Certificate, host = "127.0.0.1") =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make({ port: 0, host, tls })
    yield* server.serve((socket) => Stream.run(socket.messages, socket.sink))
    return Number(new URL(server.url).port)
  }).pipe(Effect.provide(NodeNetwork.layer))

type Net = Layer.Layer<Network.Network, WebSocketError.ConnectError | ConfigError.ConfigError>
type Through = string | ProxyNetwork.Options

const through = (...proxies: ReadonlyArray<Through>): Net =>
  proxies.reduce<Net>((below, proxy) => Layer.provide(ProxyNetwork.layer(proxy), below), NodeNetwork.layer)

const connect = (url: string, network: Net) => Effect.provide(WebSocket.connect(url, { tls: { ca } }), network)

/** Text, and more bytes than any buffer on the way holds. */
const big = pattern(700_000)
const exchange = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    yield* socket.send("grüße")
    yield* socket.send(big)
    expect(yield* socket.receive).toBe("grüße")
    expect(Buffer.from(yield* Effect.map(socket.receive, (message) => Buffer.from(message))).equals(big)).toBe(true)
    yield* socket.close(1000)
    expect(yield* socket.closed).toMatchObject({ code: 1000, clean: true })
  })

type Started = Effect.Effect<{ readonly port: number }, never, Scope.Scope>

const kinds: ReadonlyArray<readonly [name: string, start: Started, proxy: (port: number) => Through]> = [
  ["tinyproxy", tinyproxy(), (port) => `http://127.0.0.1:${port}`],
  ["tinyproxy with Basic", tinyproxy({ user }), (port) => ({ url: `http://127.0.0.1:${port}`, ...user })],
  ["squid with Basic", squid({ user }), (port) => `http://alice:open%2esesame@127.0.0.1:${port}/`],
  ["squid over TLS", squid({ tls: good }), (port) => ({ url: `https://localhost:${port}`, tls: { ca } })],
  ["microsocks", microsocks(), (port) => `socks5://127.0.0.1:${port}`],
  ["microsocks with a password", microsocks({ user }), (port) => ({ url: `socks5h://127.0.0.1:${port}`, ...user })],
  ["danted", danted, (port) => `socks5://127.0.0.1:${port}`]
]

describe.each(kinds)("through %s", (_, start, proxy) => {
  it.scopedLive.each([
    ["ws", undefined],
    ["wss", good]
  ] as const)("messages go there and back over %s", ([scheme, tls]) =>
    Effect.gen(function* () {
      const { port } = yield* start
      const target = yield* echo(tls)
      const socket = yield* connect(`${scheme}://127.0.0.1:${target}/`, through(proxy(port)))
      expect(socket.secure).toBe(scheme === "wss")
      expect(socket.remoteAddress).toEqual({ _tag: "TcpAddress", hostname: "127.0.0.1", port })
      yield* exchange(socket)
    })
  )
})

describe("what a proxy refuses", () => {
  /** Why there is no connection, checked to hold no password. */
  const refusal = (url: string, proxy: Through) =>
    connect(url, through(proxy)).pipe(
      Effect.asVoid,
      Effect.scoped,
      Effect.flip,
      Effect.tap((error) => {
        const shown = inspect(error, { depth: 10, showHidden: true })
        expect(shown).not.toMatch(/open|sesame/)
        expect(shown).not.toContain(Buffer.from("alice:open.sesame").toString("base64"))
      })
    )

  const wrong = { username: "alice", password: Redacted.make("sesame.open") }
  const login = ["socks5", microsocks({ user })] as const
  it.scopedLive.each([
    ["tinyproxy", "http", tinyproxy({ user }), undefined, "wants a user name and a password (HTTP 407)", "HTTP 407"],
    ["tinyproxy", "http", tinyproxy({ user }), wrong, "doesn't accept the user name and password", "HTTP 401"],
    ["squid", "http", squid({ user }), undefined, "wants a user name and a password (HTTP 407)", "HTTP 407"],
    ["squid", "http", squid({ user }), wrong, "doesn't accept the user name and password (HTTP 407)", "HTTP 407"],
    ["microsocks", ...login, undefined, "wants a user name and a password, or", undefined],
    ["microsocks", ...login, wrong, "doesn't accept the user name and password", undefined]
  ] as const)("is told: %s, %s, credentials %#", ([_, scheme, start, credentials, detail, code]) =>
    Effect.gen(function* () {
      const { port } = yield* start
      const url = `${scheme}://127.0.0.1:${port}`
      const error = yield* refusal("ws://127.0.0.1:1/", { url, ...credentials })
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "proxy", address: "127.0.0.1:1" })
      expect("code" in error ? error.code : undefined).toBe(code)
      expect(error).toHaveProperty("detail", expect.stringContaining(`the proxy ${url} ${detail}`))
    })
  )

  it.scopedLive.each([
    ["tinyproxy", "http", tinyproxy(), "refused to connect to this target (HTTP 500)", "HTTP 500"],
    ["squid", "http", squid(), "refused to connect to this target (HTTP 503)", "HTTP 503"],
    ["microsocks", "socks5", microsocks(), "refused to connect to this target: nobody listens there", "SOCKS 5"],
    ["danted", "socks5", danted, "refused to connect to this target: nobody listens there", "SOCKS 5"]
  ] as const)("%s can't connect to where nobody listens", ([_, scheme, start, detail, code]) =>
    Effect.gen(function* () {
      const { port } = yield* start
      const error = yield* refusal("wss://127.0.0.1:1/", { url: `${scheme}://127.0.0.1:${port}`, ...user })
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "proxy", address: "127.0.0.1:1", code })
      expect(error).toHaveProperty("detail", expect.stringContaining(detail))
    })
  )

  it.scopedLive("a proxy that doesn't run, or whose certificate isn't good, is told from the target", () =>
    Effect.gen(function* () {
      const absent = yield* refusal("ws://127.0.0.1:2/", { url: "http://127.0.0.1:1", ...user })
      expect(absent).toMatchObject({ reason: "proxy", address: "127.0.0.1:2", code: "ECONNREFUSED" })
      expect(absent.message).toContain("the proxy http://127.0.0.1:1 can't be reached (tcp): nobody listens there")
      const { port } = yield* squid({ tls: wrongName })
      const unverified = yield* refusal("ws://127.0.0.1:2/", { url: `https://localhost:${port}`, tls: { ca }, ...user })
      expect(unverified).toMatchObject({ reason: "proxy", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
      expect(unverified.message).toContain("the certificate isn't for localhost")
    })
  )
})

describe("TLS through a proxy", () => {
  it.scopedLive("verifies the name of the target, which the proxy alone can resolve", () =>
    Effect.gen(function* () {
      // Nobody but this proxy has heard of these names; the certificates are for the first, and for another.
      const { port } = yield* squid({ hosts: ["flow.test", "stranger.test"] })
      const target = yield* echo(good)
      const network = through(`http://127.0.0.1:${port}`)
      yield* exchange(yield* connect(`wss://flow.test:${target}/`, network))
      const error = yield* Effect.flip(connect(`wss://stranger.test:${target}/`, network))
      expect(error).toMatchObject({ reason: "tls", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
      expect(error).toHaveProperty("address", `stranger.test:${target}`)
    })
  )

  it.scopedLive.each([
    ["an HTTP proxy", tinyproxy(), (port: number): Through => `http://127.0.0.1:${port}`],
    [
      "an HTTP proxy behind TLS",
      squid({ tls: good }),
      (port: number): Through => ({ url: `https://localhost:${port}`, tls: { ca } })
    ],
    ["another SOCKS5 proxy", danted, (port: number): Through => `socks5://127.0.0.1:${port}`]
  ] as const)("goes through a SOCKS5 proxy that is reached through %s", ([_, start, outer]) =>
    Effect.gen(function* () {
      const first = yield* start
      const second = yield* microsocks({ user })
      const target = yield* echo(good)
      const network = through(outer(first.port), { url: `socks5://127.0.0.1:${second.port}`, ...user })
      const socket = yield* connect(`wss://127.0.0.1:${target}/`, network)
      expect(socket.secure).toBe(true)
      expect(socket.remoteAddress).toMatchObject({ port: first.port })
      yield* exchange(socket)
    })
  )
})

describe("the variables of the environment", () => {
  const withEnvironment = (env: Readonly<Record<string, string>>) =>
    ProxyNetwork.layerEnv.pipe(
      Layer.provide(NodeNetwork.layer),
      Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env)))))
    )

  it.scopedLive("name a proxy for ws, one for wss, and what goes without", () =>
    Effect.gen(function* () {
      const [forWs, forWss] = [yield* tinyproxy({ user }), yield* microsocks()]
      const [plain, secure] = [yield* echo(), yield* echo(good)]
      const network = withEnvironment({
        HTTP_PROXY: `http://alice:open.sesame@127.0.0.1:${forWs.port}`,
        HTTPS_PROXY: `socks5h://127.0.0.1:${forWss.port}`,
        NO_PROXY: "localhost,192.0.2.0/24"
      })
      const portOf = (url: string) => Effect.map(connect(url, network), ({ remoteAddress }) => remoteAddress)
      expect(yield* portOf(`ws://127.0.0.1:${plain}/`)).toMatchObject({ port: forWs.port })
      expect(yield* portOf(`wss://127.0.0.1:${secure}/`)).toMatchObject({ port: forWss.port })
      expect(yield* portOf(`ws://localhost:${plain}/`)).toMatchObject({ port: plain })
      expect(yield* portOf(`wss://localhost:${secure}/`)).toMatchObject({ port: secure })
    })
  )

  it.scopedLive("are those of the process where no ConfigProvider says otherwise", () =>
    Effect.gen(function* () {
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.unstubAllEnvs()))
      const { port } = yield* microsocks()
      const target = yield* echo()
      vi.stubEnv("ALL_PROXY", `socks5://127.0.0.1:${port}`)
      vi.stubEnv("NO_PROXY", `127.0.0.1:1 example.com`)
      const network = Layer.provide(ProxyNetwork.layerEnv, NodeNetwork.layer)
      expect((yield* connect(`ws://127.0.0.1:${target}/`, network)).remoteAddress).toMatchObject({ port })
    })
  )
})
