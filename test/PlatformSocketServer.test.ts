import { Socket, SocketServer } from "@effect/platform"
import { RpcSerialization } from "@effect/rpc"
import { describe, expect } from "@effect/vitest"
import { Chunk, Context, Deferred, Effect, Exit, Fiber, Layer, Logger, Queue, Stream, TestClock } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as PlatformSocket from "effect-websocket/PlatformSocket"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "./fixtures/heard.js"
import { testsOn } from "./fixtures/leaks.js"
import { resettableClient, upgradeRequest } from "./fixtures/rawPeer.js"
import { serveSums, sumsOver } from "./fixtures/rpc.js"

/** A server of ours, and a socket server over it. */
const listening = (options?: Parameters<typeof PlatformSocket.layerSocketServer>[0]) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make()
    const layer = PlatformSocket.layerSocketServer(options).pipe(
      Layer.provide(Layer.succeed(WebSocketServer.WebSocketServer, server))
    )
    return { server, layer, url: server.url }
  })

const built = <E, R>(layer: Layer.Layer<SocketServer.SocketServer, E, R>) =>
  Effect.map(Layer.build(layer), (context) => Context.get(context, SocketServer.SocketServer))

/** Collects what is logged as an error or worse. */
const complaints = () => {
  const all: Array<unknown> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel.ordinal >= 40_000) all.push(message)
  })
  return { all, layer: Logger.replace(Logger.defaultLogger, logger) }
}

for (const [name, network] of [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
] as const) {
  const test = testsOn(network)

  describe(`a SocketServer ${name}`, () => {
    test(
      "serves connections that came before run, and those that come after another run has ended",
      Effect.gen(function* () {
        const { layer, server, url } = yield* listening()
        const sockets = yield* built(layer)
        expect(sockets.address).toEqual(server.address)
        const heard = yield* Queue.unbounded<string>()
        const run = (who: string) =>
          sockets.run((socket) => socket.runRaw((message) => Queue.offer(heard, `${who}: ${message}`)))
        const early = yield* WebSocket.connect(url)
        yield* early.send("early")
        yield* settle
        const first = yield* Effect.fork(run("first"))
        expect(yield* Queue.take(heard)).toBe("first: early")
        yield* Fiber.interrupt(first)
        expect(yield* early.closed).toMatchObject({ code: 1001, initiator: "remote" })
        const between = yield* WebSocket.connect(url)
        yield* between.send("between")
        yield* settle
        const second = yield* Effect.fork(run("second"))
        expect(yield* Queue.take(heard)).toBe("second: between")
        const third = yield* Effect.fork(run("third"))
        yield* settle
        yield* Effect.flatMap(WebSocket.connect(url), (socket) => socket.send("later"))
        expect(yield* Queue.take(heard)).toBe("third: later")
        yield* Fiber.interrupt(third)
        yield* Effect.flatMap(WebSocket.connect(url), (socket) => socket.send("last"))
        expect(yield* Queue.take(heard)).toBe("second: last")
        yield* Fiber.interrupt(second)
      })
    )

    test(
      "serves the path it is for, with what run has in reach, and leaves the others alone",
      Effect.gen(function* () {
        class Word extends Context.Tag("Word")<Word, string>() {}
        const { layer, server, url } = yield* listening({ path: "/rpc", subprotocols: ["rpc.v1"] })
        yield* server.serve((socket) => socket.send("elsewhere"))
        const sockets = yield* built(layer)
        yield* sockets
          .run((socket) =>
            Effect.scoped(Effect.flatMap(socket.writer, (write) => Effect.flatMap(Word, (word) => write(word))))
          )
          .pipe(Effect.provideService(Word, "provided"), Effect.forkScoped)
        const inside = yield* WebSocket.connect(`${url}rpc`, { subprotocols: ["rpc.v1"] })
        expect([inside.subprotocol, yield* inside.receive]).toEqual(["rpc.v1", "provided"])
        expect(yield* inside.closed).toMatchObject({ code: 1000 })
        const outside = yield* WebSocket.connect(url)
        expect(yield* outside.receive).toBe("elsewhere")
      })
    )

    test(
      "closes with 1011 when a handler fails, and says so, but is silent when a connection breaks",
      Effect.suspend(() => {
        const { all, layer: logger } = complaints()
        return Effect.gen(function* () {
          const { layer, server, url } = yield* listening()
          const sockets = yield* built(layer)
          const over = yield* Queue.unbounded<void>()
          yield* sockets
            .run((socket) =>
              socket
                .runRaw((message) => (message === "fail" ? Effect.fail("on purpose") : undefined))
                .pipe(Effect.orDie, Effect.ensuring(Queue.offer(over, undefined)))
            )
            .pipe(Effect.forkScoped)
          const { peer, reset } = yield* resettableClient(server.address)
          yield* peer.send(upgradeRequest())
          yield* peer.head
          yield* reset
          yield* Queue.take(over)
          const leaving = yield* WebSocket.connect(url)
          yield* leaving.close(4000)
          yield* Queue.take(over)
          yield* settle
          expect(all).toEqual([])
          const failing = yield* WebSocket.connect(url)
          yield* failing.send("fail")
          expect(yield* failing.closed).toMatchObject({ code: 1011 })
          expect(all).toEqual([["WebSocket handler failed"]])
        }).pipe(Effect.provide(logger))
      })
    )
  })

  describe(`@effect/rpc ${name}`, () => {
    for (const [format, serialization] of [
      ["ndjson", RpcSerialization.layerNdjson],
      ["MessagePack", RpcSerialization.layerMsgPack]
    ] as const) {
      test(
        `calls and streams in ${format}, with calls from within a stream that is ahead of its reader`,
        Effect.gen(function* () {
          const { layer, url } = yield* listening()
          yield* serveSums(layer, undefined, serialization)
          const client = yield* sumsOver(PlatformSocket.layer(url), serialization)
          expect(yield* client.Double({ n: 21 })).toBe(42)
          // More in one piece than the client's buffer takes: the answers come behind it.
          const doubled = yield* client.Count({ to: 100 }).pipe(
            Stream.mapEffect((n) => client.Double({ n })),
            Stream.runCollect
          )
          expect(Chunk.toReadonlyArray(doubled)).toEqual(Array.from({ length: 100 }, (_, index) => 2 * (index + 1)))
        })
      )
    }

    test(
      "runs over one connection of the surroundings",
      Effect.gen(function* () {
        const { layer, url } = yield* listening()
        yield* serveSums(layer)
        const client = yield* sumsOver(PlatformSocket.layerSocket().pipe(Layer.provide(WebSocket.layer(url))))
        expect(Chunk.toReadonlyArray(yield* Stream.runCollect(client.Count({ to: 3 })))).toEqual([1, 2, 3])
      })
    )

    test(
      "ends the calls of a connection that is reset, and no other connection",
      Effect.gen(function* () {
        const { layer, server, url } = yield* listening()
        const events = yield* Queue.unbounded<string>()
        yield* serveSums(layer, (event) => void Queue.unsafeOffer(events, event))
        const client = yield* sumsOver(PlatformSocket.layer(url))
        const before = yield* Effect.fork(Stream.runCount(client.Count({ to: 50 })))
        const { peer, reset } = yield* resettableClient(server.address)
        yield* peer.send(upgradeRequest())
        yield* peer.head
        const request = { _tag: "Request", id: "1", tag: "Wait", payload: null, headers: [] }
        const text = new TextEncoder().encode(`${JSON.stringify(request)}\n`)
        // Masked with zeros, which leaves it as it is.
        yield* peer.send(new Uint8Array([0x81, 0x80 | text.length, 0, 0, 0, 0, ...text]))
        expect(yield* Queue.take(events)).toBe("begun")
        yield* reset
        expect(yield* Queue.take(events)).toBe("over")
        expect(yield* Fiber.join(before)).toBe(50)
        expect(yield* client.Double({ n: 4 })).toBe(8)
      })
    )

    test(
      "fails the calls that were under way with a typed error when the server goes, and connects again",
      Effect.gen(function* () {
        const { layer, url } = yield* listening()
        const sockets = yield* built(layer)
        const accepted = yield* Queue.unbounded<Socket.Socket>()
        const watched = SocketServer.SocketServer.of({
          address: sockets.address,
          run: (handler) => sockets.run((socket) => Effect.zipRight(Queue.offer(accepted, socket), handler(socket)))
        })
        const begun = yield* Deferred.make<void>()
        yield* serveSums(Layer.succeed(SocketServer.SocketServer, watched), () => Deferred.unsafeDone(begun, Exit.void))
        const client = yield* sumsOver(PlatformSocket.layer(url))
        const waiting = yield* Effect.fork(Effect.flip(client.Wait()))
        yield* Deferred.await(begun)
        const write = yield* (yield* Queue.take(accepted)).writer
        yield* write(new Socket.CloseEvent(4000, "go away"))
        expect(yield* Fiber.join(waiting)).toMatchObject({
          _tag: "RpcClientError",
          reason: "Protocol",
          cause: { _tag: "SocketError", reason: "Close", code: 4000, closeReason: "go away" }
        })
        // Until there is a connection again, calls fail with the same error, and none with a defect.
        expect(yield* Effect.flip(client.Double({ n: 5 }))).toMatchObject({ _tag: "RpcClientError" })
        const whenOpen = { while: () => Effect.as(settle, true) }
        const again = yield* Effect.fork(Effect.retry(client.Double({ n: 5 }), whenOpen))
        // What RpcClient waits before it connects again.
        yield* settle
        yield* TestClock.adjust("1 seconds")
        expect(yield* Fiber.join(again)).toBe(10)
      })
    )
  })
}

describe("a Socket of ours", () => {
  testsOn(TestNetwork.layer)(
    "is told from other things by the platform",
    Effect.gen(function* () {
      const socket = yield* PlatformSocket.makeSocket(WebSocket.connect("ws://127.0.0.1/"))
      expect(Socket.isSocket(socket)).toBe(true)
    })
  )
})
