// permessage-deflate: JSON of 1 KiB over 100 connections, compressed both ways.

import { kindsNamed } from "../kinds.js"
import { amongServers, type Bench, type Figure, figures } from "./bench.js"

const size: Figure = { key: "size", title: "bytes per answer", better: "less", unit: 1 }

export const deflate: ReadonlyArray<Bench> = (["alone", "takeover"] as const).flatMap((deflate) =>
  [1, 32].map((inFlight) => ({
    group: "deflate",
    name: `deflate ${deflate === "alone" ? "without" : "with"} takeover:100:${inFlight}`,
    figures: [figures.cpu, figures.rate, size, figures.loadCpu],
    full: inFlight === 1,
    kinds: kindsNamed("run", "batch", "ws", "bun"),
    measure: (context) =>
      amongServers(context, { deflate }, ({ port }) => ({
        kind: "deflate",
        settings: { port, connections: 100, inFlight, takeover: deflate === "takeover" }
      }))
  }))
)
