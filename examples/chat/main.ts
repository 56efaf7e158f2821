// A chat with rooms: `npm start`, then open the URL in two windows.
//
// Taken from the environment: PORT (8080; 0 lets the system choose one), HOST (127.0.0.1).

import { HttpServer, type HttpServerError } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, type ConfigError, Console, Effect, Layer, Logger } from "effect"
import * as Chat from "./server.js"

const settings = Config.all({
  host: Config.nonEmptyString("HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.integer("PORT").pipe(
    Config.validate({
      message: "expected an integer between 0 and 65535",
      validation: (port) => port >= 0 && port <= 65_535
    }),
    Config.withDefault(8080)
  )
})

const Ready = Layer.effectDiscard(HttpServer.addressFormattedWith((url) => Console.log(`chat at ${url}/`)))

const Main = Layer.unwrapEffect(Effect.map(settings, (options) => Layer.provide(Ready, Chat.layer(options)))).pipe(
  Layer.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
)

const explain = (error: ConfigError.ConfigError | HttpServerError.ServeError) => {
  if ("path" in error) return `${error.path.join(".")}: ${error.message}`
  if ("cause" in error && error.cause instanceof Error) return `${error.cause.message} (PORT and HOST choose another)`
  return error.message
}

Layer.launch(Main).pipe(
  Effect.tapError((error) => Console.error(explain(error))),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
