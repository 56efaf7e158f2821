import { Socket } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Cause, Chunk, Deferred, Effect, Exit, Fiber, Queue, Stream, TestClock } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as PlatformSocket from "effect-websocket/PlatformSocket"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "./fixtures/heard.js"
import { bothRolesOn } from "./fixtures/joined.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"
import { rawServer, resettableClient, upgradedServer, upgradeRequest } from "./fixtures/rawPeer.js"

const networks = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
] as const

/** Runs a socket in the background, and hands over what comes. */
const collecting = (socket: Socket.Socket) =>
  Effect.gen(function* () {
    const queue = yield* Queue.unbounded<string | Uint8Array>()
    const fiber = yield* Effect.fork(Effect.exit(socket.runRaw((message) => Queue.offer(queue, message))))
    return { next: Queue.take(queue), end: Fiber.join(fiber) }
  })

const failureOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? Cause.squash(exit.cause) : "no failure"

/** Counts what a sender gets rid of, until it gets rid of no more. */
const untilStuck = (sent: () => number) =>
  Effect.gen(function* () {
    let before = -1
    while (sent() !== before) {
      before = sent()
      for (let round = 0; round < 5; round++) yield* settle
    }
    return before
  })

const large = new Uint8Array(64 * 1024)

for (const [name, network] of networks) {
  const test = testsOn(network)
  const testEnds = bothRolesOn(network)

  describe(`a connection as a Socket ${name}`, () => {
    testEnds("gives messages in order, text and binary told apart by runRaw, as bytes by run", (self, peer) =>
      Effect.gen(function* () {
        const socket = PlatformSocket.toSocket(self)
        const heard: Array<string | Uint8Array> = []
        const four = yield* Deferred.make<void>()
        const raw = yield* Effect.fork(
          socket.runRaw((message) => {
            heard.push(message)
            if (heard.length === 4) Deferred.unsafeDone(four, Exit.void)
          })
        )
        yield* peer.sendAll(["grüße", new Uint8Array([1, 2]), "", "last"])
        yield* Deferred.await(four)
        yield* Fiber.interrupt(raw)
        expect(heard).toEqual(["grüße", new Uint8Array([1, 2]), "", "last"])
        const bytes: Array<Uint8Array> = []
        yield* peer.sendAll(["grüße", new Uint8Array([3])])
        yield* peer.close().pipe(Effect.fork)
        yield* socket.run((message) => Effect.sync(() => bytes.push(message)))
        expect(bytes).toEqual([new TextEncoder().encode("grüße"), new Uint8Array([3])])
      })
    )

    testEnds("handles one message at a time, and a slow handler stops the sender", (self, peer) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const total = 400
        let sent = 0
        let handling = 0
        const handled: Array<number> = []
        const sending = yield* Effect.fork(
          Effect.gen(function* () {
            for (; sent < total; sent++) {
              const message = new Uint8Array(large)
              new DataView(message.buffer).setUint32(0, sent)
              yield* peer.send(message)
            }
            yield* peer.close()
          })
        )
        const running = yield* Effect.fork(
          PlatformSocket.toSocket(self).run((message) =>
            Effect.gen(function* () {
              handling++
              yield* Deferred.await(gate)
              handled.push(new DataView(message.buffer, message.byteOffset).getUint32(0))
              expect(handling).toBe(1)
              handling--
            })
          )
        )
        const stuck = yield* untilStuck(() => sent)
        expect(stuck).toBeLessThan(total)
        expect(handled).toEqual([])
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(running)
        yield* Fiber.join(sending)
        expect(handled).toEqual(Array.from({ length: total }, (_, index) => index))
      })
    )

    testEnds(
      "begins handlers in order without waiting where they are concurrent, and interrupts them at the end",
      (self, peer) =>
        Effect.gen(function* () {
          const begun: Array<string | Uint8Array> = []
          const interrupted: Array<string | Uint8Array> = []
          const three = yield* Deferred.make<void>()
          const socket = PlatformSocket.toSocket(self, { concurrent: true })
          const running = yield* Effect.fork(
            socket.runRaw((message) => {
              begun.push(message)
              if (begun.length === 3) Deferred.unsafeDone(three, Exit.void)
              return Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted.push(message)))
            })
          )
          yield* peer.sendAll(["a", "b", "c"])
          yield* Deferred.await(three)
          yield* peer.close()
          yield* Fiber.join(running)
          expect(begun).toEqual(["a", "b", "c"])
          expect(interrupted.sort()).toEqual(["a", "b", "c"])
        })
    )

    testEnds("suspends its writer while the peer doesn't read", (self, peer) =>
      Effect.gen(function* () {
        const write = yield* PlatformSocket.toSocket(self).writer
        const total = 400
        let sent = 0
        const writing = yield* Effect.fork(
          Effect.gen(function* () {
            for (; sent < total; sent++) yield* write(large)
            yield* write(new Socket.CloseEvent())
          })
        )
        expect(yield* untilStuck(() => sent)).toBeLessThan(total)
        let received = 0
        yield* peer.run(() => Effect.sync(() => received++))
        yield* Fiber.join(writing)
        expect(received).toBe(total)
      })
    )

    testEnds("closes with the code and the reason of a CloseEvent, which run then tells", (self, peer) =>
      Effect.gen(function* () {
        const socket = PlatformSocket.toSocket(self)
        const { end } = yield* collecting(socket)
        const write = yield* socket.writer
        yield* write(new Socket.CloseEvent(4001, "enough"))
        expect(yield* peer.closed).toMatchObject({ code: 4001, reason: "enough", clean: true })
        expect(failureOf(yield* end)).toMatchObject({ _tag: "SocketError", reason: "Close", code: 4001 })
        yield* write(new Socket.CloseEvent(4002))
        const error = yield* Effect.flip(write("too late"))
        expect(error).toMatchObject({ _tag: "SocketError", reason: "Close", code: 4001 })
      })
    )

    testEnds("refuses a CloseEvent that can't be sent with a typed error, and stays open", (self, peer) =>
      Effect.gen(function* () {
        const write = yield* PlatformSocket.toSocket(self).writer
        for (const event of [
          new Socket.CloseEvent(1006),
          new Socket.CloseEvent(99),
          new Socket.CloseEvent(1000, "x".repeat(124))
        ]) {
          const error = yield* Effect.flip(write(event))
          expect(error).toMatchObject({ reason: "Write", cause: { _tag: "ProtocolError", side: "local" } })
          expect(Socket.isSocketError(error)).toBe(true)
        }
        yield* write("still here")
        expect(yield* peer.receive).toBe("still here")
      })
    )

    for (const [code, fails] of [
      [1000, false],
      [1001, false],
      [1011, true],
      [4000, true]
    ] as const) {
      testEnds(`${fails ? "fails" : "completes"} when the peer closes with ${code}, after the messages`, (self, peer) =>
        Effect.gen(function* () {
          const { end, next } = yield* collecting(PlatformSocket.toSocket(self))
          yield* peer.send("last words")
          yield* peer.close(code, "because")
          expect(yield* next).toBe("last words")
          const exit = yield* end
          expect(Exit.isFailure(exit)).toBe(fails)
          if (fails) expect(failureOf(exit)).toMatchObject({ reason: "Close", code, closeReason: "because" })
          const strict = yield* PlatformSocket.toSocket(self, { closeCodeIsError: () => true })
            .run(() => {})
            .pipe(Effect.flip)
          expect(strict).toMatchObject({ reason: "Close", code })
        })
      )
    }

    test(
      "fails with 1006 when the peer ends without a Close frame, and with Read and the cause when it breaks a rule",
      Effect.gen(function* () {
        const server = yield* rawServer()
        const connecting = yield* Effect.fork(WebSocket.connect(server.url))
        const peer = yield* upgradedServer(server)
        const { end } = yield* collecting(PlatformSocket.toSocket(yield* Fiber.join(connecting)))
        yield* peer.end
        expect(failureOf(yield* end)).toMatchObject({ reason: "Close", code: 1006 })
        const again = yield* Effect.fork(WebSocket.connect(server.url))
        const offender = yield* upgradedServer(server)
        const second = yield* collecting(PlatformSocket.toSocket(yield* Fiber.join(again)))
        yield* offender.send(new Uint8Array([0x8f, 0]))
        expect(failureOf(yield* second.end)).toMatchObject({ reason: "Read", cause: { _tag: "ProtocolError" } })
      })
    )

    test(
      "fails with Read and the cause when the peer resets the connection",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make()
        const ended = yield* Deferred.make<unknown>()
        yield* server.serve((socket) =>
          PlatformSocket.toSocket(socket)
            .run(() => {})
            .pipe(Effect.onExit((exit) => Deferred.succeed(ended, failureOf(exit))))
        )
        const { peer, reset } = yield* resettableClient(server.address)
        yield* peer.send(upgradeRequest())
        yield* peer.head
        yield* reset
        expect(yield* Deferred.await(ended)).toMatchObject({
          reason: "Read",
          cause: { _tag: "IoError", code: "ECONNRESET" }
        })
      })
    )

    testEnds("is usable after run was left, and goes on with the next message", (self, peer) =>
      Effect.gen(function* () {
        const socket = PlatformSocket.toSocket(self)
        yield* peer.sendAll(["one", "two", "three"])
        const failed = yield* Effect.flip(socket.runRaw((message) => Effect.fail(`no ${message}`)))
        expect(failed).toBe("no one")
        const { end, next } = yield* collecting(socket)
        expect([yield* next, yield* next]).toEqual(["two", "three"])
        const write = yield* socket.writer
        yield* write("four")
        expect(yield* peer.receive).toBe("four")
        yield* peer.close()
        expect(Exit.isSuccess(yield* end)).toBe(true)
      })
    )

    testEnds("runs onOpen before the first message, and lets it wait for one", (self, peer) =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const answered = yield* Deferred.make<void>()
        const done = yield* Deferred.make<void>()
        yield* peer.send("early")
        const onOpen = Effect.gen(function* () {
          log.push("open")
          yield* Deferred.await(answered)
          yield* Deferred.succeed(done, undefined)
        })
        const socket = PlatformSocket.toSocket(self)
        const running = yield* Effect.fork(
          socket.runRaw(
            (message) => {
              log.push(String(message))
              return Deferred.succeed(answered, undefined)
            },
            { onOpen }
          )
        )
        yield* Deferred.await(done)
        yield* peer.close()
        yield* Fiber.join(running)
        expect(log).toEqual(["open", "early"])
        // An RpcClient would take it for a new connection.
        yield* socket.run(() => {}, { onOpen: Effect.sync(() => log.push("open again")) })
        expect(log).toEqual(["open", "early"])
      })
    )

    testEnds("is a Channel of the platform", (self, peer) =>
      Effect.gen(function* () {
        const got = yield* Stream.make("a", "b", new Socket.CloseEvent(1000)).pipe(
          Stream.pipeThroughChannel(Socket.toChannelString(PlatformSocket.toSocket(self))),
          Stream.runCollect,
          Effect.fork
        )
        yield* peer.run((message) => peer.send(`re: ${message}`))
        expect(Chunk.toReadonlyArray(yield* Fiber.join(got)).join()).toMatch(/^(re: a(,re: b)?)?$/)
        expect(yield* peer.closed).toMatchObject({ code: 1000, initiator: "remote" })
      })
    )
  })

  describe(`a Socket that connects ${name}`, () => {
    /** A server that hands its connections over, and tells how they ended. */
    const serving = Effect.gen(function* () {
      const server = yield* WebSocketServer.make()
      const sockets = yield* Queue.unbounded<WebSocket.WebSocket>()
      yield* server.serve((socket) => Effect.zipRight(Queue.offer(sockets, socket), Effect.ignore(socket.closed)))
      return { url: server.url, next: Queue.take(sockets) }
    })

    test(
      "does so with each run, and closes when run is left: 1001 interrupted, 1011 failed, 1000 done",
      Effect.gen(function* () {
        const { next, url } = yield* serving
        const socket = yield* PlatformSocket.makeSocket(WebSocket.connect(url))
        const open = yield* Deferred.make<void>()
        const onOpen = Effect.asVoid(Deferred.succeed(open, undefined))
        const first = yield* Effect.fork(socket.run(() => {}, { onOpen }))
        const one = yield* next
        yield* Deferred.await(open)
        yield* Fiber.interrupt(first)
        expect(yield* one.closed).toMatchObject({ code: 1001, initiator: "remote" })
        const second = yield* Effect.fork(Effect.flip(socket.run(() => Effect.fail("enough"))))
        const two = yield* next
        yield* two.send("x")
        expect(yield* Fiber.join(second)).toBe("enough")
        expect(yield* two.closed).toMatchObject({ code: 1011 })
        const third = yield* Effect.fork(socket.run(() => {}))
        const three = yield* next
        yield* three.close(1001)
        yield* Fiber.join(third)
        expect(yield* three.closed).toMatchObject({ code: 1001, initiator: "local" })
      })
    )

    test(
      "holds what is written while there is no connection for the next one",
      Effect.gen(function* () {
        const { next, url } = yield* serving
        const socket = yield* PlatformSocket.makeSocket(WebSocket.connect(url))
        const write = yield* socket.writer
        for (const word of ["first", "second"]) {
          const writing = yield* Effect.fork(write(word))
          yield* settle
          expect(writing.unsafePoll()).toBe(null)
          const running = yield* Effect.fork(socket.run(() => {}))
          const peer = yield* next
          expect(yield* peer.receive).toBe(word)
          yield* Fiber.join(writing)
          yield* Fiber.interrupt(running)
        }
      })
    )

    test(
      "lets what is written to a connection that has just ended be lost, but refuses a bad close code",
      Effect.gen(function* () {
        const { next, url } = yield* serving
        const socket = yield* PlatformSocket.makeSocket(WebSocket.connect(url), { concurrent: false })
        const write = yield* socket.writer
        const [busy, gate] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const running = yield* Effect.fork(
          socket.run(() => Effect.zipRight(Deferred.succeed(busy, undefined), Deferred.await(gate)))
        )
        const peer = yield* next
        yield* peer.send("x")
        yield* Deferred.await(busy)
        expect(yield* Effect.flip(write(new Socket.CloseEvent(1005)))).toMatchObject({ reason: "Write" })
        yield* peer.close(4000)
        yield* write("into the void")
        yield* Deferred.succeed(gate, undefined)
        expect(yield* Effect.flip(Fiber.join(running))).toMatchObject({ reason: "Close", code: 4000 })
      })
    )

    test(
      "fails with Open and the cause when there is nobody, and when the handshake is refused",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make()
        yield* server.serve(() => Effect.void, { path: "/here" })
        const refused = yield* PlatformSocket.makeSocket(WebSocket.connect(`${server.url}elsewhere`))
        const opened = yield* Deferred.make<void>()
        const error = yield* Effect.flip(
          refused.run(() => {}, { onOpen: Effect.asVoid(Deferred.succeed(opened, undefined)) })
        )
        expect(error).toMatchObject({ reason: "Open", cause: { _tag: "HandshakeError", status: 404 } })
        expect(yield* Deferred.isDone(opened)).toBe(false)
        const nowhere = yield* PlatformSocket.makeSocket(WebSocket.connect("ws://127.0.0.1:1/"))
        expect(yield* Effect.flip(nowhere.run(() => {}))).toMatchObject({
          reason: "Open",
          cause: { _tag: "ConnectError", reason: "tcp" }
        })
      })
    )
  })
}

testInMemory(
  "a Socket that connects fails with OpenTimeout when the server doesn't answer in time",
  Effect.gen(function* () {
    const server = yield* rawServer()
    const socket = yield* PlatformSocket.makeSocket(WebSocket.connect(server.url, { handshakeTimeout: "3 seconds" }))
    const running = yield* Effect.fork(Effect.flip(socket.run(() => {})))
    yield* server.next
    yield* TestClock.adjust("3 seconds")
    expect(yield* Fiber.join(running)).toMatchObject({ reason: "OpenTimeout", cause: { _tag: "ConnectError" } })
  })
)
