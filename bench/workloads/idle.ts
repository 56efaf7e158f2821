// Memory of connections that are quiet, after each has echoed one message of 1 KiB.

import { readFileSync } from "node:fs"
import { echoOf, kindsNamed } from "../kinds.js"
import { Server } from "../processes.js"
import type { ServerSettings } from "../servers/common.js"
import { type Bench, type Figure, inTurn } from "./bench.js"

const connections = 10_000

const memory: readonly [Figure, ...Array<Figure>] = [
  { key: "rss", title: "RSS bytes per connection", better: "less", unit: 1 },
  { key: "heap", title: "of them in the heap", better: "less", unit: 1 },
  { key: "kernel", title: "in the kernel, beside", better: "less", unit: 1 }
]

/** Bytes that the kernel has for its own objects: a socket's among them. All of the machine, so that it is a guess. */
const kernel = (): number => {
  try {
    const kilobytes = /^Slab: +(\d+) kB/m.exec(readFileSync("/proc/meminfo", "latin1"))?.[1]
    return Number(kilobytes) * 1024
  } catch {
    return Number.NaN
  }
}

const message = { size: 1024, inFlight: 1, text: true }

const idle = (name: string, settings: ServerSettings, kinds: Bench["kinds"]): Bench => ({
  group: "idle",
  name: `idle ${name}:${connections}`,
  figures: memory,
  connections,
  full: settings.deflate !== undefined,
  kinds,
  measure: (context) =>
    // Each in a new process: memory that was once taken is rarely given back. It varies little, so that a few rounds do.
    inTurn(
      context.kinds,
      { ...context, rounds: context.rounds < 5 ? 1 : 3 },
      async (kind) => {
        const server = await Server.start(context.built(kind), kind, settings)
        try {
          const open = (connections: number) =>
            context.loader.open(
              settings.deflate === undefined
                ? { kind: "echo", settings: { ...message, port: server.port, connections, back: echoOf(kind) } }
                : {
                    kind: "deflate",
                    settings: { port: server.port, connections, inFlight: 1, takeover: settings.deflate === "takeover" }
                  }
            )
          // What is compiled and allocated once isn't a connection's.
          const first = await open(100)
          await first.run(0)
          await first.close()
          await server.quiet()
          const before = await server.usage("collect")
          const kernelBefore = kernel()
          const session = await open(connections)
          await session.run(0)
          await server.quiet()
          const after = await server.usage("collect")
          const kernelAfter = kernel()
          await session.close()
          return {
            rss: (after.rss - before.rss) / connections,
            heap: (after.heap - before.heap) / connections,
            // The client's end of each connection is in this kernel, too.
            kernel: (kernelAfter - kernelBefore) / connections / 2
          }
        } finally {
          server.stop()
        }
      },
      0
    )
})

export const idleness: ReadonlyArray<Bench> = [
  idle("plain", { heartbeat: false }, kindsNamed("run", "ws", "platform", "bun", "raw")),
  idle("heartbeat", { heartbeat: true }, kindsNamed("run", "ws", "bun")),
  idle("deflate without takeover", { deflate: "alone" }, kindsNamed("run", "ws", "bun")),
  idle("deflate with takeover", { deflate: "takeover" }, kindsNamed("run", "ws", "bun"))
]
