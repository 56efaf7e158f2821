import type { Bench } from "./bench.js"
import { broadcast } from "./broadcast.js"
import { clients } from "./clients.js"
import { deflate } from "./deflate.js"
import { echo } from "./echo.js"
import { fanIn } from "./fanIn.js"
import { handshakes } from "./handshakes.js"
import { idleness } from "./idle.js"
import { streaming } from "./streamed.js"

export const workloads: ReadonlyArray<Bench> = [
  ...echo,
  ...deflate,
  ...broadcast,
  ...fanIn,
  ...handshakes,
  ...idleness,
  ...clients,
  ...streaming
]
