import { HttpRouter } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Schedule } from "effect"
import { Frame, type WebSocket, WebSocketServer } from "effect-websocket"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import {
  connect,
  cut,
  echo,
  endOf,
  onUnixSocket,
  page,
  pings,
  portOf,
  refused,
  serving,
  silent,
  standalone,
  test,
  who
} from "../fixtures/proxied.js"
import type { StartProxy } from "../fixtures/reverseProxy.js"

/** What holds for our servers behind any proxy. */
export const reverseProxySuite = (
  name: string,
  start: StartProxy,
  /** What it answers for a server that is down. */
  down: number
): void => {
  describe(`behind ${name}`, () => {
    const handlers = {
      "/echo": echo,
      "/fragments": (socket: WebSocket.WebSocket) =>
        Effect.gen(function* () {
          const { continuation, text } = Frame.Opcode
          // What comes before frames are asked for is received as whole messages.
          yield* socket.receive
          yield* socket.sendFrame(Frame.make({ opcode: text, fin: false, payload: "in " }))
          yield* socket.sendFrame(Frame.make({ opcode: continuation, fin: false }))
          yield* socket.sendFrame(Frame.make({ opcode: continuation, payload: "pieces" }))
          yield* socket.run(() => Effect.void)
        })
    }
    const options = { deflate: true } as const

    for (const [where, from, path] of [
      [
        "a server on TCP",
        Effect.map(standalone(handlers, options), (server) => ({ chat: portOf(server) })),
        (path: string) => `/chat${path}`
      ],
      [
        "a server on a Unix socket",
        Effect.map(
          onUnixSocket(
            {
              "/feed": (socket) =>
                socket.url.endsWith("fragments") ? handlers["/fragments"](socket) : handlers["/echo"](socket)
            },
            options
          ),
          (feed) => ({ feed })
        ),
        (path: string) => `/feed?${path}`
      ],
      [
        "a route",
        Effect.map(
          serving(
            page.pipe(
              HttpRouter.get("/echo", WebSocketServer.upgrade(handlers["/echo"], options)),
              HttpRouter.get("/fragments", WebSocketServer.upgrade(handlers["/fragments"], options))
            )
          ),
          (app) => ({ app })
        ),
        (path: string) => path
      ]
    ] as const) {
      test(
        `${where} exchanges text, bytes, a mebibyte and fragments, compressed or not, by wss`,
        Effect.gen(function* () {
          const { url } = yield* start(yield* from)
          for (const deflate of [false, true]) {
            const socket = yield* connect(`${url}${path("/echo")}`, { deflate })
            expect(socket.secure).toBe(true)
            expect(socket.headers["sec-websocket-extensions"]?.includes("permessage-deflate") ?? false).toBe(deflate)
            const large = new Uint8Array(1024 * 1024).map((_, index) => (index * 31) >> 3)
            for (const message of ["", "grüße", Uint8Array.of(0, 255), large, "x".repeat(1024 * 1024)]) {
              yield* socket.send(message)
              const answer = yield* socket.receive
              expect(typeof answer).toBe(typeof message)
              expect(Buffer.from(answer).equals(Buffer.from(message))).toBe(true)
            }
            yield* socket.sendFrame(Frame.make({ opcode: Frame.Opcode.binary, fin: false, payload: Uint8Array.of(1) }))
            yield* socket.sendPing("between")
            yield* socket.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, payload: Uint8Array.of(2) }))
            expect(yield* socket.receive).toEqual(Uint8Array.of(1, 2))
            const pieces = yield* connect(`${url}${path("/fragments")}`, { deflate })
            const frames = yield* Effect.fork(Effect.replicateEffect(pieces.receiveFrame, 3))
            yield* settle
            yield* pieces.send("now")
            expect(yield* Fiber.join(frames)).toMatchObject([
              { opcode: Frame.Opcode.text, fin: false },
              { opcode: Frame.Opcode.continuation, fin: false },
              { opcode: Frame.Opcode.continuation, fin: true }
            ])
          }
        })
      )
    }

    test(
      "paths lead to servers, with their prefix or without",
      Effect.gen(function* () {
        const { port, url } = yield* start({
          chat: portOf(yield* standalone({ "/": who, "/room": who })),
          feed: yield* onUnixSocket({ "/feed": who }),
          app: yield* serving(page.pipe(HttpRouter.get("/ws/who", WebSocketServer.upgrade(who))))
        })
        for (const [asked, seen] of [
          ["/chat/", "/"],
          ["/chat/room?a=%20b", "/room?a=%20b"],
          ["/feed?from=1", "/feed?from=1"],
          ["/ws/who", "/ws/who"]
        ]) {
          const socket = yield* connect(`${url}${asked}`)
          expect(JSON.parse(String(yield* socket.receive))).toMatchObject({ url: `ws://localhost:${port}${seen}` })
        }
      })
    )

    test(
      "refusals come through with their status, headers and text",
      Effect.gen(function* () {
        const full = yield* standalone({ "/echo": echo }, { maxConnections: 1 })
        const app = page.pipe(HttpRouter.get("/ws/echo", WebSocketServer.upgrade(echo, { hosts: ["app.example"] })))
        const { url } = yield* start({
          chat: portOf(full),
          feed: yield* onUnixSocket({ "/elsewhere": echo }),
          app: yield* serving(app)
        })
        const evil = { headers: { origin: "https://evil.example" } }
        expect(yield* refused(`${url}/chat/echo`, evil)).toMatchObject({
          _tag: "HandshakeError",
          status: 403,
          body: "this origin is not the origin of this server\n"
        })
        expect(yield* refused(`${url}/feed`)).toMatchObject({ status: 404, body: "nothing is served at this path\n" })
        const misdirected = yield* refused(`${url}/ws/echo`)
        expect(misdirected).toMatchObject({ status: 421, body: expect.stringContaining("doesn't answer to this host") })
        // A proxy may keep its connection for a while after a refusal.
        const only = yield* Effect.retry(connect(`${url}/chat/echo`), Schedule.spaced("20 millis"))
        expect(yield* refused(`${url}/chat/echo`)).toMatchObject({ status: 503, body: "the server has no room left\n" })
        yield* only.send("still there?")
        expect(yield* only.receive).toBe("still there?")
      })
    )

    test(
      "the codes and reasons of closing come through both ways",
      Effect.gen(function* () {
        const ends = yield* Queue.unbounded<string>()
        const server = yield* standalone({
          "/told": (socket) => Effect.flatMap(endOf(socket), (end) => Queue.offer(ends, end)),
          "/closes": (socket) => Effect.zipRight(socket.receive, socket.close(4321, "genug, öha"))
        })
        const { url } = yield* start({ chat: portOf(server) })
        const first = yield* connect(`${url}/chat/told`)
        yield* first.close(4123, "bye")
        expect(yield* Queue.take(ends)).toBe("4123 bye")
        expect(yield* first.closed).toMatchObject({ clean: true })
        yield* Effect.scoped(connect(`${url}/chat/told`))
        expect(yield* Queue.take(ends)).toBe("1000")
        const second = yield* connect(`${url}/chat/closes`)
        yield* second.send("please")
        expect(yield* second.closed).toMatchObject({
          code: 4321,
          reason: "genug, öha",
          initiator: "remote",
          clean: true
        })
      })
    )

    test(
      "a connection without a heartbeat is cut, and both ends know",
      Effect.gen(function* () {
        const end = yield* Deferred.make<string>()
        const server = yield* standalone(
          { "/told": (socket) => Effect.flatMap(endOf(socket), (told) => Deferred.succeed(end, told)) },
          silent
        )
        const { url } = yield* start({ chat: portOf(server) }, { idleTimeout: "1s" })
        expect(yield* endOf(yield* connect(`${url}/chat/told`, silent))).toMatch(cut)
        expect(yield* Deferred.await(end)).toMatch(cut)
      })
    )

    for (const role of ["client", "server"] as const) {
      test(
        `a heartbeat of the ${role}'s keeps a connection alive`,
        Effect.gen(function* () {
          const rhythm: WebSocket.ConnectionOptions = {
            ...{ pingInterval: "300 millis", pingTimeout: "300 millis", maxMissedPongs: 1000 }
          }
          // Twice as long as the proxy's patience.
          const count = 14
          const handler = (socket: WebSocket.WebSocket) =>
            Effect.gen(function* () {
              if (role === "client") yield* Effect.zipRight(pings(socket, count), socket.send("alive"))
              yield* echo(socket)
            })
          const server = yield* standalone({ "/echo": handler }, role === "server" ? rhythm : silent)
          const { url } = yield* start({ chat: portOf(server) }, { idleTimeout: "2s" })
          const socket = yield* connect(`${url}/chat/echo`, role === "client" ? rhythm : silent)
          if (role === "server") yield* pings(socket, count)
          else expect(yield* socket.receive).toBe("alive")
          yield* socket.send("still there?")
          expect(yield* socket.receive).toBe("still there?")
        })
      )
    }

    test(
      "a server that is down is a gateway's refusal",
      Effect.gen(function* () {
        const { url } = yield* start({})
        const paths = ["/chat/echo", "/feed", "/"]
        const errors = yield* Effect.forEach(paths, (path) => refused(`${url}${path}`), { concurrency: "unbounded" })
        for (const error of errors) expect(error).toMatchObject({ _tag: "HandshakeError", status: down })
      })
    )

    test(
      "the end of the proxy is known at both ends, and the server serves on",
      Effect.gen(function* () {
        const end = yield* Deferred.make<string>()
        const server = yield* standalone({
          "/told": (socket) => Effect.flatMap(endOf(socket), (told) => Deferred.succeed(end, told)),
          "/echo": echo
        })
        const proxy = yield* start({ chat: portOf(server) })
        const socket = yield* connect(`${proxy.url}/chat/told`)
        const last = yield* Effect.fork(endOf(socket))
        yield* proxy.kill
        expect(yield* Fiber.join(last)).toMatch(cut)
        expect(yield* Deferred.await(end)).toMatch(cut)
        expect(yield* refused(`${proxy.url}/chat/echo`)).toMatchObject({ _tag: "ConnectError", reason: "tcp" })
        const direct = yield* connect(`${server.url}echo`)
        yield* direct.send("on we go")
        expect(yield* direct.receive).toBe("on we go")
      })
    )

    test(
      "a reload of the proxy leaves connections alone, and leads new ones elsewhere",
      Effect.gen(function* () {
        const says = (text: string) => (socket: WebSocket.WebSocket) => Effect.zipRight(socket.send(text), echo(socket))
        const [first, second] = [yield* standalone({ "/": says("first") }), yield* standalone({ "/": says("second") })]
        const proxy = yield* start({ chat: portOf(first) })
        const old = yield* connect(`${proxy.url}/chat/`)
        expect(yield* old.receive).toBe("first")
        const greeting = Effect.scoped(Effect.flatMap(connect(`${proxy.url}/chat/`), (socket) => socket.receive)).pipe(
          Effect.timeoutFail({ duration: "10 seconds", onTimeout: () => new Error("no greeting came") })
        )
        // HAProxy's master loses a signal that comes when the worker listens already, and it isn't ready itself.
        const reloading = Effect.zipRight(proxy.reload({ chat: portOf(second) }), Effect.sleep("2 seconds"))
        yield* Effect.raceFirst(
          Effect.forever(reloading),
          Effect.repeat(greeting, { until: (text) => text === "second", schedule: Schedule.spaced("50 millis") })
        )
        yield* old.send("still there?")
        expect(yield* old.receive).toBe("still there?")
      })
    )

    test(
      "a client that takes nothing makes the server wait, and then gets everything",
      Effect.gen(function* () {
        // 64 MiB: more than all buffers on the way can hold.
        const count = 1024
        let sent = 0
        const server = yield* standalone({
          "/floods": (socket) =>
            Effect.gen(function* () {
              while (sent < count) {
                yield* socket.send(new Uint8Array(65_536).fill(sent))
                sent++
              }
              yield* socket.run(() => Effect.void)
            })
        })
        const { url } = yield* start({ chat: portOf(server) })
        const socket = yield* connect(`${url}/chat/floods`)
        // Until nothing moves any more.
        let [before, quiet] = [-1, 0]
        while (quiet < 10) {
          yield* Effect.sleep("25 millis")
          quiet = sent > 0 && sent === before ? quiet + 1 : 0
          before = sent
        }
        expect(sent).toBeLessThan(count)
        for (let index = 0; index < count; index++) {
          const message = yield* socket.receive
          expect([message.length, message[65_535]]).toEqual([65_536, index % 256])
        }
      })
    )

    test(
      "two hundred connections at once are served",
      Effect.gen(function* () {
        const server = yield* standalone({ "/echo": echo })
        const { url } = yield* start({ chat: portOf(server) })
        const sockets = yield* Effect.forEach(Array.from({ length: 200 }), () => connect(`${url}/chat/echo`), {
          concurrency: 20
        })
        expect(yield* server.connections).toBe(200)
        for (const [index, socket] of sockets.entries()) yield* socket.send(`number ${index}`)
        const answers = yield* Effect.forEach(sockets, (socket) => socket.receive, { concurrency: "unbounded" })
        expect(answers).toEqual(sockets.map((_, index) => `number ${index}`))
      })
    )
  })
}
