// What is wrong with a value, in one short line. The formatters of Schema print the value with it,
// as often as the schema has alternatives, which a peer could make as long as a message may be.

import * as Cause from "effect/Cause"
import type { ParseIssue } from "effect/ParseResult"
import * as Predicate from "effect/Predicate"

/** Longest line, and longest part of a path: enough for what a person reads. */
const maxLength = 200
const maxKeyLength = 40

/** One line of limited length, without control characters, as it may stand in a log. */
export const oneLine = (text: string, limit: number = maxLength): string => {
  const line = text.slice(0, limit + 1).replaceAll(/\p{Cc}+/gu, " ")
  return line.length > limit ? `${line.slice(0, limit)}…` : line
}

const key = (part: PropertyKey): string => `[${oneLine(JSON.stringify(String(part)), maxKeyLength)}]`

/** The first thing that is wrong, with where it is. A loop: an issue is as deep as the value. */
export const describeIssue = (root: ParseIssue): string => {
  let issue = root
  let path = ""
  const at = (what: string) => oneLine(path === "" ? what : `at ${path}: ${what}`)
  for (;;) {
    switch (issue._tag) {
      case "Pointer": {
        for (const part of [issue.path].flat()) if (path.length < maxLength) path += key(part)
        issue = issue.issue
        break
      }
      case "Composite": {
        const issues = [issue.issues].flat()
        const [first] = issues
        // None of several alternatives: each would say something else.
        if (first === undefined || (issues.length > 1 && issue.ast._tag === "Union")) return at(`expected ${issue.ast}`)
        issue = first
        break
      }
      case "Refinement":
      case "Transformation": {
        issue = issue.issue
        break
      }
      case "Missing":
        return at("is missing")
      case "Unexpected":
        return at("is not expected")
      case "Forbidden":
        return at("can't be decided")
      case "Type":
        return at(issue.message ?? `expected ${issue.ast}`)
    }
  }
}

/** What a codec failed with, in words. */
export const describeFailure = (failure: unknown): string => {
  // What `Effect.try` and `Effect.tryPromise` wrap around what was thrown says nothing of it.
  const thrown = Cause.isUnknownException(failure) ? failure.error : failure
  if (typeof thrown === "string") return oneLine(thrown)
  return Predicate.hasProperty(thrown, "message") && typeof thrown.message === "string"
    ? oneLine(thrown.message)
    : "the codec gives no reason"
}
