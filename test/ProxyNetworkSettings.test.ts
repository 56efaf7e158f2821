import { inspect } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer, Redacted } from "effect"
import { type Flow, Network, ProxyNetwork, WebSocketError } from "effect-websocket"

const tcp = (hostname: string, port = 80) => ({ _tag: "TcpAddress", hostname, port }) as const

/** A network that opens nothing and tells where it was to connect to. */
const network = Network.Network.of({
  connect: ({ address }) =>
    Effect.fail(new WebSocketError.ConnectError({ reason: "tcp", address: "", detail: "", cause: address })),
  listen: () => Effect.never,
  upgrade: () => Effect.never
})

/** Where a network would connect to on its way to an address. */
const firstHop = (
  proxied: Effect.Effect.Success<ReturnType<typeof ProxyNetwork.make>>,
  options: Network.ConnectOptions
) =>
  Effect.scoped(proxied.connect(options)).pipe(
    Effect.flip,
    Effect.map(({ cause, reason }) => {
      if (reason === "tcp") return "direct"
      return cause instanceof WebSocketError.ConnectError ? cause.cause : "nowhere"
    })
  )

describe("the URL of a proxy", () => {
  it.effect.each([
    ["http://proxy.example", tcp("proxy.example", 80)],
    ["https://proxy.example", tcp("proxy.example", 443)],
    ["socks5://proxy.example", tcp("proxy.example", 1080)],
    ["socks5h://proxy.example/", tcp("proxy.example", 1080)],
    ["http://proxy.example:80", tcp("proxy.example", 80)],
    ["HTTP://user:secret@PROXY.example:3128/path?a#b", tcp("proxy.example", 3128)],
    [" http://[2001:db8::1]:8080\n", tcp("2001:db8::1", 8080)],
    ["socks5://[::1]", tcp("::1", 1080)],
    ["proxy.example:3128", tcp("proxy.example", 3128)],
    ["user:secret@proxy.example", tcp("proxy.example", 80)],
    [new URL("socks5://proxy.example:9"), tcp("proxy.example", 9)],
    [{ url: Redacted.make("http://proxy.example") }, tcp("proxy.example", 80)]
  ] as const)("leads to where it says: %j", ([proxy, address]) =>
    Effect.gen(function* () {
      const proxied = yield* ProxyNetwork.make(network, proxy)
      expect(yield* firstHop(proxied, { address: tcp("target.example") })).toEqual(address)
    })
  )

  const long = "x".repeat(256)
  it.effect.each([
    ["", /like http:\/\/host:port/],
    ["http://", /like http:\/\/host:port/],
    ["http://secret:secret", /like http:\/\/host:port/],
    ["http://secret@host:99999", /like http:\/\/host:port/],
    ["ftp://secret@proxy.example", /like http:\/\/host:port/],
    ["socks4://proxy.example", /like http:\/\/host:port/],
    ["socks5:///secret", /like http:\/\/host:port/],
    ["http://secret\r\n@proxy.example", /control character/],
    ["http://a%3Ab:secret@proxy.example", /no colon in a user name/],
    ["http://secret%0d:a@proxy.example", /no control characters/],
    ["http://a:secret%00@proxy.example", /no control characters/],
    ["socks5://secret@proxy.example", /1 to 255 bytes/],
    ["socks5://:secret@proxy.example", /1 to 255 bytes/],
    [`socks5://secret:${long}@proxy.example`, /1 to 255 bytes/],
    [`socks5://${long}:secret@proxy.example`, /1 to 255 bytes/],
    [{ url: "socks5://proxy.example", username: "ö".repeat(128), password: Redacted.make("secret") }, /1 to 255 bytes/]
  ] as const)("that can't be used fails, and shows nothing secret: %#", ([proxy, detail]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(ProxyNetwork.make(network, proxy))
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "proxy" })
      expect(error.detail).toMatch(detail)
      expect(inspect(error, { depth: 10 })).not.toMatch(/secret|xxx|ööö/)
    })
  )

  it.effect("may hold as much as SOCKS5 allows, and a target's name, too", () =>
    Effect.gen(function* () {
      const most = "x".repeat(255)
      const proxied = yield* ProxyNetwork.make(network, `socks5://${most}:${most}@proxy.example`)
      expect(yield* firstHop(proxied, { address: tcp(most) })).toEqual(tcp("proxy.example", 1080))
      const error = yield* Effect.flip(Effect.scoped(proxied.connect({ address: tcp(long) })))
      expect(error.detail).toContain("at most 255 bytes")
    })
  )

  it.effect("of a layer fails the layer", () =>
    Effect.gen(function* () {
      const below = Layer.succeed(Network.Network, network)
      const error = yield* Effect.flip(Layer.build(Layer.provide(ProxyNetwork.layer("ftp://x"), below)))
      expect(error).toMatchObject({ reason: "proxy", address: "proxy" })
    }).pipe(Effect.scoped)
  )
})

describe("what needs no proxy", () => {
  const list = [
    ...["example.com", ".dot.example", "*.star.example", "UPPER.example.", "port.example:8080"],
    ...[
      "10.1.2.3",
      "192.168.0.0/16",
      "172.16.5.0/23",
      "10.9.9.9:81",
      "::1",
      "[2001:db8::2]:443",
      "fd00::/8",
      "[fe80::]/10"
    ],
    ...["0.1", "not/anything", "1.2.3.4/33", "1.2.3.4/x", "bad..host:x", "[1.2.3.4]/8/8"]
  ]
  const direct: ReadonlyArray<Flow.Address> = [
    ...[
      "example.com",
      "EXAMPLE.com",
      "example.com.",
      "a.b.example.com",
      "dot.example",
      "a.dot.example",
      "star.example"
    ],
    ...["a.star.example", "upper.example", "a.upper.example.", "10.1.2.3", "192.168.255.1", "172.16.4.255"],
    ...["::ffff:10.1.2.3", "::ffff:c0a8:1", "::1", "0:0::1", "fdff::1", "fe80::1", "febf::1"]
  ].map((name) => tcp(name))
  const proxied: ReadonlyArray<Flow.Address> = [
    ...["anexample.com", "example.com.evil", "example", "com", "port.example", "10.1.2.4", "192.169.0.1", "172.16.6.0"],
    ...[
      "::2",
      "fe00::1",
      "fec0::1",
      "10.9.9.9",
      "2001:db8::2",
      "10.0.0.1",
      "1.2.3.4",
      "anything",
      "not",
      "1.2.3.4.example"
    ],
    ...["::ffff:10.1.2.4", "::10.1.2.3"]
  ].map((name) => tcp(name))

  for (const separator of [",", " ", " ,\n, "]) {
    it.effect(`is on the list, separated by ${JSON.stringify(separator)}`, () =>
      Effect.gen(function* () {
        const through = yield* ProxyNetwork.make(network, { url: "http://p.example", noProxy: list.join(separator) })
        const expectHop = (address: Flow.Address, hop: unknown) =>
          Effect.map(firstHop(through, { address }), (found) => expect([address, found]).toEqual([address, hop]))
        yield* Effect.forEach(direct, (address) => expectHop(address, "direct"))
        yield* Effect.forEach(proxied, (address) => expectHop(address, tcp("p.example")))
        yield* expectHop(tcp("port.example", 8080), "direct")
        yield* expectHop(tcp("a.port.example", 8080), "direct")
        yield* expectHop(tcp("10.9.9.9", 81), "direct")
        yield* expectHop(tcp("2001:db8:0::2", 443), "direct")
        yield* expectHop({ _tag: "UnixAddress", path: "/run/a.sock" }, "direct")
      })
    )
  }

  it.effect("is everything where the list has an asterisk, and no network but its own where it has 0 bits", () =>
    Effect.gen(function* () {
      const hops = (noProxy: string) =>
        Effect.flatMap(ProxyNetwork.make(network, { url: "http://p.example", noProxy }), (through) =>
          Effect.forEach(["a.example", "10.0.0.1", "::1"], (host) => firstHop(through, { address: tcp(host) }))
        )
      const proxy = tcp("p.example")
      expect(yield* hops("x.example, *")).toEqual(["direct", "direct", "direct"])
      expect(yield* hops("0.0.0.0/0")).toEqual([proxy, "direct", proxy])
      expect(yield* hops("::/0")).toEqual([proxy, proxy, "direct"])
      expect(yield* hops(" , ")).toEqual([proxy, proxy, proxy])
    })
  )
})

describe("the environment", () => {
  /** Where ws and wss connections to an address would go first. */
  const hops = (env: Readonly<Record<string, string>>, hostname = "target.example") =>
    Effect.gen(function* () {
      const live = ProxyNetwork.layerEnv.pipe(
        Layer.provide(Layer.succeed(Network.Network, network)),
        Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env)))))
      )
      const through = Context.get(yield* Layer.build(live), Network.Network)
      const hop = (tls: Network.TlsClientOptions | undefined) => firstHop(through, { address: tcp(hostname), tls })
      const nameOf = (found: unknown) =>
        typeof found === "object" && found !== null && "hostname" in found ? found.hostname : found
      return { ws: nameOf(yield* hop(undefined)), wss: nameOf(yield* hop({})) }
    }).pipe(Effect.scoped)

  it.effect.each([
    ["with nothing set", {}, "direct", "direct"],
    ["of its own for ws", { HTTP_PROXY: "http://one" }, "one", "direct"],
    ["of its own for wss", { HTTPS_PROXY: "http://one" }, "direct", "one"],
    ["for all", { ALL_PROXY: "socks5://one" }, "one", "one"],
    ["for all, in lower case", { all_proxy: "one:80" }, "one", "one"],
    ["for each rather than for all", { http_proxy: "one", https_proxy: "two", ALL_PROXY: "three" }, "one", "two"],
    ["for the rest", { HTTPS_PROXY: "two", all_proxy: "three" }, "three", "two"],
    [
      "in lower case first",
      { http_proxy: "one", HTTP_PROXY: "two", https_proxy: "three", HTTPS_PROXY: "four" },
      "one",
      "three"
    ],
    ["that isn't empty", { http_proxy: "", HTTP_PROXY: " ", ALL_PROXY: "three" }, "three", "three"],
    ["but in a CGI program", { REQUEST_METHOD: "GET", HTTP_PROXY: "one", HTTPS_PROXY: "two" }, "direct", "two"],
    ["also in a CGI program", { REQUEST_METHOD: "GET", http_proxy: "one" }, "one", "direct"],
    ["but not for all", { ALL_PROXY: "one", NO_PROXY: "x.example,target.example" }, "direct", "direct"],
    ["with exceptions in lower case first", { ALL_PROXY: "one", no_proxy: "x.example", NO_PROXY: "*" }, "one", "one"]
  ] as const)("names a proxy %s", ([_, env, ws, wss]) =>
    Effect.gen(function* () {
      expect(yield* hops(env)).toEqual({ ws, wss })
    })
  )

  it.effect("with a URL that can't be used fails, and names the variable", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(hops({ HTTPS_PROXY: "socks4://alice:secret@host" }))
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "proxy", address: "HTTPS_PROXY" })
      expect(inspect(error)).not.toContain("secret")
    })
  )
})
