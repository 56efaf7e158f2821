// A server that sends every message back: `npx tsx examples/echo-server.ts`.
//
// Taken from the environment:
//   HOST           the address to listen on (127.0.0.1)
//   PORT           the port (9001; 0 lets the system choose one)
//   MAX_PAYLOAD    the largest message accepted, in bytes (64 MiB)
//   MAX_FRAGMENTS  the most frames that one message may consist of (200000)
//   DEFLATE        1 compresses messages if the client offers to (0)

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Config, type ConfigError, Console, Effect, Layer, Logger } from "effect"
import { NodeNetwork, OriginPolicy, type WebSocketError, WebSocketServer } from "effect-websocket"

const integer = (name: string, least: number, most: number, otherwise: number) =>
  Config.integer(name).pipe(
    Config.validate({
      message: `expected an integer between ${least} and ${most}`,
      validation: (value) => value >= least && value <= most
    }),
    Config.withDefault(otherwise)
  )

// Whatever a client offers is accepted, and every message is compressed, however small.
const deflate = Config.literal(
  "0",
  "1"
)("DEFLATE").pipe(
  Config.withDefault("0"),
  Config.map((wanted) =>
    wanted === "1" ? { threshold: 0, serverNoContextTakeover: false, clientNoContextTakeover: false } : false
  )
)

const Server = Layer.unwrapEffect(
  Effect.gen(function* () {
    return WebSocketServer.layer({
      host: yield* Config.nonEmptyString("HOST").pipe(Config.withDefault("127.0.0.1")),
      port: yield* integer("PORT", 0, 65_535, 9001),
      maxPayloadSize: yield* integer("MAX_PAYLOAD", 1, Number.MAX_SAFE_INTEGER, 64 * 1024 * 1024),
      maxFragments: yield* integer("MAX_FRAGMENTS", 1, Number.MAX_SAFE_INTEGER, 200_000),
      origin: OriginPolicy.allowAll,
      deflate: yield* deflate
    })
  })
)

const Echo = WebSocketServer.serve((socket) => socket.run((message) => socket.send(message)))

const Ready = Layer.effectDiscard(
  Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Console.log(`listening on ${url}`))
)

// Whatever is logged goes to stderr: the line that says "listening" stays the only one on stdout.
const Log = Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))

const Main = Ready.pipe(
  Layer.provide(Echo),
  Layer.provide(Server),
  Layer.provide(NodeNetwork.layer),
  Layer.provide(Log)
)

const explain = (error: ConfigError.ConfigError | WebSocketError.ListenError) =>
  "path" in error ? `${error.path.join(".")}: ${error.message}` : error.message

Layer.launch(Main).pipe(
  Effect.tapError((error) => Console.error(explain(error))),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
