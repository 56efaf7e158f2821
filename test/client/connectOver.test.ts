import { createServer } from "node:net"
import { describe } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope, TestClock } from "effect"
import type { Flow } from "effect-websocket/Flow"
import * as Frame from "effect-websocket/Frame"
import { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { testInMemory, testsOn } from "../fixtures/leaks.js"
import { rawPeer, upgradeResponse } from "../fixtures/rawPeer.js"

/** A client over one end of a pair, in a scope of its own, with the other end in the hand of the test. */
const over = (url: string | URL, options?: WebSocket.ConnectOverOptions) =>
  Effect.gen(function* () {
    const { client, open, server } = yield* TestNetwork.pair()
    const scope = yield* Scope.make()
    const connecting = yield* Effect.fork(Scope.extend(WebSocket.connectOver(client, url, options), scope))
    return { client, peer: rawPeer(server, "server"), open, scope, connecting }
  })

describe("connectOver", () => {
  testInMemory(
    "and accept make a connection of two ends, without a network",
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair()
      const options = { subprotocols: ["a"], deflate: true }
      const [ours, theirs] = yield* Effect.all(
        [WebSocket.connectOver(client, "ws://server.example/chat", options), WebSocket.accept(server, options)],
        { concurrency: 2 }
      )
      yield* ours.send("hello")
      expect(yield* theirs.receive).toBe("hello")
      yield* theirs.sendBinary(Uint8Array.of(1))
      expect(yield* ours.receive).toEqual(Uint8Array.of(1))
      expect(ours).toMatchObject({ role: "client", subprotocol: "a", url: "ws://server.example/chat" })
      expect(theirs.url).toBe(ours.url)
      expect(ours.headers["sec-websocket-extensions"]).toContain("permessage-deflate")
    })
  )

  testInMemory(
    "says what the URL and the options say, whatever the flow is",
    Effect.gen(function* () {
      const { connecting, peer, scope } = yield* over(new URL("wss://ada:pw@server.example:8443/x?y"), {
        headers: { "x-a": "b" }
      })
      const request = yield* peer.head
      expect(request).toMatch(/^GET \/x\?y HTTP\/1\.1\r\nHost: server\.example:8443\r\n/)
      expect(request).toContain(`authorization: Basic ${btoa("ada:pw")}\r\nx-a: b\r\n`)
      yield* peer.send(upgradeResponse(request))
      const socket = yield* Fiber.join(connecting)
      expect(socket).toMatchObject({ url: "wss://server.example:8443/x?y", secure: false })
      yield* peer.sendFrames(Frame.text("hi"))
      expect(yield* socket.receive).toBe("hi")
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      expect(yield* peer.closeCode).toBe(1000)
      yield* peer.destroy
      yield* Fiber.join(closing)
    })
  )

  const destroysAtOnce = (
    what: string,
    url: string,
    answer: ((request: string) => string) | undefined,
    expected: object,
    options?: WebSocket.ConnectOverOptions
  ) =>
    testInMemory(
      `destroys the flow at once, the scope being open, ${what}`,
      Effect.gen(function* () {
        const { connecting, open, peer } = yield* over(url, options)
        if (answer !== undefined) yield* peer.send(answer(yield* peer.head))
        expect(yield* Effect.flip(Effect.asVoid(Fiber.join(connecting)))).toMatchObject(expected)
        expect(yield* open).not.toContain("client")
        yield* peer.ended
        if (answer === undefined) expect(peer.heard.size()).toBe(0)
        yield* peer.destroy
      })
    )

  const refusal = () => "HTTP/1.1 302 There\r\nLocation: /else\r\nContent-Length: 3\r\n\r\nmy!"
  const there = { status: 302, headers: { location: "/else" }, body: "my!" }
  destroysAtOnce("after a refusal", "ws://a.example/", () => "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", {
    status: 403
  })
  destroysAtOnce("after a redirect, which it can't follow", "ws://a.example/", refusal, there)
  destroysAtOnce("after a bad answer", "ws://a.example/", () => "SSH-2.0\r\n", { _tag: "HandshakeError" })
  destroysAtOnce("for a bad URL", "ws://a.example/#x", undefined, { _tag: "ConnectError", reason: "url" })
  destroysAtOnce(
    "for a bad header",
    "ws://a.example/",
    undefined,
    { _tag: "HandshakeError" },
    { headers: { "x-a": "\n" } }
  )

  testInMemory(
    "is bounded by handshakeTimeout, and can be interrupted",
    Effect.gen(function* () {
      const slow = yield* over("ws://a.example/", { handshakeTimeout: "3 seconds" })
      yield* slow.peer.head
      yield* settle
      yield* TestClock.adjust("3 seconds")
      const error = yield* Effect.flip(Effect.asVoid(Fiber.join(slow.connecting)))
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "timeout", address: "ws://a.example/" })
      yield* slow.peer.ended
      const stopped = yield* over("ws://a.example/")
      yield* stopped.peer.head
      yield* Fiber.interrupt(stopped.connecting)
      yield* stopped.peer.ended
      expect([...(yield* slow.open), ...(yield* stopped.open)]).toEqual(["server", "server"])
      yield* slow.peer.destroy
      yield* stopped.peer.destroy
    })
  )

  testsOn(NodeNetwork.layer)(
    "works over a socket, which is gone with the scope",
    Effect.gen(function* () {
      const accepted = yield* Deferred.make<Flow>()
      const server = yield* Effect.acquireRelease(
        Effect.sync(() =>
          createServer((socket) => void Deferred.unsafeDone(accepted, Exit.succeed(NodeNetwork.fromDuplex(socket))))
        ),
        (made) => Effect.sync(() => made.close())
      )
      yield* Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void)))
      const bound = server.address()
      const port = typeof bound === "object" && bound !== null ? bound.port : 0
      const { connect } = yield* Network
      const flow = yield* connect({ address: { _tag: "TcpAddress", hostname: "127.0.0.1", port } })
      const echo = yield* Effect.fork(
        Effect.scoped(
          Effect.flatMap(Effect.flatMap(Deferred.await(accepted), WebSocket.accept), (socket) =>
            socket.run((message) => socket.send(message))
          )
        )
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          const socket = yield* WebSocket.connectOver(flow, "ws://any.example/")
          yield* socket.send("there and back")
          expect(yield* socket.receive).toBe("there and back")
        })
      )
      yield* Fiber.join(echo)
    })
  )
})
