import { describe, expect } from "@effect/vitest"
import { Effect, Fiber, Redacted, Stream, TestClock } from "effect"
import { Network, ProxyNetwork, TestNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import { settle } from "./fixtures/heard.js"
import { testInMemory } from "./fixtures/leaks.js"
import type { RawPeer } from "./fixtures/rawPeer.js"
import {
  type Answer,
  attempt,
  expectRefusal,
  http,
  joined,
  play,
  proxyAddress,
  scripted,
  socks,
  survivesCuts,
  target,
  tcp,
  user
} from "./fixtures/scriptedProxy.js"
import { httpProxy, socksProxy } from "./fixtures/tunnel.js"

const hex = (peer: RawPeer) => Buffer.concat(peer.heard.chunks).toString("hex")

describe("an HTTP proxy", () => {
  for (const [to, authority] of [
    [target, "target.example:8080"],
    [tcp("127.0.0.1", 80), "127.0.0.1:80"],
    [tcp("2001:db8::1", 443), "[2001:db8::1]:443"]
  ] as const) {
    testInMemory(
      `is asked for a tunnel to ${authority}`,
      Effect.gen(function* () {
        const { result, peer } = yield* attempt(http, [[1, "HTTP/1.1 200 OK\r\n\r\n"]], { to })
        expect(result).toMatchObject({ _tag: "Right", right: { remoteAddress: proxyAddress, secure: false } })
        expect(peer.heard.text()).toBe(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)
      })
    )
  }

  for (const [title, proxy, credentials] of [
    ["of its options", { url: http, ...user }, "alice:öpen"],
    ["of its URL", "http://a%40b:p%3Aw%2F%25@proxy.example:3128", "a@b:p:w/%"],
    ["of its URL, which may be redacted", { url: Redacted.make("http://bob:%zz@proxy.example:3128") }, "bob:%zz"],
    ["of its options rather than its URL", { url: "http://bob:x@proxy.example:3128", ...user }, "alice:öpen"],
    ["without a password", "http://token@proxy.example:3128", "token:"]
  ] as const) {
    testInMemory(
      `is told the credentials ${title}`,
      Effect.gen(function* () {
        const { peer } = yield* attempt(proxy, [[1, "HTTP/1.1 200 OK\r\n\r\n"]])
        const basic = Buffer.from(credentials, "utf8").toString("base64")
        expect(peer.heard.text()).toContain(`\r\nProxy-Authorization: Basic ${basic}\r\n`)
      })
    )
  }

  survivesCuts("may cut its answer anywhere, and what is behind it isn't lost", http, [
    // RFC 9110 9.3.6: the length has no meaning here.
    [1, joined("HTTP/1.0 204 Fine\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nhello")]
  ])
  survivesCuts("may send interim responses", http, [
    [1, joined("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello")]
  ])

  for (const [answer, detail, code, proxy] of [
    ["403 Forbidden\r\n\r\n", "refused to connect to this target (HTTP 403)", "HTTP 403"],
    ["301 Moved\r\nLocation: http://elsewhere/\r\n\r\n", "refused to connect to this target (HTTP 301)", "HTTP 301"],
    ["101 Switching Protocols\r\n\r\n", "refused to connect to this target (HTTP 101)", "HTTP 101"],
    ["407 Auth\r\n\r\n", "wants a user name and a password (HTTP 407)", "HTTP 407"],
    [
      "407 Auth\r\nProxy-Authenticate: Negotiate, bAsic realm=x\r\n\r\n",
      "wants a user name and a password (HTTP 407)",
      "HTTP 407"
    ],
    ["407 Auth\r\n\r\n", "doesn't accept the user name and password (HTTP 407)", "HTTP 407", user],
    ["401 Auth\r\n\r\n", "doesn't accept the user name and password (HTTP 401)", "HTTP 401", user],
    [
      "407 Auth\r\nProxy-Authenticate: Digest realm=a, Basically realm=basic\r\n\r\n",
      "wants another authentication than Basic, which is all that is spoken here (HTTP 407)",
      "HTTP 407",
      user
    ]
  ] as const) {
    testInMemory(
      `that ${detail}${proxy === undefined ? "" : ", with credentials"} leaves nothing open: ${answer.split("\r\n\r\n")[0]?.split("\r\n").pop()}`,
      Effect.gen(function* () {
        const { result } = yield* attempt({ url: http, ...proxy }, [[1, `HTTP/1.1 ${answer}`]])
        expectRefusal(result, `${http} ${detail}`, code)
      })
    )
  }

  for (const [title, answer, rule] of [
    [
      "speaks something else",
      "SSH-2.0-dropbear\r\n",
      "the start line isn't that of an HTTP/1.1 message (RFC 9112 2.1)"
    ],
    ["speaks TLS", Uint8Array.of(22, 3, 1), "the peer speaks TLS where plain HTTP was expected"],
    [
      "ends lines in its own way",
      "HTTP/1.1 200 OK\n\n",
      "the start line isn't that of an HTTP/1.1 message (RFC 9112 2.1)"
    ],
    ["never ends its head", `HTTP/1.1 200 ${"x".repeat(20_000)}`, "the head is longer than 16384 bytes"],
    [
      "never comes to its answer",
      "HTTP/1.1 100 Continue\r\n\r\n".repeat(20),
      "the server sent more than 16 interim responses"
    ]
  ] as const) {
    testInMemory(
      `that ${title} is told so`,
      Effect.gen(function* () {
        const { result } = yield* attempt(http, [[1, answer]])
        expectRefusal(result, `${http} gave an answer that isn't valid HTTP: ${rule}`)
      })
    )
  }

  testInMemory(
    "isn't even asked for what is no host and port",
    Effect.forEach([http, socks], (proxy) =>
      Effect.gen(function* () {
        const { connect, server } = yield* scripted(proxy)
        const hosts = ["a\r\nX: y", "a b", "a@b", "a\0.example", "", "fe80::1%eth0", "a/b", "ä.example"]
        for (const address of [...hosts.map((host) => tcp(host, 80)), tcp("a", 70_000), tcp("a", -1), tcp("a", 1.5)]) {
          const error = yield* Effect.flip(connect({ address }))
          expect(error).toMatchObject({ reason: "proxy" })
          expect(error.detail).toContain("can't be asked for this target")
        }
        expect(yield* server.waiting).toBe(0)
      }).pipe(Effect.scoped)
    )
  )
})

const none = [5, 0] as const
const success = [5, 0, 0] as const
const greeting = "050100"
const request = `050100030e${Buffer.from("target.example").toString("hex")}1f90`
const requestSize = request.length / 2

describe("a SOCKS5 proxy", () => {
  for (const [to, wire] of [
    [target, request],
    [tcp("127.0.0.1", 80), "05010001" + "7f000001" + "0050"],
    [tcp("2001:db8::1", 443), "05010004" + "20010db8000000000000000000000001" + "01bb"]
  ] as const) {
    testInMemory(
      `is asked for ${to.hostname}, unresolved`,
      Effect.gen(function* () {
        const { result, peer } = yield* attempt(
          socks,
          [
            [3, joined(none)],
            [3 + wire.length / 2, joined(success, [1, 127, 0, 0, 1, 0, 80])]
          ],
          { to }
        )
        expect(result).toMatchObject({ _tag: "Right", right: { remoteAddress: proxyAddress, secure: false } })
        expect(hex(peer)).toBe(greeting + wire)
      })
    )
  }

  const bounds = [
    ["an IPv4 address", [1, 127, 0, 0, 1, 0, 80]],
    ["an IPv6 address", [4, ...new Array<number>(16).fill(1), 0, 80]],
    ["a name", [3, 3, 97, 98, 99, 0, 80]],
    ["an empty name", [3, 0, 0, 80]]
  ] as const
  for (const [title, bound] of bounds) {
    survivesCuts(`may cut its answers anywhere, bound to ${title}`, socks, [
      [3, joined(none)],
      [3 + requestSize, joined(success, bound, "hello")]
    ])
  }
  // 4 of the greeting, 1 + 1 + 5 + 1 + 5 of the login ("ö" is two bytes).
  survivesCuts("may cut the answer to a login anywhere", { url: socks, ...user }, [
    [4, joined([5, 2])],
    [17, joined([1, 0])],
    [17 + requestSize, joined(success, bounds[0][1], "hello")]
  ])
  survivesCuts("may do without the credentials it was offered", { url: socks, ...user }, [
    [4, joined(none)],
    [4 + requestSize, joined(success, bounds[0][1], "hello")]
  ])

  testInMemory(
    "is told the credentials",
    Effect.gen(function* () {
      const { peer, result } = yield* attempt({ url: socks, ...user }, [
        [4, joined([5, 2])],
        [17, joined([1, 1])]
      ])
      expect(hex(peer)).toBe(
        `05020002${"01"}05${Buffer.from("alice").toString("hex")}05${Buffer.from("öpen").toString("hex")}`
      )
      expectRefusal(result, `${socks} doesn't accept the user name and password`)
    })
  )

  const notSocks = "gave an answer that isn't SOCKS5 (RFC 1928)"
  for (const [title, proxy, script, detail] of [
    [
      "wants credentials that we don't have",
      {},
      [[3, [5, 255]]],
      "wants a user name and a password, or some other authentication"
    ],
    [
      "takes none of ours",
      user,
      [[4, [5, 255]]],
      "takes no user name and password, and doesn't work without authentication either"
    ],
    ["chooses what wasn't offered", {}, [[3, [5, 2]]], notSocks],
    ["chooses what nobody speaks", user, [[4, [5, 1]]], notSocks],
    ["is of version 4", {}, [[3, [0, 0]]], notSocks],
    ["speaks HTTP", {}, [[3, "HTTP/1.1 400 Bad Request\r\n\r\n"]], notSocks],
    [
      "answers a login in another version",
      user,
      [
        [4, [5, 2]],
        [17, [5, 0]]
      ],
      notSocks
    ],
    [
      "answers a request in another version",
      {},
      [
        [3, none],
        [3 + requestSize, [4, 0, 0, 1]]
      ],
      notSocks
    ],
    [
      "is bound to an address of no type",
      {},
      [
        [3, none],
        [3 + requestSize, [5, 0, 0, 2, 0, 0]]
      ],
      notSocks
    ]
  ] as const) {
    testInMemory(
      `that ${title} is told so`,
      Effect.gen(function* () {
        const answers = script.map(([heard, answer]) => [heard, joined(answer)] as const)
        const { result } = yield* attempt({ url: socks, ...proxy }, answers)
        expectRefusal(result, `${socks} ${detail}`)
      })
    )
  }

  for (const [code, words] of [
    [1, "general failure of the proxy"],
    [2, "its rules don't allow the connection"],
    [3, "there is no route to the network"],
    [4, "there is no route to the host, or its name can't be resolved"],
    [5, "nobody listens there"],
    [6, "the time to live expired"],
    [7, "it doesn't connect to anybody"],
    [8, "it doesn't support this type of address"],
    [9, "a reason unknown to RFC 1928"]
  ] as const) {
    testInMemory(
      `that refuses with ${code} may leave it at that: ${words}`,
      Effect.gen(function* () {
        const script = [
          [3, joined(none)],
          [3 + requestSize, joined([5, code])]
        ] as const
        const { result } = yield* attempt(socks, script, { last: "end" })
        expectRefusal(result, `${socks} refused to connect to this target: ${words} (SOCKS ${code})`, `SOCKS ${code}`)
      })
    )
  }
})

describe("a proxy that goes away", () => {
  const answers: ReadonlyArray<readonly [string, ReadonlyArray<readonly [number, Uint8Array]>]> = [
    [http, [[1, joined("HTTP/1.1 200 OK\r\n\r")]]],
    [
      socks,
      [
        [3, joined(none)],
        [3 + requestSize, joined(success, [1, 127, 0, 0, 1, 0])]
      ]
    ]
  ]
  for (const [proxy, script] of answers) {
    for (const last of ["end", "destroy"] as const) {
      testInMemory(
        `at any byte of its answer is an error: ${proxy}, ${last}`,
        Effect.gen(function* () {
          for (const [index, [heard, answer]] of script.entries()) {
            for (let length = index; length <= answer.length; length++) {
              if (length === answer.length && index < script.length - 1) continue
              const cut = [...script.slice(0, index), [heard, answer.slice(0, length)] as const]
              const { result } = yield* attempt(proxy, cut, { last })
              expectRefusal(result, `${proxy} hung up before the connection was there`)
              expect(result).toHaveProperty("left.cause._tag", "IoError")
            }
          }
        })
      )
    }
  }

  testInMemory(
    "or isn't there at all is told from a target that isn't",
    Effect.gen(function* () {
      const network = yield* ProxyNetwork.make(yield* Network.Network, http)
      const error = yield* Effect.flip(network.connect({ address: target }))
      expect(error).toMatchObject({ reason: "proxy", address: "target.example:8080", code: "ECONNREFUSED" })
      expect(error.detail).toContain(`the proxy ${http} can't be reached (tcp): nobody listens`)
      expect(error.cause).toMatchObject({ _tag: "ConnectError", reason: "tcp", address: "proxy.example:3128" })
    })
  )
})

/** An echo server in memory, and what comes back from it. */
const echoed = (url: string, proxied: Effect.Effect.Success<ReturnType<typeof ProxyNetwork.make>>) =>
  Effect.gen(function* () {
    const { hostname, port, protocol } = new URL(url)
    const tls = protocol === "wss:" ? { cert: "", key: Redacted.make("") } : undefined
    const server = yield* WebSocketServer.make({ host: hostname, port: Number(port || (tls ? 443 : 80)), tls })
    yield* server.serve((socket) => Stream.run(socket.messages, socket.sink))
    const socket = yield* Effect.provideService(WebSocket.connect(url), Network.Network, proxied)
    yield* socket.send("there")
    expect(yield* socket.receive).toBe("there")
    return socket
  })

describe("a WebSocket through a proxy", () => {
  for (const scheme of ["http", "https"] as const) {
    testInMemory(
      `is secure if it speaks TLS to the target, whatever is spoken to the proxy: ${scheme}`,
      Effect.gen(function* () {
        const below = yield* Network.Network
        const tls = scheme === "https" ? { cert: "", key: Redacted.make("") } : undefined
        const asked = yield* httpProxy(proxyAddress, tls)
        const network = yield* ProxyNetwork.make(below, `${scheme}://proxy.example:3128`)
        expect((yield* echoed("ws://a.example:81/", network)).secure).toBe(false)
        expect((yield* echoed("wss://b.example/", network)).secure).toBe(true)
        expect(asked).toEqual(["a.example:81", "b.example:443"])
      })
    )
  }

  testInMemory(
    "goes through one proxy to the next",
    Effect.gen(function* () {
      const inner = yield* socksProxy(tcp("inner.example", 1080))
      const outer = yield* httpProxy(tcp("outer.example", 80))
      const first = yield* ProxyNetwork.make(yield* Network.Network, "outer.example")
      const network = yield* ProxyNetwork.make(first, "socks5h://inner.example")
      expect((yield* echoed("wss://target.example/", network)).secure).toBe(true)
      expect([outer, inner]).toEqual([["inner.example:1080"], ["target.example:443"]])
    })
  )

  testInMemory(
    "listens below, and takes a flow that it is given as it is",
    Effect.gen(function* () {
      const below = yield* Network.Network
      const network = yield* ProxyNetwork.make(below, http)
      yield* network.listen({ address: target }, (flow) => flow.destroy())
      const over = yield* below.connect({ address: target })
      expect(yield* network.connect({ address: target, over })).toBe(over)
      const { upgrade, listen } = network
      expect({ upgrade, listen }).toEqual({ upgrade: below.upgrade, listen: below.listen })
    })
  )
})

describe("an attempt through a proxy", () => {
  const stages: ReadonlyArray<readonly [string, string, ReadonlyArray<readonly [number, Answer]>]> = [
    ["with nothing said", http, []],
    ["in the middle of an answer", http, [[1, "HTTP/1.1 20"]]],
    ["with nothing said", socks, []],
    ["after the greeting", socks, [[3, joined(none)]]],
    [
      "in the middle of the reply",
      socks,
      [
        [3, joined(none)],
        [3 + requestSize, joined(success, [1, 1])]
      ]
    ]
  ]
  for (const [stage, proxy, script] of stages) {
    testInMemory(
      `is bounded by the handshakeTimeout, and leaves nothing open: ${stage}, ${proxy}`,
      Effect.gen(function* () {
        const { server, ...network } = yield* scripted(proxy)
        const connecting = yield* WebSocket.connect("ws://target.example:8080/", {
          handshakeTimeout: "3 seconds"
        }).pipe(Effect.provideService(Network.Network, network), Effect.scoped, Effect.flip, Effect.fork)
        const peer = yield* server.next
        yield* play(peer, script, 1000)
        yield* settle
        yield* TestClock.adjust("2999 millis")
        expect(peer.heard.events).not.toContain("end")
        yield* TestClock.adjust("1 millis")
        expect(yield* Fiber.join(connecting)).toMatchObject({ _tag: "ConnectError", reason: "timeout" })
        yield* peer.ended
      })
    )

    testInMemory(
      `leaves nothing open when it is interrupted, in a scope that goes on: ${stage}, ${proxy}`,
      Effect.gen(function* () {
        const { connect, server } = yield* scripted(proxy)
        const connecting = yield* Effect.fork(connect({ address: target }))
        const peer = yield* server.next
        yield* play(peer, script, 1000)
        yield* settle
        yield* Fiber.interrupt(connecting)
        yield* peer.ended
      })
    )
  }

  testInMemory(
    "leaves nothing open when it is interrupted on the way to the proxy, or fails in a scope that goes on",
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      yield* network.set({ latency: "1 second" })
      const { connect, server } = yield* scripted(http)
      const connecting = yield* Effect.fork(connect({ address: target }))
      yield* settle
      yield* Fiber.interrupt(connecting)
      yield* network.set({ latency: 0 })
      const failing = yield* Effect.fork(Effect.flip(connect({ address: target })))
      const peer = yield* server.next
      yield* play(peer, [[1, "HTTP/1.1 502 Bad Gateway\r\n\r\n"]], 1000)
      yield* Fiber.join(failing)
      yield* peer.ended
      expect(yield* server.waiting).toBe(0)
    })
  )
})
