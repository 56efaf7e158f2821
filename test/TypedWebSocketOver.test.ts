import { describe, expect } from "@effect/vitest"
import { Chunk, Deferred, Effect, Option, Schema, Stream } from "effect"
import { Frame, MessageCodec, NodeNetwork, TypedWebSocket, WebSocket, WebSocketServer } from "effect-websocket"
import { testInMemory, testsOn } from "./fixtures/leaks.js"
import { accepted, closeWith, nextAttempt, reconnecting, server, textsOf } from "./fixtures/reconnecting.js"

class Say extends Schema.TaggedClass<Say>()("Say", { text: Schema.String }) {}
class Said extends Schema.TaggedClass<Said>()("Said", { text: Schema.String, at: Schema.DateFromSelf }) {}

const v1 = {
  client: MessageCodec.json({ incoming: Schema.String, outgoing: Schema.String }),
  server: MessageCodec.json({ incoming: Schema.String, outgoing: Schema.String })
}
const v2 = {
  client: MessageCodec.msgPack({ incoming: Said, outgoing: Say }),
  server: MessageCodec.msgPack({ incoming: Say, outgoing: Said })
}
const versions = { "chat.v2": TypedWebSocket.make(v2.server), "chat.v1": TypedWebSocket.make(v1.server) }
const at = new Date(1_700_000_000_000)

describe("TypedWebSocket over TCP", () => {
  const test = testsOn(NodeNetwork.layer)

  test(
    "serves clients of two versions and one that speaks neither, and closes whoever talks nonsense",
    Effect.gen(function* () {
      const failed = yield* Deferred.make<MessageCodec.DecodeError>()
      const listening = yield* WebSocketServer.make()
      yield* listening.serve(
        (socket) =>
          Option.match(TypedWebSocket.choose(socket, versions), {
            onNone: () => socket.close(4000, "offer a version"),
            onSome: ({ subprotocol, typed }) =>
              (subprotocol === "chat.v1"
                ? typed.run((text) => typed.send(text.toUpperCase()))
                : typed.run(({ text }) => typed.send(new Said({ text, at })))
              ).pipe(Effect.catchTag("DecodeError", (error) => Deferred.succeed(failed, error)))
          }),
        { subprotocols: Object.keys(versions) }
      )
      const connect = (...subprotocols: ReadonlyArray<string>) => WebSocket.connect(listening.url, { subprotocols })

      const old = TypedWebSocket.make(yield* connect("chat.v1"), v1.client)
      yield* old.sendAll(["one", "two"])
      expect(yield* Stream.runCollect(Stream.take(old.messages, 2))).toEqual(Chunk.make("ONE", "TWO"))

      const modern = yield* Effect.map(connect("chat.v2", "chat.v1"), TypedWebSocket.make(v2.client))
      yield* Stream.run(Stream.range(1, 100).pipe(Stream.map((n) => new Say({ text: `${n}` }))), modern.sink)
      const answers = yield* Stream.runCollect(Stream.take(modern.messages, 100))
      expect(Chunk.toReadonlyArray(answers)).toEqual(
        Array.from({ length: 100 }, (_, n) => new Said({ text: `${n + 1}`, at }))
      )

      yield* modern.socket.send(Uint8Array.of(0x81, 0xa1, 0x61, 0xdd))
      expect(yield* modern.socket.closed).toMatchObject({ code: 1007, reason: "malformed message" })
      expect(yield* Deferred.await(failed)).toMatchObject({ excerpt: "81a161dd" })
      expect(yield* Effect.flatMap(connect(), ({ closed }) => closed)).toMatchObject({ code: 4000 })

      yield* old.send("three")
      expect(yield* old.receive).toBe("THREE")
    })
  )
})

describe("TypedWebSocket over a connection that reconnects", () => {
  const codec = MessageCodec.json({ incoming: Schema.Int, outgoing: Schema.Int })
  const text = (payload: string) => Frame.make({ opcode: Frame.Opcode.text, payload })

  testInMemory(
    "sends and takes values over one connection after the other",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const typed = TypedWebSocket.makeReconnecting(socket, codec)
      expect(typed.socket).toBe(socket)
      const first = yield* accepted(listening, history)
      expect(yield* typed.send(1)).toBe("sent")
      expect(yield* Effect.flip(typed.send(1.5))).toMatchObject({ _tag: "EncodeError" })
      yield* first.sendFrames(text("10"), text("11"))
      expect(yield* typed.receive).toBe(10)
      yield* closeWith(first, 1012)
      yield* nextAttempt(history, 1)
      const second = yield* accepted(listening, history)
      yield* second.sendFrames(text("20"))
      expect(yield* Stream.runCollect(Stream.take(typed.messages, 2))).toEqual(Chunk.make(11, 20))
      yield* typed.send(2)
      yield* second.sendFrames(text("30"))
      yield* closeWith(second, 1000)
      const ran: Array<number> = []
      yield* typed.run((n) => Effect.sync(() => ran.push(n)))
      expect(ran).toEqual([30])
      expect([textsOf(first), textsOf(second)]).toEqual([["1"], ["2"]])
    })
  )

  testInMemory(
    "ends the resource with what can't be decoded, and closes the connection",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const typed = TypedWebSocket.makeReconnecting(socket, codec)
      const peer = yield* accepted(listening, history)
      yield* peer.sendFrames(text("1"), text("no"))
      yield* Effect.fork(Effect.zipRight(peer.closeCode, closeWith(peer, 1007)))
      const error = yield* Effect.flip(typed.run(() => Effect.void))
      expect(error).toMatchObject({ _tag: "DecodeError", excerpt: "no" })
      expect(yield* peer.closeCode).toBe(1007)
      yield* history.until("Ended", 1)
      expect(yield* Effect.flip(typed.receive)).toBe(error)
    })
  )

  testInMemory(
    "goes on over MessageCodec.either",
    Effect.gen(function* () {
      const listening = yield* server
      const { history, socket } = yield* reconnecting()
      const typed = TypedWebSocket.makeReconnecting(socket, MessageCodec.either(codec))
      const peer = yield* accepted(listening, history)
      yield* peer.sendFrames(text("no"), text("1"))
      expect(yield* typed.receive).toMatchObject({ _tag: "Left" })
      expect(yield* typed.receive).toMatchObject({ _tag: "Right", right: 1 })
    })
  )
})
