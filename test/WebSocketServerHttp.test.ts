import { describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Redacted, type Scope } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { makeCertificates } from "./fixtures/certificates.js"
import { testsOn } from "./fixtures/leaks.js"
import * as overTls from "./fixtures/overTls.js"
import { httpSuite } from "./suites/http.js"
import { httpRequestSuite } from "./suites/httpRequest.js"

httpSuite("in memory", TestNetwork.layer)
httpRequestSuite("in memory", TestNetwork.layer)
httpSuite("over TCP", NodeNetwork.layer)
httpRequestSuite("over TCP", NodeNetwork.layer)
httpSuite("over TLS", overTls.layer)
httpRequestSuite("over TLS", overTls.layer)

describe("layerConfig", () => {
  const provided = (entries: ReadonlyArray<readonly [string, string]>) =>
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(entries)))

  const build = <E>(
    layer: Layer.Layer<WebSocketServer.WebSocketServer, E, never>
  ): Effect.Effect<WebSocketServer.WebSocketServer["Type"], E, Scope.Scope> =>
    Effect.flatMap(Layer.build(layer), (context) => Effect.provide(WebSocketServer.WebSocketServer, context))

  testsOn(NodeNetwork.layer)(
    "reads the options of a server from the configuration",
    Effect.gen(function* () {
      const { ca, good } = makeCertificates()
      const layer = WebSocketServer.layerConfig({
        port: Config.integer("PORT"),
        host: Config.string("HOST").pipe(Config.withDefault("127.0.0.1")),
        maxPayloadSize: Config.integer("MAX_PAYLOAD"),
        drainTimeout: Config.duration("DRAIN"),
        tls: { cert: Config.string("CERT"), key: Config.redacted("KEY") }
      }).pipe(Layer.provide(NodeNetwork.layer))
      const entries = [
        ["PORT", "0"],
        ["MAX_PAYLOAD", "10"],
        ["DRAIN", "0 seconds"],
        ["CERT", good.cert],
        ["KEY", Redacted.value(good.key)]
      ] as const
      const server = yield* provided(entries)(build(layer))
      expect(server.url).toMatch(/^wss:\/\/127\.0\.0\.1:\d+\/$/)
      yield* server.serve((socket) => socket.run((message) => socket.send(message)))
      const socket = yield* WebSocket.connect(server.url, { tls: { ca } })
      yield* socket.send("0123456789")
      expect(yield* socket.receive).toBe("0123456789")
      yield* socket.send("0123456789+")
      expect(yield* Effect.flip(socket.receive)).toMatchObject({ _tag: "ConnectionClosed", code: 1009 })
    })
  )

  it.scoped("says which entry is missing or wrong, and listens nowhere", () =>
    Effect.gen(function* () {
      const layer = WebSocketServer.layerConfig({ port: Config.integer("PORT") }).pipe(
        Layer.provideMerge(TestNetwork.layer)
      )
      const network = yield* Layer.build(TestNetwork.layer)
      for (const entries of [[], [["PORT", "eighty"]]] as const) {
        const error = yield* Effect.flip(provided(entries)(Layer.build(layer)))
        expect(String(error)).toContain("PORT")
      }
      expect(
        yield* Effect.flatMap(TestNetwork.TestNetwork, ({ listeners }) => listeners).pipe(Effect.provide(network))
      ).toEqual([])
    })
  )
})
