import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Effect, HashMap, Layer, Logger, LogLevel, Option, Queue, type Scope } from "effect"
import { NodeNetwork, OriginPolicy, type WebSocket, WebSocketServer } from "effect-websocket"
import type { Network } from "effect-websocket/Network"
import { type Browser, launch, type Page } from "../fixtures/browser.js"
import { makeCertificates } from "../fixtures/certificates.js"
import { httpServer } from "../fixtures/httpServer.js"
import { rawServer } from "../fixtures/node.js"
import { rawClient, upgradeRequest } from "../fixtures/rawPeer.js"

// Cross-site WebSocket hijacking (CWE-1385), by pages in a real browser: what they reach, and what they don't.

const test = <E>(title: string, body: Effect.Effect<unknown, E, Network | Scope.Scope>) =>
  it.scopedLive(title, () => Effect.provide(body, NodeNetwork.layer), 60_000)

/** A server with a page that logs its visitors in by a cookie, and a socket at `/chat` that goes by it. */
interface Victim {
  readonly port: number
  /** The session of each connection whose handler ran. */
  readonly visits: ReadonlyArray<string | undefined>
  /** Waits for the next request that is refused, and tells its status. */
  readonly refusal: Effect.Effect<unknown>
}

// Sent along whatever page asks, so that nothing but Origin tells one from another.
const cookie = "session=ada; SameSite=None; Secure"
const home = HttpRouter.empty.pipe(
  HttpRouter.get("/", HttpServerResponse.html("<p>ours</p>").pipe(HttpServerResponse.setHeader("set-cookie", cookie)))
)

type Options = WebSocketServer.HandshakeOptions & Pick<WebSocketServer.ServerOptions, "tls">
type Greet = (socket: WebSocket.WebSocket, session: string | undefined) => Effect.Effect<void, unknown>

const decide = ({ cookies }: WebSocketServer.Request) => Effect.succeed({ data: cookies["session"] })

/** Serves until the scope closes; answers the port. */
type Serve = (greet: Greet, options: Options) => Effect.Effect<number, unknown, Network | Scope.Scope>

const standalone: Serve = (greet, options) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make(options)
    yield* server.serveWith(decide, greet, { path: "/chat" })
    const app = home
    yield* server.serveHttp(app)
    return server.address._tag === "TcpAddress" ? server.address.port : 0
  })

const route: Serve = (greet, options) =>
  Effect.map(
    httpServer(home.pipe(HttpRouter.get("/chat", WebSocketServer.upgradeWith(decide, greet, options)))),
    (url) => Number(new URL(url).port)
  )

const kinds = [
  ["a server of its own", standalone],
  ["a route", route]
] as const

const victim = (serve: Serve, options: Options = {}) =>
  Effect.gen(function* () {
    const refusals = yield* Queue.unbounded<unknown>()
    const visits: Array<string | undefined> = []
    const logger = Logger.make(({ annotations }) => {
      const status = HashMap.get(annotations, "status")
      if (Option.isSome(status)) Queue.unsafeOffer(refusals, status.value)
    })
    const logged = Layer.merge(Logger.replace(Logger.defaultLogger, logger), Logger.minimumLogLevel(LogLevel.Debug))
    const greet: Greet = (socket, session) =>
      Effect.zipRight(
        Effect.sync(() => visits.push(session)),
        socket.send(`hello ${session}`)
      )
    const port = yield* Effect.provide(serve(greet, options), logged)
    return { port, visits, refusal: Queue.take(refusals) } satisfies Victim
  })

/** The port of a web server of the attacker's: an empty page. */
const attacker = rawServer(
  createServer((_, response) => response.setHeader("content-type", "text/html").end("<p>theirs</p>"))
)

const visiting = (url: string) => `new Promise((resolve) => {
  const socket = new WebSocket(${JSON.stringify(url)})
  socket.onmessage = ({ data }) => resolve(data)
  socket.onclose = ({ code }) => resolve(code)
})`

/** What a page gets from a socket: the first message, or how it was closed. */
const visit = (page: Page, url: string) => page.evaluate(visiting(url))

/** The same by a sandboxed frame in the page, whose origin is opaque. */
const visitFromFrame = (page: Page, url: string) =>
  page.evaluate(`new Promise((resolve) => {
    onmessage = ({ data }) => resolve(data)
    const frame = document.createElement("iframe")
    frame.sandbox = "allow-scripts"
    frame.srcdoc = ${JSON.stringify(`<script>${visiting(url)}.then((got) => parent.postMessage(got, "*"))</script>`)}
    document.body.append(frame)
  })`)

/** What would protect a careless server from most of these pages in this browser, and not in all others. */
const unguarded = {
  flags: ["--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets"],
  preferences: { profile: { cookie_controls_mode: 0 } }
}

/** A browser in which somebody is logged in at the victim's. */
const loggedIn = (origin: string, flags: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const browser = yield* launch([...unguarded.flags, ...flags], unguarded.preferences)
    return { browser, own: yield* browser.open(`${origin}/`) }
  })

/** Pages of others, each with a way to open a socket. */
const strangers = (browser: Browser, own: Page, port: number) =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-websocket-page-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    writeFileSync(join(directory, "page.html"), "<p>a file</p>")
    const urls = {
      "another port": `http://localhost:${port}/`,
      "another name of the same machine": `http://127.0.0.1:${port}/`,
      "a data URL": "data:text/html,<p>theirs</p>",
      "a local file": `file://${directory}/page.html`
    }
    const pages = yield* Effect.forEach(Object.entries(urls), ([name, url]) =>
      Effect.map(browser.open(url), (page) => [name, (socket: string) => visit(page, socket)] as const)
    )
    return [...pages, ["a sandboxed frame of its own page", (socket: string) => visitFromFrame(own, socket)] as const]
  })

const refused = 1006
const welcome = "hello ada"

for (const [kind, serve] of kinds) {
  describe(`${kind}, visited by a browser`, () => {
    test(
      "lets its own page in by default, and no other: no handler runs, though the cookie came along",
      Effect.gen(function* () {
        const { port, refusal, visits } = yield* victim(serve)
        const careless = yield* victim(serve, { origin: OriginPolicy.allowAll })
        const { browser, own } = yield* loggedIn(`http://localhost:${port}`)
        for (const [name, from] of yield* strangers(browser, own, yield* attacker)) {
          expect([name, yield* from(`ws://localhost:${port}/chat`)]).toEqual([name, refused])
          expect(yield* refusal).toBe(403)
          expect([name, yield* from(`ws://localhost:${careless.port}/chat`)]).toEqual([name, welcome])
        }
        expect(visits).toEqual([])
        expect(yield* visit(own, `ws://localhost:${port}/chat`)).toBe(welcome)
        // By its other name it is another origin.
        expect(yield* visit(own, `ws://127.0.0.1:${port}/chat`)).toBe(refused)
        expect(yield* refusal).toBe(403)
        expect(visits).toEqual(["ada"])
      })
    )

    test(
      "lets exactly those in that are on its list",
      Effect.gen(function* () {
        const port = yield* attacker
        const listed = `http://localhost:${port}`
        const server = yield* victim(serve, { origin: OriginPolicy.allowList([listed, "null", "file://"]) })
        const { browser, own } = yield* loggedIn(`http://localhost:${server.port}`)
        const got: Array<unknown> = []
        for (const [name, from] of yield* strangers(browser, own, port)) {
          got.push([name, yield* from(`ws://localhost:${server.port}/chat`)])
        }
        expect(got).toEqual([
          ["another port", welcome],
          ["another name of the same machine", refused],
          ["a data URL", refused],
          ["a local file", refused],
          ["a sandboxed frame of its own page", refused]
        ])
        expect(yield* visit(own, `ws://localhost:${server.port}/chat`)).toBe(refused)
        expect(server.visits).toEqual(["ada"])
      })
    )

    test(
      "is deceived by a name that an attacker lets point to it, unless it says what it is called, or who may come",
      Effect.gen(function* () {
        const flags = ["--host-resolver-rules=MAP evil.example 127.0.0.1, MAP app.example 127.0.0.1"]
        const browser = yield* launch(flags)
        const asPage = (host: string, { port }: Victim) =>
          Effect.flatMap(browser.open(`http://${host}:${port}/`), (page) => visit(page, `ws://${host}:${port}/chat`))

        const gullible = yield* victim(serve)
        expect(yield* asPage("evil.example", gullible)).toBe("hello undefined")

        const named = yield* victim(serve, { hosts: ["app.example", "localhost"] })
        expect(yield* asPage("evil.example", named)).toBe(refused)
        expect(yield* named.refusal).toBe(421)
        expect(yield* asPage("app.example", named)).toMatch(/^hello/)
        expect(yield* asPage("localhost", named)).toBe(welcome)
        expect(named.visits).toHaveLength(2)

        const listing = yield* victim(serve, { origin: OriginPolicy.allowList(["http://localhost:3000"]) })
        expect(yield* asPage("evil.example", listing)).toBe(refused)
        expect(yield* listing.refusal).toBe(403)
      })
    )

    test(
      "answers 400 to a Host that is absent, doubled, malformed or has user info, and 421 to another's",
      Effect.gen(function* () {
        const { port, visits } = yield* victim(serve, { hosts: ["server.example", "[::1]"] })
        const status = (host: string | ReadonlyArray<string> | undefined) =>
          Effect.gen(function* () {
            const peer = yield* rawClient({ _tag: "TcpAddress", hostname: "127.0.0.1", port })
            yield* peer.send(upgradeRequest({ Host: host }, "GET /chat HTTP/1.1"))
            const head = yield* peer.head
            yield* peer.destroy
            return [host, Number(head.slice(9, 12))]
          })
        for (const host of [
          undefined,
          "",
          ["server.example", "server.example"],
          ["server.example", "evil.example"],
          "server.example, evil.example",
          "server example",
          "http://server.example",
          "server.example/",
          "ada@server.example",
          "ada:secret@server.example:80",
          "server.example:port",
          "server.example:99999",
          "[::1"
        ]) {
          expect(yield* status(host)).toEqual([host, 400])
        }
        for (const host of ["evil.example", "server.example.", "sub.server.example", "127.0.0.1", "[::2]"]) {
          expect(yield* status(host)).toEqual([host, 421])
        }
        expect(visits).toEqual([])
        for (const host of ["server.example", "SERVER.example:4711", "[::1]:80"]) {
          expect(yield* status(host)).toEqual([host, 101])
        }
      })
    )
  })
}

describe("a server that speaks TLS, visited by a browser", () => {
  test(
    "lets its own page in, and none without TLS",
    Effect.gen(function* () {
      const server = yield* victim(standalone, { tls: makeCertificates().good })
      const { browser, own } = yield* loggedIn(`https://localhost:${server.port}`, ["--ignore-certificate-errors"])
      const url = `wss://localhost:${server.port}/chat`
      expect(yield* visit(own, url)).toBe(welcome)
      const stranger = yield* browser.open(`http://localhost:${yield* attacker}/`)
      expect(yield* visit(stranger, url)).toBe(refused)
      expect(server.visits).toEqual(["ada"])
      expect(yield* server.refusal).toBe(403)
    })
  )

  test(
    "tells https from http on its list",
    Effect.gen(function* () {
      const port = yield* attacker
      const { good } = makeCertificates()
      const serving = (origin: string) => victim(standalone, { tls: good, origin: OriginPolicy.allowList([origin]) })
      const [wary, open] = [yield* serving(`https://localhost:${port}`), yield* serving(`http://localhost:${port}`)]
      const { browser } = yield* loggedIn(`https://localhost:${wary.port}`, ["--ignore-certificate-errors"])
      const page = yield* browser.open(`http://localhost:${port}/`)
      expect(yield* visit(page, `wss://localhost:${wary.port}/chat`)).toBe(refused)
      expect(yield* visit(page, `wss://localhost:${open.port}/chat`)).toBe(welcome)
      expect([wary.visits, open.visits]).toEqual([[], ["ada"]])
    })
  )
})
