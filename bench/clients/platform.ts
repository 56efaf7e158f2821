// The client of @effect/platform, over `ws`.

import * as Socket from "@effect/platform/Socket"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { Deferred, Effect } from "effect"
import { counted, ready } from "../servers/common.js"
import { messages, plan } from "./common.js"

const client = (opened: Deferred.Deferred<void>) =>
  Effect.gen(function* () {
    const socket = yield* Socket.makeWebSocket(`ws://127.0.0.1:${plan.port}/`)
    const write = yield* socket.writer
    const isLast = counted(plan.each)
    const handler =
      plan.does === "sends"
        ? () => Effect.forEach(messages, (message) => write(message), { discard: true })
        : () => (isLast() ? write("ack") : Effect.void)
    yield* socket.runRaw(handler, { onOpen: Deferred.succeed(opened, undefined) })
  }).pipe(Effect.scoped, Effect.ignore)

Effect.gen(function* () {
  for (let count = 0; count < plan.connections; count++) {
    const opened = yield* Deferred.make<void>()
    yield* Effect.fork(client(opened))
    yield* Deferred.await(opened)
  }
  ready(0)
  yield* Effect.never
}).pipe(Effect.provide(NodeSocket.layerWebSocketConstructor), NodeRuntime.runMain)
