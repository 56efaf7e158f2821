import { once } from "node:events"
import { HttpServerResponse } from "@effect/platform"
import { describe, expect, it, vi } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import { Frame, NodeNetwork, TestNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import { WebSocket as Ws, WebSocketServer as WsServer } from "ws"
import * as ReverseProxy from "../../examples/proxy/proxy.js"
import { settle } from "../fixtures/heard.js"
import { serverWith } from "../fixtures/joined.js"
import { testInMemory } from "../fixtures/leaks.js"
import { tsx } from "../fixtures/process.js"
import { rawServer, upgradedClient, upgradedServer, upgradeRequest } from "../fixtures/rawPeer.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

/** The proxy in front of an upstream. */
const proxyTo = (upstream: string) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make({ ...ReverseProxy.limits, drainTimeout: 0 })
    yield* Layer.build(ReverseProxy.layer(new URL(upstream))).pipe(
      Effect.provideService(WebSocketServer.WebSocketServer, server)
    )
    return server
  })

/** A client and an upstream of ours, with the proxy between them. */
const through = (options: {
  readonly client?: WebSocket.ConnectOptions
  readonly upstream?: WebSocketServer.ServerOptions
  readonly path?: string
}) =>
  Effect.gen(function* () {
    const { server, socket } = yield* serverWith(options.upstream)
    const proxy = yield* proxyTo(server.url)
    const client = yield* WebSocket.connect(new URL(options.path ?? "/", proxy.url), options.client)
    return { client, upstream: yield* socket, proxy }
  })

/** Both ends in the hands of the test. */
const raw = Effect.gen(function* () {
  const behind = yield* rawServer()
  const proxy = yield* proxyTo(behind.url)
  const connecting = yield* Effect.fork(upgradedClient(proxy.address))
  const upstream = yield* upgradedServer(behind)
  return { client: yield* Fiber.join(connecting), upstream, proxy }
})

const size = 1024 * 1024
const fragments = 24

/** Sends one message of many fragments, and counts those that were let go. */
const sendMany = (socket: WebSocket.WebSocket) => {
  const counter = { sent: 0 }
  const piece = Buffer.alloc(size)
  const fragment = (opcode: Frame.Opcode, payload: Uint8Array, fin: boolean) =>
    socket.sendFrame(Frame.make({ opcode, payload, fin }))
  const sending = Effect.gen(function* () {
    yield* fragment(Frame.Opcode.binary, piece, false)
    while (++counter.sent < fragments) yield* fragment(Frame.Opcode.continuation, piece, false)
    yield* fragment(Frame.Opcode.continuation, Buffer.from("end"), true)
  })
  return { counter, sending }
}

describe("examples/proxy", () => {
  testInMemory(
    "is not to be noticed: path, subprotocol, credentials, text and bytes pass",
    Effect.gen(function* () {
      const { client, proxy, upstream } = yield* through({
        client: {
          subprotocols: ["v1", "v2"],
          headers: { cookie: "session=1", authorization: "Bearer x", "x-forwarded-for": "6.6.6.6", "x-other": "no" }
        },
        upstream: { subprotocols: ["v2", "v1"], trustedProxies: 1 },
        path: "/feed?topic=a?b"
      })
      expect([client.subprotocol, upstream.subprotocol]).toEqual(["v2", "v2"])
      const { host } = new URL(proxy.url)
      expect(upstream.url).toBe(`ws://${host}/feed?topic=a?b`)
      expect(upstream.headers).toMatchObject({
        cookie: "session=1",
        authorization: "Bearer x",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": host
      })
      expect(upstream.headers["x-other"]).toBeUndefined()
      for (const [from, to] of [
        [client, upstream],
        [upstream, client]
      ] as const) {
        const messages = ["text", Uint8Array.of(0, 255), "", "é🌍", "x".repeat(size)]
        const sending = yield* Effect.fork(from.sendAll(messages))
        for (const message of messages) expect(yield* to.receive).toEqual(message)
        yield* Fiber.join(sending)
      }
    })
  )

  testInMemory(
    "passes frames as they are, and leaves pings to each side",
    Effect.gen(function* () {
      const { client, upstream } = yield* raw
      const sent = [
        Frame.make({ fin: false, payload: "fragm" }),
        Frame.ping("local"),
        Frame.make({ opcode: Frame.Opcode.continuation, fin: false, payload: "" }),
        Frame.pong("unasked"),
        Frame.make({ opcode: Frame.Opcode.continuation, payload: "ents" }),
        Frame.binary(Uint8Array.of(7))
      ]
      yield* client.sendFrames(...sent)
      yield* upstream.frame(({ opcode }) => opcode === Frame.Opcode.binary)
      const isData = ({ opcode }: Frame.Frame) => opcode < 8
      expect(upstream.frames()).toEqual(sent.filter(isData))
      expect(yield* client.frame(({ opcode }) => opcode === Frame.Opcode.pong)).toEqual(Frame.pong("local"))
      yield* upstream.sendFrames(...sent)
      yield* client.frame(({ opcode }) => opcode === Frame.Opcode.binary)
      expect(client.frames().filter(isData)).toEqual(sent.filter(isData))
      yield* client.sendFrames(Frame.close(1000))
      expect(yield* upstream.closeCode).toBe(1000)
      yield* upstream.sendFrames(Frame.close(1000))
      yield* Effect.all([client.end, upstream.end])
    })
  )

  for (const [what, frame] of [
    ["a code and a reason", Frame.close(4001, "done")],
    ["no code", Frame.close()]
  ] as const) {
    testInMemory(
      `passes a Close with ${what}, both ways`,
      Effect.gen(function* () {
        const closed = { reason: frame.payload.length > 0 ? "done" : "", initiator: "remote", clean: true }
        for (const who of ["client", "upstream"] as const) {
          const both = yield* through({})
          const other = who === "client" ? both.upstream : both.client
          yield* both[who].send("before it")
          yield* both[who].sendFrame(frame)
          expect(yield* other.receive).toBe("before it")
          expect(yield* other.closed).toMatchObject({ ...closed, code: frame.payload.length > 0 ? 4001 : 1005 })
          expect(yield* both[who].closed).toMatchObject({ clean: true })
        }
      })
    )
  }

  testInMemory(
    "tells one side that the other was lost: 1014 to a client, 1001 to an upstream",
    Effect.gen(function* () {
      const one = yield* raw
      yield* one.upstream.destroy
      expect(yield* one.client.closeCode).toBe(1014)
      yield* one.client.sendFrames(Frame.close(1014))
      yield* one.client.end
      const other = yield* raw
      yield* other.client.destroy
      expect(yield* other.upstream.closeCode).toBe(1001)
      yield* other.upstream.sendFrames(Frame.close(1001))
      yield* other.upstream.end
    })
  )

  testInMemory(
    "passes on what the upstream refuses with, before there is a connection",
    Effect.gen(function* () {
      const upstream = yield* WebSocketServer.make()
      yield* upstream.serveWith(
        ({ target }) =>
          Effect.fail(
            HttpServerResponse.text("log in first", {
              status: target === "/moved" ? 307 : 401,
              headers: { "www-authenticate": "Bearer", location: "/elsewhere", "x-internal": "10.0.0.1" }
            })
          ),
        () => Effect.void
      )
      const proxy = yield* proxyTo(upstream.url)
      const refused = yield* Effect.flip(WebSocket.connect(proxy.url))
      expect(refused).toMatchObject({ _tag: "HandshakeError", status: 401, body: "log in first" })
      expect(refused).toMatchObject({ headers: { "www-authenticate": "Bearer" } })
      expect(JSON.stringify(refused)).not.toContain("10.0.0.1")
      const moved = yield* Effect.flip(WebSocket.connect(new URL("/moved", proxy.url)))
      expect(moved).toMatchObject({ status: 307, headers: { location: "/elsewhere" } })
    })
  )

  testInMemory(
    "answers 502 without an upstream, or with one that is none, and 504 with one that doesn't answer",
    Effect.gen(function* () {
      const down = yield* proxyTo("ws://127.0.0.1:1/")
      expect(yield* Effect.flip(WebSocket.connect(down.url))).toMatchObject({ status: 502, body: "no upstream\n" })
      const behind = yield* rawServer()
      const proxy = yield* proxyTo(behind.url)
      const other = yield* Effect.fork(Effect.flip(WebSocket.connect(proxy.url)))
      const peer = yield* behind.next
      yield* peer.head
      yield* peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
      expect(yield* Fiber.join(other)).toMatchObject({ status: 502, body: "the upstream speaks no WebSocket\n" })
      const slow = yield* Effect.fork(Effect.flip(WebSocket.connect(proxy.url)))
      yield* (yield* behind.next).head
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(slow)).toMatchObject({ status: 504 })
    })
  )

  testInMemory(
    "stays with its upstream, whatever the target looks like",
    Effect.gen(function* () {
      const behind = yield* rawServer()
      const proxy = yield* proxyTo(`${behind.url}base/`)
      for (const [target, asked] of [
        ["//elsewhere.example/x", "/base//elsewhere.example/x"],
        ["/a@elsewhere.example:1/?b", "/base/a@elsewhere.example:1/?b"]
      ]) {
        const connecting = yield* Effect.fork(
          upgradedClient(proxy.address, upgradeRequest({}, `GET ${target} HTTP/1.1`))
        )
        const peer = yield* upgradedServer(behind)
        expect(yield* peer.head).toMatch(`GET ${asked} HTTP/1.1\r\n`)
        const client = yield* Fiber.join(connecting)
        yield* peer.destroy
        yield* client.destroy
      }
    })
  )

  for (const [what, slow] of [
    ["a client that is slow suspends the upstream", "client"],
    ["an upstream that is slow suspends the client", "upstream"]
  ] as const) {
    testInMemory(
      `${what}: a message larger than all buffers passes without being held`,
      Effect.gen(function* () {
        const { client, upstream } = yield* through({ client: ReverseProxy.limits, upstream: ReverseProxy.limits })
        const [from, to] = slow === "client" ? [upstream, client] : [client, upstream]
        const { counter, sending } = sendMany(from)
        // Turned to frames before the first byte.
        const first = yield* Effect.fork(to.receiveFrame)
        yield* settle
        const running = yield* Effect.fork(sending)
        expect(yield* Fiber.join(first)).toMatchObject({ opcode: Frame.Opcode.binary, fin: false })
        for (let last = -1; last !== counter.sent; ) {
          last = counter.sent
          for (let turn = 0; turn < 20; turn++) yield* settle
        }
        expect(running.unsafePoll()).toBeNull()
        expect(counter.sent).toBeLessThan(fragments / 2)
        for (let index = 1; index < fragments; index++) {
          const { fin, payload } = yield* to.receiveFrame
          expect([fin, payload.length]).toEqual([false, size])
        }
        expect(Buffer.from((yield* to.receiveFrame).payload).toString()).toBe("end")
        yield* Fiber.join(running)
      })
    )
  }

  testInMemory(
    "delivers all that an upstream said before its end, though what the client says meanwhile comes too late",
    Effect.gen(function* () {
      const { client, upstream } = yield* through({})
      const said = ["a".repeat(300_000), "b".repeat(300_000), ...Array.from({ length: 10 }, (_, index) => `${index}`)]
      const closing = yield* Effect.fork(Effect.zipRight(upstream.sendAll(said), upstream.close(4002)))
      for (let turn = 0; turn < 50; turn++) yield* settle
      yield* client.send("too late")
      for (let turn = 0; turn < 50; turn++) yield* settle
      for (const message of said) expect((yield* client.receive) === message).toBe(true)
      expect(yield* client.closed).toMatchObject({ code: 4002, initiator: "remote" })
      yield* Fiber.join(closing)
    })
  )

  testInMemory(
    "gives a client up that reads nothing for a minute, and tells the upstream",
    Effect.gen(function* () {
      const { server, socket } = yield* serverWith({ pingInterval: "1 hour" })
      const proxy = yield* proxyTo(server.url)
      const client = yield* upgradedClient(proxy.address)
      client.flow.pause()
      const upstream = yield* socket
      const sending = yield* Effect.fork(Effect.forever(upstream.send(new Uint8Array(100_000))))
      for (let turn = 0; turn < 50; turn++) yield* settle
      expect(sending.unsafePoll()).toBeNull()
      yield* TestClock.adjust("80 seconds")
      expect(yield* upstream.closed).toMatchObject({ code: 1001, initiator: "remote" })
      yield* Fiber.await(sending)
      yield* client.destroy
    })
  )

  testInMemory(
    "ends both sides with 1001 when it ends, and nothing is left",
    Effect.gen(function* () {
      const { server, socket } = yield* serverWith()
      const scope = yield* Scope.make()
      const proxy = yield* Scope.extend(proxyTo(server.url), scope)
      const client = yield* WebSocket.connect(proxy.url)
      const upstream = yield* socket
      yield* Scope.close(scope, Exit.void)
      expect(yield* client.closed).toMatchObject({ code: 1001, clean: true })
      expect(yield* upstream.closed).toMatchObject({ code: 1001, clean: true })
      expect(yield* Effect.flatMap(TestNetwork.TestNetwork, ({ listeners }) => listeners)).toHaveLength(1)
    })
  )

  it.scopedLive("stands between a client and a server of another library", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<readonly [number, string]>()
      const { port, server } = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          const server = new WsServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true })
          server.on("connection", (socket) => {
            socket.on("message", (data: Buffer, binary) => socket.send(binary ? `${data.length} bytes` : String(data)))
            socket.on("close", (code, reason) => Deferred.unsafeDone(closed, Exit.succeed([code, String(reason)])))
          })
          await once(server, "listening")
          const address = server.address()
          return { server, port: typeof address === "object" && address !== null ? address.port : 0 }
        }),
        ({ server }) =>
          Effect.sync(() => {
            for (const client of server.clients) client.terminate()
            server.close()
          })
      )
      const proxy = yield* tsx("examples/proxy/main.ts", [], { PORT: "0", UPSTREAM: `ws://127.0.0.1:${port}` })
      const [, url = ""] = yield* proxy.line(/^proxy at (ws:\S+) for 127\.0\.0\.1:\d+$/)
      const client = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          const socket = new Ws(url, { perMessageDeflate: true })
          await once(socket, "open")
          return socket
        }),
        (socket) => Effect.sync(() => socket.terminate())
      )
      expect(client.extensions).toBe("")
      const heard = (event: string) =>
        Effect.promise(async () => once(client, event)).pipe(Effect.map((values) => values.map(String)))
      const echoed = yield* Effect.fork(heard("message"))
      yield* settle
      client.send("héllo")
      expect(yield* Fiber.join(echoed)).toEqual(["héllo", "false"])
      const counted = yield* Effect.fork(heard("message"))
      yield* settle
      for (let index = 0; index < 100; index++) client.send(Buffer.alloc(100_000), { fin: false, binary: true })
      client.send(Buffer.alloc(1), { fin: true })
      expect(yield* Fiber.join(counted)).toEqual(["10000001 bytes", "false"])
      client.close(4005, "enough")
      expect(yield* Deferred.await(closed)).toEqual([4005, "enough"])

      const ours = yield* WebSocket.connect(url).pipe(Effect.provide(NodeNetwork.layer))
      yield* ours.send("from ours")
      expect(yield* ours.receive).toBe("from ours")
      server.close()
      for (const socket of server.clients) socket.terminate()
      expect(yield* ours.closed).toMatchObject({ code: 1014, clean: true })
      const refused = yield* Effect.flip(Effect.scoped(WebSocket.connect(url))).pipe(Effect.provide(NodeNetwork.layer))
      expect(refused).toMatchObject({ _tag: "HandshakeError", status: 502 })
      yield* proxy.kill("SIGTERM")
      expect(yield* proxy.exit).toMatchObject({ code: 0 })
    })
  )
})
