// Calls the server beside it: `npx tsx examples/rpc/client.ts Ada`.
//
// URL names the server (ws://127.0.0.1:9002/rpc).

import { NodeRuntime } from "@effect/platform-node"
import { RpcClient, RpcSerialization } from "@effect/rpc"
import { Cause, Config, Console, Effect, Layer, Stream } from "effect"
import { NodeNetwork, PlatformSocket } from "effect-websocket"
import { Launch } from "./group.js"

const [, , name = "you"] = process.argv

const program = Effect.gen(function* () {
  const launch = yield* RpcClient.make(Launch)
  yield* Console.log(yield* launch.Greet({ name }))
  yield* Stream.runForEach(launch.CountDown({ from: 3 }), (seconds) => Console.log(seconds))
})

// The client connects, and connects again after every end, for as long as the scope is open.
const Protocol = Layer.unwrapEffect(
  Effect.map(Config.string("URL").pipe(Config.withDefault("ws://127.0.0.1:9002/rpc")), (url) =>
    RpcClient.layerProtocolSocket().pipe(
      Layer.provide(PlatformSocket.layer(url)),
      Layer.provide([RpcSerialization.layerMsgPack, NodeNetwork.layer])
    )
  )
)

program.pipe(
  Effect.scoped,
  Effect.provide(Protocol),
  Effect.tapErrorCause((cause) => Console.error(Cause.pretty(cause, { renderErrorCause: true }))),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
