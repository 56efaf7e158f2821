// The first bytes of what a server says when it refuses an upgrade.

import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Flow from "../Flow.js"
import { concat } from "../protocol/bytes.js"
import type { ResponseHead } from "../protocol/head.js"
import { readSome } from "./opening.js"

/** Bytes of a refusal's body that are kept: enough for a sentence or a problem document. */
const maxBody = 4096

/**
 * How long a refusal's body may take: most of them come with their head. Servers keep
 * the connection open behind it, so that the end of one without a length never comes.
 */
const bodyTimeout = Duration.seconds(1)

/** Reads the body of a response, as much of it as is kept and comes in time. `rest` is what came with the head. */
export const readBody = (
  flow: Flow.Flow,
  { status, fields }: ResponseHead,
  rest: Uint8Array
): Effect.Effect<string> => {
  // RFC 9112 6.3: these never have a body, whatever their headers say.
  if (status === 204 || status === 304) return Effect.succeed("")
  const chunked = fields.get("transfer-encoding")?.toLowerCase() === "chunked"
  const declared = chunked ? maxBody : Number(fields.get("content-length") ?? maxBody)
  const size = Number.isSafeInteger(declared) && declared >= 0 ? Math.min(declared, maxBody) : maxBody
  const complete = (bytes: Uint8Array) => chunked && unchunk(bytes).complete
  return Effect.map(readSome(flow, rest, size, bodyTimeout, complete), (bytes) =>
    new TextDecoder().decode(chunked ? unchunk(bytes).content : bytes)
  )
}

/** The content of a chunked body as far as it is there (RFC 9112 7.1), and whether its last chunk is. */
const unchunk = (bytes: Uint8Array): { readonly content: Uint8Array; readonly complete: boolean } => {
  const parts: Array<Uint8Array> = []
  let length = 0
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf(0x0a, at)
    // A size may be followed by extensions; what is no size counts as the end.
    const size = Number.parseInt(new TextDecoder().decode(bytes.subarray(at, Math.max(at, lineEnd))), 16)
    if (lineEnd < 0 || !(size > 0)) return { content: concat(parts, length), complete: lineEnd >= 0 }
    const part = bytes.subarray(lineEnd + 1, lineEnd + 1 + size)
    parts.push(part)
    length += part.length
    at = lineEnd + 1 + size + 2
  }
}
