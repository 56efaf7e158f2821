import { Socket } from "@effect/platform"
import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as PlatformSocket from "effect-websocket/PlatformSocket"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { closed, heard, lawful, pattern, reading, settle } from "./fixtures/heard.js"
import { testsOn } from "./fixtures/leaks.js"
import { flowLaws } from "./suites/flow.js"

/** Both ends of a WebSocket as flows: a tunnel. */
const tunnel = Effect.gen(function* () {
  const { client, server } = yield* TestNetwork.pair()
  const [inside, outside] = yield* Effect.all(
    [WebSocket.connectOver(client, "ws://server.example/"), WebSocket.accept(server)],
    { concurrency: 2 }
  )
  return {
    client: yield* PlatformSocket.fromSocket(PlatformSocket.toSocket(inside), { halfClose: false }),
    server: yield* PlatformSocket.fromSocket(PlatformSocket.toSocket(outside), { halfClose: false })
  }
})

/** Both ends of a TCP connection of the platform's as flows. */
const net = Effect.gen(function* () {
  const sockets = yield* NodeSocketServer.make({ host: "127.0.0.1", port: 0 })
  const accepted = yield* Deferred.make<Socket.Socket>()
  yield* Effect.forkScoped(sockets.run((socket) => Effect.zipRight(Deferred.succeed(accepted, socket), Effect.never)))
  const port = sockets.address._tag === "TcpAddress" ? sockets.address.port : 0
  const client = yield* PlatformSocket.fromSocket(yield* NodeSocket.makeNet({ host: "127.0.0.1", port }))
  const server = yield* PlatformSocket.fromSocket(yield* Deferred.await(accepted))
  return { client, server }
})

// Over a Socket the end of reading is the end of `run`, and with it of writing.
const halfOpen = [
  "comes once, after the bytes, and leaves the other direction open",
  "comes of writing to a peer that is gone"
]
for (const [name, joined, exceptions] of [
  // A Close frame isn't a reset: there is no errno to tell.
  ["a WebSocket", tunnel, [...halfOpen, "closes with an IoError, once and last"]],
  // It can't be paused, so no sender ever waits.
  ["NodeSocket", net, [...halfOpen, "answers false, counts what waits, and drains when the reader goes on"]]
] as const) {
  const broken = new Set<string>(exceptions)
  describe(`a flow over ${name}`, () => {
    flowLaws((title, body) => {
      if (broken.delete(title)) {
        it(`is excepted from the law that it ${title}`, () => expect(broken.size).toBe(0))
        return
      }
      it.scopedLive(title, () =>
        Effect.gen(function* () {
          const breaches: Array<string> = []
          const { client, server } = yield* joined
          yield* body({ client: lawful(client, breaches), server: lawful(server, breaches) })
          yield* settle
          expect(breaches).toEqual([])
        })
      )
    }, false)
  })
}

describe("fromSocket", () => {
  for (const [name, joined] of [
    ["a WebSocket", tunnel],
    ["NodeSocket", net]
  ] as const) {
    testsOn(NodeNetwork.layer)(
      `lets our protocol run over ${name}, to the closing handshake, without waiting for any timeout`,
      Effect.gen(function* () {
        const { client, server } = yield* joined
        const [outer, inner] = yield* Effect.all(
          [WebSocket.connectOver(client, "ws://inner.example/"), WebSocket.accept(server)],
          { concurrency: 2 }
        )
        // More than the largest message of the connection under it.
        const large = pattern(3_000_000)
        const echo = yield* Effect.fork(inner.run((message) => inner.send(message)))
        const starts = Array.from({ length: 6 }, (_, index) => index * 500_000)
        yield* Effect.fork(Effect.forEach(starts, (at) => outer.send(large.subarray(at, at + 500_000))))
        for (const at of starts) {
          const piece = yield* outer.receive
          expect(typeof piece === "string" ? -1 : Buffer.compare(piece, large.subarray(at, at + 500_000))).toBe(0)
        }
        // The clock stands still: it is not the timeout that ends this.
        yield* outer.close(4321, "done")
        expect(yield* Effect.flip(Fiber.join(echo))).toMatchObject({ code: 4321, reason: "done", clean: true })
        yield* inner.closed
      })
    )
  }

  testsOn(NodeNetwork.layer)(
    "fails as the socket does if it can't be opened",
    Effect.gen(function* () {
      const socket = yield* NodeSocket.makeNet({ host: "127.0.0.1", port: 1 })
      const error = yield* Effect.flip(PlatformSocket.fromSocket(socket))
      expect(error).toMatchObject({ _tag: "SocketError", reason: "Open" })
    })
  )

  testsOn(NodeNetwork.layer)(
    "breaks the flow, not the process, when a socket that can't be paused brings more than is bearable",
    Effect.gen(function* () {
      const { client, server } = yield* net
      const atServer = heard()
      server.attach(atServer)
      client.attach(heard())
      client.write(new Uint8Array(PlatformSocket.maxHeldBytes + 1), false)
      yield* closed(atServer)
      expect(atServer.events).toEqual(["close"])
      expect(atServer.error()).toMatchObject({ _tag: "IoError", operation: "read" })
    })
  )

  /** A socket that is run until `end`, and takes nothing that is written. */
  const stubborn = (end: Effect.Effect<void, Socket.SocketError>, onStop = () => {}) => {
    const run = (_: unknown, options?: { readonly onOpen?: Effect.Effect<void> | undefined }) =>
      Effect.zipRight(options?.onOpen ?? Effect.void, end)
    const writer = Effect.succeed(() => Effect.onInterrupt(Effect.never, () => Effect.sync(onStop)))
    return Socket.Socket.of({ [Socket.TypeId]: Socket.TypeId, run, runRaw: run, writer })
  }

  testsOn(NodeNetwork.layer)(
    "stops writing when the socket is over, and hands on bytes that are no Buffer",
    Effect.gen(function* () {
      const ending = yield* Deferred.make<void>()
      const stopped = yield* Deferred.make<void>()
      const socket = stubborn(Deferred.await(ending), () => Deferred.unsafeDone(stopped, Exit.void))
      const flow = yield* PlatformSocket.fromSocket(socket)
      flow.write(new Uint8Array(1), false)
      yield* settle
      yield* Deferred.succeed(ending, undefined)
      yield* Deferred.await(stopped)
      expect(flow.bufferedBytes()).toBe(0)
      const { client, server } = yield* net
      const atServer = reading(server)
      client.write(new Uint8Array([1, 2, 3]), false)
      yield* atServer.until(({ size }) => size() === 3)
      expect(atServer.chunks[0]?.constructor).toBe(Uint8Array)
    })
  )

  testsOn(NodeNetwork.layer)(
    "tells a broken socket as an IoError with its errno, and an abnormal close with the cause",
    Effect.gen(function* () {
      const failing = (error: Socket.SocketError) => stubborn(Effect.zipRight(Effect.yieldNow(), Effect.fail(error)))
      const cause = Object.assign(new Error("reset"), { code: "ECONNRESET" })
      for (const [error, expected] of [
        [new Socket.SocketGenericError({ reason: "Read", cause }), { operation: "read", code: "ECONNRESET" }],
        [new Socket.SocketGenericError({ reason: "Write", cause }), { operation: "write", code: "ECONNRESET" }],
        [new Socket.SocketCloseError({ reason: "Close", code: 1006 }), { operation: "read", cause: { code: 1006 } }],
        [new Socket.SocketCloseError({ reason: "Close", code: 1001 }), undefined]
      ] as const) {
        const handler = reading(yield* PlatformSocket.fromSocket(failing(error)))
        yield* closed(handler)
        if (expected === undefined) expect([handler.events, handler.error()]).toEqual([["end", "close"], undefined])
        else expect(handler.error()).toMatchObject({ _tag: "IoError", ...expected })
      }
    })
  )

  testsOn(TestNetwork.layer)(
    "tells the peer of a destroyed tunnel whether bytes were lost",
    Effect.gen(function* () {
      for (const [unread, code] of [
        ["", 1000],
        ["unread", 1011]
      ] as const) {
        const { client, server } = yield* TestNetwork.pair()
        const [inside, outside] = yield* Effect.all(
          [WebSocket.connectOver(client, "ws://server.example/"), WebSocket.accept(server)],
          { concurrency: 2 }
        )
        const flow = yield* PlatformSocket.fromSocket(PlatformSocket.toSocket(outside), { halfClose: false })
        if (unread !== "") yield* inside.send(unread)
        yield* settle
        flow.destroy()
        expect(yield* inside.closed).toMatchObject({ code, initiator: "remote" })
      }
    })
  )
})
