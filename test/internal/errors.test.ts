import { describe, expect, it } from "@effect/vitest"
import { fromEnding } from "../../src/internal/errors.js"

describe("the error of a connection that was closed", () => {
  it("collects no stack, and leaves those of others as long as they were", () => {
    const before = Error.stackTraceLimit
    const closed = fromEnding(
      { _tag: "Closed", code: 1001, reason: "bye", sentCode: 1001, initiator: "remote", clean: true },
      "127.0.0.1:80"
    )
    expect(closed.message).toBe(
      'connection to 127.0.0.1:80 closed by the peer with 1001 (going away) "bye", sent 1001 (going away)'
    )
    expect(closed.stack).not.toContain("\n    at ")
    expect(Error.stackTraceLimit).toBe(before)
    expect(new Error("other").stack).toContain("\n    at ")
  })
})
