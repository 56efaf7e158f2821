import { HttpMiddleware, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Effect } from "effect"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { echo, echoing, knock, status } from "../fixtures/knocking.js"
import * as overTls from "../fixtures/overTls.js"
import { rawClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { serving } from "../fixtures/routes.js"
import { attack, attackOnRoutes, inMemory, overTcp } from "./attack.js"

type Server = WebSocketServer.WebSocketServer["Type"]

const from = (server: Pick<Server, "address">, origin: string | undefined, host = "server.example") =>
  Effect.gen(function* () {
    const peer = yield* rawClient(server.address)
    yield* peer.send(upgradeRequest({ Host: host, Origin: origin }))
    const answer = yield* status(peer)
    yield* peer.destroy
    return answer
  })

/** Pages that are not the server's own, whatever they look like. */
const foreign = (scheme: "http" | "https") => {
  const other = scheme === "http" ? "https" : "http"
  return [
    "null",
    "",
    `${scheme}://evil.example`,
    `${scheme}://server.example.evil.example`,
    `${scheme}://evilserver.example`,
    `${scheme}://server.example@evil.example`,
    `${scheme}://server.example:8443`,
    `${other}://server.example`,
    "server.example",
    "file://",
    `${scheme}://server.example/path`,
    `${scheme}://server.example, ${scheme}://evil.example`
  ]
}

describe("pages of other sites", () => {
  for (const [scheme, where] of [
    ["http", [inMemory, overTcp]],
    ["https", [["over TLS", overTls.layer] as const]]
  ] as const) {
    attack(
      "CWE-1385, CVE-2026-27977 (Next.js): by default only pages of the server's own scheme, host and port connect, and null is none",
      Effect.gen(function* () {
        const server = yield* echoing()
        for (const origin of foreign(scheme)) expect([origin, yield* from(server, origin)]).toEqual([origin, 403])
        expect(yield* from(server, `${scheme}://server.example`)).toBe(101)
        expect(yield* from(server, undefined)).toBe(101)
      }),
      where
    )
  }

  attack(
    "CVE-2025-24010 (Vite): a name of the attacker's that points to the server is refused with 421 where hosts are named",
    Effect.gen(function* () {
      const server = yield* echoing({ hosts: ["server.example", "127.0.0.1"] })
      // To the page it is its own origin, and to the server it looks so, too.
      expect(yield* from(server, "http://rebound.example", "rebound.example")).toBe(421)
      expect(yield* from(server, undefined, "rebound.example")).toBe(421)
      expect(yield* from(server, "http://server.example", "server.example")).toBe(101)
      expect(yield* from(server, "http://127.0.0.1:3000", "127.0.0.1:3000")).toBe(101)
    })
  )
})

describe("what guards an HTTP server", () => {
  const app = HttpRouter.empty.pipe(
    HttpRouter.get("/", WebSocketServer.upgrade(echo)),
    HttpRouter.use(
      HttpMiddleware.make((inner) =>
        Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ cookies }) =>
          cookies["session"] === "letmein"
            ? inner
            : Effect.succeed(HttpServerResponse.text("log in first", { status: 401 }))
        )
      )
    ),
    HttpServer.serve()
  )

  attackOnRoutes(
    "GHSA-c4j6-fc7j-m34r (Next.js): upgrades pass the middleware that other requests pass, whatever form their target has",
    Effect.gen(function* () {
      const server = yield* serving(app)
      const ask = (cookie: string, target: string) =>
        Effect.gen(function* () {
          const peer = yield* rawClient(server.address)
          yield* peer.send(upgradeRequest({ Cookie: cookie }, `GET ${target} HTTP/1.1`))
          const answer = yield* status(peer)
          yield* peer.destroy
          return answer
        })
      expect(yield* ask("session=guess", "/")).toBe(401)
      expect(yield* ask("session=guess", "http://127.0.0.1:9/")).toBe(401)
      expect(yield* ask("session=letmein", "/")).toBe(101)
    })
  )

  attack(
    "GHSA-c4j6-fc7j-m34r (Next.js): a target that names another server is refused with 400",
    Effect.gen(function* () {
      const server = yield* echoing()
      for (const target of ["http://127.0.0.1:9/", "//127.0.0.1:9/".slice(1), "127.0.0.1:9", "*"]) {
        const { peer, status } = yield* knock(server, upgradeRequest({}, `GET ${target} HTTP/1.1`))
        expect([target, status]).toEqual([target, target.startsWith("/") ? 101 : 400])
        yield* peer.destroy
      }
    })
  )
})
