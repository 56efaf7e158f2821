// A server that speaks TLS and asks clients for a certificate, and a client that has one.
// Then the same client without what it takes, to see what it is told.
//
//   CA=ca.pem CERT=server.pem KEY=server.key CLIENT_CERT=client.pem CLIENT_KEY=client.key npx tsx examples/tls.ts
//
// The server's certificate has to be for localhost. To make all of them:
//
//   openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=My CA" -keyout ca.key -out ca.pem
//   openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=localhost" -addext "subjectAltName=DNS:localhost" \
//     -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem
//   openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=alice" \
//     -CA ca.pem -CAkey ca.key -keyout client.key -out client.pem

import { FileSystem } from "@effect/platform"
import { NodeFileSystem, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Redacted } from "effect"
import { NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"

const pem = (name: string) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    return yield* files.readFileString(yield* Config.string(name))
  })

const program = Effect.gen(function* () {
  const ca = yield* pem("CA")
  const server = yield* WebSocketServer.make({
    host: "localhost",
    tls: { cert: yield* pem("CERT"), key: Redacted.make(yield* pem("KEY")), clientCa: ca }
  })
  yield* server.serve((socket) => socket.run((message) => socket.send(message)))
  const url = server.url.replace("127.0.0.1", "localhost").replace("[::1]", "localhost")

  const certificate = { cert: yield* pem("CLIENT_CERT"), key: Redacted.make(yield* pem("CLIENT_KEY")) }
  const ask = (tls: WebSocket.ConnectOptions["tls"]) =>
    Effect.gen(function* () {
      const socket = yield* WebSocket.connect(url, { tls })
      yield* socket.send("over TLS")
      return yield* socket.receive
    }).pipe(
      Effect.scoped,
      Effect.catchAll((error) => Effect.succeed(`${error._tag}: ${error.message}`))
    )

  yield* Console.log(`with a certificate: ${yield* ask({ ca, ...certificate })}`)
  yield* Console.log(`without: ${yield* ask({ ca })}`)
  yield* Console.log(`trusting nobody: ${yield* ask(certificate)}`)
  yield* Console.log(`another name: ${yield* ask({ ca, ...certificate, servername: "other.example" })}`)
})

program.pipe(
  Effect.scoped,
  Effect.provide(Layer.merge(NodeNetwork.layer, NodeFileSystem.layer)),
  NodeRuntime.runMain({ disablePrettyLogger: true })
)
