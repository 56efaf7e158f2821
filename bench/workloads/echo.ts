// Echo: sizes, connections, and messages in flight.

import { echoOf, kinds } from "../kinds.js"
import type { EchoSettings } from "../loads/echo.js"
import { settings } from "../settings.js"
import { amongServers, type Bench, type Figure, figures } from "./bench.js"

type Shape = Omit<EchoSettings, "port">

const shapes: Readonly<Record<string, Shape>> = {
  "16 B:1:1": { size: 16, connections: 1, inFlight: 1 },
  "16 B:1:32": { size: 16, connections: 1, inFlight: 32 },
  "16 B:100:1": { size: 16, connections: 100, inFlight: 1 },
  "16 B:100:32": { size: 16, connections: 100, inFlight: 32 },
  "16 B text:100:32": { size: 16, connections: 100, inFlight: 32, text: true },
  "1 KiB:100:1": { size: 1024, connections: 100, inFlight: 1 },
  "1 KiB:100:32": { size: 1024, connections: 100, inFlight: 32 },
  "1 KiB text:100:32": { size: 1024, connections: 100, inFlight: 32, text: true },
  "64 KiB:1:1": { size: 65_536, connections: 1, inFlight: 1 },
  "64 KiB:100:1": { size: 65_536, connections: 100, inFlight: 1 },
  "64 KiB text:100:1": { size: 65_536, connections: 100, inFlight: 1, text: true },
  "1 MiB:1:4": { size: 1_048_576, connections: 1, inFlight: 4 }
}

// The others are measured without those that say little more.
const main = new Set(["16 B:1:1", "16 B:100:1", "16 B:100:32", "1 KiB text:100:32", "64 KiB:100:1", "1 MiB:1:4"])

const latencies: ReadonlyArray<Figure> = ["p50", "p90", "p99", "p99.9"].map((key) => ({
  key,
  title: `${key} µs`,
  better: "less",
  unit: 1
}))

export const echo: ReadonlyArray<Bench> = Object.entries(shapes).map(([name, shape]) => {
  // Where many are under way, how long one takes is a matter of how many they are.
  const latency = shape.inFlight === 1
  return {
    group: "echo",
    name,
    figures: [figures.cpu, figures.rate, ...(latency ? latencies : []), figures.loadCpu],
    full: !main.has(name),
    kinds: kinds
      .filter((kind) => (main.has(name) && !settings.quick) || !/suspending|faye/.test(kind.name))
      // With small ones hardly any memory is asked for outside of the heap.
      .filter((kind) => shape.size >= 65_536 || !kind.name.endsWith("+kept")),
    measure: (context) =>
      amongServers(context, {}, ({ kind, port }) => ({
        kind: "echo",
        settings: { ...shape, port, latency, back: echoOf(kind) }
      }))
  }
})
