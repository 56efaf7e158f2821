import { describe, expect, it } from "@effect/vitest"
import { breach, excess } from "../../src/protocol/violation.js"

describe("a violation", () => {
  it("is a breach of a rule, with the code that the Close frame carries", () => {
    expect(breach(1002, "a rule")).toEqual({ _tag: "Breach", closeCode: 1002, rule: "a rule" })
  })

  it("is an excess over a limit, with what was counted", () => {
    expect(excess("frame size", 10, 11)).toEqual({ _tag: "Excess", which: "frame size", limit: 10, size: 11 })
  })
})
