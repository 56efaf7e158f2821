import { describe } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, type Scope, TestClock } from "effect"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { TestNetwork } from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { makeCertificates } from "../fixtures/certificates.js"
import { blackHole, resolvingNever } from "../fixtures/deadEnds.js"
import { settle } from "../fixtures/heard.js"
import { testInMemory, testsOn } from "../fixtures/leaks.js"
import { listening, loopback } from "../fixtures/node.js"
import * as overTls from "../fixtures/overTls.js"
import { type RawPeer, rawServer, upgradedServer, upgradeResponse } from "../fixtures/rawPeer.js"

const { good } = makeCertificates()

/** Where a client is stuck: its URL, how to know that it got there, and what the peer must see afterwards. */
interface Stage {
  readonly url: string
  readonly options?: WebSocket.ConnectOptions
  readonly reached: Effect.Effect<void, never, Scope.Scope>
  readonly gone: Effect.Effect<void>
}

type Stages<R> = ReadonlyArray<readonly [what: string, setup: Effect.Effect<Stage, never, R | Network | Scope.Scope>]>

/** A stage that a server leads the client to, and never lets it leave. */
const scripted = (
  script: (server: Effect.Effect.Success<ReturnType<typeof rawServer>>) => Effect.Effect<RawPeer, never, Scope.Scope>,
  options?: WebSocket.ConnectOptions
): Effect.Effect<Stage, never, Network | Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* Effect.orDie(rawServer())
    const peers: Array<RawPeer> = []
    return {
      url: server.url,
      ...(options === undefined ? undefined : { options }),
      reached: Effect.zipRight(
        Effect.map(script(server), (peer) => void peers.push(peer)),
        settle
      ),
      gone: Effect.suspend(() =>
        Effect.forEach(peers, (peer) => Effect.all([peer.ended, peer.destroy, peer.closed]), { discard: true })
      )
    }
  })

const redirect = (location: string) => `HTTP/1.1 307 There\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`

/** The stages that there are on every network. */
const common: Stages<never> = [
  ["the handshake, nothing being answered", scripted((server) => Effect.tap(server.next, (peer) => peer.head))],
  [
    "the handshake, the answer being cut short",
    scripted((server) =>
      Effect.tap(server.next, (peer) =>
        Effect.flatMap(peer.head, (head) => peer.send(upgradeResponse(head).slice(0, -3)))
      )
    )
  ],
  [
    "the handshake, after an interim response",
    scripted((server) =>
      Effect.tap(server.next, (peer) => Effect.zipRight(peer.head, peer.send("HTTP/1.1 103 Hints\r\n\r\n")))
    )
  ],
  [
    "a redirect, the second server being silent",
    scripted(
      (server) =>
        Effect.gen(function* () {
          const first = yield* server.next
          yield* first.head
          yield* first.send(redirect("/b"))
          const second = yield* server.next
          yield* second.head
          return second
        }),
      { maxRedirects: 1 }
    )
  ],
  [
    "the body of a refusal",
    scripted((server) =>
      Effect.tap(server.next, (peer) =>
        Effect.zipRight(peer.head, peer.send("HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf of "))
      )
    )
  ],
  [
    "the body of a refusal in chunks",
    scripted((server) =>
      Effect.tap(server.next, (peer) =>
        Effect.zipRight(peer.head, peer.send("HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"))
      )
    )
  ]
]

const inMemory: Stages<TestNetwork> = [
  [
    "connecting, over a slow network",
    Effect.gen(function* () {
      const network = yield* TestNetwork
      yield* network.set({ latency: "1 minute" })
      const { url } = yield* Effect.orDie(rawServer())
      // Those that come later have it better.
      return { url, reached: Effect.zipRight(settle, network.set({ latency: 0 })), gone: Effect.void }
    })
  ]
]

const overTcp: Stages<never> = [
  [
    "resolving the name",
    Effect.map(resolvingNever, ({ answer, asked }) => ({
      url: "ws://stuck.example/",
      reached: Effect.asVoid(asked),
      gone: answer
    }))
  ],
  [
    "resolving the name for TLS",
    Effect.map(resolvingNever, ({ answer, asked }) => ({
      url: "wss://stuck.example/",
      reached: Effect.asVoid(asked),
      gone: answer
    }))
  ],
  [
    "connecting",
    Effect.map(blackHole(), (port) => ({ url: `ws://127.0.0.1:${port}/`, reached: settle, gone: Effect.void }))
  ],
  [
    "connecting for TLS",
    Effect.map(blackHole(), (port) => ({ url: `wss://127.0.0.1:${port}/`, reached: settle, gone: Effect.void }))
  ],
  [
    "the TLS handshake",
    Effect.map(
      scripted((server) => Effect.tap(server.next, (peer) => peer.heard.until(({ size }) => size() > 0))),
      (stage) => ({ ...stage, url: stage.url.replace("ws:", "wss:") })
    )
  ]
]

const suite = <R>(
  name: string,
  test: (title: string, body: Effect.Effect<unknown, unknown, R | Network | Scope.Scope>) => void,
  stages: Stages<R>
) =>
  describe(name, () => {
    for (const [stage, setup] of stages) {
      test(
        `that is interrupted while ${stage} leaves nothing`,
        Effect.gen(function* () {
          const { gone, options, reached, url } = yield* setup
          const fiber = yield* Effect.fork(Effect.scoped(WebSocket.connect(url, options)))
          yield* reached
          expect(fiber.unsafePoll()).toBeNull()
          const exit = yield* Fiber.interrupt(fiber)
          expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
          yield* gone
        })
      )
      test(
        `that takes too long while ${stage} fails, and leaves nothing`,
        Effect.gen(function* () {
          const { gone, options, reached, url } = yield* setup
          const connecting = WebSocket.connect(url, { ...options, handshakeTimeout: "500 millis" })
          const fiber = yield* Effect.fork(Effect.flip(Effect.scoped(Effect.asVoid(connecting))))
          yield* reached
          yield* TestClock.adjust("499 millis")
          expect(fiber.unsafePoll()).toBeNull()
          yield* TestClock.adjust("1 millis")
          const error = yield* Fiber.join(fiber)
          expect(error).toMatchObject({ _tag: "ConnectError", reason: "timeout", address: url })
          yield* gone
        })
      )
      test(
        `that loses a race while ${stage} leaves nothing`,
        Effect.gen(function* () {
          const server = yield* rawServer()
          const { gone, options, reached, url } = yield* setup
          const winner = Effect.zipRight(reached, WebSocket.connect(server.url))
          const racing = yield* Effect.fork(Effect.raceFirst(WebSocket.connect(url, options), winner))
          const peer = yield* upgradedServer(server)
          const socket = yield* Fiber.join(racing)
          yield* gone
          expect(socket.url).toBe(server.url)
          yield* socket.send("still there")
          yield* peer.frame(() => true)
          yield* peer.destroy
        })
      )
    }
  })

suite("connect in memory", testInMemory, [...common, ...inMemory])
suite("connect over TCP", testsOn(NodeNetwork.layer), [...common, ...overTcp])
suite("connect over TLS", testsOn(overTls.layer), common)

describe("connect", () => {
  testsOn(NodeNetwork.layer)(
    "can be interrupted at any turn, and leaves nothing",
    Effect.gen(function* () {
      const { flows, port } = yield* listening({ address: loopback, tls: good })
      const turn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))
      for (let turns = 0; turns < 25; turns++) {
        const connecting = WebSocket.connect(`wss://127.0.0.1:${port}/`, { tls: { verify: false } })
        const fiber = yield* Effect.fork(Effect.scoped(connecting))
        yield* Effect.replicateEffect(turn, turns, { discard: true })
        yield* Fiber.interrupt(fiber)
      }
      // The last of them got as far as the opening handshake.
      expect(flows.length).toBeGreaterThan(0)
    })
  )
})
