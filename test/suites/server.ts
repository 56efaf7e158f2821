import { Cookies } from "@effect/platform"
import { describe } from "@effect/vitest"
import {
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  HashMap,
  type Layer,
  Logger,
  LogLevel,
  Scope,
  Stream,
  TestClock
} from "effect"
import * as Flow from "effect-websocket/Flow"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as OriginPolicy from "effect-websocket/OriginPolicy"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { refusedBy, serverWith } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { rawClient, rawServer, upgradedClient, upgradedServer, upgradeRequest } from "../fixtures/rawPeer.js"

/** What a server does beside its connections. */
export const serverSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  /** The handlers here end with their connections, or never: nothing is gained by waiting for them. */
  const hasty = { drainTimeout: 0 }

  const echo = (socket: WebSocket.WebSocket) => Stream.run(socket.messages, socket.sink)
  const says = (text: string) => (socket: WebSocket.WebSocket) => Effect.zipRight(socket.send(text), Effect.never)

  /** The first message of a new connection. */
  const greeting = (url: string) => Effect.scoped(Effect.flatMap(WebSocket.connect(url), (socket) => socket.receive))

  const refusal = (url: string, options?: WebSocket.ConnectOptions) =>
    Effect.map(refusedBy(url, options), (error) =>
      error._tag === "HandshakeError" ? error : expect.fail(`not a refusal: ${error.message}`)
    )

  describe(`${name}: a server`, () => {
    test(
      "tells where it listens, and how many connections are open",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        yield* server.serve(echo)
        expect(server.address).toMatchObject({ _tag: "TcpAddress", hostname: "127.0.0.1" })
        expect(server.url).toMatch(/^wss?:\/\/127\.0\.0\.1:\d+\/$/)
        expect(server.url).toContain(Flow.formatAddress(server.address))
        expect(yield* server.connections).toBe(0)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* WebSocket.connect(server.url)
            yield* WebSocket.connect(server.url)
            expect(yield* server.connections).toBe(2)
          })
        )
        while ((yield* server.connections) > 0) yield* settle
      })
    )

    test(
      "that can't listen says where and why",
      Effect.gen(function* () {
        const { address } = yield* WebSocketServer.make(hasty)
        const port = address._tag === "TcpAddress" ? address.port : 0
        const error = yield* Effect.flip(WebSocketServer.make({ port }))
        expect(error).toMatchObject({ _tag: "ListenError", code: "EADDRINUSE", address: `127.0.0.1:${port}` })
        expect(error.message).toContain(`listening on 127.0.0.1:${port} failed`)
      })
    )

    test(
      "runs each connection in a fiber of its own",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        yield* server.serve((socket) =>
          socket.run((message) => (message === "hang" ? Effect.never : socket.send(message)))
        )
        const stuck = yield* upgradedClient(server.address)
        yield* stuck.sendFrames(Frame.text("hang"))
        const socket = yield* WebSocket.connect(server.url)
        yield* socket.send("on we go")
        expect(yield* socket.receive).toBe("on we go")
        yield* stuck.destroy
      })
    )

    test(
      "refuses connections over maxConnections with 503, and accepts again when there is room",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ maxConnections: 2 })
        yield* server.serve(echo)
        const first = yield* upgradedClient(server.address)
        yield* upgradedClient(server.address)
        const error = yield* refusal(server.url)
        expect(error).toMatchObject({ status: 503 })
        expect(error.body).toContain("no room")
        yield* first.sendFrames(Frame.close(1000))
        yield* first.ended
        yield* first.end
        while ((yield* server.connections) > 1) yield* settle
        yield* upgradedClient(server.address)
      })
    )
  })

  describe(`${name}: handlers`, () => {
    test(
      "have what there was where they were served, not what the server has",
      Effect.gen(function* () {
        const User = Context.GenericTag<"User", string>("User")
        const greets = (socket: WebSocket.WebSocket) => Effect.flatMap(User, socket.send)
        const server = yield* Effect.provideService(WebSocketServer.make(hasty), User, "the server's")
        yield* Effect.provideService(server.serve(greets), User, "the handler's")
        expect(yield* greeting(server.url)).toBe("the handler's")
        yield* Effect.provideService(
          server.serveWith(
            () => Effect.map(User, (data) => ({ data })),
            (socket, user) => socket.send(user),
            {
              path: "/decided"
            }
          ),
          User,
          "the decision's"
        )
        expect(yield* greeting(`${server.url}decided`)).toBe("the decision's")
      })
    )

    test(
      "are chosen by path, without the query; the one without a path gets the rest",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        yield* server.serve(says("rest"))
        yield* server.serve(says("a"), { path: "/a" })
        yield* server.serve(says("b"), { path: "/b" })
        for (const [path, text] of [
          ["a", "a"],
          ["b?a=/a", "b"],
          ["", "rest"],
          ["a/", "rest"],
          ["A", "rest"],
          ["c?/a", "rest"]
        ]) {
          expect(yield* greeting(`${server.url}${path}`)).toBe(text)
        }
      })
    )

    test(
      "have options of their own",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ subprotocols: ["common"], headers: { "x-from": "server" } })
        yield* server.serve(echo)
        yield* server.serve(echo, { path: "/own", subprotocols: ["own"], headers: { "x-from": "handler" } })
        const options = { subprotocols: ["common", "own"] }
        const common = yield* WebSocket.connect(server.url, options)
        expect([common.subprotocol, common.headers["x-from"]]).toEqual(["common", "server"])
        const own = yield* WebSocket.connect(`${server.url}own`, options)
        expect([own.subprotocol, own.headers["x-from"]]).toEqual(["own", "handler"])
      })
    )

    test(
      "answer with what the decision says, before what holds for all; and with the cookies of both",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({
          ...hasty,
          headers: { "x-from": "server", "x-all": "all" },
          cookies: Cookies.fromSetCookie("a=1")
        })
        yield* server.serveWith(
          () =>
            Effect.succeed({
              data: "decided",
              headers: { "X-From": "decision" },
              cookies: Cookies.fromSetCookie("b=2")
            }),
          (socket, data) => socket.send(data)
        )
        const socket = yield* WebSocket.connect(server.url)
        expect(socket.headers).toMatchObject({ "x-from": "decision", "x-all": "all", "set-cookie": "a=1\nb=2" })
        expect(yield* socket.receive).toBe("decided")
      })
    )

    test(
      "that no path leads to are answered with 404",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        yield* server.serve(echo, { path: "/here" })
        const error = yield* refusal(`${server.url}there`)
        expect(error).toMatchObject({ status: 404 })
        expect(error.message).toContain("404")
        expect(error.body).toContain("nothing is served at this path")
      })
    )

    test(
      "may come after a request, which waits for the first of them",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        const early = yield* rawClient(server.address)
        yield* early.send(upgradeRequest())
        yield* settle
        expect(early.heard.size()).toBe(0)
        yield* server.serve(says("at last"))
        expect(yield* early.head).toContain(" 101 ")
        expect(yield* early.frame(() => true)).toEqual(Frame.text("at last"))
        yield* early.destroy
      })
    )

    test(
      "that never come make for a 503 after handshakeTimeout",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ handshakeTimeout: "2 seconds" })
        const early = yield* rawClient(server.address)
        yield* early.send(upgradeRequest())
        yield* settle
        yield* TestClock.adjust("2 seconds")
        expect(yield* early.head).toContain("HTTP/1.1 503 ")
        yield* early.ended
        yield* early.end
      })
    )

    test(
      "may go: their connections are closed with 1001, others go on, new ones get a 404",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        yield* server.serve(echo, { path: "/stays" })
        const scope = yield* Scope.make()
        yield* Scope.extend(server.serve(echo, { path: "/goes" }), scope)
        const goes = yield* upgradedClient(server.address, upgradeRequest({}, "GET /goes HTTP/1.1"))
        const stays = yield* WebSocket.connect(`${server.url}stays`)
        const going = yield* Effect.fork(Scope.close(scope, Exit.void))
        expect(yield* goes.closeCode).toBe(1001)
        yield* goes.sendFrames(Frame.close(1001))
        yield* goes.ended
        yield* goes.end
        yield* Fiber.join(going)
        yield* stays.send("still here")
        expect(yield* stays.receive).toBe("still here")
        expect(yield* refusal(`${server.url}goes`)).toMatchObject({ status: 404 })
      })
    )

    test(
      "have the services that they were served with",
      Effect.gen(function* () {
        class Name extends Context.Tag("Name")<Name, string>() {}
        const server = yield* WebSocketServer.make(hasty)
        yield* server
          .serve((socket) => Effect.flatMap(Name, (text) => socket.send(text)), { path: "/named" })
          .pipe(Effect.provideService(Name, "Ada"))
        expect(yield* greeting(`${server.url}named`)).toBe("Ada")
      })
    )

    test(
      "may leave things to the scope of their connection",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        const released = yield* Deferred.make<boolean>()
        yield* server.serve((socket) =>
          Effect.zipRight(
            Effect.addFinalizer(() => Effect.flatMap(socket.isOpen, (open) => Deferred.succeed(released, open))),
            socket.send("hello")
          )
        )
        expect(yield* greeting(server.url)).toBe("hello")
        yield* Deferred.await(released)
      })
    )
  })

  describe(`${name}: a handler that fails`, () => {
    interface Entry {
      readonly level: LogLevel.LogLevel
      readonly text: string
      readonly address: unknown
    }
    const logging = (entries: Array<Entry>) =>
      Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ annotations, logLevel, message, cause }) => {
          const address = HashMap.get(annotations, "address")
          entries.push({
            level: logLevel,
            text: `${message} ${cause._tag}`,
            address: address._tag === "Some" ? address.value : undefined
          })
        })
      )

    for (const [what, failure] of [
      ["an error", Effect.fail("no such room")],
      ["a defect", Effect.die(new Error("bug"))]
    ] as const) {
      test(
        `with ${what} closes its connection with 1011 and is logged as an error; the server serves on`,
        Effect.gen(function* () {
          const entries: Array<Entry> = []
          const server = yield* WebSocketServer.make(hasty).pipe(Effect.provide(logging(entries)))
          yield* server.serve(() => failure, { path: "/bad" })
          yield* server.serve(says("fine"))
          const peer = yield* upgradedClient(server.address, upgradeRequest({}, "GET /bad HTTP/1.1"))
          expect(yield* peer.closeCode).toBe(1011)
          yield* peer.sendFrames(Frame.close(1011))
          yield* peer.ended
          yield* peer.end
          expect(yield* greeting(server.url)).toBe("fine")
          expect(entries.map(({ level }) => level)).toEqual([LogLevel.Error])
          expect(entries[0]?.text).toMatch(/^WebSocket handler failed (Fail|Die)$/)
          expect(entries[0]?.address).toBe(Flow.formatAddress(peer.flow.localAddress))
        })
      )
    }

    test(
      "because the connection has ended isn't logged as an error",
      Effect.gen(function* () {
        const entries: Array<Entry> = []
        const failed = yield* Deferred.make<void>()
        const server = yield* WebSocketServer.make(hasty).pipe(Effect.provide(logging(entries)))
        yield* server.serve((socket) =>
          Effect.forever(socket.receive).pipe(Effect.ensuring(Deferred.succeed(failed, undefined)))
        )
        const peer = yield* upgradedClient(server.address)
        yield* peer.end
        yield* Deferred.await(failed)
        yield* peer.ended
        expect(entries).toEqual([])
      })
    )
  })

  describe(`${name}: the heart`, () => {
    const isPing = ({ opcode }: Frame.Frame) => opcode === Frame.Opcode.ping
    const beat = Effect.zipRight(TestClock.adjust("10 seconds"), settle)

    /** Both kinds of ends that have a heart, with a test as their peer. */
    const hearts = (options: WebSocket.ConnectionOptions) => ({
      server: Effect.gen(function* () {
        const { server, socket } = yield* serverWith({ pingInterval: "10 seconds", ...options })
        const peer = yield* upgradedClient(server.address)
        return { peer, socket: yield* socket }
      }),
      client: Effect.gen(function* () {
        const server = yield* rawServer()
        const connecting = yield* Effect.fork(WebSocket.connect(server.url, { pingInterval: "10 seconds", ...options }))
        const peer = yield* upgradedServer(server)
        return { peer, socket: yield* Fiber.join(connecting) }
      })
    })

    for (const role of ["server", "client"] as const) {
      test(
        `pings a peer that is silent, and ends the connection after the pongs that it may miss (${role})`,
        Effect.gen(function* () {
          const { peer, socket } = yield* hearts({})[role]
          yield* settle
          expect(peer.frames()).toEqual([])
          const receiving = yield* Effect.fork(Effect.flip(socket.receive))
          for (let beats = 1; beats <= WebSocket.defaultMaxMissedPongs + 1; beats++) {
            yield* beat
            yield* peer.heard.until(() => peer.frames().length === beats)
            expect(peer.frames().every(isPing)).toBe(true)
          }
          expect(receiving.unsafePoll()).toBeNull()
          yield* beat
          const error = yield* Fiber.join(receiving)
          expect(error).toMatchObject({ _tag: "IoError", code: "ETIMEDOUT", operation: "read" })
          expect(error.message).toMatch(/127\.0\.0\.1:\d+ failed \(ETIMEDOUT\)/)
          yield* peer.ended
          yield* peer.end
        })
      )

      test(
        `ends no connection whose peer answers, or sends anything (${role})`,
        Effect.gen(function* () {
          const { peer, socket } = yield* hearts({ maxMissedPongs: 1 })[role]
          yield* settle
          for (let beats = 0; beats < 10; beats++) {
            yield* beat
            if (beats % 3 === 0) yield* peer.sendFrames(Frame.pong())
            else if (beats % 3 === 1) yield* peer.sendFrames(Frame.text("x"))
            // Half a frame is a sign of life, too.
            else yield* peer.sendFrames(Frame.make({ opcode: Frame.Opcode.binary, payload: Uint8Array.of(beats) }))
            yield* settle
          }
          expect(yield* socket.isOpen).toBe(true)
          yield* peer.sendFrames(Frame.close(1000))
          yield* peer.closeCode
          yield* peer.end
          yield* socket.closed
        })
      )
    }

    test(
      "pings a peer that sends all the time too, so that proxies see bytes in both directions",
      Effect.gen(function* () {
        const { peer, socket } = yield* hearts({}).server
        for (let beats = 1; beats <= 5; beats++) {
          yield* peer.sendFrames(Frame.text("x"))
          yield* settle
          yield* beat
          yield* peer.heard.until(() => peer.frames().length === beats)
        }
        expect(peer.frames().every(isPing)).toBe(true)
        expect(yield* socket.isOpen).toBe(true)
        yield* peer.destroy
      })
    )

    test(
      "doesn't end a connection that isn't read from, since its peer can't be heard",
      Effect.gen(function* () {
        const { peer, socket } = yield* hearts({ receiveBufferSize: 1000 }).server
        for (let index = 0; index < 20; index++) yield* peer.sendFrames(Frame.text("x".repeat(500)))
        yield* settle
        for (let beats = 0; beats < 10; beats++) yield* beat
        expect(yield* socket.isOpen).toBe(true)
        let taken = 0
        while (taken < 20) taken += (yield* socket.receiveAll).length
        expect(yield* socket.isOpen).toBe(true)
        yield* peer.destroy
      })
    )
  })

  describe(`${name}: origins`, () => {
    const allowed = (origin: string | undefined, options: WebSocketServer.ServerOptions = {}) =>
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(options)
        yield* server.serve(echo)
        const peer = yield* rawClient(server.address)
        yield* peer.send(upgradeRequest({ Origin: origin }))
        const head = yield* peer.head
        yield* peer.destroy
        if (!head.includes(" 101 ")) expect(head).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/)
        return head.includes(" 101 ")
      })

    test(
      "are those of the server itself unless others are given",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make(hasty)
        const scheme = server.url.startsWith("wss:") ? "https" : "http"
        expect(yield* allowed(undefined)).toBe(true)
        expect(yield* allowed(`${scheme}://server.example`)).toBe(true)
        expect(yield* allowed(`${scheme}://SERVER.example:${scheme === "https" ? 443 : 80}`)).toBe(true)
        expect(yield* allowed(`${scheme}://server.example:8080`)).toBe(false)
        expect(yield* allowed(`${scheme}://evil.example`)).toBe(false)
        expect(yield* allowed(`${scheme}://server.example.evil.example`)).toBe(false)
        expect(yield* allowed("null")).toBe(false)
        expect(yield* allowed("nonsense")).toBe(false)
        expect(yield* allowed("")).toBe(false)
      })
    )

    test(
      "may be a list, a predicate, or all",
      Effect.gen(function* () {
        const list = { origin: OriginPolicy.allowList(["https://app.example", "http://localhost:3000"]) }
        expect(yield* allowed("https://app.example", list)).toBe(true)
        expect(yield* allowed("http://localhost:3000", list)).toBe(true)
        expect(yield* allowed("http://app.example", list)).toBe(false)
        expect(yield* allowed("null", list)).toBe(false)
        expect(yield* allowed("http://server.example", list)).toBe(false)
        const predicate = { origin: OriginPolicy.allowList((origin) => origin.endsWith(".app.example")) }
        expect(yield* allowed("https://eu.app.example", predicate)).toBe(true)
        expect(yield* allowed("https://evil.example", predicate)).toBe(false)
        expect(yield* allowed("null", { origin: OriginPolicy.allowAll })).toBe(true)
        expect(yield* allowed("https://evil.example", { origin: OriginPolicy.allowAll })).toBe(true)
      })
    )
  })
}
