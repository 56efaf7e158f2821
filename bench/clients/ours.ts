// Our own client: `ours.js FORM SETTINGS`.

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"
import { counted, form, ready } from "../servers/common.js"
import { message, messages, plan } from "./common.js"

type Handler = (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>

const receives: Readonly<Record<string, Handler>> = {
  run: (socket) => {
    const isLast = counted(plan.each)
    return socket.run(() => (isLast() ? socket.send("ack") : Effect.void))
  },
  loop: (socket) =>
    Effect.gen(function* () {
      const isLast = counted(plan.each)
      while (true) {
        yield* socket.receive
        if (isLast()) yield* socket.send("ack")
      }
    }),
  batch: (socket) =>
    Effect.gen(function* () {
      const isLast = counted(plan.each)
      while (true) {
        const messages = yield* socket.receiveAll
        yield* socket.sendAll(messages.flatMap(() => (isLast() ? ["ack"] : [])))
      }
    })
}

const sends: Readonly<Record<string, Handler>> = {
  run: (socket) => socket.run(() => Effect.forEach(messages, (each) => socket.send(each), { discard: true })),
  loop: (socket) =>
    Effect.gen(function* () {
      while (true) {
        yield* socket.receive
        for (let sent = 0; sent < plan.each; sent++) yield* socket.send(message)
      }
    }),
  batch: (socket) => socket.run(() => socket.sendAll(messages))
}

const handler = { receives, sends }[plan.does][form]
if (handler === undefined) throw new Error(`no form ${form}`)

Effect.gen(function* () {
  const sockets = yield* Effect.replicateEffect(WebSocket.connect(`ws://127.0.0.1:${plan.port}/`), plan.connections)
  ready(0)
  yield* Effect.forEach(sockets, (socket) => Effect.ignore(handler(socket)), {
    concurrency: "unbounded",
    discard: true
  })
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer), NodeRuntime.runMain)
