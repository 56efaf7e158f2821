// What server and client agree on: one call that answers once, one that answers on and on.

import { Rpc, RpcGroup } from "@effect/rpc"
import { Schema } from "effect"

export class Launch extends RpcGroup.make(
  Rpc.make("Greet", { payload: { name: Schema.NonEmptyString }, success: Schema.String }),
  Rpc.make("CountDown", { payload: { from: Schema.NonNegativeInt }, success: Schema.Int, stream: true })
) {}
