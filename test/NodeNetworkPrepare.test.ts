import { createServer, type Server } from "node:http"
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger } from "effect"
import * as Frame from "effect-websocket/Frame"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { httpKinds, resettable } from "./fixtures/httpKinds.js"
import { rawClient, rawServer } from "./fixtures/node.js"
import { rawClient as rawPeer, upgradedClient, upgradeRequest } from "./fixtures/rawPeer.js"
import { serving, test } from "./fixtures/routes.js"

const closing = (server: Server) =>
  Effect.async<Error | undefined>((resume) => {
    server.close((error) => resume(Effect.succeed(error)))
  })

const get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

for (const { create, kind, tls } of httpKinds) {
  describe(`a prepared ${kind} server`, () => {
    test(
      "that closes ends the connections without a request, and waits for the answers to those with one",
      Effect.gen(function* () {
        const asked = yield* Deferred.make<void>()
        const answer = yield* Deferred.make<void>()
        const server = NodeNetwork.prepareServer(create())
        server.on("request", (_, response) => {
          Effect.runFork(
            Effect.zipRight(
              Deferred.succeed(asked, undefined),
              Effect.tap(Deferred.await(answer), () => response.end("hello"))
            )
          )
        })
        const port = yield* rawServer(server)
        // TCP only, which under TLS means: in the middle of its handshake.
        const socket = yield* rawClient(port)
        const opened = yield* resettable(port, tls())
        const halfway = yield* resettable(port, tls())
        yield* halfway.peer.send("GET / HTTP/1.1\r\nHo")
        const busy = yield* resettable(port, tls())
        yield* busy.peer.send(get)
        yield* Deferred.await(asked)
        const closed = yield* Effect.fork(closing(server))
        for (const { peer } of [opened, halfway]) yield* Effect.zipRight(peer.ended, peer.end)
        yield* Effect.async<void>((resume) => {
          if (socket.closed) resume(Effect.void)
          socket.resume().once("close", () => resume(Effect.void))
        })
        expect(closed.unsafePoll()).toBe(null)
        yield* Deferred.succeed(answer, undefined)
        expect(yield* busy.peer.head).toMatch(/^HTTP\/1\.1 200 /)
        yield* Effect.zipRight(busy.peer.ended, busy.peer.end)
        expect(yield* Fiber.join(closed)).toBe(undefined)
      })
    )

    test(
      "answers with 503 what nobody listens for, an upgrade or not, and lets go of the client",
      Effect.gen(function* () {
        const server = NodeNetwork.prepareServer(NodeNetwork.prepareServer(create()))
        const port = yield* rawServer(server)
        for (const request of [get, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", upgradeRequest()]) {
          const { peer } = yield* resettable(port, tls())
          yield* peer.send(request)
          const head = (yield* peer.head).toLowerCase()
          expect(head).toMatch(/^http\/1\.1 503 service unavailable\r\n/)
          expect(head).toContain("\r\nconnection: close\r\n")
          yield* Effect.zipRight(peer.ended, peer.end)
        }
        expect(yield* closing(server)).toBe(undefined)
      })
    )
  })
}

describe("a prepared server", () => {
  test(
    "answers with 503 what comes while an application ends, and ends with it",
    Effect.gen(function* () {
      const left = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      const slow = (socket: WebSocket.WebSocket) =>
        Effect.zipRight(
          Effect.flip(socket.receive),
          Effect.zipRight(Deferred.succeed(left, undefined), Deferred.await(gate))
        )
      const { address, http, stop } = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get("/", WebSocketServer.upgrade(slow)),
          HttpRouter.get("/hello", HttpServerResponse.text("hello")),
          HttpServer.serve()
        )
      )
      const peer = yield* upgradedClient(address)
      const early = yield* rawPeer(address)
      const hello = yield* Effect.promise(() => fetch(`${http}/hello`))
      expect(yield* Effect.promise(() => hello.text())).toBe("hello")
      const ended = yield* Effect.fork(stop)
      expect(yield* peer.closeCode).toBe(1001)
      yield* peer.sendFrames(Frame.close(1001))
      yield* Deferred.await(left)
      // One that was kept alive, and one that was opened ahead.
      const late = yield* Effect.promise(() => fetch(`${http}/hello`))
      expect([late.status, late.headers.get("connection")]).toEqual([503, "close"])
      yield* early.send(upgradeRequest())
      expect(yield* early.head).toMatch(/^HTTP\/1\.1 503 /)
      yield* Effect.zipRight(early.ended, early.end)
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.zipRight(peer.ended, peer.end)
      yield* Fiber.join(ended)
    })
  )

  test(
    "tells the callback of `close` if it doesn't listen",
    Effect.gen(function* () {
      const server = NodeNetwork.prepareServer(createServer())
      expect(yield* closing(server)).toMatchObject({ code: "ERR_SERVER_NOT_RUNNING" })
    })
  )
})

describe("a server that wasn't prepared", () => {
  test(
    "upgrades, and has it logged once how dangerous that is",
    Effect.gen(function* () {
      const warnings: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        if (logLevel._tag === "Warning") warnings.push(String(message))
      })
      const { url } = yield* serving(
        HttpServer.serve(Effect.orDie(WebSocketServer.upgrade((socket) => socket.send("hello")))).pipe(
          Layer.provide(Logger.replace(Logger.defaultLogger, logger))
        ),
        createServer()
      )
      for (let visit = 0; visit < 2; visit++) {
        const socket = yield* WebSocket.connect(url)
        expect(yield* socket.receive).toBe("hello")
        expect(yield* socket.closed).toMatchObject({ code: 1000 })
      }
      expect(warnings).toEqual([expect.stringContaining("NodeNetwork.prepareServer")])
    })
  )
})
