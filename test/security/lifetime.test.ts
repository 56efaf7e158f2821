import { HttpRouter, HttpServer } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Deferred, Effect, type Scope, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { echo, empty } from "../fixtures/knocking.js"
import { type RawPeer, resettableClient, upgradedClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { serving } from "../fixtures/routes.js"
import { attack, attackOnRoutes } from "./attack.js"

/** What nobody has caught meanwhile, and what would have ended a process of its own. */
const uncaught = Effect.gen(function* () {
  const errors: Array<unknown> = []
  const note = (error: unknown) => void errors.push(error)
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("uncaughtException", note).on("unhandledRejection", note)),
    () => Effect.sync(() => process.off("uncaughtException", note).off("unhandledRejection", note))
  )
  return errors
})

const moments: ReadonlyArray<(peer: RawPeer) => Effect.Effect<unknown>> = [
  () => Effect.void,
  (peer) => peer.send(upgradeRequest().slice(0, 50)),
  // While it is decided on, and nobody reads.
  (peer) => Effect.zipRight(peer.send(upgradeRequest({}, "GET /slow HTTP/1.1")), settle),
  (peer) => peer.send(upgradeRequest({ "Sec-WebSocket-Version": "99" })),
  (peer) => peer.send(upgradeRequest()),
  (peer) => Effect.zipRight(peer.send(upgradeRequest()), peer.head),
  (peer) => Effect.zipRight(peer.send(upgradeRequest()), Effect.zipRight(peer.head, peer.send(Uint8Array.of(0x81))))
]

const resetting = (
  address: WebSocketServer.WebSocketServer["Type"]["address"],
  url: string
): Effect.Effect<void, unknown, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const errors = yield* uncaught
    for (const before of moments) {
      for (let turns = 0; turns < 3; turns++) {
        const { peer, reset } = yield* resettableClient(address)
        yield* before(peer)
        for (let turn = 0; turn < turns; turn++) yield* settle
        yield* reset
        yield* settle
      }
    }
    const socket = yield* WebSocket.connect(url)
    yield* socket.send("still there?")
    expect(yield* socket.receive).toBe("still there?")
    expect(errors).toEqual([])
  })

describe("a reset", () => {
  attack(
    "CVE-2022-39386 (@fastify/websocket), @effect/platform-node 0.108 (no id): at no moment does a reset end more than its own connection",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0 })
      yield* server.serve(echo)
      const release = yield* Deferred.make<void>()
      yield* server.serveWith(
        () => Effect.as(Deferred.await(release), { data: undefined }),
        () => Effect.void,
        { path: "/slow" }
      )
      yield* resetting(server.address, server.url)
      yield* Deferred.succeed(release, undefined)
      yield* empty(server, 1)
    })
  )

  attackOnRoutes(
    "CVE-2022-39386 (@fastify/websocket), @effect/platform-node 0.108 (no id): at no moment does a reset end a server that has routes",
    Effect.gen(function* () {
      const server = yield* serving(
        HttpRouter.empty.pipe(
          HttpRouter.get("/", WebSocketServer.upgrade(echo)),
          HttpRouter.get(
            "/slow",
            WebSocketServer.upgradeWith(
              () => Effect.never,
              () => Effect.void
            )
          ),
          HttpServer.serve()
        )
      )
      yield* resetting(server.address, server.url)
    })
  )
})

describe("a close", () => {
  attack(
    "CVE-2024-23672 (Tomcat): a peer that never finishes the closing handshake is let go after closeTimeout",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0 })
      yield* server.serve((socket) => socket.close(1000), { path: "/closes" })
      yield* server.serve(echo)
      // One is silent, one goes on sending, and one breaks a rule and stays.
      const request = upgradeRequest({}, "GET /closes HTTP/1.1")
      const silent = yield* upgradedClient(server.address, request)
      const chatty = yield* upgradedClient(server.address, request)
      const rude = yield* upgradedClient(server.address)
      yield* rude.sendFrames({ ...Frame.text("x"), rsv: 7 })
      for (const peer of [silent, chatty, rude]) yield* peer.closeCode
      for (let second = 0; second < 4; second++) {
        yield* chatty.sendFrames(Frame.text("more"), Frame.ping())
        yield* settle
        yield* TestClock.adjust("1 second")
        expect(yield* server.connections).toBe(3)
      }
      yield* TestClock.adjust("1 second")
      yield* empty(server)
    })
  )
})
