import { describe } from "@effect/vitest"
import { Effect } from "effect"
import * as Frame from "effect-websocket/Frame"
import { TestNetwork } from "effect-websocket/TestNetwork"
import type { ProtocolError } from "effect-websocket/WebSocketError"
import { expect } from "vitest"
import { join } from "../fixtures/bytes.js"
import { inUse } from "../fixtures/heap.js"
import { settle } from "../fixtures/heard.js"
import type { RawPeer } from "../fixtures/rawPeer.js"
import { finish, withPeer } from "../fixtures/withPeer.js"
import { attack, failedWith, frameOf, inBothRoles, inMemory, memory } from "./attack.js"

const mebibyte = 1024 * 1024

/** Memory that the next buffers may be made of is full of this, unless whoever makes them wipes it. */
const dirtyMemory = Effect.sync(() => {
  for (let count = 0; count < 400; count++) Buffer.allocUnsafeSlow(count % 2 === 0 ? 65_536 : 256).fill(0xaa)
  inUse()
})

const sentBehind = (peer: RawPeer, start: number) => peer.frames().slice(start).at(-1)?.payload ?? new Uint8Array(0)

describe("what memory holds of others is not sent", () => {
  attack(
    "ws 1.0.1 (2016): a number from JSON in place of a payload sends nothing, and never what memory held before",
    inBothRoles({}, ({ peer, socket }) =>
      Effect.gen(function* () {
        yield* dirtyMemory
        const { send, sendBinary, sendPing, sendPong, sendText } = socket
        for (const [index, operation] of [send, sendText, sendBinary, sendPing, sendPong].entries()) {
          yield* Effect.exit(operation(JSON.parse("100")))
          yield* socket.send(`after ${index}`)
          yield* peer.frame(({ payload }) => String(Buffer.from(payload)) === `after ${index}`)
          // It is the next that the peer has heard.
          expect(peer.frames().length).toBe(index + 1)
          yield* peer.sendFrames(Frame.text("next"))
          expect(yield* socket.receive).toBe("next")
        }
        yield* finish({ peer, socket })
      })
    )
  )

  attack(
    "GHSA-58qx-3vcg-4xpx (ws): a typed array as the reason of a Close never sends what memory held beside it",
    inBothRoles({}, ({ peer, socket }) =>
      Effect.gen(function* () {
        yield* dirtyMemory
        const closing: Effect.Effect<void, ProtocolError> = Reflect.apply(socket.close, undefined, [
          1000,
          new Float64Array(20)
        ])
        yield* Effect.fork(closing)
        expect(yield* peer.closeCode).toBe(1000)
        // As text at best: its own content.
        expect(String(Buffer.from(sentBehind(peer, 0).subarray(2)))).toMatch(/^[0,]*$/)
        yield* finish({ peer, socket })
      })
    )
  )
})

describe("what a peer sends in pieces is bounded", () => {
  const fragmentsOf = (piece: string) =>
    inBothRoles({}, (joined) =>
      Effect.gen(function* () {
        const { peer } = joined
        const fragment = frameOf(peer, 0, piece, { fin: false })
        yield* peer.send(frameOf(peer, 2, "", { fin: false }))
        for (let sent = 0; sent < 20; sent++) yield* peer.send(join(...Array.from({ length: 1000 }, () => fragment)))
        expect(yield* failedWith(joined, 1009)).toMatchObject({
          _tag: "PayloadTooLarge",
          which: "fragments per message",
          limit: 16_384
        })
      })
    )

  attack("GHSA-vxpw-j846-p89q (undici): empty fragments without end fail with 1009", fragmentsOf(""))

  attack("CVE-2026-48779, GHSA-96hv-2xvq-fx4p (ws): tiny fragments without end fail with 1009", fragmentsOf("x"))

  attack(
    "CVE-2026-9675, GHSA-38rv-x7px-6hhq (undici): fragments that are each within the limit are added up",
    inBothRoles({ maxPayloadSize: 1000 }, (joined) =>
      Effect.gen(function* () {
        const { peer } = joined
        yield* peer.send(frameOf(peer, 1, "x".repeat(600), { fin: false }))
        yield* peer.send(frameOf(peer, 0, "x".repeat(401), { fin: false }))
        expect(yield* failedWith(joined, 1009)).toMatchObject({ which: "message size", limit: 1000, size: 1001 })
      })
    )
  )

  attack(
    "CVE-2026-42786 (Bandit), CVE-2014-0193 (Netty): continuations without end fail with 1009 at 1 MiB, by default",
    inBothRoles({}, (joined) =>
      Effect.gen(function* () {
        const { peer } = joined
        const large = frameOf(peer, 0, "x".repeat(65_536), { fin: false })
        yield* peer.send(frameOf(peer, 1, "", { fin: false }))
        for (let sent = 0; sent < 17; sent++) yield* peer.send(large)
        expect(yield* failedWith(joined, 1009)).toMatchObject({ which: "message size", limit: mebibyte })
      })
    )
  )

  attack(
    "CVE-2026-54274 (aiohttp): a length over the limit fails with 1009 before any of its payload has come",
    inBothRoles({ maxPayloadSize: 1000 }, (joined) =>
      Effect.gen(function* () {
        const { peer } = joined
        yield* peer.send(frameOf(peer, 2, "", { length: 1001n }))
        expect(yield* failedWith(joined, 1009)).toMatchObject({ which: "frame size", limit: 1000, size: 1001 })
      })
    )
  )
})

describe("what a peer makes us hold is no more than it has sent", () => {
  attack(
    "CVE-2022-35922 (Rust-WebSocket): a gigabyte that is only declared takes no memory",
    inBothRoles({ maxPayloadSize: 2 ** 31 }, ({ peer, socket }) =>
      Effect.gen(function* () {
        const before = yield* memory
        yield* peer.send(frameOf(peer, 2, "some of it", { length: 2n ** 30n }))
        for (let turn = 0; turn < 20; turn++) yield* settle
        const taken = (yield* memory) - before
        yield* peer.destroy
        yield* Effect.flip(socket.receive)
        expect(taken).toBeLessThan(mebibyte)
      })
    ),
    [inMemory]
  )

  attack(
    "GHSA-96hv-2xvq-fx4p (ws), ws 8.21.1 #2329: a message in 200,000 reads of one byte is held in a few buffers",
    Effect.gen(function* () {
      const network = yield* TestNetwork
      yield* inBothRoles({}, ({ peer, socket }) =>
        Effect.gen(function* () {
          const before = yield* memory
          yield* network.set({ fragmentation: 1 })
          const bytes = join(frameOf(peer, 2, "x".repeat(200_000), { fin: false }), frameOf(peer, 9, "there?"))
          for (let at = 0; at < bytes.length; at += 10_000) {
            yield* peer.send(bytes.slice(at, at + 10_000))
            yield* settle
          }
          yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.pong)
          const taken = (yield* memory) - before
          yield* peer.send(frameOf(peer, 0))
          const whole = yield* socket.receive
          expect(whole.length).toBe(200_000)
          yield* network.set({ fragmentation: "write" })
          yield* finish({ peer, socket })
          expect(taken).toBeLessThan(5 * mebibyte)
        })
      )
    }).pipe(Effect.provide(inMemory[1])),
    [inMemory]
  )

  attack(
    "CVE-2021-3690 (Undertow), ws 8.23.0 maxPendingAutoPongs: pings to be answered to a peer that reads nothing pile up no pongs",
    inBothRoles({}, ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const before = yield* memory
        const pings = join(...Array.from({ length: 1000 }, (_, index) => frameOf(peer, 9, `${index}`.padEnd(125, "."))))
        // 12 MB of pongs, and more than what an operating system takes for itself.
        for (let sent = 0; sent < 100; sent++) {
          yield* peer.send(pings)
          yield* settle
        }
        yield* peer.sendFrames(Frame.text("that was all"))
        expect(yield* socket.receive).toBe("that was all")
        const waiting = yield* socket.bufferedBytes
        const taken = (yield* memory) - before
        yield* finish({ peer, socket })
        expect(waiting).toBeLessThan(mebibyte / 2)
        expect(taken).toBeLessThan(4 * mebibyte)
      })
    )
  )

  attack(
    "ws 8.23.0: an idle connection keeps no chunk alive of which it needs, or has given away, a few bytes",
    Effect.gen(function* () {
      const joined = yield* Effect.replicateEffect(withPeer("server"), 100)
      const before = yield* memory
      const kept: Array<unknown> = []
      for (const { peer, socket } of joined) {
        // A small message for the application, a large one, and the beginning of a ping.
        const small = frameOf(peer, 2, "ten bytes!")
        const large = frameOf(peer, 1, "x".repeat(60_000))
        yield* peer.send(join(small, large, frameOf(peer, 9, "p".repeat(125)).subarray(0, 100)))
        kept.push(yield* socket.receive)
        yield* socket.receive
      }
      const taken = (yield* memory) - before
      for (const { peer } of joined) yield* peer.destroy
      expect(taken).toBeLessThan(2 * mebibyte)
      expect(kept.length).toBe(joined.length)
    })
  )
})
