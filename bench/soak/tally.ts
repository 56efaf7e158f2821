// What parent and clients of a soak say to each other.

import { Schema } from "effect"

/** A round: so many places for so many milliseconds, then whoever is there finishes. */
export const Order = Schema.Struct({
  port: Schema.Number,
  seed: Schema.Number,
  places: Schema.Number,
  millis: Schema.Number,
  life: Schema.Number
})
export type Order = Schema.Schema.Type<typeof Order>

export const Tally = Schema.Struct({
  connections: Schema.Record({ key: Schema.String, value: Schema.Number }),
  sent: Schema.Number,
  received: Schema.Number,
  lost: Schema.Number,
  reordered: Schema.Number,
  duplicated: Schema.Number,
  damaged: Schema.Number,
  /** Connections that ended as they must not, and how the first ones did. */
  broken: Schema.Number,
  reasons: Schema.Array(Schema.String)
})
export type Tally = Schema.Schema.Type<typeof Tally>
