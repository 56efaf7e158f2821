import * as Net from "node:net"
import * as Tls from "node:tls"
import { describe, expect } from "@effect/vitest"
import { Effect, Fiber, Redacted, Scope } from "effect"
import * as Flow from "effect-websocket/Flow"
import { type ConnectOptions, Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { makeCertificates } from "./fixtures/certificates.js"
import { bytes, closed, ended, heard, lawful, pattern, reading, settle } from "./fixtures/heard.js"
import { testsOn } from "./fixtures/leaks.js"
import { listening, loopback, rawServer } from "./fixtures/node.js"

const { ca, good } = makeCertificates()
const test = testsOn(NodeNetwork.layer)
const elsewhere = { _tag: "TcpAddress", hostname: "flow.test", port: 443 } as const

/** How a flow may look that TLS is spoken over. */
const dresses: ReadonlyArray<readonly [string, (flow: Flow.Flow, breaches?: Array<string>) => Flow.Flow]> = [
  ["a socket", (flow) => flow],
  ["any flow", (flow, breaches = []) => lawful(flow, breaches)]
]

const connect = (options: ConnectOptions) => Effect.flatMap(Network, (network) => network.connect(options))

/** A flow to a peer, over which TLS is to be spoken. */
const flowTo = (port: number) => connect({ address: { ...loopback, port } })

for (const [name, dress] of dresses) {
  describe(`TLS over ${name}`, () => {
    test(
      "carries bytes both ways to the end, for the name it was asked for",
      Effect.gen(function* () {
        const { first, port } = yield* listening({ address: loopback, tls: good })
        const breaches: Array<string> = []
        const over = dress(yield* flowTo(port), breaches)
        const [flow, server] = yield* Effect.all([connect({ address: elsewhere, over, tls: { ca } }), first], {
          concurrency: 2
        })
        expect(flow.secure).toBe(true)
        const { localAddress, remoteAddress } = over
        expect([flow.localAddress, flow.remoteAddress]).toEqual([localAddress, remoteAddress])
        const sent = pattern(500_000)
        reading(server, { data: (chunk) => void server.write(chunk, false), end: () => server.end() })
        const echo = reading(flow)
        flow.write(sent, false)
        flow.end()
        yield* closed(echo)
        expect(echo.error()).toBeUndefined()
        expect(Buffer.concat(echo.chunks).equals(Buffer.from(pattern(500_000)))).toBe(true)
        expect(breaches).toEqual([])
      })
    )

    test(
      "begins with what was put back",
      Effect.gen(function* () {
        // A fatal alert (RFC 8446 6.2), which is understood as a whole only.
        const alert = Uint8Array.of(21, 3, 3, 0, 2, 2, 40)
        const { port } = yield* listening({ address: loopback }, (flow) => void flow.write(alert, false))
        const flow = yield* flowTo(port)
        flow.unshift(yield* Flow.readExactly(flow, 2))
        const before = heard()
        flow.attach(before)
        const error = yield* Effect.flip(connect({ address: elsewhere, over: dress(flow), tls: { ca } }))
        // SSLV3 until OpenSSL 3.5, SSL/TLS since.
        expect(error).toMatchObject({
          reason: "tls",
          code: expect.stringMatching(/^ERR_SSL_(SSLV3|SSL\/TLS)_ALERT_HANDSHAKE_FAILURE$/)
        })
        // Whoever had the flow hears nothing of it any more.
        expect(before.events).toEqual([])
      })
    )

    test(
      "verifies the name of the address, and destroys the flow if it isn't that",
      Effect.gen(function* () {
        const { port } = yield* listening({ address: loopback, tls: good })
        const over = dress(yield* flowTo(port))
        const address = { ...elsewhere, hostname: "stranger.test" }
        const error = yield* Effect.flip(connect({ address, over, tls: { ca } }))
        expect(error).toMatchObject({
          reason: "tls",
          code: "ERR_TLS_CERT_ALTNAME_INVALID",
          address: "stranger.test:443"
        })
        // The scope is still open; leaks would show its socket as one that isn't destroyed.
      })
    )

    test(
      "destroys the flow if its options can't be used",
      Effect.gen(function* () {
        const { first, port } = yield* listening({ address: loopback })
        const over = dress(yield* flowTo(port))
        const server = reading(yield* first)
        const tls = { cert: "nonsense", key: Redacted.make("") }
        const error = yield* Effect.flip(connect({ address: elsewhere, over, tls }))
        expect(error).toMatchObject({ reason: "tls", code: "ERR_OSSL_PEM_NO_START_LINE" })
        yield* ended(server)
      })
    )

    for (const [when, act] of [
      ["has ended", (flow: Flow.Flow) => flow.end()],
      ["is reset", (flow: Flow.Flow) => flow.destroy()],
      [
        "has ended behind bytes that were not read yet",
        (flow: Flow.Flow) => {
          flow.write(Uint8Array.of(22, 3), false)
          flow.end()
        }
      ]
    ] as const) {
      for (const look of [true, false]) {
        test(
          `fails over a connection that ${when}, ${look ? "which was heard" : "unheard"}`,
          Effect.gen(function* () {
            const { first, port } = yield* listening({ address: loopback })
            const flow = yield* flowTo(port)
            act(yield* first)
            // As a proxy's answer is read, or not: Node has seen what comes behind it in either case.
            const looked = heard()
            if (look) {
              flow.attach(looked)
              flow.resume()
            }
            yield* settle
            yield* settle
            flow.pause()
            for (const chunk of [...looked.chunks].reverse()) flow.unshift(chunk)
            const error = yield* Effect.flip(connect({ address: elsewhere, over: dress(flow), tls: { ca } }))
            expect(error).toMatchObject({ reason: "tls", code: "ECONNRESET" })
            expect(error.detail).toContain("flow.test hung up during the TLS handshake")
          })
        )
      }
    }

    test(
      "fails over a connection that has ended behind bytes that wait to be read",
      Effect.gen(function* () {
        const { first, port } = yield* listening({ address: loopback }, (flow) => void flow.write(bytes("x"), false))
        const flow = yield* flowTo(port)
        // From the first byte on Node reads ahead, as far as its buffer goes.
        yield* Flow.readExactly(flow, 1)
        const server = yield* first
        server.write(Uint8Array.of(22, 3), false)
        server.end()
        for (let round = 0; round < 5; round++) yield* settle
        const error = yield* Effect.flip(connect({ address: elsewhere, over: dress(flow), tls: { ca } }))
        expect(error).toMatchObject({ reason: "tls", code: "ECONNRESET" })
      })
    )

    test(
      "fails if the peer hangs up in the handshake",
      Effect.gen(function* () {
        const { first, port } = yield* listening({ address: loopback })
        const over = dress(yield* flowTo(port))
        const connecting = yield* Effect.fork(Effect.flip(connect({ address: elsewhere, over, tls: { ca } })))
        const server = yield* first
        const atServer = reading(server)
        yield* atServer.until(({ size }) => size() > 0)
        server.end()
        expect(yield* Fiber.join(connecting)).toMatchObject({ reason: "tls", code: "ECONNRESET" })
      })
    )

    test(
      "fails if somebody destroys the flow in the handshake",
      Effect.gen(function* () {
        const { first, port } = yield* listening({ address: loopback })
        const over = dress(yield* flowTo(port))
        const connecting = yield* Effect.fork(Effect.flip(connect({ address: elsewhere, over, tls: { ca } })))
        const atServer = reading(yield* first)
        yield* atServer.until(({ size }) => size() > 0)
        over.destroy()
        expect(yield* Fiber.join(connecting)).toMatchObject({ reason: "tls", code: "ECONNRESET" })
      })
    )

    test(
      "leaves nothing open when it is interrupted in the handshake, in a scope that goes on",
      Effect.gen(function* () {
        const { first, port } = yield* listening({ address: loopback })
        const over = dress(yield* flowTo(port))
        const connecting = yield* Effect.fork(connect({ address: elsewhere, over, tls: { ca } }))
        const atServer = reading(yield* first)
        yield* atServer.until(({ size }) => size() > 0)
        yield* Fiber.interrupt(connecting)
        yield* ended(atServer)
      })
    )

    test(
      "goes over TLS, too",
      Effect.gen(function* () {
        // A TLS server behind a TLS server.
        const { port: inner } = yield* listening({ address: loopback, tls: good }, (flow) => {
          reading(flow, { data: (chunk) => void flow.write(chunk, false) })
        })
        const outer = yield* rawServer(
          Tls.createServer({ cert: good.cert, key: Redacted.value(good.key) }, (socket) => {
            const far = Net.connect(inner, "127.0.0.1")
            for (const each of [socket, far]) each.on("error", () => {})
            socket.pipe(far).pipe(socket)
          })
        )
        const tunnel = yield* connect({ address: { ...loopback, port: outer }, tls: { ca } })
        const flow = yield* connect({ address: elsewhere, over: dress(tunnel), tls: { ca } })
        const echo = reading(flow)
        flow.write(bytes("twice"), false)
        yield* echo.until(({ text }) => text() === "twice")
      })
    )
  })
}

describe("a flow without TLS over it", () => {
  test(
    "is the connection, and is destroyed with the scope",
    Effect.gen(function* () {
      const { first, port } = yield* listening({ address: loopback })
      const outside = yield* Effect.scope
      const over = yield* Scope.extend(flowTo(port), outside)
      expect(yield* Effect.scoped(connect({ address: elsewhere, over }))).toBe(over)
      yield* ended(reading(yield* first))
    })
  )
})
