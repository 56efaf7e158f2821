import { HttpServerResponse } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Chunk, Deferred, Effect, Exit, Fiber, type Layer, Scope, Stream, TestClock } from "effect"
import type { Network } from "effect-websocket/Network"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { type App, always, ask, requestLine, serving, unchunked } from "../fixtures/asking.js"
import { settle } from "../fixtures/heard.js"
import { testsOn } from "../fixtures/leaks.js"
import { rawClient, upgradeRequest } from "../fixtures/rawPeer.js"

/** How a server answers what is no upgrade. */
export const httpSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

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

    for (const [what, response] of [
      ["an answer at once", () => text],
      ["an answer bit by bit", () => HttpServerResponse.stream(Stream.make(new Uint8Array([65])))],
      ["an answer that can't be written", () => HttpServerResponse.text("x", { headers: { "x-bad": "a\r\nb" } })]
    ] as const) {
      test(
        `lets go of a client that had ${what} and doesn't close, after closeTimeout`,
        Effect.gen(function* () {
          const server = yield* serving(always(response()), { closeTimeout: "2 seconds" })
          const peer = yield* rawClient(server.address)
          yield* peer.send(requestLine("GET", "/"))
          yield* peer.ended
          yield* settle
          yield* TestClock.adjust("1999 millis")
          yield* settle
          expect(yield* server.connections).toBe(1)
          yield* TestClock.adjust("1 millis")
          while ((yield* server.connections) > 0) yield* settle
        })
      )
    }

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
          const server = yield* serving(always(response()), { closeTimeout: "500 millis" })
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
