// What matrix.ts runs with the installed package, on each runtime: every module loads, and a server and
// a client that compress exchange messages.
import { Chunk, Effect, Stream } from "effect"
import { NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"

for (const name of process.argv.slice(2)) await import(name)

const deflate = { threshold: 0, serverNoContextTakeover: false, clientNoContextTakeover: false }
const messages = ["text", "text", "Zeichen jenseits von ASCII: \u{1f9e6}", new Uint8Array(70_000).fill(7), "text"]

const program = Effect.gen(function* () {
  const server = yield* WebSocketServer.WebSocketServer
  yield* Effect.forkScoped(server.serve((socket) => socket.run(socket.send)))
  const socket = yield* WebSocket.connect(server.url, { deflate })
  for (const message of messages) yield* socket.send(message)
  return yield* socket.messages.pipe(Stream.take(messages.length), Stream.runCollect)
}).pipe(
  Effect.scoped,
  Effect.provide(WebSocketServer.layer({ port: 0, deflate })),
  Effect.provide(NodeNetwork.layer),
  Effect.timeout("20 seconds")
)

const echoed = Chunk.toReadonlyArray(await Effect.runPromise(program))
const same = echoed.every((message, index) => String(message) === String(messages[index]))
if (!same) throw new Error("the echo is not what was sent")
