// Fan-in: many connections send, and hear back once for all of a burst.

import { kindsNamed } from "../kinds.js"
import { amongServers, type Bench, figures } from "./bench.js"

const connections = 1000
const inFlight = 64

export const fanIn: ReadonlyArray<Bench> = [
  {
    group: "fan-in",
    name: `fan-in 64 B text:${connections}:${inFlight}`,
    figures: [figures.cpu, figures.rate, figures.loadCpu],
    kinds: kindsNamed("run", "loop", "batch", "stream", "ws", "ws+native", "platform", "bun"),
    measure: (context) =>
      amongServers(context, { task: { ackEach: inFlight } }, ({ port }) => ({
        kind: "echo",
        settings: { port, size: 64, connections, inFlight, text: true, back: "ack" }
      }))
  }
]
