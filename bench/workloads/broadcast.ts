// One message of 1 KiB to all connections: what `bench/broadcast.ts` looks at more closely.

import { join } from "node:path"
import { Either } from "effect"
import { Frame } from "effect-websocket"
import { answer, field, fork, Server, type ServerKind } from "../processes.js"
import { type Bench, inTurn } from "./bench.js"

const size = 1024
const frameSize = Either.getOrThrow(
  Frame.encode(Frame.make({ opcode: 1, payload: new Uint8Array(size) }), "server")
).length

const kinds: ReadonlyArray<ServerKind> = [
  { name: "broadcast", file: "broadcastServer.js", form: "broadcast" },
  { name: "offer", file: "broadcastServer.js", form: "offer" },
  { name: "ws", file: "broadcastServer.js", form: "ws" },
  { name: "bun", file: "servers/bun.mjs", runtime: "bun" },
  { name: "raw", file: "broadcastServer.js", form: "raw" }
]

const broadcastTo = (connections: number): Bench => ({
  group: "broadcast",
  name: `broadcast 1 KiB:${connections}`,
  figures: [
    { key: "cpu", title: "CPU µs per delivered message", better: "less", unit: 1 },
    { key: "time", title: "ms until all had it", better: "less", unit: 1 }
  ],
  connections,
  full: connections < 10_000,
  kinds,
  measure: async (context) => {
    const pairs = await Promise.all(
      context.kinds.map(async (kind) => {
        const server = await Server.start(context.built(kind), kind, { heartbeat: false })
        const clients = fork(join(context.built(kind), "broadcastClients.js"), [
          String(server.port),
          String(connections)
        ])
        await answer(clients, (message) => field(message, "connected"))
        return { name: kind.name, server, clients }
      })
    )
    try {
      return await inTurn(
        pairs,
        { ...context, rounds: context.rounds * 2 },
        async ({ clients, server }) => {
          const { cpu: before } = await server.publish(0, size)
          const all = answer(clients, (message) => field(message, "received"))
          clients.send(frameSize)
          const began = performance.now()
          await server.publish(1, size)
          await all
          const time = performance.now() - began
          const { cpu: after } = await server.publish(0, size)
          return { cpu: (after - before) / connections, time }
        },
        3
      )
    } finally {
      for (const { clients, server } of pairs) {
        clients.kill("SIGKILL")
        server.stop()
      }
    }
  }
})

export const broadcast: ReadonlyArray<Bench> = [broadcastTo(1000), broadcastTo(10_000)]
