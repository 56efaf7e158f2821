import { Effect, Layer } from "effect"
import { NodeNetwork, WebSocketServer } from "effect-websocket"
const main = Effect.gen(function*(){
  const s = yield* WebSocketServer.make({port: 9377})
  yield* s.serve((socket)=>Effect.gen(function*(){
    yield* socket.receive
    yield* socket.sendAll(Array.from({ length: 1000 }, (_, index) => `${index}`))
    console.log("sent", Date.now()%100000)
    yield* socket.close(4001)
    console.log("closed", Date.now()%100000, yield* Effect.either(socket.closed))
  }))
  yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
Effect.runPromise(main)
