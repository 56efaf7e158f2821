import { type HttpApp, HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Chunk, Context, Deferred, Effect, Exit, Fiber, type Layer, Scope, Stream, TestClock } from "effect"
import type { Address } from "effect-websocket/Flow"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { testsOn } from "../fixtures/leaks.js"
import { rawClient, upgradeRequest } from "../fixtures/rawPeer.js"

/** What a server says to requests that are no upgrades. */
export const httpSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  type App = HttpApp.Default<unknown>

  const serving = (app: App, options?: WebSocketServer.ServerOptions) =>
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0, ...options })
      yield* server.serve((socket) => socket.run((message) => socket.send(message)))
      yield* server.serveHttp(app)
      return server
    })

  const requestLine = (method: string, path: string, more = "", version = "1.1") =>
    `${method} ${path} HTTP/${version}\r\nHost: server.example\r\n${more}\r\n`

  /** All that comes in answer to a request, until the server has ended the connection. */
  const ask = (address: Address, request: string) =>
    Effect.gen(function* () {
      const peer = yield* rawClient(address)
      yield* peer.send(request)
      yield* peer.ended
      yield* peer.end
      yield* peer.closed
      const text = peer.heard.text()
      const head = text.slice(0, text.indexOf("\r\n\r\n"))
      const [start = "", ...lines] = head.split("\r\n")
      const headers = lines
        .map((line) => line.split(": ", 2))
        .map(([field = "", value = ""]) => [field.toLowerCase(), value])
      const body = text.slice(head.length + 4)
      return {
        status: Number(start.split(" ")[1]),
        headers: Object.fromEntries(headers),
        body,
        whole: text.includes("chunked") ? unchunked(body) : body
      }
    })

  /** The body of a chunked answer, if it is whole (RFC 9112 7.1). */
  const unchunked = (body: string): string | undefined => {
    let text = ""
    for (let at = 0; ; ) {
      const lineEnd = body.indexOf("\r\n", at)
      if (lineEnd < 0) return undefined
      const size = Number.parseInt(body.slice(at, lineEnd), 16)
      if (size === 0) return body.slice(lineEnd) === "\r\n\r\n" ? text : undefined
      const end = lineEnd + 2 + size
      if (body.slice(end, end + 2) !== "\r\n") return undefined
      text += body.slice(lineEnd + 2, end)
      at = end + 2
    }
  }

  const always = (response: HttpServerResponse.HttpServerResponse): App => Effect.succeed(response)

  const { json, text, uint8Array } = {
    json: HttpServerResponse.unsafeJson({ a: [1, "é"] }),
    text: HttpServerResponse.text("hellö"),
    uint8Array: HttpServerResponse.uint8Array(Uint8Array.of(0, 1, 254, 255))
  }

  describe(`${name}: an answer`, () => {
    const utf8 = (words: string) => Buffer.from(words).toString("latin1")
    const formData = new FormData()
    formData.append("name", "value")
    const bodies: ReadonlyArray<
      readonly [
        what: string,
        response: () => HttpServerResponse.HttpServerResponse,
        expected: { readonly status?: number; readonly type?: RegExp; readonly body: string | RegExp }
      ]
    > = [
      ["without a body", () => HttpServerResponse.empty({ status: 200 }), { body: "" }],
      ["that has no body by its status", () => HttpServerResponse.empty(), { status: 204, body: "" }],
      ["of text", () => text, { type: /^text\/plain/, body: utf8("hellö") }],
      ["of JSON", () => json, { type: /^application\/json/, body: utf8('{"a":[1,"é"]}') }],
      ["of bytes", () => uint8Array, { type: /octet-stream/, body: "\0\u0001\xfe\xff" }],
      ["of no bytes", () => HttpServerResponse.text(""), { body: "" }],
      [
        "of a stream",
        () =>
          HttpServerResponse.stream(
            Stream.map(Stream.make("one ", "", "two ", "three"), (words) => new TextEncoder().encode(words)),
            { contentType: "text/x-own" }
          ),
        { type: /^text\/x-own/, body: "one two three" }
      ],
      ["of an empty stream", () => HttpServerResponse.stream(Stream.empty), { body: "" }],
      ["of a raw string", () => HttpServerResponse.raw("raw"), { type: /^text\/plain/, body: "raw" }],
      [
        "of a raw blob",
        () => HttpServerResponse.raw(new Blob(["a blob"], { type: "text/x-blob" })),
        { type: /^text\/x-blob/, body: "a blob" }
      ],
      [
        "of form data",
        () => HttpServerResponse.formData(formData),
        { type: /^multipart\/form-data; boundary=/, body: /name="name"\r\n\r\nvalue\r\n/ }
      ],
      [
        "of another status, with headers and cookies",
        () =>
          HttpServerResponse.text("teapot", { status: 418, headers: { "x-own": "1" } }).pipe(
            HttpServerResponse.unsafeSetCookie("a", "b", { httpOnly: true })
          ),
        { status: 418, body: "teapot" }
      ]
    ]
    for (const [what, response, expected] of bodies) {
      test(
        `${what} is written, and the connection is closed behind it`,
        Effect.gen(function* () {
          const server = yield* serving(always(response()))
          const { body, headers, status, whole } = yield* ask(server.address, requestLine("GET", "/"))
          expect(status).toBe(expected.status ?? 200)
          if (typeof expected.body === "string") expect(whole).toBe(expected.body)
          else expect(whole).toMatch(expected.body)
          expect(headers["connection"]).toBe("close")
          if (expected.type !== undefined) expect(headers["content-type"]).toMatch(expected.type)
          if (expected.status === 204) expect(headers["content-length"]).toBeUndefined()
          else if (headers["transfer-encoding"] === undefined) {
            expect(headers["content-length"]).toBe(String(body.length))
          }
          if (expected.status === 418) {
            expect([headers["x-own"], headers["set-cookie"]]).toEqual(["1", "a=b; HttpOnly"])
          }
        })
      )

      test(
        `${what} has no body for a HEAD`,
        Effect.gen(function* () {
          const server = yield* serving(always(response()))
          const { body, headers, status } = yield* ask(server.address, requestLine("HEAD", "/"))
          expect([status, body]).toEqual([expected.status ?? 200, ""])
          if (what === "of text") expect(headers["content-length"]).toBe("6")
        })
      )
    }

    test(
      "to HTTP/1.0 isn't chunked, and ends with the connection",
      Effect.gen(function* () {
        const server = yield* serving(always(HttpServerResponse.stream(Stream.make(new Uint8Array([65, 66])))))
        const { body, headers } = yield* ask(server.address, requestLine("GET", "/", "", "1.0"))
        expect([body, headers["transfer-encoding"]]).toEqual(["AB", undefined])
      })
    )

    test(
      "that breaks off in the middle doesn't look like a whole one",
      Effect.gen(function* () {
        const server = yield* serving(
          always(
            HttpServerResponse.stream(Stream.concat(Stream.make(new Uint8Array([65])), Stream.fail("no more of it")))
          )
        )
        const { body, status, whole } = yield* ask(server.address, requestLine("GET", "/"))
        expect(status).toBe(200)
        expect(body).toContain("A")
        expect(whole).toBeUndefined()
      })
    )

    test(
      "that can't be written is a 500",
      Effect.gen(function* () {
        const server = yield* serving(always(HttpServerResponse.text("x", { headers: { "x-bad": "a\r\nb" } })))
        const { body, status } = yield* ask(server.address, requestLine("GET", "/"))
        expect([status, body]).toEqual([500, ""])
      })
    )

    for (const [what, response] of [
      ["whole", () => HttpServerResponse.uint8Array(new Uint8Array(4_000_000).fill(65))],
      [
        "streamed",
        () => HttpServerResponse.stream(Stream.repeatValue(new Uint8Array(40_000).fill(65)).pipe(Stream.take(100)))
      ]
    ] as const) {
      test(
        `of megabytes reaches a client that reads slowly but steadily (${what})`,
        Effect.gen(function* () {
          const server = yield* serving(always(response()), { closeTimeout: "2 seconds" })
          const peer = yield* rawClient(server.address)
          const { heard } = peer
          let room = 0
          peer.flow.attach({
            ...heard,
            data(bytes) {
              room -= bytes.length
              if (room <= 0) peer.flow.pause()
              heard.data(bytes)
            }
          })
          yield* peer.send(requestLine("GET", "/"))
          while (heard.size() < 4_000_000) {
            room = 60_000
            peer.flow.resume()
            yield* heard.until(({ events }) => room <= 0 || events.includes("end") || events.includes("close"))
            yield* settle
            // The operating system tells of room only when a third of a buffer of megabytes has become free.
            yield* TestClock.adjust("20 millis")
          }
          room = Number.POSITIVE_INFINITY
          peer.flow.resume()
          yield* peer.ended
          yield* peer.end
          expect(heard.text().split("A").length - 1).toBeGreaterThanOrEqual(4_000_000)
        })
      )

      test(
        `is given up for a client that reads nothing for closeTimeout (${what})`,
        Effect.gen(function* () {
          const big = () =>
            what === "whole"
              ? HttpServerResponse.uint8Array(new Uint8Array(64_000_000))
              : HttpServerResponse.stream(Stream.repeatValue(new Uint8Array(100_000)))
          const server = yield* serving(always(big()), { closeTimeout: "2 seconds" })
          const peer = yield* rawClient(server.address)
          peer.flow.pause()
          yield* peer.send(requestLine("GET", "/"))
          while ((yield* server.connections) < 1) yield* settle
          for (let rounds = 0; rounds < 20; rounds++) yield* settle
          expect(yield* server.connections).toBe(1)
          while ((yield* server.connections) > 0) {
            yield* TestClock.adjust("2 seconds")
            yield* settle
          }
          yield* peer.destroy
        })
      )
    }
  })

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
      ["a method that the web forbids", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 400]
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

  describe(`${name}: a server that shuts down`, () => {
    const inFlight = (app: App, options?: WebSocketServer.ServerOptions) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const begun = yield* Deferred.make<void>()
        const server = yield* Scope.extend(WebSocketServer.make({ drainTimeout: "3 seconds", ...options }), scope)
        yield* Scope.extend(server.serveHttp(Effect.zipRight(Deferred.succeed(begun, undefined), app)), scope)
        const peer = yield* rawClient(server.address)
        yield* peer.send(requestLine("GET", "/"))
        yield* Deferred.await(begun)
        yield* settle
        return { peer, closing: yield* Effect.fork(Scope.close(scope, Exit.void)) }
      })

    test(
      "lets an application answer within drainTimeout",
      Effect.gen(function* () {
        const { closing, peer } = yield* inFlight(Effect.delay(always(text), "2 seconds"))
        yield* settle
        yield* TestClock.adjust("2 seconds")
        expect(yield* peer.head).toContain("HTTP/1.1 200 ")
        yield* peer.ended
        yield* peer.end
        yield* Fiber.join(closing)
      })
    )

    test(
      "interrupts one that hasn't, and answers with 503 in its place",
      Effect.gen(function* () {
        const { closing, peer } = yield* inFlight(Effect.never)
        yield* settle
        yield* TestClock.adjust("2999 millis")
        yield* settle
        expect(peer.heard.size()).toBe(0)
        yield* TestClock.adjust("1 millis")
        expect(yield* peer.head).toContain("HTTP/1.1 503 ")
        yield* peer.ended
        yield* peer.end
        yield* Fiber.join(closing)
      })
    )

    test(
      "breaks an endless answer off, and leaves nothing of it",
      Effect.gen(function* () {
        const ticks = Stream.tick("1 second").pipe(Stream.map(() => new Uint8Array([65])))
        const { closing, peer } = yield* inFlight(always(HttpServerResponse.stream(ticks)))
        yield* peer.head
        yield* settle
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(closing)
        yield* peer.ended
        expect(unchunked(String(peer.body()))).toBeUndefined()
        yield* peer.end
      })
    )
  })

  describe(`${name}: an answer in place of an upgrade`, () => {
    test(
      "may be of any kind",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ drainTimeout: 0 })
        const chunks = Stream.fromChunk(Chunk.make(new Uint8Array([65]), new Uint8Array([66])))
        for (const [path, response] of [
          ["/text", text],
          ["/stream", HttpServerResponse.stream(chunks, { status: 402 })],
          ["/empty", HttpServerResponse.empty({ status: 410 })]
        ] as const) {
          yield* server.serveWith(
            () => Effect.fail(response),
            () => Effect.void,
            { path }
          )
        }
        const at = (path: string) =>
          Effect.map(ask(server.address, upgradeRequest({}, `GET ${path} HTTP/1.1`)), ({ status, whole }) => [
            status,
            whole
          ])
        expect(yield* at("/text")).toEqual([200, Buffer.from("hellö").toString("latin1")])
        expect(yield* at("/stream")).toEqual([402, "AB"])
        expect(yield* at("/empty")).toEqual([410, ""])
      })
    )
  })
}
