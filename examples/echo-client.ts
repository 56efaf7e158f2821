// Sends lines to an echo server, and prints what comes back:
//
//   npx tsx examples/echo-client.ts hello world
//   echo hello | npx tsx examples/echo-client.ts
//
// URL names the server (ws://127.0.0.1:9001/).

import { NodeRuntime, NodeStream } from "@effect/platform-node"
import { Config, Console, Effect, Stream } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"

const [, , ...args] = process.argv

const lines =
  args.length > 0 ? Stream.fromIterable(args) : NodeStream.stdin.pipe(Stream.decodeText(), Stream.splitLines)

const program = Effect.gen(function* () {
  const url = yield* Config.string("URL").pipe(Config.withDefault("ws://127.0.0.1:9001/"))
  const socket = yield* WebSocket.connect(url)
  yield* Stream.runForEach(lines, (line) =>
    Effect.gen(function* () {
      yield* socket.send(line)
      const echo = yield* socket.receive
      yield* Console.log(typeof echo === "string" ? echo : `${echo.length} bytes`)
    })
  )
})

// Leaving the scope closes the connection with 1000, and waits until it is closed.
program.pipe(
  Effect.scoped,
  Effect.tapError((error) => Console.error(error.message)),
  Effect.provide(NodeNetwork.layer),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
