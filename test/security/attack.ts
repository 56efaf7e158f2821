// What the tests of attacks have in common. Their names stand in the table of SECURITY.md, which table.test.ts checks.

import { Effect, type Layer, type Scope } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { type WireOptions, wire } from "../fixtures/bytes.js"
import { inUse } from "../fixtures/heap.js"
import { settle } from "../fixtures/heard.js"
import { testsOn } from "../fixtures/leaks.js"
import { type RawPeer, rawServer, upgradeResponse } from "../fixtures/rawPeer.js"
import { test as testOfRoutes } from "../fixtures/routes.js"
import { type WithPeer, withPeer } from "../fixtures/withPeer.js"

export const inMemory = ["in memory", TestNetwork.layer] as const
export const overTcp = ["over TCP", NodeNetwork.layer] as const

type Where = readonly [name: string, layer: Layer.Layer<Network>]

/** The test of an attack, by the title that it has in the table, on each network. */
export const attack = <E>(
  title: string,
  body: Effect.Effect<unknown, E, Network | Scope.Scope>,
  where: ReadonlyArray<Where> = [inMemory, overTcp]
): void => {
  for (const [name, layer] of where) testsOn(layer)(`${title} (${name})`, body)
}

/** The same for the routes of a Node HTTP server, on the real clock. */
export const attackOnRoutes = <E>(title: string, body: Effect.Effect<unknown, E, Network | Scope.Scope>): void =>
  testOfRoutes(`${title} (over TCP)`, body)

/** A connection of ours in each role in turn, with its peer in the hands of the test. */
export const inBothRoles = <E, R>(
  options: WebSocket.ConnectionOptions,
  body: (joined: WithPeer) => Effect.Effect<unknown, E, R>
) =>
  Effect.forEach(
    ["client", "server"] as const,
    (role) => Effect.scoped(Effect.flatMap(withPeer(role, options), body)),
    { discard: true }
  )

/** Bytes in use once garbage is gone, for which buffers need a moment: the least that is seen. */
export const memory = Effect.gen(function* () {
  let least = inUse()
  for (let again = 0; again < 3; again++) {
    yield* settle
    least = Math.min(least, inUse())
  }
  return least
})

/** A frame as a peer's role asks for it, right or wrong. */
export const frameOf = (
  { role }: Pick<RawPeer, "role">,
  opcode: number,
  payload: string | Uint8Array = "",
  options: WireOptions = {}
): Uint8Array => wire(opcode, payload, { ...options, key: role === "client" ? 0x5a31_c7f0 : undefined })

/** The connection has failed, said so with a Close of this code, and ended without waiting for the peer. */
export const failedWith = ({ peer, socket }: Pick<WithPeer, "peer" | "socket">, code: number) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(socket.receive)
    expect(yield* peer.closeCode).toBe(code)
    expect(peer.frames().at(-1)?.opcode).toBe(Frame.Opcode.close)
    yield* peer.ended
    yield* peer.end
    return error
  })

/** Connects to a server in the hands of the test, which answers with these headers. */
export const clientOf = (changes: Readonly<Record<string, string>>, options?: WebSocket.ConnectOptions) =>
  Effect.gen(function* () {
    const server = yield* rawServer()
    const connecting = yield* Effect.fork(WebSocket.connect(server.url, options))
    const peer = yield* server.next
    const request = yield* peer.head
    yield* peer.send(upgradeResponse(request, changes))
    return { peer, request, connecting }
  })
