// Starts the server of uploads, and prints its URL:
//
//   npx tsx examples/upload/main.ts
//
// PORT and HOST say where (8090, 127.0.0.1).

import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"
import { WebSocketServer } from "effect-websocket"
import * as Upload from "./server.js"

const Main = Layer.unwrapEffect(
  Effect.gen(function* () {
    const port = yield* Config.integer("PORT").pipe(Config.withDefault(8090))
    const host = yield* Config.string("HOST").pipe(Config.withDefault("127.0.0.1"))
    return Layer.effectDiscard(
      Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) =>
        Console.log(`uploads at ${url.replace(/^ws/, "http")}`)
      )
    ).pipe(Layer.provide(Upload.layer({ port, host })))
  })
)

NodeRuntime.runMain(Layer.launch(Main), { disablePrettyLogger: true })
