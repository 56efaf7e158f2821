import { HttpServerResponse } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Effect, type Layer, type Scope, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { echo, echoing, empty, knock } from "../fixtures/knocking.js"
import { testsOn } from "../fixtures/leaks.js"
import { type RawPeer, rawClient, upgradedClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { always, listeningToStrangers } from "../fixtures/strangers.js"

/** How many connections a server lets in, altogether and by address. */
export const limitsSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  describe(`${name}: a server with a limit of connections`, () => {
    test(
      "counts those inside, and not those that it turns away at the door",
      Effect.gen(function* () {
        const server = yield* echoing({ maxConnections: 2 })
        const first = yield* upgradedClient(server.address)
        yield* rawClient(server.address)
        while ((yield* server.connections) < 2) yield* settle
        const refused = yield* Effect.replicateEffect(knock(server), 5)
        expect(refused.map((each) => each.status)).toEqual([503, 503, 503, 503, 503])
        expect(yield* server.connections).toBe(2)
        yield* first.destroy
        yield* empty(server, 1)
        // Those who were refused still stand at the door.
        const let_in = yield* knock(server)
        expect(let_in.status).toBe(101)
        for (const { peer } of refused) yield* peer.end
      })
    )

    /** What a client does before it leaves, and whether it was in the way of others meanwhile. */
    const stages: ReadonlyArray<
      readonly [
        what: string,
        (server: WebSocketServer.WebSocketServer["Type"]) => Effect.Effect<RawPeer, unknown, Network | Scope.Scope>
      ]
    > = [
      ["before it says anything", (server) => rawClient(server.address)],
      [
        "in the middle of its request",
        (server) => Effect.tap(rawClient(server.address), (peer) => peer.send(upgradeRequest().slice(0, 30)))
      ],
      [
        "while it is decided on",
        (server) => Effect.tap(rawClient(server.address), (peer) => peer.send(upgradeRequest({}, "GET /slow HTTP/1.1")))
      ],
      [
        "after it was refused",
        (server) => Effect.map(knock(server, upgradeRequest({}, "POST / HTTP/1.1")), ({ peer }) => peer)
      ],
      [
        "after it was declined",
        (server) => Effect.map(knock(server, upgradeRequest({}, "GET /declined HTTP/1.1")), ({ peer }) => peer)
      ],
      ["when it is connected", (server) => upgradedClient(server.address)],
      [
        "after a Close",
        (server) => Effect.tap(upgradedClient(server.address), (peer) => peer.sendFrames(Frame.close(1000)))
      ],
      [
        "after it broke a rule",
        (server) =>
          Effect.tap(upgradedClient(server.address), (peer) => peer.sendFrames({ ...Frame.text("x"), rsv: 7 }))
      ]
    ]
    for (const [what, arrive] of stages) {
      for (const [how, leave] of [
        ["closes", (peer: RawPeer) => peer.end],
        ["destroys its socket", (peer: RawPeer) => peer.destroy]
      ] as const) {
        test(
          `by address counts one out again that ${how} ${what}`,
          Effect.gen(function* () {
            const server = yield* listeningToStrangers(
              always("192.0.2.1"),
              WebSocketServer.make({ drainTimeout: 0, maxConnectionsPerAddress: 1, handshakeTimeout: "2 seconds" })
            )
            yield* server.serve(echo)
            yield* server.serveWith(
              () => Effect.as(Effect.sleep("1 second"), { data: 1 }),
              () => Effect.void,
              {
                path: "/slow"
              }
            )
            yield* server.serveWith(
              () => Effect.fail(HttpServerResponse.empty({ status: 401 })),
              () => Effect.void,
              { path: "/declined" }
            )
            for (let round = 0; round < 3; round++) {
              const peer = yield* arrive(server)
              while ((yield* server.connections) < 1) yield* settle
              const other = yield* knock(server)
              expect(other.status).toBe(429)
              yield* other.peer.end
              yield* other.peer.closed
              yield* leave(peer)
              yield* settle
              // A decision is under way; nobody looks at the socket meanwhile.
              yield* TestClock.adjust("1 second")
              yield* empty(server)
            }
            expect((yield* knock(server)).status).toBe(101)
          })
        )
      }
    }

    test(
      "by address leaves room for others, and none for those who spell their address differently",
      Effect.gen(function* () {
        const hosts = ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
        const server = yield* listeningToStrangers(
          hosts.values(),
          WebSocketServer.make({ drainTimeout: 0, maxConnectionsPerAddress: 1 })
        )
        yield* server.serve(echo)
        const statuses = yield* Effect.forEach(hosts, () => Effect.map(knock(server), (knocked) => knocked.status))
        expect(statuses).toEqual([101, 429, 101, 101, 429, 101])
      })
    )

    test(
      "by address doesn't hold for this machine's own programs",
      Effect.gen(function* () {
        const server = yield* echoing({ maxConnectionsPerAddress: 1 })
        for (let count = 0; count < 3; count++) expect((yield* knock(server)).status).toBe(101)
      })
    )

    for (const [where, ofServer, ofRoute] of [
      ["the server", { trustedProxies: 1 }, {}],
      ["the handler", {}, { trustedProxies: 1 }]
    ] as const) {
      test(
        `by address goes by what the proxies tell that ${where} trusts, and not by what clients make up`,
        Effect.gen(function* () {
          const server = yield* listeningToStrangers(
            always("10.0.0.1"),
            WebSocketServer.make({ drainTimeout: 0, maxConnectionsPerAddress: 2, ...ofServer })
          )
          yield* server.serve(echo, ofRoute)
          const behind = (list: string) => upgradeRequest({ "X-Forwarded-For": list })
          const peers = [yield* knock(server, behind("192.0.2.1")), yield* knock(server, behind("spoofed, 192.0.2.1"))]
          expect(peers.map((peer) => peer.status)).toEqual([101, 101])
          const third = yield* knock(server, behind("127.0.0.1, 192.0.2.1"))
          expect(third.status).toBe(429)
          yield* third.peer.end
          expect((yield* knock(server, behind("192.0.2.2"))).status).toBe(101)
          yield* peers[0]?.peer.destroy ?? Effect.void
          yield* empty(server, 2)
          expect((yield* knock(server, behind("192.0.2.1"))).status).toBe(101)
        })
      )
    }
  })
}
