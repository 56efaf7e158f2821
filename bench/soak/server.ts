// The server of a soak: echoes, and on some paths leaves or fails in the middle.

import { Effect, Logger, LogLevel, Supervisor } from "effect"
import { NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import { answering, tell } from "./child.js"
import { state } from "./state.js"

const supervisor = Effect.runSync(Supervisor.track)

/** How many messages it echoes before it leaves or fails. */
const few = 10

const echo = (socket: WebSocket.WebSocket) => socket.run((message) => socket.send(message))

const echoFew = (socket: WebSocket.WebSocket) =>
  Effect.repeatN(
    Effect.flatMap(socket.receive, (message) => socket.send(message)),
    few - 1
  )

const program = Effect.gen(function* () {
  const server = yield* WebSocketServer.make({
    maxConnections: 20_000,
    handshakeTimeout: "60 seconds",
    deflate: { threshold: 64 },
    // Often enough that each connection sees some.
    pingInterval: "2 seconds",
    pingTimeout: "30 seconds"
  })
  yield* server.serve(echo)
  yield* server.serve(echoFew, { path: "/leave" })
  yield* server.serve((socket) => Effect.zipRight(echoFew(socket), Effect.fail("as asked")), { path: "/fail" })
  answering((question) => {
    const fibers = Effect.runSync(supervisor.value).filter((fiber) => fiber.unsafePoll() === null)
    return state(Effect.runSync(server.connections), fibers.length, question === "collected")
  })
  if (server.address._tag === "TcpAddress") tell({ port: server.address.port })
  return yield* Effect.never
})

Effect.runFork(
  program.pipe(
    Effect.scoped,
    Effect.supervised(supervisor),
    Effect.provide(NodeNetwork.layer),
    // Handlers fail on purpose here.
    Logger.withMinimumLogLevel(LogLevel.None)
  )
).addObserver((exit) => {
  console.error("the server ended:", exit)
  process.exit(1)
})
