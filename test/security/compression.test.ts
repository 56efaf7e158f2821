import { createHook } from "node:async_hooks"
import { constants, deflateRawSync } from "node:zlib"
import { describe } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { pattern } from "../fixtures/bytes.js"
import { compressed, tail } from "../fixtures/deflating.js"
import { echoing } from "../fixtures/knocking.js"
import { rawClient, upgradedClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { finish, withPeer } from "../fixtures/withPeer.js"
import { attack, clientOf, failedWith, frameOf, memory } from "./attack.js"

const mebibyte = 1024 * 1024
const offer = { "Sec-WebSocket-Extensions": "permessage-deflate" }
const answer = (parameter?: string) => ({
  "Sec-WebSocket-Extensions": ["permessage-deflate", "server_no_context_takeover", parameter ?? []].flat().join("; ")
})

/** Connections in each role in turn that compress. */
const compressing = <E, R>(
  options: WebSocket.ConnectionOptions,
  body: (
    joined: Pick<Effect.Effect.Success<ReturnType<typeof withPeer>>, "peer" | "socket">
  ) => Effect.Effect<unknown, E, R>
) =>
  Effect.gen(function* () {
    yield* Effect.scoped(Effect.flatMap(withPeer("server", { deflate: true, ...options }, offer), body))
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { connecting, peer } = yield* clientOf(answer(), { deflate: true, ...options })
        yield* body({ peer, socket: yield* Fiber.join(connecting) })
      })
    )
  })

/** So many times 16 MiB of zeros. */
const bombOf = (times: number) => {
  const block = deflateRawSync(new Uint8Array(16 * mebibyte), { finishFlush: constants.Z_FULL_FLUSH, level: 9 })
  return new Uint8Array(Buffer.concat(Array.from({ length: times }, () => block)).subarray(0, -tail.length))
}

/** The contexts of zlib, each of some 300 KB that V8 doesn't know of: how many were made, and which are there still. */
const liveContexts = Effect.gen(function* () {
  const contexts = { made: 0, live: new Set<number>() }
  const hook = createHook({
    init(id, type) {
      if (type !== "ZLIB") return
      contexts.made++
      contexts.live.add(id)
    },
    destroy: (id) => void contexts.live.delete(id)
  })
  yield* Effect.acquireRelease(
    Effect.sync(() => hook.enable()),
    () => Effect.sync(() => hook.disable())
  )
  return contexts
})

describe("what inflates", () => {
  attack(
    "CVE-2026-1526 (undici), CVE-2018-1000518 (websockets): half a gigabyte of zeros in 500 KB is stopped at the limit, with 1009",
    Effect.suspend(() => {
      const bomb = bombOf(32)
      expect(bomb.length).toBeLessThan(mebibyte)
      return compressing({}, (joined) =>
        Effect.gen(function* () {
          const before = process.resourceUsage().maxRSS
          yield* joined.peer.send(frameOf(joined.peer, 2, bomb, { rsv: 4 }))
          expect(yield* failedWith(joined, 1009)).toMatchObject({ _tag: "PayloadTooLarge", which: "message size" })
          // In KiB: what the process has ever held at once.
          expect(process.resourceUsage().maxRSS - before).toBeLessThan(128 * 1024)
        })
      )
    })
  )

  attack(
    "uWebSockets.js #633: whatever zlib can make of a message, in any window, level and strategy, is inflated",
    compressing({}, ({ peer, socket }) =>
      Effect.gen(function* () {
        const message = new Uint8Array(
          Buffer.concat([pattern(3000), new Uint8Array(3000), Buffer.from("abc".repeat(500))])
        )
        for (const windowBits of [9, 12, 15]) {
          for (const level of [0, 1, 6, 9]) {
            for (const strategy of [0, 1, 2, 3, 4]) {
              const payload = compressed(message, { windowBits, level, strategy, memLevel: 1 + (level % 9) })
              yield* peer.send(frameOf(peer, 2, payload, { rsv: 4 }))
              expect(yield* socket.receive).toEqual(message)
            }
          }
        }
        yield* finish({ peer, socket })
      })
    )
  )
})

describe("what is negotiated", () => {
  attack(
    "CVE-2026-2229 (undici): a server's window bits that are none fail the handshake with a typed error",
    Effect.gen(function* () {
      const bits = ["7", "16", "99999999999", "-1", "0x9", "08", "15.0", "1e1", '"16"', ""]
      for (const parameter of [
        ...bits.map((value) => `server_max_window_bits=${value}`),
        ...bits.map((value) => `client_max_window_bits=${value}`),
        "server_max_window_bits",
        "client_max_window_bits",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_no_context_takeover",
        "client_no_context_takeover=true",
        "unknown"
      ]) {
        const { connecting, peer } = yield* clientOf(answer(parameter), { deflate: true })
        const error = yield* Effect.flip(Effect.asVoid(Fiber.join(connecting)))
        expect([parameter, error]).toMatchObject([parameter, { _tag: "HandshakeError", status: 101 }])
        yield* peer.ended
        yield* peer.end
      }
      for (const value of ["8", "15", '"10"']) {
        const { connecting, peer } = yield* clientOf(answer(`server_max_window_bits=${value}`), { deflate: true })
        yield* Fiber.join(connecting)
        yield* peer.destroy
      }
    })
  )

  attack(
    "node #8871, ws #1202: compression is off unless asked for, in both roles",
    Effect.gen(function* () {
      const { connecting, peer, request } = yield* clientOf({})
      expect(request).not.toMatch(/extensions/i)
      yield* finish({ peer, socket: yield* Fiber.join(connecting) })
      const server = yield* echoing()
      const client = yield* rawClient(server.address)
      yield* client.send(upgradeRequest(offer))
      expect(yield* client.head).not.toMatch(/extensions/i)
      yield* client.destroy
    })
  )

  attack(
    "node #8871, ws #1202: connections that compress hold nothing of zlib's between two messages",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0, deflate: { threshold: 0 } })
      yield* server.serve((socket) => socket.run((message) => socket.send(message)))
      const message = "a message that repeats a message that repeats".repeat(20)
      const payload = compressed(message)
      const contexts = yield* liveContexts
      const clients = yield* Effect.replicateEffect(upgradedClient(server.address, upgradeRequest(offer)), 100)
      yield* Effect.forEach(
        clients,
        (peer) =>
          Effect.zipRight(
            peer.send(frameOf(peer, 1, payload, { rsv: 4 })),
            peer.frame(({ rsv }) => rsv === 4)
          ),
        { concurrency: "unbounded" }
      )
      expect(contexts.made).toBeGreaterThanOrEqual(200)
      for (let turn = 0; turn < 10 && contexts.live.size > 0; turn++) yield* memory
      const left = contexts.live.size
      for (const peer of clients) yield* peer.destroy
      expect(left).toBe(0)
    })
  )
})
