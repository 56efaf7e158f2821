import { describe } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { Network, type ConnectOptions as NetworkOptions } from "effect-websocket/Network"
import { TestNetwork } from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { refusedBy } from "../fixtures/joined.js"
import { testInMemory } from "../fixtures/leaks.js"
import { type RawPeer, rawServer, upgradeResponse } from "../fixtures/rawPeer.js"

const secure = { cert: "a certificate", key: Redacted.make("its key") }

/** A server under a host name, in the hand of the test. */
const site = (hostname: string, port = 80) =>
  rawServer({
    address: { _tag: "TcpAddress", hostname, port },
    tls: port === 443 || port === 8443 ? secure : undefined
  })

const redirect = (location: string, status = 302) =>
  `HTTP/1.1 ${status} Elsewhere\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`

const answerOnce = (server: Effect.Effect.Success<ReturnType<typeof site>>, answer: (request: string) => string) =>
  Effect.gen(function* () {
    const peer = yield* server.next
    const request = yield* peer.head
    yield* peer.send(answer(request))
    return { peer, request }
  })

/** Lets the client's connection end as it must, from the server's side. */
const leave = (peer: RawPeer) => peer.destroy

/** A client with its options, and a network that writes down what it was asked for. */
const connecting = (url: string, options: WebSocket.ConnectOptions) =>
  Effect.gen(function* () {
    const network = yield* Network
    const asked: Array<NetworkOptions> = []
    const connect = (to: NetworkOptions) => {
      asked.push(to)
      return network.connect(to)
    }
    const fiber = yield* WebSocket.connect(url, options).pipe(
      Effect.provideService(Network, Network.of({ ...network, connect })),
      Effect.fork
    )
    return { fiber, asked }
  })

const everything: WebSocket.ConnectOptions = {
  maxRedirects: 3,
  localAddress: "127.0.0.5",
  headers: {
    Authorization: "Bearer secret",
    cookie: "session=secret",
    "Proxy-Authorization": "Basic secret",
    "x-plain": "kept"
  },
  tls: {
    ca: "an authority",
    verify: false,
    cert: "my certificate",
    key: Redacted.make("my key"),
    passphrase: Redacted.make("word"),
    servername: "a.example"
  }
}

describe("redirects", () => {
  testInMemory(
    "are not followed by default, and tell where to",
    Effect.gen(function* () {
      const server = yield* site("a.example")
      const refused = yield* Effect.fork(refusedBy("ws://a.example/"))
      const { peer } = yield* answerOnce(server, () => redirect("/b"))
      expect(yield* Fiber.join(refused)).toMatchObject({
        _tag: "HandshakeError",
        status: 302,
        rule: "the server answered 302 where 101 was due",
        headers: { location: "/b" }
      })
      yield* leave(peer)
    })
  )

  for (const status of [301, 302, 303, 307, 308]) {
    testInMemory(
      `with ${status} are followed within the origin, with all that was given`,
      Effect.gen(function* () {
        const server = yield* site("a.example")
        const { asked, fiber } = yield* connecting("ws://ada:pw@a.example/old/path?x", {
          ...everything,
          headers: { cookie: "session=secret" },
          address: { _tag: "TcpAddress", hostname: "a.example", port: 80 }
        })
        const first = yield* answerOnce(server, () => redirect("../new?y=1#part", status))
        const second = yield* answerOnce(server, upgradeResponse)
        const socket = yield* Fiber.join(fiber)
        expect(first.request).toMatch(/^GET \/old\/path\?x HTTP/)
        expect(second.request).toMatch(/^GET \/new\?y=1 HTTP/)
        for (const { request } of [first, second]) {
          expect(request).toContain(`authorization: Basic ${btoa("ada:pw")}\r\n`)
          expect(request).toContain("cookie: session=secret\r\n")
        }
        const key = /Sec-WebSocket-Key: (.*)\r/i
        expect(key.exec(first.request)?.[1]).not.toBe(key.exec(second.request)?.[1])
        expect(socket.url).toBe("ws://a.example/new?y=1")
        expect(asked[1]).toEqual(asked[0])
        yield* leave(second.peer)
      })
    )
  }

  testInMemory(
    "to another origin leave behind what was meant for the first",
    Effect.gen(function* () {
      const a = yield* site("a.example", 443)
      const b = yield* site("b.example", 443)
      const { asked, fiber } = yield* connecting("wss://ada:pw@a.example/", everything)
      const first = yield* answerOnce(a, () => redirect("https://b.example/there"))
      const second = yield* answerOnce(b, upgradeResponse)
      const socket = yield* Fiber.join(fiber)
      expect(first.request).toContain("authorization: Bearer secret\r\n")
      expect(first.request).not.toContain("Basic YWR")
      expect(second.request).not.toMatch(/secret|authorization|cookie/i)
      expect(second.request).toContain("x-plain: kept\r\n")
      expect(second.request).toContain("Host: b.example\r\n")
      expect(socket.url).toBe("wss://b.example/there")
      expect(asked[0]?.tls).toEqual(everything.tls)
      expect(asked[1]).toEqual({
        address: { _tag: "TcpAddress", hostname: "b.example", port: 443 },
        localAddress: "127.0.0.5",
        tls: { ca: "an authority", verify: false, keyLog: undefined, servername: "b.example" }
      })
      yield* leave(second.peer)
    })
  )

  for (const [what, from, to] of [
    ["another port", "ws://a.example/", "ws://a.example:8080/"],
    ["another scheme", "ws://a.example/", "wss://a.example:443/"],
    ["another host by two slashes", "ws://a.example/", "//b.example/"],
    ["another host by backslashes", "ws://a.example/", "/\\b.example/"]
  ] as const) {
    testInMemory(
      `to ${what} count as another origin, for good`,
      Effect.gen(function* () {
        const target = new URL(to.replaceAll("\\", "/"), from)
        const a = yield* site("a.example")
        const b = yield* site(target.hostname, Number(target.port) || (target.protocol === "wss:" ? 443 : 80))
        const { fiber } = yield* connecting(from.replace("//", "//ada:pw@"), {
          maxRedirects: 2,
          address: { _tag: "TcpAddress", hostname: "a.example", port: 80 },
          headers: { cookie: "secret" }
        })
        const first = yield* answerOnce(a, () => redirect(to))
        expect(first.request).toMatch(/authorization: Basic[\s\S]*cookie: secret/)
        const second = yield* answerOnce(b, () => redirect("/again"))
        expect(second.request).not.toMatch(/authorization|cookie/i)
        const third = yield* answerOnce(b, upgradeResponse)
        expect(third.request).not.toMatch(/authorization|cookie/i)
        yield* Fiber.join(fiber)
        yield* leave(third.peer)
      })
    )
  }

  testInMemory(
    "release a connection before the next is opened",
    Effect.gen(function* () {
      const server = yield* site("a.example")
      const network = yield* TestNetwork
      const { fiber } = yield* connecting("ws://a.example/0", { maxRedirects: 5 })
      for (let hop = 1; hop <= 5; hop++) {
        const { peer } = yield* answerOnce(server, () => redirect(`/${hop}`))
        yield* peer.ended
      }
      const { peer } = yield* answerOnce(server, upgradeResponse)
      const open = yield* Effect.forEach(yield* network.connections, (connection) => connection.open)
      expect(open.filter((sides) => sides.includes("client")).length).toBe(1)
      yield* Fiber.join(fiber)
      yield* leave(peer)
    })
  )

  /** A client that is sent somewhere it must not go. */
  const refuses = (
    what: string,
    answer: string,
    rule: RegExp,
    options: { readonly url?: string; readonly status?: number } = {}
  ) =>
    testInMemory(
      `are refused ${what}`,
      Effect.gen(function* () {
        const { status = 302, url = "ws://a.example/" } = options
        const server = yield* site("a.example", url.startsWith("wss") ? 443 : 80)
        const refused = yield* Effect.fork(refusedBy(url, { maxRedirects: 2 }))
        const { peer } = yield* answerOnce(server, () => answer)
        const error = yield* Fiber.join(refused)
        expect(error._tag).toBe("HandshakeError")
        expect(error.message).toMatch(rule)
        expect(error).toMatchObject({ status, address: url })
        expect(JSON.stringify(error)).not.toContain("pw")
        yield* settle
        expect(yield* server.waiting).toBe(0)
        yield* leave(peer)
      })
    )

  const empty = "Content-Length: 0\r\n\r\n"
  refuses("from TLS to plain TCP", redirect("ws://a.example/b"), /from TLS to plain TCP/, { url: "wss://a.example/" })
  refuses("from TLS to plain HTTP", redirect("http://b.example/"), /from TLS to plain TCP/, { url: "wss://a.example/" })
  refuses("to another scheme", redirect("ftp://a.example/b"), /absolute ws:, wss:/)
  refuses("to a script", redirect("javascript:alert(1)"), /absolute ws:, wss:/)
  refuses("to what is no URL", redirect("ws://a.example:99999/"), /absolute ws:, wss:/)
  refuses("to nothing", redirect(""), /visible ASCII/)
  refuses("with a space in the Location", redirect("/b HTTP/1.1"), /visible ASCII/)
  refuses("with a tab in the Location", redirect("/b\tc"), /visible ASCII/)
  refuses("with a byte above ASCII in the Location", redirect("/\u00e9"), /visible ASCII/)
  refuses("with two Locations", `HTTP/1.1 302 x\r\nLocation: /b\r\nLocation: /c\r\n${empty}`, /visible ASCII/)
  refuses("without a Location", `HTTP/1.1 302 x\r\n${empty}`, /answered 302 where 101 was due/)
  refuses("with a status that is no redirect", redirect("/b", 300), /answered 300/, { status: 300 })
  refuses("with user info in the Location", redirect("ws://ada:pw@b.example/"), /user info/)
  refuses("with user info that is no URL", redirect("ws://ada:p/pw@b.example/"), /absolute ws:, wss:/)
  refuses("with a colon in the user", redirect("ws://a%3ab:pw@b.example/"), /must not hold a colon/)
  refuses("with a line break in user info", redirect("ws://a%0d%0apw@b.example/"), /control characters/)
  refuses("back to where they come from", redirect("http://a.example:80/"), /in a circle, back to ws:\/\/a\.example\//)

  testInMemory(
    "are refused with a line break in the Location, which no field can hold",
    Effect.gen(function* () {
      const server = yield* site("a.example")
      const refused = yield* Effect.fork(refusedBy("ws://a.example/", { maxRedirects: 2 }))
      const { peer } = yield* answerOnce(server, () => redirect("/b\rX-Injected: 1"))
      expect((yield* Fiber.join(refused)).message).toMatch(/CR LF/)
      yield* leave(peer)
    })
  )

  testInMemory(
    "don't come encoded as line breaks into the next request",
    Effect.gen(function* () {
      const server = yield* site("a.example")
      const { fiber } = yield* connecting("ws://a.example/", { maxRedirects: 1 })
      yield* answerOnce(server, () => redirect("/b%0d%0aX-Injected:%201"))
      const second = yield* answerOnce(server, upgradeResponse)
      expect(second.request).toMatch(/^GET \/b%0d%0aX-Injected:%201 HTTP/)
      yield* Fiber.join(fiber)
      yield* leave(second.peer)
    })
  )

  testInMemory(
    "are refused in a circle of several, and above the limit",
    Effect.gen(function* () {
      const server = yield* site("a.example")
      const circling = yield* Effect.fork(refusedBy("ws://a.example/0", { maxRedirects: 9 }))
      for (const location of ["/1", "/2", "/1"]) yield* answerOnce(server, () => redirect(location))
      expect((yield* Fiber.join(circling)).message).toMatch(/in a circle, back to ws:\/\/a\.example\/1$/)
      const endless = yield* Effect.fork(refusedBy("ws://a.example/0", { maxRedirects: 2 }))
      for (const location of ["/1", "/2", "/3"]) yield* answerOnce(server, () => redirect(location))
      expect(yield* Fiber.join(endless)).toMatchObject({
        status: 302,
        address: "ws://a.example/2",
        rule: "the server redirects more than 2 times",
        headers: { location: "/3" }
      })
    })
  )

  testInMemory(
    "that end at a refusal tell it, and at which URL",
    Effect.gen(function* () {
      const server = yield* site("a.example")
      const refused = yield* Effect.fork(refusedBy("ws://a.example/0", { maxRedirects: 2 }))
      yield* answerOnce(server, () => redirect("/1"))
      yield* answerOnce(server, () => "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope")
      expect(yield* Fiber.join(refused)).toMatchObject({ status: 403, body: "nope", address: "ws://a.example/1" })
    })
  )

  testInMemory(
    "that lead where nobody listens fail with what is there",
    Effect.gen(function* () {
      const server = yield* site("a.example")
      const refused = yield* Effect.fork(refusedBy("ws://a.example/0", { maxRedirects: 2 }))
      yield* answerOnce(server, () => redirect("//nobody.example/"))
      expect(yield* Fiber.join(refused)).toMatchObject({ _tag: "ConnectError", code: "ECONNREFUSED" })
    })
  )
})
