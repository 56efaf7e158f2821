import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { createServer } from "node:http"
import * as Net from "node:net"
import { Effect, Layer } from "effect"
import { NodeNetwork, WebSocketServer } from "effect-websocket"
const mode = process.argv[2]
const server = mode === "bare" ? createServer() : NodeNetwork.prepareServer(createServer())
const router = HttpRouter.empty.pipe(HttpRouter.get("/echo", WebSocketServer.upgrade((s) => s.run((m) => s.send(m)))))
const App = router.pipe(HttpServer.serve(), Layer.provideMerge(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" })), Layer.provideMerge(NodeNetwork.layer))
const program = Effect.gen(function* () {
  const http = yield* HttpServer.HttpServer
  const port = http.address._tag === "TcpAddress" ? http.address.port : 0
  const count = Effect.async<number>((r) => server.getConnections((_, n) => r(Effect.succeed(n))))
  for (const path of ["/nope", "/echo"]) {
    const s = Net.connect(port, "127.0.0.1")
    s.on("data", (d) => console.log(JSON.stringify(String(d))))
    s.on("end", () => console.log("client got FIN"))
    s.on("close", (e) => console.log("client closed", e))
    s.on("error", (e) => console.log("client error", e.message))
    s.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`)
    yield* Effect.sleep(500)
    console.log(path, "connections", yield* count)
  }
  console.log("closing")
})
Effect.runPromise(program.pipe(Effect.provide(App), Effect.scoped)).then(() => console.log("closed"), (e) => console.log("failed", e))
