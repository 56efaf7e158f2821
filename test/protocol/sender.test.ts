import { describe, expect, it } from "@effect/vitest"
import type { MessageExtension } from "../../src/protocol/extension.js"
import { Prepared } from "../../src/protocol/prepared.js"
import { Sender } from "../../src/protocol/sender.js"
import { fromHex, pattern, toHex, utf8 } from "../fixtures/bytes.js"

const noKey = () => {
  throw new Error("a key was asked for")
}

/** Sends messages of four units or more backwards, or what that is wished for. */
const backwards: MessageExtension = {
  rsv: 4,
  bound: (size) => size,
  applies: (size, wish) => wish ?? size >= 4,
  encode: (payload) => payload.slice().reverse(),
  decode: (payload) => payload.slice().reverse()
}

describe("a message for whoever cuts it into frames", () => {
  /** What its frames consist of, in words. */
  const encode = (message: string | Uint8Array | Prepared, compress?: boolean, extension?: MessageExtension) => {
    const sender = new Sender("server", noKey, extension)
    const { opcode, payload, rsv } = sender.encodeMessage(message, compress)
    expect(sender.output.size).toBe(0)
    return `${opcode} ${rsv} ${toHex(payload)}`
  }

  it("is its own bytes, with the opcode of its kind", () => {
    for (const compress of [undefined, true, false]) {
      expect(encode("a€", compress)).toBe("1 0 61e282ac")
      expect(encode(fromHex("0102"), compress)).toBe("2 0 0102")
      expect(encode("", compress)).toBe("1 0 ")
      expect(encode(new Uint8Array(0), compress)).toBe("2 0 ")
    }
    const bytes = pattern(10)
    expect(new Sender("client", noKey, undefined).encodeMessage(bytes, undefined).payload).toBe(bytes)
  })

  it("is what the extension makes of it, where that applies by size or wish", () => {
    expect(encode("abcd", undefined, backwards)).toBe(`1 4 ${toHex(utf8("dcba"))}`)
    expect(encode("abc", undefined, backwards)).toBe(`1 0 ${toHex(utf8("abc"))}`)
    expect(encode("abc", true, backwards)).toBe(`1 4 ${toHex(utf8("cba"))}`)
    expect(encode("abcd", false, backwards)).toBe(`1 0 ${toHex(utf8("abcd"))}`)
    expect(encode(fromHex("01020304"), undefined, backwards)).toBe("2 4 04030201")
    // The size of text is that of the string, not of its bytes.
    expect(encode("a€", undefined, backwards)).toBe("1 0 61e282ac")
  })

  it("is the same where it was prepared", () => {
    for (const message of ["abcdef", "abc", pattern(3), pattern(8)]) {
      for (const compress of [undefined, true, false]) {
        for (const extension of [undefined, backwards]) {
          expect(encode(new Prepared(message), compress, extension)).toBe(encode(message, compress, extension))
        }
      }
    }
  })
})
