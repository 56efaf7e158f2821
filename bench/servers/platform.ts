// The WebSocket server of @effect/platform-node.

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { Effect } from "effect"
import { counted, maxPayloadSize, ready, settings } from "./common.js"

const { task = "echo" } = settings

Effect.gen(function* () {
  const server = yield* NodeSocketServer.makeWebSocket({
    host: "127.0.0.1",
    port: 0,
    backlog: 4096,
    maxPayload: maxPayloadSize
  })
  ready(server.address._tag === "TcpAddress" ? server.address.port : 0)
  yield* server.run((socket) =>
    Effect.gen(function* () {
      const write = yield* socket.writer
      if (task === "echo" || task === "streamed") return yield* socket.runRaw(write)
      const isLast = counted(task.ackEach)
      return yield* socket.runRaw(() => (isLast() ? write("ack") : Effect.void))
    }).pipe(Effect.scoped, Effect.ignore)
  )
}).pipe(Effect.scoped, NodeRuntime.runMain)
