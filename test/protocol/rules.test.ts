import { describe, expect, it } from "@effect/vitest"
import * as Rules from "../../src/protocol/rules.js"
import { utf8 } from "../fixtures/bytes.js"

describe("the rules of both directions", () => {
  it.each([
    [Rules.reservedBits, 1002, "RSV bits must be 0", "RFC 6455 5.2"],
    [Rules.strayContinuation, 1002, "a continuation frame must follow", "RFC 6455 5.4"],
    [Rules.interleaved, 1002, "a message must end before the next one", "RFC 6455 5.4"],
    [Rules.noMessage, 1003, "a message is a string or a Uint8Array", ""],
    [Rules.invalidText, 1007, "a text message must be UTF-8", "RFC 6455 8.1"]
  ])("are breaches with a close code, in words that fit into a Close frame (%#)", (rule, closeCode, words, source) => {
    expect(rule).toMatchObject({ _tag: "Breach", closeCode, rule: expect.stringContaining(words) })
    expect(rule.rule).toContain(source)
    expect(utf8(rule.rule).length).toBeLessThanOrEqual(123)
  })
})
