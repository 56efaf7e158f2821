import { closing } from "./cases/closing.js"
import { control } from "./cases/control.js"
import { fragmentation } from "./cases/fragmentation.js"
import { framing } from "./cases/framing.js"
import { illegalRequests } from "./cases/illegalRequests.js"
import { legalRequests } from "./cases/legalRequests.js"
import { malformedRequests } from "./cases/malformedRequests.js"
import { masking } from "./cases/masking.js"
import { ownRequests } from "./cases/ownRequests.js"
import { reserved } from "./cases/reserved.js"
import { responses } from "./cases/responses.js"
import { utf8Cases } from "./cases/utf8.js"

/** The cases of an open connection, in the order of the table. */
export const connectionTopics = [
  ["framing", framing],
  ["masking", masking],
  ["reserved", reserved],
  ["control", control],
  ["fragmentation", fragmentation],
  ["utf8", utf8Cases],
  ["closing", closing]
] as const

export const openingTopics = {
  request: [...legalRequests, ...illegalRequests, ...malformedRequests],
  response: responses,
  "own-request": ownRequests
} as const
