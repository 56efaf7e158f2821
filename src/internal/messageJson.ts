// JSON as a peer may write it, and as a program may ask for it. Failures are told in words.

import * as Either from "effect/Either"
import { describeFailure } from "./messageIssue.js"

export const parseJson = (message: string): Either.Either<unknown, string> => {
  let parsed: unknown
  try {
    parsed = JSON.parse(message)
  } catch {
    return Either.left("it is no JSON")
  }
  // The key could be written with escapes, which hardly anything uses for ASCII.
  const suspicious = message.includes("__proto__") || /\\u00[5-7]/.test(message)
  return suspicious && hasProto(parsed) ? Either.left('it has a key "__proto__"') : Either.right(parsed)
}

/** Whether an object in it has its own `__proto__`. A loop: JSON may be nested as deep as it is long. */
const hasProto = (root: unknown): boolean => {
  const nodes = [root]
  while (nodes.length > 0) {
    const node = nodes.pop()
    if (typeof node !== "object" || node === null) continue
    if (Object.hasOwn(node, "__proto__")) return true
    for (const child of Object.values(node)) nodes.push(child)
  }
  return false
}

export const printJson = (encoded: unknown): Either.Either<string, string> => {
  try {
    // What the types don't say: undefined and functions have no JSON.
    const text: string | undefined = JSON.stringify(encoded)
    return text === undefined ? Either.left("it has no JSON") : Either.right(text)
  } catch (error) {
    return Either.left(`it has no JSON: ${describeFailure(error)}`)
  }
}
