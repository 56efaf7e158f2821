import { describe } from "@effect/vitest"
import { Chunk, Deferred, Effect, Either, Fiber, type Layer, Stream } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { pattern, settle } from "../fixtures/heard.js"
import { bothRolesOn, joined } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import {
  rawClient,
  rawServer,
  upgradedClient,
  upgradedServer,
  upgradeRequest,
  upgradeResponse
} from "../fixtures/rawPeer.js"

/** What a connection does for its application, in both roles. */
export const connectionSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  const inBothRoles = bothRolesOn(network)

  const take = (socket: WebSocket.WebSocket, count: number) =>
    Effect.map(Stream.runCollect(Stream.take(socket.messages, count)), Chunk.toReadonlyArray)

  describe(`${name}: messages`, () => {
    inBothRoles("text and bytes arrive as they were sent", (self, peer) =>
      Effect.gen(function* () {
        yield* self.send("héllo, wörld 🌍")
        yield* self.send(new Uint8Array([0, 255, 128]))
        yield* self.sendText("text")
        yield* self.sendBinary(new Uint8Array([1]))
        expect(yield* peer.receive).toBe("héllo, wörld 🌍")
        expect(yield* peer.receive).toEqual(new Uint8Array([0, 255, 128]))
        expect(yield* peer.receive).toBe("text")
        expect(yield* peer.receive).toEqual(new Uint8Array([1]))
      })
    )

    inBothRoles("empty ones are messages, too", (self, peer) =>
      Effect.gen(function* () {
        yield* self.send("")
        yield* self.send(new Uint8Array(0))
        expect(yield* peer.receive).toBe("")
        expect(yield* peer.receive).toEqual(new Uint8Array(0))
      })
    )

    inBothRoles("of every length encoding arrive whole", (self, peer) =>
      Effect.gen(function* () {
        for (const size of [1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 1024 * 1024]) {
          const content = pattern(size)
          // Handed over: it isn't ours to look at any more.
          yield* Effect.zip(
            self.send(content.slice()),
            Effect.map(peer.receive, (received) => {
              expect(received instanceof Uint8Array && Buffer.from(received).equals(content)).toBe(true)
            }),
            { concurrent: true }
          )
          const text = "x".repeat(size)
          yield* Effect.zip(
            self.send(text),
            Effect.map(peer.receive, (received) => {
              expect(received === text).toBe(true)
            }),
            { concurrent: true }
          )
        }
      })
    )

    inBothRoles("come in order, a thousand at once", (self, peer) =>
      Effect.gen(function* () {
        const sent = Array.from({ length: 1000 }, (_, index) => (index % 2 === 0 ? `${index}` : Uint8Array.of(index)))
        yield* Effect.fork(Effect.forEach(sent, (message) => self.send(message), { discard: true }))
        const received = []
        while (received.length < sent.length) received.push(yield* peer.receive)
        expect(received).toEqual(sent)
      })
    )

    inBothRoles("cross each other", (self, peer) =>
      Effect.gen(function* () {
        const texts = Array.from({ length: 200 }, (_, index) => `${index}`)
        const exchange = (socket: WebSocket.WebSocket) =>
          Effect.zipRight(Effect.fork(socket.sendAll(texts)), take(socket, texts.length))
        const [mine, theirs] = yield* Effect.all([exchange(self), exchange(peer)], { concurrency: 2 })
        expect(mine).toEqual(texts)
        expect(theirs).toEqual(texts)
      })
    )

    inBothRoles("a lone surrogate is sent as U+FFFD", (self, peer) =>
      Effect.gen(function* () {
        yield* self.send("a\ud800b")
        expect(yield* peer.receive).toBe("a\ufffdb")
      })
    )
  })

  describe(`${name}: taking messages`, () => {
    inBothRoles("receiveAll takes what is there, at least one", (self, peer) =>
      Effect.gen(function* () {
        const waiting = yield* Effect.fork(peer.receiveAll)
        yield* settle
        yield* self.sendAll(["a", "b"])
        const first = yield* Fiber.join(waiting)
        yield* self.sendAll(["c", "d", "e"])
        const all = [...first]
        while (all.length < 5) all.push(...(yield* peer.receiveAll))
        expect(first.length).toBeGreaterThan(0)
        expect(all).toEqual(["a", "b", "c", "d", "e"])
      })
    )

    inBothRoles("messages is a stream of all of them, and ends with a clean close", (self, peer) =>
      Effect.gen(function* () {
        const collected = yield* Effect.fork(Stream.runCollect(peer.messages))
        yield* self.sendAll(["one", "two", "three"])
        yield* self.close()
        expect(Chunk.toReadonlyArray(yield* Fiber.join(collected))).toEqual(["one", "two", "three"])
      })
    )

    inBothRoles("messages ends on 1001 and on no code, and fails on another one", (self, peer) =>
      Effect.gen(function* () {
        yield* self.send("last words")
        yield* self.close(4000, "enough")
        const seen: Array<WebSocket.Message> = []
        const error = yield* Effect.flip(Stream.runForEach(peer.messages, (each) => Effect.sync(() => seen.push(each))))
        expect(seen).toEqual(["last words"])
        expect(error).toMatchObject({ _tag: "ConnectionClosed", code: 4000, reason: "enough", clean: true })
        for (const end of [
          (socket: WebSocket.WebSocket) => socket.close(1001),
          (socket: WebSocket.WebSocket) => socket.sendFrame(Frame.close())
        ]) {
          const other = yield* joined()
          yield* end(self.role === "client" ? other.client : other.server)
          const { messages } = self.role === "client" ? other.server : other.client
          expect(Chunk.size(yield* Stream.runCollect(messages))).toBe(0)
        }
      })
    )

    inBothRoles("run handles each in order, one at a time, and completes with a clean close", (self, peer) =>
      Effect.gen(function* () {
        const steps: Array<string> = []
        const running = yield* Effect.fork(
          peer.run((message) =>
            Effect.gen(function* () {
              steps.push(`begin ${message}`)
              yield* Effect.yieldNow()
              steps.push(`end ${message}`)
            })
          )
        )
        yield* self.sendAll(["1", "2", "3"])
        yield* self.close()
        yield* Fiber.join(running)
        expect(steps).toEqual(["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"])
      })
    )

    inBothRoles("run fails with the handler's failure, and leaves the rest to be taken", (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendAll(["good", "bad", "rest"])
        const error = yield* Effect.flip(
          peer.run((message) => (message === "bad" ? Effect.fail("no such thing") : Effect.void))
        )
        expect(error).toBe("no such thing")
        expect(yield* peer.receive).toBe("rest")
        expect(yield* peer.isOpen).toBe(true)
      })
    )

    inBothRoles("run fails when the connection wasn't closed cleanly", (self, peer) =>
      Effect.gen(function* () {
        yield* self.close(1008, "policy")
        const error = yield* Effect.flip(peer.run(() => Effect.void))
        expect(error).toMatchObject({ _tag: "ConnectionClosed", code: 1008, reason: "policy" })
      })
    )

    inBothRoles("sink and sendAll send everything, and don't close", (self, peer) =>
      Effect.gen(function* () {
        yield* Stream.run(Stream.make("a", "b", "c").pipe(Stream.rechunk(2)), self.sink)
        yield* self.sendAll(new Set(["d", "e"]))
        yield* self.sendAll([])
        expect(yield* take(peer, 5)).toEqual(["a", "b", "c", "d", "e"])
        expect(yield* self.isOpen).toBe(true)
      })
    )

    inBothRoles("two fibers that receive share the messages, each going to one of them", (self, peer) =>
      Effect.gen(function* () {
        const both = yield* Effect.fork(
          Effect.all([Effect.replicateEffect(peer.receive, 5), Effect.replicateEffect(peer.receive, 5)], {
            concurrency: 2
          })
        )
        yield* settle
        for (let index = 0; index < 10; index++) {
          yield* self.send(`${index}`)
          if (index % 3 === 0) yield* settle
        }
        const received = (yield* Fiber.join(both)).flat()
        expect(received.toSorted()).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"])
      })
    )
  })

  describe(`${name}: frames`, () => {
    inBothRoles("sendFrame and receiveFrame carry frames as they are", (self, peer) =>
      Effect.gen(function* () {
        const waiting = yield* Effect.fork(peer.receiveFrame)
        yield* settle
        const sent = [
          Frame.make({ opcode: Frame.Opcode.text, fin: false, payload: "frag" }),
          Frame.ping("in between"),
          Frame.make({ opcode: Frame.Opcode.continuation, fin: true, payload: "ment" }),
          Frame.pong("unasked"),
          Frame.binary(new Uint8Array([9]))
        ]
        for (const frame of sent) yield* self.sendFrame(frame)
        const received = [yield* Fiber.join(waiting)]
        while (received.length < sent.length) received.push(yield* peer.receiveFrame)
        expect(received).toEqual(sent)
      })
    )

    inBothRoles("receive makes messages of fragments, and passes control frames over", (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendFrame(Frame.make({ fin: false, payload: "a" }))
        yield* self.sendPing()
        yield* self.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, fin: false, payload: "" }))
        yield* self.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, payload: "b" }))
        yield* self.sendFrame(Frame.make({ opcode: Frame.Opcode.binary, fin: false, payload: Uint8Array.of(1) }))
        yield* self.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, payload: Uint8Array.of(2) }))
        expect(yield* peer.receive).toBe("ab")
        expect(yield* peer.receive).toEqual(Uint8Array.of(1, 2))
      })
    )

    inBothRoles("receive goes on to work after receiveFrame, which begins with what was there", (self, peer) =>
      Effect.gen(function* () {
        yield* self.sendAll(["before", Uint8Array.of(7)])
        expect(yield* peer.receive).toBe("before")
        // The other one is there, or on its way: either way it is one frame.
        expect(yield* peer.receiveFrame).toEqual(Frame.binary(Uint8Array.of(7)))
        yield* self.sendPing("seen")
        yield* self.send("message")
        yield* self.sendAll(["all", "of", "them"])
        expect((yield* peer.receiveFrame).opcode).toBe(Frame.Opcode.ping)
        expect(yield* peer.receive).toBe("message")
        const all: Array<WebSocket.Message> = []
        while (all.length < 3) all.push(...(yield* peer.receiveAll))
        expect(all).toEqual(["all", "of", "them"])
      })
    )

    inBothRoles("receiveFrame shows the Close, then fails as everything does", (self, peer) =>
      Effect.gen(function* () {
        const waiting = yield* Effect.fork(peer.receiveFrame)
        yield* settle
        yield* self.close(4001, "over")
        expect(yield* Fiber.join(waiting)).toEqual(Frame.close(4001, "over"))
        expect(yield* Effect.flip(peer.receiveFrame)).toMatchObject({ _tag: "ConnectionClosed", code: 4001 })
        expect(yield* Effect.flip(peer.receive)).toMatchObject({ _tag: "ConnectionClosed", code: 4001 })
      })
    )

    inBothRoles("a frame that would break the protocol isn't sent, and harms nothing", (self, peer) =>
      Effect.gen(function* () {
        const refuses = (frame: Frame.Frame, rule: RegExp) =>
          Effect.map(Effect.flip(self.sendFrame(frame)), (error) => {
            expect(error).toMatchObject({ _tag: "ProtocolError", side: "local" })
            expect(error.message).toMatch(rule)
            expect(error.message).toContain("refused to send to")
          })
        yield* refuses(Frame.make({ opcode: Frame.Opcode.continuation, payload: "a" }), /continuation/)
        yield* refuses({ ...Frame.text("a"), rsv: 4 }, /RSV/)
        yield* refuses(Frame.ping("x".repeat(126)), /125/)
        yield* refuses({ ...Frame.text(""), payload: Uint8Array.of(0xff) }, /UTF-8/)
        yield* self.sendFrame(Frame.make({ fin: false, payload: "a" }))
        yield* refuses(Frame.text("b"), /must end before/)
        const error = yield* Effect.flip(self.send("b"))
        expect(error).toMatchObject({ _tag: "ProtocolError", side: "local" })
        yield* self.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, payload: "c" }))
        yield* self.send("d")
        expect(yield* take(peer, 2)).toEqual(["ac", "d"])
      })
    )

    test(
      "pings are answered while the application is busy with a message",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make()
        const busy = yield* Deferred.make<void>()
        const begun = yield* Deferred.make<void>()
        yield* server.serve((socket) =>
          socket.run(() => Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(busy)))
        )
        const peer = yield* upgradedClient(server.address)
        yield* peer.sendFrames(Frame.text("keep it busy"))
        yield* Deferred.await(begun)
        yield* peer.sendFrames(Frame.ping("one"), Frame.text("queued"), Frame.ping("two"))
        yield* peer.frame(
          ({ opcode, payload }) => opcode === Frame.Opcode.pong && String(Buffer.from(payload)) === "two"
        )
        expect(peer.frames()).toEqual([Frame.pong("one"), Frame.pong("two")])
        yield* Deferred.succeed(busy, undefined)
      })
    )

    test(
      "a client answers pings nobody waits for, too",
      Effect.gen(function* () {
        const server = yield* rawServer()
        const connecting = yield* Effect.fork(WebSocket.connect(server.url))
        const peer = yield* upgradedServer(server)
        const socket = yield* Fiber.join(connecting)
        yield* peer.sendFrames(Frame.ping("anyone?"))
        expect(yield* peer.frame(() => true)).toEqual(Frame.pong("anyone?"))
        const closing = yield* Effect.fork(socket.close())
        expect(yield* peer.closeCode).toBe(1000)
        yield* peer.sendFrames(Frame.close(1000))
        yield* peer.end
        yield* Fiber.join(closing)
      })
    )
  })

  describe(`${name}: the opening handshake`, () => {
    test(
      "agrees on the server's first subprotocol that the client offered",
      Effect.gen(function* () {
        const { client, server } = yield* joined({
          server: { subprotocols: ["v3", "v2", "v1"] },
          client: { subprotocols: ["v1", "v2"] }
        })
        expect(client.subprotocol).toBe("v2")
        expect(server.subprotocol).toBe("v2")
      })
    )

    test(
      "agrees on none if there is none in common",
      Effect.gen(function* () {
        const { client, server } = yield* joined({
          server: { subprotocols: ["v3"] },
          client: { subprotocols: ["v1"] }
        })
        expect(client.subprotocol).toBeUndefined()
        expect(server.subprotocol).toBeUndefined()
      })
    )

    test(
      "shows each side the other's headers, the URL and the addresses",
      Effect.gen(function* () {
        const { client, server, listening } = yield* joined({
          server: { headers: { "x-served-by": "test" } },
          client: { headers: { cookie: "session=1", authorization: "Bearer token" } },
          path: "/feed?topic=eur%20usd"
        })
        expect(server.headers["cookie"]).toBe("session=1")
        expect(server.headers["authorization"]).toBe("Bearer token")
        expect(client.headers["x-served-by"]).toBe("test")
        expect(client.url).toBe(`${listening.url}feed?topic=eur%20usd`)
        expect(server.url).toBe(client.url)
        expect(server.localAddress).toEqual(listening.address)
        expect(client.remoteAddress).toEqual(listening.address)
        expect(client.localAddress).toEqual(server.remoteAddress)
        expect(client.secure).toBe(listening.url.startsWith("wss:"))
        expect(server.secure).toBe(client.secure)
      })
    )

    test(
      "sends the URL's user info as Basic authentication, and shows it nowhere",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make()
        const seen = yield* Deferred.make<string | undefined>()
        yield* server.serve((socket) => Deferred.succeed(seen, socket.headers["authorization"]))
        const socket = yield* WebSocket.connect(server.url.replace(/^ws(s?):../, "http$1://us%40er:pass@"))
        expect(yield* Deferred.await(seen)).toBe(`Basic ${btoa("us@er:pass")}`)
        expect(socket.url).not.toContain("pass")
      })
    )

    test(
      "hands over what came right behind it",
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make()
        yield* server.serve((socket) => Stream.run(socket.messages, socket.sink))
        const greeter = yield* rawServer()
        const connecting = yield* Effect.fork(WebSocket.connect(greeter.url))
        const peer = yield* greeter.next
        yield* peer.send(Buffer.concat([Buffer.from(upgradeResponse(yield* peer.head)), encoded("early", "server")]))
        const socket = yield* Fiber.join(connecting)
        expect(yield* socket.receive).toBe("early")
        yield* peer.sendFrames(Frame.close(1000))
        yield* peer.end
        yield* socket.closed
        const eager = yield* rawClient(server.address)
        yield* eager.send(Buffer.concat([Buffer.from(upgradeRequest()), encoded("soon", "client")]))
        expect(yield* eager.frame(() => true)).toEqual(Frame.text("soon"))
        yield* eager.destroy
      })
    )
  })
}

const encoded = (text: string, role: Frame.Role) => Either.getOrThrow(Frame.encode(Frame.text(text), role))
