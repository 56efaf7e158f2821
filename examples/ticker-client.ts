// Prints the prices of a feed, and goes on when its server dies and comes back:
//
//   npx tsx examples/ticker-client.ts EURUSD GBPUSD
//
// URL names the feed (ws://127.0.0.1:9001/). It is sent "subscribe EURUSD" and so on, on each
// connection anew. What happens to the connection is told on stderr. It ends when the feed
// says that all is done (1000), or refuses for good.

import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Duration, Effect, Stream } from "effect"
import { NodeNetwork, ReconnectingWebSocket, WebSocket } from "effect-websocket"

const [, , ...symbols] = process.argv

const describe = (state: ReconnectingWebSocket.State): string => {
  switch (state._tag) {
    case "Connecting":
      return `connecting (attempt ${state.attempt})`
    case "Connected":
      return `connected (connection ${state.number})`
    case "Waiting":
      return `${state.error.message}; trying again in ${Duration.format(state.delay)}`
    case "Ended":
      return "no further attempt"
  }
}

const program = Effect.gen(function* () {
  const url = yield* Config.string("URL").pipe(Config.withDefault("ws://127.0.0.1:9001/"))
  const feed = yield* ReconnectingWebSocket.make(WebSocket.connect(url, { pingInterval: "20 seconds" }), {
    // A server that was away knows nothing of us.
    onConnect: (socket) => socket.sendAll(symbols.map((symbol) => `subscribe ${symbol}`))
  })
  yield* Effect.forkScoped(Stream.runForEach(feed.state.changes, (state) => Console.error(describe(state))))
  yield* feed.run((message) => Console.log(typeof message === "string" ? message : `${message.length} bytes`))
})

program.pipe(
  Effect.scoped,
  Effect.tapError((error) => Console.error(error.message)),
  Effect.provide(NodeNetwork.layer),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
