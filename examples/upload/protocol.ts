// What client and server say to each other beside the bytes.

import { Schema } from "effect"

/** What will come. */
export const Offer = Schema.Struct({ name: Schema.String, size: Schema.NonNegativeInt })

/** What has come; at the end with the digest of all of it. */
export const Progress = Schema.Struct({ received: Schema.NonNegativeInt, sha256: Schema.optional(Schema.String) })
