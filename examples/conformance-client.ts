// Runs all cases of a fuzzing server, such as external conformance suites bring,
// against the client: `npx tsx examples/conformance-client.ts`.
//
// It asks for the number of cases, echoes every message in each of them until the
// connection ends, however it ends, and has the reports written at last.
//
// Taken from the environment:
//   URL            where the fuzzing server is (ws://127.0.0.1:9001)
//   AGENT          the name that the reports are filed under (effect-websocket)
//   MAX_PAYLOAD    the largest message accepted, in bytes (64 MiB)
//   MAX_FRAGMENTS  the most frames that one message may consist of (200000)
//   DEFLATE        1 offers compression (0)

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Config, type ConfigError, Console, Effect } from "effect"
import { NodeNetwork, WebSocket, type WebSocketError } from "effect-websocket"

const atLeastOne = (name: string, otherwise: number) =>
  Config.integer(name).pipe(
    Config.validate({ message: "expected an integer of at least 1", validation: (value) => value >= 1 }),
    Config.withDefault(otherwise)
  )

const settings = Config.all({
  url: Config.nonEmptyString("URL").pipe(Config.withDefault("ws://127.0.0.1:9001")),
  agent: Config.nonEmptyString("AGENT").pipe(Config.withDefault("effect-websocket")),
  maxPayloadSize: atLeastOne("MAX_PAYLOAD", 64 * 1024 * 1024),
  maxFragments: atLeastOne("MAX_FRAGMENTS", 200_000),
  // Every message is compressed, however small: the cases look for that.
  deflate: Config.literal(
    "0",
    "1"
  )("DEFLATE").pipe(
    Config.withDefault("0"),
    Config.map((wanted) => (wanted === "1" ? { threshold: 0 } : false))
  )
})

const ending = (error: WebSocketError.WebSocketError | WebSocketError.ConnectError | WebSocketError.HandshakeError) =>
  error._tag === "ConnectionClosed" ? `closed ${error.code}` : `${error._tag}: ${error.message}`

const program = Effect.gen(function* () {
  const { url, agent, ...options } = yield* settings
  const open = (path: string) => WebSocket.connect(`${url.replace(/\/+$/, "")}/${path}`, options)
  const named = `agent=${encodeURIComponent(agent)}`

  const count = yield* open("getCaseCount").pipe(
    Effect.flatMap((socket) => socket.receive),
    Effect.scoped
  )
  yield* Console.log(`${count} cases`)

  /** Whatever ends a connection, the next one has to be made. */
  const echo = (path: string, name: string) =>
    open(path).pipe(
      Effect.flatMap((socket) => socket.run((message) => socket.send(message))),
      Effect.scoped,
      Effect.match({ onFailure: ending, onSuccess: () => "closed" }),
      Effect.flatMap((result) => Console.log(`${name}: ${result}`))
    )
  for (let index = 1; index <= Number(count); index++) yield* echo(`runCase?case=${index}&${named}`, `case ${index}`)
  yield* echo(`updateReports?${named}`, "reports")
})

const explain = (error: ConfigError.ConfigError | Effect.Effect.Error<typeof program>) =>
  "path" in error ? `${error.path.join(".")}: ${error.message}` : error.message

program.pipe(
  Effect.provide(NodeNetwork.layer),
  Effect.tapError((error) => Console.error(explain(error))),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
