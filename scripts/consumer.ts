// What pack-check compiles against the installed package: a user's first lines.
import { Effect } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"
import * as CloseCode from "effect-websocket/CloseCode"

export const program = Effect.gen(function* () {
  const socket = yield* WebSocket.connect("ws://localhost:8080")
  yield* socket.send("hello")
  return yield* socket.receive
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))

// @ts-expect-error: a code is a number; without the package's types it would be anything
export const code: string = CloseCode.normal
