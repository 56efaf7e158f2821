// Runs the reverse proxy: `npx tsx examples/proxy/main.ts`, for example before examples/echo-server.ts.
//
// Taken from the environment:
//   UPSTREAM   the server behind it (ws://127.0.0.1:9001/)
//   HOST       the address to listen on (127.0.0.1)
//   PORT       the port (8081; 0 lets the system choose one)

import { NodeRuntime } from "@effect/platform-node"
import { Config, type ConfigError, Console, Effect, Layer, Logger } from "effect"
import { NodeNetwork, type WebSocketError, WebSocketServer } from "effect-websocket"
import * as ReverseProxy from "./proxy.js"

const settings = Config.all({
  upstream: Config.url("UPSTREAM").pipe(
    Config.validate({
      message: "expected a URL of the scheme ws or wss",
      validation: ({ protocol }) => protocol === "ws:" || protocol === "wss:"
    }),
    Config.withDefault(new URL("ws://127.0.0.1:9001/"))
  ),
  host: Config.nonEmptyString("HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.integer("PORT").pipe(
    Config.validate({
      message: "expected an integer between 0 and 65535",
      validation: (port) => port >= 0 && port <= 65_535
    }),
    Config.withDefault(8081)
  )
})

const Main = Layer.unwrapEffect(
  Effect.map(settings, ({ host, port, upstream }) => {
    const Ready = Layer.effectDiscard(
      Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Console.log(`proxy at ${url} for ${upstream.host}`))
    )
    return Ready.pipe(
      Layer.provide(ReverseProxy.layer(upstream)),
      Layer.provide(WebSocketServer.layer({ ...ReverseProxy.limits, host, port })),
      Layer.provide(NodeNetwork.layer)
    )
  })
).pipe(
  // Whatever is logged goes to stderr: the line that says where it is stays the only one on stdout.
  Layer.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
)

const explain = (error: ConfigError.ConfigError | WebSocketError.ListenError) =>
  "path" in error ? `${error.path.join(".")}: ${error.message}` : error.message

Layer.launch(Main).pipe(
  Effect.tapError((error) => Console.error(explain(error))),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
