import { mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe } from "@effect/vitest"
import { Effect, Fiber, Tracer } from "effect"
import type { Address } from "effect-websocket/Flow"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { blackHole, resolvingTo } from "../fixtures/deadEnds.js"
import { settle } from "../fixtures/heard.js"
import { refusedBy } from "../fixtures/joined.js"
import { testInMemory, testsOn } from "../fixtures/leaks.js"
import { rawServer, upgradeResponse } from "../fixtures/rawPeer.js"

const directory = mkdtempSync(join(tmpdir(), "effect-websocket-addresses-"))
afterAll(() => rmSync(directory, { recursive: true }))
const test = testsOn(NodeNetwork.layer)
const tcp = (hostname: string, port = 0): Address => ({ _tag: "TcpAddress", hostname, port })
const portOf = (address: Address) => (address._tag === "TcpAddress" ? address.port : 0)

/** Connects to a server of the test, and tells both the socket and the request. */
const reaching = (
  server: Effect.Effect.Success<ReturnType<typeof rawServer>>,
  url: string,
  options?: WebSocket.ConnectOptions
) =>
  Effect.gen(function* () {
    const connecting = yield* Effect.fork(WebSocket.connect(url, options))
    const peer = yield* server.next
    const request = yield* peer.head
    yield* peer.send(upgradeResponse(request))
    const socket = yield* Fiber.join(connecting)
    return { socket, request, peer }
  })

describe("an address", () => {
  test(
    "may be IPv6",
    Effect.gen(function* () {
      const server = yield* rawServer({ address: tcp("::1") })
      const port = portOf(server.address)
      const { peer, request, socket } = yield* reaching(server, `ws://[::1]:${port}/`)
      expect(request).toContain(`Host: [::1]:${port}\r\n`)
      expect(socket.remoteAddress).toEqual(tcp("::1", port))
      expect(socket.url).toBe(`ws://[::1]:${port}/`)
      yield* peer.destroy
    })
  )

  test(
    "may be a Unix socket, with a URL for what to say there",
    Effect.gen(function* () {
      const address = { _tag: "UnixAddress", path: join(directory, "app.sock") } as const
      const server = yield* rawServer({ address })
      const { peer, request, socket } = yield* reaching(server, "ws://app.example/x", { address })
      expect(request).toMatch(/^GET \/x HTTP\/1\.1\r\nHost: app\.example\r\n/)
      expect(socket).toMatchObject({ remoteAddress: address, url: "ws://app.example/x" })
      yield* peer.destroy
    })
  )

  test(
    "of this machine's own may be chosen",
    Effect.gen(function* () {
      const server = yield* rawServer()
      const { peer, socket } = yield* reaching(server, server.url, { localAddress: "127.0.0.5" })
      expect(socket.localAddress).toMatchObject({ hostname: "127.0.0.5" })
      expect(peer.flow.remoteAddress).toEqual(socket.localAddress)
      yield* peer.destroy
    })
  )

  test(
    "of this machine's own chooses the family of the server's",
    Effect.gen(function* () {
      const server = yield* rawServer()
      yield* resolvingTo("::1", "127.0.0.1")
      const { peer } = yield* reaching(server, `ws://both.example:${portOf(server.address)}/`, {
        localAddress: "127.0.0.5"
      })
      yield* peer.destroy
    })
  )

  for (const [what, localAddress, code, detail] of [
    ["isn't this machine's", "192.0.2.1", "EADDRNOTAVAIL", /no connecting from 192\.0\.2\.1; `localAddress` must be/],
    ["is of another family", "::1", "EINVAL", /no connecting from ::1; .*same family/],
    ["is no IP address", "localhost", "ERR_INVALID_IP_ADDRESS", /must be an IP address, and "localhost" is none/]
  ] as const) {
    test(
      `to connect from that ${what} fails, and says so`,
      Effect.gen(function* () {
        const server = yield* rawServer()
        for (const url of [server.url, server.url.replace("ws:", "wss:")]) {
          const error = yield* refusedBy(url, { localAddress })
          expect(error).toMatchObject({ _tag: "ConnectError", reason: "tcp", code })
          expect(error.message).toMatch(detail)
        }
        yield* settle
        expect(yield* server.waiting).toBe(0)
      })
    )
  }
})

describe("a name with several addresses", () => {
  test(
    "is reached by the second where the first refuses",
    Effect.gen(function* () {
      const server = yield* rawServer()
      yield* resolvingTo("::1", "127.0.0.9", "127.0.0.1")
      const { peer, socket } = yield* reaching(server, `ws://several.example:${portOf(server.address)}/`)
      expect(socket.remoteAddress).toMatchObject({ hostname: "127.0.0.1" })
      yield* peer.destroy
    })
  )

  test(
    "is reached by the second where the first swallows all packets",
    Effect.gen(function* () {
      const server = yield* rawServer()
      const port = portOf(server.address)
      yield* blackHole("127.0.0.9", port)
      yield* resolvingTo("127.0.0.9", "127.0.0.1")
      const { peer, socket } = yield* reaching(server, `ws://several.example:${port}/`)
      expect(socket.remoteAddress).toMatchObject({ hostname: "127.0.0.1" })
      yield* peer.destroy
    })
  )

  test(
    "of which none answers fails with what each of them said",
    Effect.gen(function* () {
      const { address } = yield* Effect.scoped(rawServer())
      yield* resolvingTo("::1", "127.0.0.1")
      const error = yield* refusedBy(`ws://several.example:${portOf(address)}/`)
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "tcp", code: "ECONNREFUSED" })
      expect(error.message).toMatch(/nobody listens there.*; tried ::1: ECONNREFUSED, 127\.0\.0\.1: ECONNREFUSED$/)
    })
  )
})

describe("a connection that can't be made names the reason", () => {
  test(
    "for a name that doesn't exist, a port where nobody listens, and a server that hangs up",
    Effect.gen(function* () {
      const { url } = yield* Effect.scoped(rawServer())
      expect(yield* refusedBy("ws://does-not-exist.invalid/")).toMatchObject({ reason: "dns", code: "ENOTFOUND" })
      expect(yield* refusedBy(url)).toMatchObject({ reason: "tcp", code: "ECONNREFUSED" })
      const server = Net.createServer((socket) => void socket.on("error", () => {}).resetAndDestroy())
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => server.close())
      )
      const bound = server.address()
      const port = typeof bound === "object" && bound !== null ? bound.port : 0
      expect(yield* refusedBy(`ws://127.0.0.1:${port}/`)).toMatchObject({
        _tag: expect.stringMatching(/ConnectError|HandshakeError/),
        cause: { code: expect.stringMatching(/ECONNRESET|EPIPE/) }
      })
    })
  )
})

describe("a URL", () => {
  /** What a server sees of a client that is given this URL, and what the client shows of it. */
  const requested = (url: string, options?: WebSocket.ConnectOptions) =>
    Effect.gen(function* () {
      const server = yield* rawServer({ address: tcp("a.example", 80) })
      const { peer, request, socket } = yield* reaching(server, url, { address: server.address, ...options })
      yield* peer.destroy
      return { request, url: socket.url }
    })

  for (const [url, start, host, shown] of [
    ["ws://a.example", "GET / HTTP/1.1", "a.example", "ws://a.example/"],
    ["http://a.example:80/x?y=z", "GET /x?y=z HTTP/1.1", "a.example", "ws://a.example/x?y=z"],
    ["WS://A.example:8080/./b/../c", "GET /c HTTP/1.1", "a.example:8080", "ws://a.example:8080/c"],
    ["ws://a.example/a b?c d", "GET /a%20b?c%20d HTTP/1.1", "a.example", "ws://a.example/a%20b?c%20d"],
    ["ws://bücher.example/é", "GET /%C3%A9 HTTP/1.1", "xn--bcher-kva.example", "ws://xn--bcher-kva.example/%C3%A9"],
    ["ws://a.example/%0d%0ax:%20y", "GET /%0d%0ax:%20y HTTP/1.1", "a.example", "ws://a.example/%0d%0ax:%20y"]
  ] as const) {
    testInMemory(
      `like ${url} is asked for as ${start}`,
      Effect.gen(function* () {
        const seen = yield* requested(url)
        expect(seen.request.startsWith(`${start}\r\nHost: ${host}\r\n`)).toBe(true)
        expect(seen.url).toBe(shown)
      })
    )
  }

  testInMemory(
    "with user info authenticates, unless a header does, and shows it nowhere",
    Effect.gen(function* () {
      const spans: Array<unknown> = []
      const tracer = Tracer.make({
        span: (name, parent, context, links, startTime, kind) => {
          const attributes = new Map<string, unknown>()
          spans.push(name, attributes)
          return {
            _tag: "Span",
            name,
            spanId: "1",
            traceId: "1",
            parent,
            context,
            links,
            kind,
            sampled: true,
            status: { _tag: "Started", startTime },
            attributes,
            attribute: (key, value) => void attributes.set(key, value),
            event: (event, _, more) => void spans.push(event, more),
            addLinks: () => {},
            end: (_, exit) => void (exit._tag === "Failure" && spans.push(exit))
          }
        },
        context: (run) => run()
      })
      const url = "ws://ada:s%65cret@a.example/"
      const ours = yield* Effect.withTracer(Effect.scoped(requested(url)), tracer)
      expect(ours.request).toContain(`authorization: Basic ${btoa("ada:secret")}\r\n`)
      const theirs = yield* requested(url, { headers: { Authorization: "Bearer token" } })
      expect(theirs.request.match(/authorization: .*/gi)).toEqual(["authorization: Bearer token"])
      const shown = [ours.url, ...spans.map((each) => (each instanceof Map ? [...each] : each))]
      expect(JSON.stringify(shown)).not.toMatch(/secret|s%65cret|YWRhOnNlY3JldA/)
    })
  )

  for (const [what, url, detail, address] of [
    ["a line break", "ws://a.example/x\r\nx-injected: 1", /control characters/, "ws://a.example/xx-injected:%201"],
    ["a line break at its end", "ws://a.example/\n", /control characters/, "ws://a.example/"],
    ["a NUL", "ws://a.example/\0x", /control characters/, "ws://a.example/%00x"],
    ["a tab", "ws://a.ex\tample/", /control characters/, "ws://a.example/"],
    ["a line break in what is no URL", "a\r\nb", /control characters/, "a%0D%0Ab"],
    ["a space in its host", "ws://a .example/", /absolute ws:/, "ws://a .example/"],
    ["a line break in its user info", "ws://u%0d%0a:pw@a.example/", /user info must not/, "ws://a.example/"],
    ["a line break in its password", "ws://u:pw%0a@a.example/", /user info must not/, "ws://a.example/"],
    ["a colon in its user", "ws://u%3Ax:pw@a.example/", /must not hold a colon/, "ws://a.example/"],
    ["a slash in its password", "ws://u:p/pw@a.example/", /absolute ws:/, "ws://a.example/"],
    ["a # in its password", "ws://u:p#pw@a.example/", /absolute ws:/, "ws://a.example/"],
    ["a fragment with a secret", "ws://u:pw@a.example/#pw", /fragment/, "ws://a.example/"],
    ["another scheme without slashes", "mailto:u:pw@a.example", /absolute ws:/, "a.example"]
  ] as const) {
    testInMemory(
      `with ${what} is refused before anything is opened, and shows no secret`,
      Effect.gen(function* () {
        const server = yield* rawServer({ address: tcp("a.example", 80) })
        const error = yield* refusedBy(url, { address: server.address })
        expect(error).toMatchObject({ _tag: "ConnectError", reason: "url", address })
        expect(error.message).toMatch(detail)
        expect(JSON.stringify(error) + error.message).not.toMatch(/pw|\n/)
        yield* settle
        expect(yield* server.waiting).toBe(0)
      })
    )
  }
})
