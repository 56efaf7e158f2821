import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { createServer } from "node:http"
import * as Net from "node:net"
import { Effect, Layer, Fiber } from "effect"
import { NodeNetwork, WebSocketServer, WebSocket } from "effect-websocket"
process.on("exit", () => console.log("handles", process.getActiveResourcesInfo()))
const server = NodeNetwork.prepareServer(createServer())
const router = HttpRouter.empty.pipe(HttpRouter.get("/echo", WebSocketServer.upgrade((s) => s.run((m) => s.send(m)))))
const App = router.pipe(HttpServer.serve(), Layer.provideMerge(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" })), Layer.provideMerge(NodeNetwork.layer))
const mode = process.argv[2]
const program = Effect.gen(function* () {
  const http = yield* HttpServer.HttpServer
  const port = http.address._tag === "TcpAddress" ? http.address.port : 0
  const count = Effect.async<number>((r) => server.getConnections((_, n) => r(Effect.succeed(n))))
  if (mode === "refused" || mode === "notfound") {
    const e = yield* Effect.scoped(WebSocket.connect(`ws://127.0.0.1:${port}/${mode === "refused" ? "echo" : "nope"}`, {headers: {origin: "http://evil.example"}})).pipe(Effect.flip)
    console.log(e.message, "headers" in e ? e.headers : "")
    yield* Effect.sleep(500)
    console.log("connections after refused", yield* count)
  }
  if (mode === "idle") {
    yield* Effect.async<void>((r) => { Net.connect(port, "127.0.0.1", () => r(Effect.void)).unref() })
    yield* Effect.sleep(200)
  }
  if (mode === "echo") {
    yield* Effect.scoped(Effect.gen(function*() {
      const s = yield* WebSocket.connect(`ws://127.0.0.1:${port}/echo`)
      yield* s.send("a"); console.log(yield* s.receive)
      yield* s.close(4000, "x"); console.log(yield* s.closed)
    }))
    yield* Effect.sleep(200)
    console.log("connections after echo", yield* count)
  }
  if (mode === "shutdown") {
    const s = yield* WebSocket.connect(`ws://127.0.0.1:${port}/echo`).pipe(Effect.provide(NodeNetwork.layer), (x)=>x)
    yield* Effect.forkDaemon(Effect.flatMap(Effect.flip(s.receive), (e) => Effect.sync(() => console.log("client saw", e.message))))
    yield* s.send("a")
    yield* Effect.sleep(200)
    return s
  }
  console.log("closing", Date.now())
})
const scopeOuter = program.pipe(Effect.provide(App), Effect.scoped)
if (mode === "shutdown") {
  // the client lives in an outer scope
  const p = Effect.scoped(Effect.flatMap(Effect.scope, () => Effect.gen(function*() {
    const rt = yield* Layer.build(App).pipe(Effect.scoped, Effect.forkDaemon, (x) => x)
    yield* Fiber.join(rt)
  })))
  void p
}
Effect.runPromise(scopeOuter).then(() => console.log("closed", Date.now()), (e) => console.log("failed", e))
