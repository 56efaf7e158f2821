import { HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Context, Effect, Exit, type Layer, Scope, TestClock } from "effect"
import type { Address } from "effect-websocket/Flow"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { type App, always, ask, requestLine, serving } from "../fixtures/asking.js"
import { settle } from "../fixtures/heard.js"
import { testsOn } from "../fixtures/leaks.js"
import { rawClient, upgradeRequest } from "../fixtures/rawPeer.js"

/** What a server makes of requests that are no upgrades. */
export const httpRequestSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)
  const text = HttpServerResponse.text("fine")

  describe(`${name}: a request that is no upgrade`, () => {
    const telling: App = Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const body = yield* request.text
      return HttpServerResponse.unsafeJson({
        method: request.method,
        url: request.url,
        host: request.headers["host"],
        own: request.headers["x-own"],
        cookies: request.cookies,
        address: request.remoteAddress,
        body
      })
    })
    const told = (address: Address, request: string) =>
      Effect.map(ask(address, request), ({ body }): Record<string, unknown> => JSON.parse(body))

    test(
      "comes to the application as it was sent",
      Effect.gen(function* () {
        const server = yield* serving(telling)
        const more = "X-Own: 1\r\nX-Own: 2\r\nCookie: a=b; c=d\r\n"
        expect(yield* told(server.address, requestLine("GET", "/a%20b/../c?d=e&f", more))).toMatchObject({
          method: "GET",
          url: expect.stringContaining("?d=e&f"),
          host: "server.example",
          own: "1, 2",
          cookies: { a: "b", c: "d" },
          address: { value: expect.stringContaining("127.0.0.1") },
          body: ""
        })
      })
    )

    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      test(
        `brings its body, however it is cut (${method})`,
        Effect.gen(function* () {
          const server = yield* serving(telling)
          const head = requestLine(method, "/", "Content-Length: 10\r\n")
          const whole = { method, body: "0123456789" }
          expect(yield* told(server.address, `${head}0123456789`)).toMatchObject(whole)
          expect(yield* told(server.address, `${head}0123456789 and more`)).toMatchObject(whole)
          const peer = yield* rawClient(server.address)
          yield* peer.send(`${head}01`)
          yield* settle
          for (const digit of "23456789") yield* peer.send(digit)
          yield* peer.ended
          yield* peer.end
          expect(JSON.parse(String(peer.body()))).toMatchObject(whole)
        })
      )
    }

    test(
      "may have a body of exactly 1 MiB, not more",
      Effect.gen(function* () {
        const server = yield* serving(
          Effect.gen(function* () {
            const request = yield* HttpServerRequest.HttpServerRequest
            return HttpServerResponse.text(String((yield* request.text).length))
          })
        )
        const head = (size: number) => requestLine("POST", "/", `Content-Length: ${size}\r\n`)
        const most = 1024 * 1024
        expect((yield* ask(server.address, head(most) + "x".repeat(most))).body).toBe(String(most))
        // What is too much isn't waited for.
        const refused = yield* ask(server.address, head(most + 1))
        expect([refused.status, refused.body]).toEqual([413, expect.stringContaining(`${most} bytes`)])
      })
    )

    for (const [what, request, status] of [
      ["a chunked body", requestLine("POST", "/", "Transfer-Encoding: chunked\r\n"), 411],
      ["two lengths", requestLine("POST", "/", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400],
      ["the same length twice", requestLine("POST", "/", "Content-Length: 1\r\nContent-Length: 1\r\n"), 400],
      ["a negative length", requestLine("POST", "/", "Content-Length: -1\r\n"), 400],
      ["a length with a sign", requestLine("POST", "/", "Content-Length: +1\r\n"), 400],
      ["a length in hex", requestLine("POST", "/", "Content-Length: 0x1\r\n"), 400],
      ["a length with an exponent", requestLine("POST", "/", "Content-Length: 1e0\r\n"), 400],
      ["an empty length", requestLine("POST", "/", "Content-Length: \r\n"), 400],
      ["an endless length", requestLine("POST", "/", `Content-Length: ${"9".repeat(400)}\r\n`), 413],
      ["no Host", "GET / HTTP/1.1\r\n\r\n", 400],
      ["two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
      ["a Host with a path", "GET /public HTTP/1.1\r\nHost: a/secret?\r\n\r\n", 400],
      ["a Host with user info", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400],
      ["a method that the web forbids", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
      ["such a method in small letters", "connect / HTTP/1.1\r\nHost: a\r\n\r\n", 400]
    ] as const) {
      test(
        `with ${what} is answered with ${status}`,
        Effect.gen(function* () {
          const server = yield* serving(always(text))
          expect((yield* ask(server.address, request)).status).toBe(status)
        })
      )
    }

    test(
      "with a method that few know is never taken for one with another",
      Effect.gen(function* () {
        const server = yield* serving(telling)
        const { body, status } = yield* ask(server.address, requestLine("PURGE", "/"))
        // Bun's Request doesn't know it, either.
        if (status !== 400) expect(JSON.parse(body)).toMatchObject({ method: "PURGE" })
      })
    )

    test(
      "needs no Host in HTTP/1.0, as health checks send it",
      Effect.gen(function* () {
        const server = yield* serving(telling)
        expect(yield* told(server.address, "GET /healthz HTTP/1.0\r\n\r\n")).toMatchObject({ url: "/healthz" })
      })
    )

    test(
      "costs no memory for a body that it only announces",
      Effect.gen(function* () {
        const server = yield* serving(always(text))
        const before = process.memoryUsage().arrayBuffers
        const peers = yield* Effect.replicateEffect(rawClient(server.address), 50)
        for (const peer of peers) yield* peer.send(requestLine("POST", "/", "Content-Length: 1000000\r\n"))
        for (let rounds = 0; rounds < 5; rounds++) yield* settle
        expect(yield* server.connections).toBe(50)
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20_000_000)
      })
    )

    test(
      "whose body doesn't come in time is answered with 408",
      Effect.gen(function* () {
        const server = yield* serving(telling, { handshakeTimeout: "3 seconds" })
        const peer = yield* rawClient(server.address)
        yield* peer.send(`${requestLine("POST", "/", "Content-Length: 100\r\n")}begun`)
        for (let second = 0; second < 3; second++) {
          yield* settle
          expect(peer.heard.size()).toBe(0)
          yield* peer.send("x")
          yield* settle
          yield* TestClock.adjust("1 second")
        }
        expect(yield* peer.head).toContain("HTTP/1.1 408 ")
        yield* peer.ended
        yield* peer.end
      })
    )

    test(
      "whose sender goes before the body is whole comes to no application",
      Effect.gen(function* () {
        let asked = 0
        const server = yield* serving(Effect.sync(() => asked++).pipe(Effect.as(text)))
        for (const leave of ["end", "destroy"] as const) {
          const peer = yield* rawClient(server.address)
          yield* peer.send(`${requestLine("POST", "/", "Content-Length: 100\r\n")}begun`)
          yield* settle
          yield* peer[leave]
          while ((yield* server.connections) > 0) yield* settle
        }
        expect(asked).toBe(0)
      })
    )

    test(
      "goes where a router sends it, and to a 404 where it sends it nowhere; a failure and a defect are a 500",
      Effect.gen(function* () {
        const server = yield* serving(
          HttpRouter.empty.pipe(
            HttpRouter.get(
              "/hello/:name",
              Effect.map(HttpRouter.params, ({ name }) => HttpServerResponse.text(`hello ${name}`))
            ),
            HttpRouter.get("/fails", Effect.fail("no")),
            HttpRouter.get("/dies", Effect.dieMessage("a bug"))
          )
        )
        const at = (method: string, path: string) =>
          Effect.map(ask(server.address, requestLine(method, path)), ({ body, status }) => `${status} ${body}`.trim())
        expect(yield* at("GET", "/hello/ada")).toBe("200 hello ada")
        expect(yield* at("HEAD", "/hello/ada")).toBe("200")
        expect(yield* at("GET", "/nowhere")).toMatch(/^404/)
        expect(yield* at("POST", "/hello/ada")).toMatch(/^404/)
        expect(yield* at("GET", "/fails")).toMatch(/^500/)
        expect(yield* at("GET", "/dies")).toMatch(/^500/)
      })
    )

    test(
      "leaves upgrade requests to the handlers, good ones and bad ones",
      Effect.gen(function* () {
        const server = yield* serving(always(text))
        const socket = yield* WebSocket.connect(server.url)
        yield* socket.send("both on one port")
        expect(yield* socket.receive).toBe("both on one port")
        const bad = yield* ask(server.address, upgradeRequest({ "Sec-WebSocket-Version": "12" }))
        expect(bad.status).toBe(426)
        expect((yield* ask(server.address, upgradeRequest({ Upgrade: "h2c" }))).status).toBe(200)
      })
    )

    test(
      "has the services that the application was served with, and a scope of its own",
      Effect.gen(function* () {
        class Name extends Context.Tag("Name")<Name, string>() {}
        const released: Array<string> = []
        const server = yield* WebSocketServer.make({ drainTimeout: 0 })
        yield* server
          .serveHttp(
            Effect.gen(function* () {
              const own = yield* Name
              yield* Effect.addFinalizer(() => Effect.sync(() => released.push(own)))
              return HttpServerResponse.text(own)
            })
          )
          .pipe(Effect.provideService(Name, "Ada"))
        expect((yield* ask(server.address, requestLine("GET", "/"))).body).toBe("Ada")
        while ((yield* server.connections) > 0) yield* settle
        expect(released).toEqual(["Ada"])
      })
    )

    test(
      "is one for each connection: what comes behind it is left alone",
      Effect.gen(function* () {
        let asked = 0
        const server = yield* serving(Effect.sync(() => HttpServerResponse.text(`${++asked}`)))
        const { body } = yield* ask(server.address, requestLine("GET", "/").repeat(3))
        expect([body, asked]).toEqual(["1", 1])
      })
    )

    test(
      "is answered by the last application that was served, and with 426 when there is none any more",
      Effect.gen(function* () {
        const server = yield* serving(always(HttpServerResponse.text("first")))
        const scope = yield* Scope.make()
        yield* Scope.extend(server.serveHttp(always(HttpServerResponse.text("second"))), scope)
        const answer = ask(server.address, requestLine("GET", "/"))
        expect((yield* answer).body).toBe("second")
        yield* Scope.close(scope, Exit.void)
        expect((yield* answer).status).toBe(426)
      })
    )
  })
}
