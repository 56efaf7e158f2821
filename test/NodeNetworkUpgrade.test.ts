import { createServer, request as httpRequest, ServerResponse } from "node:http"
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Scope } from "effect"
import type { Flow } from "effect-websocket/Flow"
import { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { vi } from "vitest"
import { bytes, closed, reading, settle } from "./fixtures/heard.js"
import { event, live, loopback, rawClient } from "./fixtures/node.js"

describe("upgrade", () => {
  /** An HTTP server whose handler takes the connection over, once `gate` is open. */
  const served = (
    gate: Effect.Effect<void>,
    use: (
      flow: Flow,
      request: HttpServerRequest.HttpServerRequest
    ) => Effect.Effect<unknown, unknown, Network | Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const asked = yield* Deferred.make<void>()
      const server = NodeNetwork.prepareServer(createServer())
      const http = yield* NodeHttpServer.make(() => server, { host: "127.0.0.1", port: 0 })
      const network = yield* Network
      const done = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
      yield* http.serve(
        Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          yield* Deferred.succeed(asked, undefined)
          yield* gate
          const exit = yield* network.upgrade(request).pipe(
            Effect.flatMap((flow) => use(flow, request)),
            Effect.provideService(Network, network),
            Effect.scoped,
            Effect.uninterruptible,
            Effect.exit
          )
          yield* Deferred.succeed(done, exit)
          // A body would be written to the connection that is no longer the HTTP server's.
          return HttpServerResponse.empty()
        })
      )
      return {
        port: http.address._tag === "TcpAddress" ? http.address.port : 0,
        asked: Deferred.await(asked),
        done: Effect.flatten(Deferred.await(done))
      }
    })

  const head = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

  live(
    "takes the connection over, with the bytes that came right behind the request",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, (flow) =>
        Effect.gen(function* () {
          const handler = reading(flow)
          yield* handler.until(({ text }) => text().length >= 9)
          flow.write(bytes(`got ${handler.text()}`), false)
          flow.end()
          yield* closed(handler)
          return [handler.events, flow.secure, flow.localAddress]
        })
      )
      const client = yield* rawClient(port)
      const answer: Array<string> = []
      client.on("data", (chunk) => answer.push(String(chunk)))
      const over = yield* Effect.fork(event(client, "close"))
      client.write(`${head}early`)
      yield* settle
      client.write("late")
      yield* Fiber.join(over)
      expect(answer.join("")).toBe("got earlylate")
      expect(yield* done).toEqual([["data", "end", "close"], false, { ...loopback, port }])
    })
  )

  live(
    "destroys the flow when its scope closes, and the server's answer to it harms nobody",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, () => Effect.void)
      const client = yield* rawClient(port)
      client.resume()
      const over = yield* Effect.fork(event(client, "close"))
      yield* Effect.yieldNow()
      client.write(head)
      yield* done
      yield* Fiber.join(over)
    })
  )

  live(
    "of a connection that was reset in the meantime closes with the error, and nothing is thrown",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { asked, done, port } = yield* served(Effect.uninterruptible(Deferred.await(gate)), (flow) =>
        Effect.gen(function* () {
          const handler = reading(flow)
          yield* closed(handler)
          return [handler.events, handler.error()?.code]
        })
      )
      const client = yield* rawClient(port)
      client.write(head)
      yield* asked
      client.resetAndDestroy()
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      const exit = yield* Effect.exit(done)
      // The HTTP server interrupts the handler of a connection that is gone; if it came further, it heard of the reset.
      if (Exit.isSuccess(exit)) expect(exit.value).toEqual([["close"], "ECONNRESET"])
    })
  )

  live(
    "writes nothing else to the connection, also where a response can't be detached from it, as on Bun",
    Effect.gen(function* () {
      const detach = vi.spyOn(ServerResponse.prototype, "detachSocket").mockImplementation(() => {})
      yield* Effect.addFinalizer(() => Effect.sync(() => detach.mockRestore()))
      const { done, port } = yield* served(Effect.void, (flow) =>
        Effect.gen(function* () {
          flow.write(bytes("ours"), false)
          flow.end()
          yield* closed(reading(flow))
        })
      )
      const client = yield* rawClient(port)
      const answer: Array<string> = []
      client.on("data", (chunk) => answer.push(String(chunk)))
      const over = yield* Effect.fork(event(client, "close"))
      client.write(head)
      yield* done
      yield* Fiber.join(over)
      expect(detach).toHaveBeenCalled()
      expect(answer.join("")).toBe("ours")
    })
  )

  live(
    "fails for a connection that was taken over already",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, (_, request) =>
        Effect.flatMap(Network, ({ upgrade }) => Effect.flip(upgrade(request)))
      )
      const client = yield* rawClient(port)
      client.write(head)
      expect(yield* done).toMatchObject({ _tag: "HandshakeError", rule: expect.stringContaining("already") })
    })
  )

  live(
    "fails for a request that asks for no upgrade, and for one of another platform",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, () => Effect.void)
      httpRequest({ host: "127.0.0.1", port, agent: false }, (response) => response.resume()).end()
      expect(yield* Effect.flip(done)).toMatchObject({
        _tag: "HandshakeError",
        rule: expect.stringContaining("doesn't ask for an upgrade")
      })
      const { upgrade } = yield* Network
      const foreign = HttpServerRequest.fromWeb(new Request("http://x/"))
      expect(yield* Effect.flip(upgrade(foreign))).toMatchObject({
        _tag: "HandshakeError",
        rule: expect.stringContaining("Node HTTP server")
      })
    })
  )
})
