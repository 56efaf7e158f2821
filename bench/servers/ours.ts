// Our own server, in each of the forms in which a handler can be written: `ours.js FORM SETTINGS`.

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Chunk, Effect, Layer, Redacted, Stream } from "effect"
import { NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import { counted, form, maxPayloadSize, ready, settings } from "./common.js"

type Handler = (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>

const echoes: Readonly<Record<string, Handler>> = {
  // A handler that needn't suspend.
  run: (socket) => socket.run((message) => socket.send(message)),
  // A handler as applications write them, with a step before the answer.
  handler: (socket) =>
    socket.run(
      Effect.fnUntraced(function* (message) {
        const answer = yield* Effect.sync(() => message)
        yield* socket.send(answer)
      })
    ),
  // The same, but with a generator function that is made anew for each message.
  gen: (socket) =>
    socket.run((message) =>
      Effect.gen(function* () {
        const answer = yield* Effect.sync(() => message)
        yield* socket.send(answer)
      })
    ),
  // A handler that suspends for each message.
  suspending: (socket) => socket.run((message) => Effect.zipRight(Effect.yieldNow(), socket.send(message))),
  loop: (socket) =>
    Effect.gen(function* () {
      while (true) yield* socket.send(yield* socket.receive)
    }),
  // Not `Effect.forever`, which lets other fibers run each time.
  batch: (socket) =>
    Effect.gen(function* () {
      while (true) yield* socket.sendAll(yield* socket.receiveAll)
    }),
  stream: (socket) => Stream.run(socket.messages, socket.sink)
}

/** Forms that answer only so many messages with one. */
const counts = (each: number): Readonly<Record<string, Handler>> => ({
  run: (socket) => {
    const isLast = counted(each)
    return socket.run(() => (isLast() ? socket.send("ack") : Effect.void))
  },
  loop: (socket) =>
    Effect.gen(function* () {
      const isLast = counted(each)
      while (true) {
        yield* socket.receive
        if (isLast()) yield* socket.send("ack")
      }
    }),
  batch: (socket) =>
    Effect.gen(function* () {
      const isLast = counted(each)
      while (true) {
        const messages = yield* socket.receiveAll
        yield* socket.sendAll(messages.flatMap(() => (isLast() ? ["ack"] : [])))
      }
    }),
  stream: (socket) => {
    const isLast = counted(each)
    return socket.messages.pipe(
      Stream.mapChunks(Chunk.filter(() => isLast())),
      Stream.map(() => "ack"),
      Stream.run(socket.sink)
    )
  }
})

const pieceSize = 256 * 1024

/** A message that is never there as a whole: each way, of as many bytes as the first message says. */
const streamed: Readonly<Record<string, Handler>> = {
  run: (socket) =>
    socket.run((message) => {
      const piece = new Uint8Array(pieceSize).fill(0x5a)
      return socket.sendBinaryStream(
        Stream.repeatValue(piece).pipe(Stream.take(Number(String(message)) / pieceSize), Stream.rechunk(1))
      )
    }),
  loop: (socket) =>
    Effect.forever(
      Effect.gen(function* () {
        const { chunks } = yield* socket.receiveStream
        yield* Stream.runDrain<unknown, unknown, never>(chunks)
        yield* socket.send("ack")
      })
    )
}

const { task = "echo" } = settings
const forms = task === "echo" ? echoes : task === "streamed" ? streamed : counts(task.ackEach)

const deflate =
  settings.deflate === undefined
    ? false
    : {
        threshold: 0,
        serverNoContextTakeover: settings.deflate === "alone",
        clientNoContextTakeover: settings.deflate === "alone"
      }

const handler = forms[form]
if (handler === undefined) throw new Error(`no form ${form} of that`)

WebSocketServer.serve((socket) => Effect.ignore(handler(socket))).pipe(
  Layer.merge(
    Layer.effectDiscard(
      Effect.map(WebSocketServer.WebSocketServer, ({ address }) =>
        ready(address._tag === "TcpAddress" ? address.port : 0)
      )
    )
  ),
  Layer.provide(
    WebSocketServer.layer({
      maxPayloadSize: task === "streamed" ? Number.MAX_SAFE_INTEGER : maxPayloadSize,
      maxFragments: 1_000_000,
      maxConnections: 100_000,
      deflate,
      tls: settings.tls === undefined ? undefined : { cert: settings.tls.cert, key: Redacted.make(settings.tls.key) },
      ...(settings.heartbeat === false
        ? { pingInterval: Number.POSITIVE_INFINITY, idleTimeout: Number.POSITIVE_INFINITY }
        : {})
    })
  ),
  Layer.provide(NodeNetwork.layer),
  Layer.launch,
  NodeRuntime.runMain
)
