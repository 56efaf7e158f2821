// Serves calls of @effect/rpc at /rpc: `npx tsx examples/rpc/server.ts`.
//
// Taken from the environment: PORT (9002; 0 lets the system choose one).

import { NodeRuntime } from "@effect/platform-node"
import { RpcSerialization, RpcServer } from "@effect/rpc"
import { Config, Console, Effect, Layer, Schedule, Stream } from "effect"
import { NodeNetwork, PlatformSocket, WebSocketServer } from "effect-websocket"
import { Launch } from "./group.js"

const Handlers = Launch.toLayer({
  Greet: ({ name }) => Effect.succeed(`hello ${name}`),
  CountDown: ({ from }) =>
    Stream.range(0, from).pipe(
      Stream.map((passed) => from - passed),
      Stream.schedule(Schedule.spaced("100 millis"))
    )
})

const Protocol = RpcServer.layerProtocolSocketServer.pipe(
  Layer.provide(PlatformSocket.layerSocketServer({ path: "/rpc" })),
  Layer.provide(RpcSerialization.layerMsgPack)
)

const Server = Layer.unwrapEffect(
  Effect.map(Config.integer("PORT").pipe(Config.withDefault(9002)), (port) => WebSocketServer.layer({ port }))
)

const Ready = Layer.effectDiscard(
  Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Console.log(`calls are taken at ${url}rpc`))
)

const Main = Ready.pipe(
  Layer.provide(RpcServer.layer(Launch)),
  Layer.provide(Handlers),
  Layer.provide(Protocol),
  Layer.provide(Server),
  Layer.provide(NodeNetwork.layer)
)

NodeRuntime.runMain(Layer.launch(Main))
