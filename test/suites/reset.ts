import { describe } from "@effect/vitest"
import { Effect, Fiber, type Layer } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import type { WebSocketError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { serverWith } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { type RawPeer, resettableClient, upgradeRequest } from "../fixtures/rawPeer.js"

/** A peer that resets the connection, at every moment of its life. */
export const resetSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  describe(`${name}: a reset`, () => {
    const moments: ReadonlyArray<readonly [string, (peer: RawPeer) => Effect.Effect<unknown>]> = [
      ["before the request", () => Effect.void],
      ["in the middle of the request", (peer) => peer.send(upgradeRequest().slice(0, 50))],
      ["right after the request", (peer) => peer.send(upgradeRequest())],
      ["after a refusal", (peer) => Effect.zipRight(peer.send("POST / HTTP/1.1\r\n\r\n"), peer.head)],
      ["after the opening handshake", (peer) => Effect.zipRight(peer.send(upgradeRequest()), peer.head)],
      [
        "in the middle of a frame",
        (peer) =>
          peer
            .send(upgradeRequest())
            .pipe(Effect.zipRight(peer.head), Effect.zipRight(peer.send(Uint8Array.of(0x81, 0xff, 0, 0))))
      ],
      [
        "after a message that is being answered",
        (peer) =>
          peer
            .send(upgradeRequest())
            .pipe(Effect.zipRight(peer.head), Effect.zipRight(peer.sendFrames(Frame.text("x".repeat(100_000)))))
      ],
      [
        "after a Close",
        (peer) =>
          peer
            .send(upgradeRequest())
            .pipe(Effect.zipRight(peer.head), Effect.zipRight(peer.sendFrames(Frame.close(1000))))
      ]
    ]
    for (const [moment, before] of moments) {
      for (const rest of ["at once", "after a moment"] as const) {
        test(
          `${moment}, ${rest}, ends that connection and nothing else`,
          Effect.gen(function* () {
            const server = yield* WebSocketServer.make()
            yield* server.serve((socket) => socket.run((message) => socket.send(message)))
            const { peer, reset } = yield* resettableClient(server.address)
            yield* before(peer)
            if (rest === "after a moment") yield* settle
            yield* reset
            const other = yield* Effect.scoped(
              Effect.gen(function* () {
                const socket = yield* WebSocket.connect(server.url)
                yield* socket.send("still there?")
                return yield* socket.receive
              })
            )
            expect(other).toBe("still there?")
            while ((yield* server.connections) > 0) yield* settle
          })
        )
      }
    }

    test(
      "wakes whoever receives, sends or waits with IoError",
      Effect.gen(function* () {
        const { server, socket } = yield* serverWith()
        const { peer, reset } = yield* resettableClient(server.address)
        yield* peer.send(upgradeRequest())
        yield* peer.head
        peer.flow.pause()
        const self = yield* socket
        const waiting: ReadonlyArray<Effect.Effect<unknown, WebSocketError>> = [
          self.receive,
          Effect.forever(self.send(new Uint8Array(100_000))),
          self.closed
        ]
        const failing = yield* Effect.forEach(waiting, (each) => Effect.fork(Effect.flip(each)))
        yield* settle
        yield* reset
        for (const fiber of failing) {
          const error = yield* Fiber.join(fiber)
          expect(error._tag).toBe("IoError")
          expect(error).toMatchObject({ code: expect.stringMatching(/ECONNRESET|EPIPE/) })
          expect(error.message).toContain("127.0.0.1")
        }
      })
    )
  })
}
