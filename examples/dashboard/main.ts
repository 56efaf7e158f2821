// A live dashboard of its own process, the same in every window:
//
//   npx tsx examples/dashboard/main.ts
//
// PORT and HOST say where (8091, 127.0.0.1).

import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"
import { WebSocketServer } from "effect-websocket"
import * as Dashboard from "./server.js"

const Main = Layer.unwrapEffect(
  Effect.gen(function* () {
    const port = yield* Config.integer("PORT").pipe(Config.withDefault(8091))
    const host = yield* Config.string("HOST").pipe(Config.withDefault("127.0.0.1"))
    return Layer.effectDiscard(
      Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) =>
        Console.log(`dashboard at ${url.replace(/^ws/, "http")}`)
      )
    ).pipe(Layer.provide(Dashboard.layer({ port, host })))
  })
)

NodeRuntime.runMain(Layer.launch(Main), { disablePrettyLogger: true })
