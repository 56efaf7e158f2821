// What the processes of connections that are held say to each other.

import { Schema } from "effect"

export const HeldOrder = Schema.Union(
  Schema.Struct({ step: Schema.Literal("open"), port: Schema.Number, connections: Schema.Number }),
  Schema.Struct({ step: Schema.Literal("hold"), millis: Schema.Number, every: Schema.Number }),
  Schema.Struct({ step: Schema.Literal("probe"), millis: Schema.Number, probes: Schema.Number, every: Schema.Number })
)
export type HeldOrder = Schema.Schema.Type<typeof HeldOrder>

export const Held = Schema.Struct({
  sent: Schema.Number,
  echoes: Schema.Number,
  lost: Schema.Number,
  leastPings: Schema.Number,
  pings: Schema.Number
})

export const Probed = Schema.Struct({ latencies: Schema.Array(Schema.Number) })

export const FloodOrder = Schema.Struct({ port: Schema.Number, size: Schema.Number })

export const Flooded = Schema.Struct({ sent: Schema.Number, received: Schema.Number })

/** What a server has used: microseconds of CPU time, bytes of memory. */
export const Usage = Schema.Struct({ cpu: Schema.Number, rss: Schema.Number })
