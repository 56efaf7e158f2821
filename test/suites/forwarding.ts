import { HttpMiddleware, HttpRouter } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Effect } from "effect"
import { type WebSocket, WebSocketServer } from "effect-websocket"
import { expect } from "vitest"
import { launch } from "../fixtures/browser.js"
import {
  connect,
  echo,
  onUnixSocket,
  page,
  portOf,
  refused,
  serving,
  standalone,
  test,
  who
} from "../fixtures/proxied.js"
import type { ReverseProxy, StartProxy } from "../fixtures/reverseProxy.js"

/** What servers believe of what a proxy says. */
export const forwardingSuite = (
  name: string,
  start: StartProxy,
  /** What it speaks with browsers. */
  protocol: string
): void => {
  describe(`what ${name} says of its clients`, () => {
    const spoofed = {
      "x-forwarded-for": "203.0.113.7",
      "x-forwarded-proto": "ftp",
      "x-forwarded-host": "evil.example"
    }
    const ask = (url: string, options: WebSocket.ConnectOptions = {}) =>
      Effect.scoped(
        Effect.flatMap(connect(url, { localAddress: "127.0.0.9", ...options }), (socket) =>
          Effect.map(socket.receive, (text) => JSON.parse(String(text)))
        )
      )
    const told = ({ port }: ReverseProxy, path: string) => ({
      ...{ address: "127.0.0.9", secure: true, url: `wss://localhost:${port}${path}` }
    })

    test(
      "is believed by a server that trusts one proxy, and what clients say isn't",
      Effect.gen(function* () {
        const trusting = { trustedProxies: 1 }
        const proxy = yield* start({
          chat: portOf(yield* standalone({ "/who": who }, trusting)),
          feed: yield* onUnixSocket({ "/feed": who }, trusting),
          app: yield* serving(
            page.pipe(HttpRouter.get("/who", WebSocketServer.upgrade(who, trusting)), HttpMiddleware.xForwardedHeaders)
          )
        })
        for (const headers of [{}, spoofed]) {
          expect(yield* ask(`${proxy.url}/chat/who`, { headers })).toEqual(told(proxy, "/who"))
          expect(yield* ask(`${proxy.url}/feed`, { headers })).toEqual(told(proxy, "/feed"))
          expect(yield* ask(`${proxy.url}/who`, { headers })).toEqual(told(proxy, "/who"))
        }
      })
    )

    test(
      "is not believed by a server that trusts none, nor by a route, whatever middleware makes of it",
      Effect.gen(function* () {
        const app = page.pipe(HttpRouter.get("/who", WebSocketServer.upgrade(who)))
        const proxy = yield* start({ chat: portOf(yield* standalone({ "/who": who })), app: yield* serving(app) })
        const seen = { address: "127.0.0.1", secure: false, url: `ws://localhost:${proxy.port}/who` }
        expect(yield* ask(`${proxy.url}/chat/who`, { headers: spoofed })).toEqual(seen)
        expect(yield* ask(`${proxy.url}/who`, { headers: spoofed })).toEqual(seen)
        // The middleware believes the first entry, which is the client's own.
        const gullible = yield* start({ app: yield* serving(HttpMiddleware.xForwardedHeaders(app)) })
        expect(yield* ask(`${gullible.url}/who`, { headers: spoofed })).toMatchObject({
          address: "203.0.113.7",
          secure: false
        })
      })
    )

    test(
      "is what sameOrigin goes by",
      Effect.gen(function* () {
        const { origin, url } = yield* start({
          chat: portOf(yield* standalone({ "/echo": echo }, { trustedProxies: 1, hosts: ["localhost"] })),
          feed: yield* onUnixSocket({ "/feed": echo })
        })
        const ours = { headers: { origin } }
        yield* connect(`${url}/chat/echo`, ours)
        for (const other of [origin.replace("https:", "http:"), "https://localhost", "https://evil.example", "null"]) {
          expect(yield* refused(`${url}/chat/echo`, { headers: { origin: other } })).toMatchObject({ status: 403 })
        }
        const deceiving = { headers: { ...spoofed, origin: "https://evil.example" } }
        expect(yield* refused(`${url}/chat/echo`, deceiving)).toMatchObject({ status: 403 })
        expect(yield* refused(`${url}/feed`, ours)).toMatchObject({ status: 403 })
      })
    )

    test(
      "comes through a second one to a server that trusts two, and no further",
      Effect.gen(function* () {
        const inner = (trustedProxies: number) =>
          Effect.gen(function* () {
            const server = yield* standalone({ "/who": who }, { trustedProxies })
            const { port } = yield* start({ chat: portOf(server) }, { behindAnother: true })
            return yield* start({ chat: port })
          })
        const trusted = yield* inner(2)
        for (const headers of [{}, spoofed]) {
          expect(yield* ask(`${trusted.url}/chat/who`, { headers })).toEqual(told(trusted, "/who"))
        }
        // One that trusts only the inner proxy takes the outer one for the client.
        expect(yield* ask(`${(yield* inner(1)).url}/chat/who`)).toMatchObject({ address: "127.0.0.1" })
      })
    )

    test(
      "lets a page in a browser connect, which is refused without",
      Effect.gen(function* () {
        const app = page.pipe(
          HttpRouter.get("/trusting", WebSocketServer.upgrade(who, { trustedProxies: 1 })),
          HttpRouter.get("/wary", WebSocketServer.upgrade(who))
        )
        const proxy = yield* start({
          app: yield* serving(app),
          chat: portOf(yield* standalone({ "/who": who }, { trustedProxies: 1 }))
        })
        const browser = yield* launch(["--ignore-certificate-errors"])
        const tab = yield* browser.open(`${proxy.origin}/`)
        expect(yield* tab.evaluate(`performance.getEntriesByType("navigation")[0].nextHopProtocol`)).toBe(protocol)
        const visit = (path: string) =>
          tab.evaluate(`new Promise((resolve) => {
            const socket = new WebSocket("${proxy.url}${path}")
            socket.onmessage = ({ data }) => resolve(JSON.parse(data))
            socket.onclose = ({ code }) => resolve(code)
          })`)
        expect(yield* visit("/trusting")).toMatchObject({ secure: true, url: `${proxy.url}/trusting` })
        expect(yield* visit("/chat/who")).toMatchObject({ secure: true, url: `${proxy.url}/who` })
        expect(yield* visit("/wary")).toBe(1006)
      })
    )
  })
}
