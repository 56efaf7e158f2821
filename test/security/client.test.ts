import { describe } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { makeCertificates } from "../fixtures/certificates.js"
import { settle } from "../fixtures/heard.js"
import { refusedBy } from "../fixtures/joined.js"
import { echo, knock } from "../fixtures/knocking.js"
import { rawServer, upgradeRequest, upgradeResponse } from "../fixtures/rawPeer.js"
import { attack } from "./attack.js"

describe("TLS", () => {
  attack(
    "CVE-2020-15133 (faye-websocket), CVE-2018-8034 (Tomcat): a client verifies the authority, the name and the dates by default",
    Effect.gen(function* () {
      const { ca, expired, good, selfSigned, wrongName } = makeCertificates()
      for (const [certificate, tls, code] of [
        // Each with the one thing wrong.
        [good, {}, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
        [selfSigned, { ca }, "DEPTH_ZERO_SELF_SIGNED_CERT"],
        [wrongName, { ca }, "ERR_TLS_CERT_ALTNAME_INVALID"],
        [expired, { ca }, "CERT_HAS_EXPIRED"],
        [good, { ca, servername: "other.test" }, "ERR_TLS_CERT_ALTNAME_INVALID"]
      ] as const) {
        const server = yield* WebSocketServer.make({ drainTimeout: 0, tls: certificate })
        yield* server.serve(echo)
        const error = yield* refusedBy(server.url, { tls })
        expect(error).toMatchObject({ _tag: "ConnectError", reason: "tls", code })
      }
      const server = yield* WebSocketServer.make({ drainTimeout: 0, tls: good })
      yield* server.serve(echo)
      const socket = yield* WebSocket.connect(server.url, { tls: { ca } })
      expect(socket.secure).toBe(true)
    }),
    [["over TLS", NodeNetwork.layer]]
  )
})

const redirectTo = (location: string) => `HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`

describe("a redirect", () => {
  attack(
    "websockets 16.1: credentials stay behind where a redirect leads to another origin",
    Effect.gen(function* () {
      const [first, second] = [yield* rawServer(), yield* rawServer()]
      const url = new URL(first.url)
      url.username = "ada"
      url.password = "secret"
      const connecting = yield* Effect.fork(
        WebSocket.connect(url, {
          maxRedirects: 1,
          headers: { cookie: "session=secret", "proxy-authorization": "Basic secret", "x-plain": "kept" }
        })
      )
      const asked = yield* first.next
      expect(yield* asked.head).toMatch(/authorization: Basic /i)
      expect(yield* asked.head).toContain("cookie: session=secret\r\n")
      yield* asked.send(redirectTo(second.url))
      const peer = yield* second.next
      const request = yield* peer.head
      expect(request).toContain("x-plain: kept\r\n")
      expect(request).not.toMatch(/authorization|cookie|secret|ada/i)
      yield* peer.send(upgradeResponse(request))
      const socket = yield* Fiber.join(connecting)
      expect(socket.url).not.toContain("secret")
      yield* peer.destroy
    })
  )

  attack(
    "websockets 16.1: a redirect is not followed unless asked for, and never to a Location with credentials",
    Effect.gen(function* () {
      for (const [options, location] of [
        [{}, "/elsewhere"],
        [{ maxRedirects: 5 }, "ws://eve:secret@127.0.0.1:1/"],
        [{ maxRedirects: 5 }, "file:///etc/passwd"]
      ] as const) {
        const server = yield* rawServer()
        const connecting = yield* Effect.fork(refusedBy(server.url, options))
        const peer = yield* server.next
        yield* peer.head
        yield* peer.send(redirectTo(location))
        const error = yield* Fiber.join(connecting)
        expect(error).toMatchObject({ _tag: "HandshakeError", status: 302 })
        expect(JSON.stringify(error)).not.toContain("secret")
        expect(yield* server.waiting).toBe(0)
        yield* peer.destroy
      }
    })
  )
})

describe("text of others in a head", () => {
  const injected = "a\r\nSet-Cookie: session=evil\r\n\r\n<script>"

  attack(
    "CVE-2020-35678 (autobahn): a line break in a header or a subprotocol of the server's is answered with 500, and never written",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0 })
      const decisions = [
        { headers: { location: injected } },
        { headers: { "x-a\r\nx-b": "c" } },
        { subprotocol: injected },
        { headers: { "x-nul": "a\0b" } }
      ]
      for (const [index, decision] of decisions.entries()) {
        const path = `/${index}`
        yield* server.serveWith(
          () => Effect.succeed({ data: undefined, ...decision }),
          () => Effect.void,
          { path }
        )
        const { peer, status } = yield* knock(server, upgradeRequest({}, `GET ${path} HTTP/1.1`))
        expect(status).toBe(500)
        yield* peer.ended
        expect(peer.heard.text()).not.toMatch(/evil|x-b|script/)
        yield* peer.end
      }
    })
  )

  attack(
    "CVE-2020-35678 (autobahn): a line break in a header, a subprotocol or a URL of the client's is a typed error, and nothing is sent",
    Effect.gen(function* () {
      const server = yield* rawServer()
      for (const options of [
        { headers: { "x-a": injected } },
        { headers: { "x-a\r\nx-b": "c" } },
        { subprotocols: [injected] }
      ]) {
        expect((yield* refusedBy(server.url, options))._tag).toBe("HandshakeError")
      }
      for (const url of [
        server.url.replace("//", "//a%0d%0aX-Evil:1%0d%0a@"),
        `${server.url}b\r\nX-Evil: 1`,
        `${server.url}b?c=\nX-Evil: 1`
      ]) {
        expect(yield* refusedBy(url)).toMatchObject({ _tag: "ConnectError", reason: "url" })
      }
      yield* settle
      expect(yield* server.waiting).toBe(0)
    })
  )
})
