import { describe } from "@effect/vitest"
import { Effect } from "effect"
import * as Frame from "effect-websocket/Frame"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { fromHex, join, parse } from "../fixtures/bytes.js"
import { echoing, empty } from "../fixtures/knocking.js"
import { upgradedClient } from "../fixtures/rawPeer.js"
import { finish } from "../fixtures/withPeer.js"
import { attack, clientOf, failedWith, frameOf, inBothRoles } from "./attack.js"

describe("a length", () => {
  attack(
    "CVE-2026-1528, GHSA-f269-vfmq-vjvj (undici): a length above 32 bits loses none of its bits, and what follows is no frame",
    Effect.gen(function* () {
      const rest = "hello"
      const small = BigInt(rest.length)
      for (const [length, expected] of [
        [2n ** 31n + small, { _tag: "PayloadTooLarge", which: "frame size", size: 2 ** 31 + 5 }],
        [2n ** 32n + small, { _tag: "PayloadTooLarge", which: "frame size", size: 2 ** 32 + 5 }],
        [2n ** 53n - 1n, { _tag: "PayloadTooLarge", which: "frame size", size: Number.MAX_SAFE_INTEGER }],
        [2n ** 53n + small, { _tag: "ProtocolError", closeCode: 1009 }],
        [2n ** 62n + small, { _tag: "ProtocolError", closeCode: 1009 }],
        [2n ** 63n + small, { _tag: "ProtocolError", closeCode: 1002 }],
        [2n ** 64n - 1n, { _tag: "ProtocolError", closeCode: 1002 }]
      ] as const) {
        yield* inBothRoles({}, (joined) =>
          Effect.gen(function* () {
            const { peer } = joined
            // If bits were lost, this would be a message, and another one behind it.
            yield* peer.send(join(frameOf(peer, 1, rest, { length, extended: 8 }), frameOf(peer, 1, "smuggled")))
            const error = yield* failedWith(joined, expected._tag === "PayloadTooLarge" ? 1009 : expected.closeCode)
            expect(error).toMatchObject(expected)
          })
        )
      }
    })
  )

  attack(
    "CVE-2020-27813 (gorilla): lengths that are too large to be added up don't get below the limit",
    inBothRoles({ maxPayloadSize: 1000, maxFrameSize: Number.MAX_SAFE_INTEGER }, (joined) =>
      Effect.gen(function* () {
        const { peer } = joined
        yield* peer.send(frameOf(peer, 2, "x".repeat(900), { fin: false }))
        // Together they are 2^53, whose lowest 32 bits are all 0.
        yield* peer.send(frameOf(peer, 0, "y".repeat(200), { length: 2n ** 53n - 900n, extended: 8 }))
        expect(yield* failedWith(joined, 1009)).toMatchObject({ _tag: "PayloadTooLarge", limit: 1000 })
      })
    )
  )

  attack(
    "CVE-2020-13935 (Tomcat), CVE-2021-26423 (.NET): no length, whole or cut, keeps a server busy for ever",
    Effect.gen(function* () {
      const server = yield* echoing({ closeTimeout: "1 second" })
      const key = "01020304"
      for (const header of [
        `8180${key}`,
        `82fe007d${key}`,
        `82fe0000${key}`,
        `82feffff${key}`,
        `82ff0000000000000000${key}`,
        `82ff000000000000ffff${key}`,
        `82ff0000000000010000${key}`,
        `82ff000000007fffffff${key}`,
        `82ff00000000ffffffff${key}`,
        `82ff7fffffffffffffff${key}`,
        `82ff8000000000000000${key}`,
        `82ffffffffffffffffff${key}`,
        `88ffffffffffffffffff${key}`,
        `89fe0000${key}`,
        `0080${key}`
      ]) {
        const bytes = fromHex(header)
        for (const size of [1, 2, 3, 4, 9, 10, bytes.length, bytes.length + 1]) {
          const peer = yield* upgradedClient(server.address)
          yield* peer.send(join(bytes, Uint8Array.of(1)).slice(0, size))
          yield* peer.end
          yield* peer.ended
        }
      }
      yield* empty(server)
      const socket = yield* WebSocket.connect(server.url)
      yield* socket.send("still there?")
      expect(yield* socket.receive).toBe("still there?")
    })
  )
})

describe("a header", () => {
  attack(
    "CVE-2026-59881 (aiohttp): RSV1 fails with 1002 unless compression was negotiated",
    inBothRoles({}, (joined) =>
      Effect.gen(function* () {
        const { peer } = joined
        yield* peer.send(frameOf(peer, 1, "\u0001", { rsv: 4 }))
        expect(yield* failedWith(joined, 1002)).toMatchObject({ _tag: "ProtocolError", side: "remote" })
      })
    )
  )

  attack(
    "RFC 6455 5.1: a server fails a client that doesn't mask, and a client fails a server that does, with 1002",
    inBothRoles({}, (joined) =>
      Effect.gen(function* () {
        const { peer } = joined
        const wrongly = peer.role === "client" ? "server" : "client"
        yield* peer.send(frameOf({ role: wrongly }, 1, "GET /poison HTTP/1.1"))
        const error = yield* failedWith(joined, 1002)
        expect(error).toMatchObject({ _tag: "ProtocolError", rule: expect.stringContaining("mask") })
      })
    )
  )
})

/** What is foreseen, as far as a test can see that: a generator that says the same for ever. */
const withoutMathRandom = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const { random } = Math
      Math.random = () => 0.5
      return random
    }),
    () => effect,
    (random) =>
      Effect.sync(() => {
        Math.random = random
      })
  )

describe("a mask", () => {
  attack(
    "RFC 6455 10.3 (http4s): masks and keys don't come from Math.random, and each frame has its own",
    Effect.gen(function* () {
      const keys = new Set<string>()
      for (let count = 0; count < 10; count++) {
        const { connecting, peer, request } = yield* withoutMathRandom(clientOf({}))
        keys.add(/Sec-WebSocket-Key: (.*)\r/.exec(request)?.[1] ?? "")
        const socket = yield* connecting
        yield* withoutMathRandom(socket.sendAll(Array.from({ length: 500 }, (_, index) => `${index}`)))
        yield* peer.frame(({ payload }) => String(Buffer.from(payload)) === "499")
        const masks = parse(new Uint8Array(peer.body())).map(({ key }) => key)
        // By chance two of 500 are equal once in 30,000 times; two pairs of them never are.
        expect(new Set(masks).size).toBeGreaterThan(498)
        expect(masks).not.toContain(undefined)
        yield* finish({ peer, socket })
      }
      expect(keys.size).toBe(10)
    })
  )
})

describe("connections side by side", () => {
  attack(
    "CVE-2022-25762 (Tomcat): what is sent and closed on many connections at once never gets from one to another",
    Effect.gen(function* () {
      const server = yield* echoing()
      const clients = yield* Effect.replicateEffect(upgradedClient(server.address), 30)
      yield* Effect.forEach(
        clients.entries(),
        ([index, peer]) =>
          Effect.gen(function* () {
            for (let round = 0; round < 20; round++) {
              const name = `${index}:${round}:`.padEnd(1 + ((index * 97 + round * 331) % 3000), "=")
              yield* peer.sendFrames(Frame.text(name), Frame.ping(`${index}:${round}`))
              if (round % 3 === 0) yield* Effect.yieldNow()
            }
            yield* peer.sendFrames(Frame.close(4000 + index, `${index}`))
          }),
        { concurrency: "unbounded" }
      )
      for (const [index, peer] of clients.entries()) {
        expect(yield* peer.closeCode).toBe(4000 + index)
        yield* peer.ended
        const frames = peer.frames()
        expect(frames.at(-1)?.opcode).toBe(Frame.Opcode.close)
        const texts = frames.filter(({ opcode }) => opcode === Frame.Opcode.text)
        expect(texts).toHaveLength(20)
        for (const { opcode, payload } of frames) {
          if (opcode !== Frame.Opcode.close) expect(String(Buffer.from(payload))).toMatch(new RegExp(`^${index}:`))
        }
        yield* peer.end
      }
      yield* empty(server)
    })
  )
})
