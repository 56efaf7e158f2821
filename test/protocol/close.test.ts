import { describe, expect, it } from "@effect/vitest"
import { CloseCode } from "effect-websocket"
import * as fc from "fast-check"
import { checkClose, closePayload, fitReason, readClose } from "../../src/protocol/close.js"
import { anyText, fromHex, join, toHex, utf8 } from "../fixtures/bytes.js"

const payloadOf = (code: number, reason: Uint8Array = new Uint8Array(0)): Uint8Array =>
  join(Uint8Array.of(code >> 8, code & 0xff), reason)

/** RFC 6455 7.4 and the registry, range by range. */
const onTheWire = (code: number): boolean =>
  [
    [1000, 1003],
    [1007, 1014],
    [3000, 3999],
    [4000, 4999]
  ].some(([low = 0, high = 0]) => code >= low && code <= high)

const mustNotBeSent = (code: number) => ({
  _tag: "Breach",
  closeCode: 1002,
  rule: `close code ${code} must not be sent (RFC 6455 7.4)`
})

describe("readClose", () => {
  it("takes an empty payload for a Close without a code", () => {
    expect(readClose(new Uint8Array(0))).toEqual({ _tag: "Close", code: 1005, reason: "" })
  })

  it("refuses a single byte", () => {
    for (const byte of [0x00, 0x03, 0xff]) {
      expect(readClose(Uint8Array.of(byte))).toEqual({
        _tag: "Breach",
        closeCode: 1002,
        rule: "a Close frame's payload must be empty or at least two bytes (RFC 6455 5.5.1)"
      })
    }
  })

  it("takes the codes that may be on the wire, and no other", () => {
    for (let code = 0; code <= 0xffff; code += code < 5100 ? 1 : 97) {
      const expected = onTheWire(code) ? { _tag: "Close", code, reason: "" } : mustNotBeSent(code)
      expect(readClose(payloadOf(code))).toEqual(expected)
    }
    expect(readClose(payloadOf(0xffff))).toEqual(mustNotBeSent(0xffff))
  })

  it("reads a reason of up to 123 bytes, and refuses one that isn't UTF-8", () => {
    expect(readClose(payloadOf(1000, utf8("€".repeat(41))))).toEqual({
      _tag: "Close",
      code: 1000,
      reason: "€".repeat(41)
    })
    for (const bad of ["ff", "c3", "eda080", "c080", "41e282"]) {
      expect(readClose(payloadOf(1000, fromHex(bad)))).toEqual({
        _tag: "Breach",
        closeCode: 1007,
        rule: "a close reason must be UTF-8 (RFC 6455 5.5.1)"
      })
    }
  })

  it("judges the code before the reason", () => {
    expect(readClose(payloadOf(999, fromHex("ff")))).toEqual(mustNotBeSent(999))
  })
})

describe("closePayload", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(fc.integer({ min: 3000, max: 4999 }), anyText(30), (code, reason) => {
        expect(readClose(closePayload(code, reason))).toEqual({ _tag: "Close", code, reason })
      })
    )
    expect(toHex(closePayload(1000, "ok"))).toBe("03e86f6b")
    expect(toHex(closePayload(0xfffe, ""))).toBe("fffe")
  })

  it("is empty without a code", () => {
    expect(toHex(closePayload(undefined, "for nobody"))).toBe("")
  })
})

describe("checkClose", () => {
  it("agrees with what may be received, for every code", () => {
    for (let code = 0; code <= 5100; code++) {
      expect(checkClose(code, "")).toEqual(onTheWire(code) ? undefined : mustNotBeSent(code))
      expect(CloseCode.isSendable(code)).toBe(onTheWire(code))
    }
    for (const code of [-1, 1000.5, Number.NaN, Number.POSITIVE_INFINITY, 65_536 + 1000]) {
      expect(checkClose(code, "")).toEqual(mustNotBeSent(code))
    }
  })

  it("wants a code where there is a reason", () => {
    expect(checkClose(undefined, "")).toBe(undefined)
    expect(checkClose(undefined, "why")?.rule).toBe("a close reason needs a close code (RFC 6455 5.5.1)")
  })

  it("takes a reason of 123 bytes, counted in UTF-8, and none of 124", () => {
    const rule = "a close reason must be at most 123 bytes of UTF-8 (RFC 6455 5.5)"
    for (const [fits, spills] of [
      ["x".repeat(123), "x".repeat(124)],
      ["€".repeat(41), `${"€".repeat(41)}x`],
      ["\ud800".repeat(41), `${"\ud800".repeat(41)}x`],
      [`${"😀".repeat(30)}xyz`, "😀".repeat(31)]
    ] as const) {
      expect(checkClose(1000, fits)).toBe(undefined)
      expect(closePayload(1000, fits).length).toBe(125)
      expect(checkClose(1000, spills)).toEqual({ _tag: "Breach", closeCode: 1002, rule })
    }
  })
})

describe("fitReason", () => {
  it("leaves a reason that fits, and cuts one that doesn't between two code points", () => {
    expect(fitReason("")).toBe("")
    expect(fitReason("x".repeat(123))).toBe("x".repeat(123))
    expect(fitReason("x".repeat(124))).toBe("x".repeat(123))
    expect(fitReason(`${"x".repeat(122)}é`)).toBe("x".repeat(122))
    expect(fitReason(`${"x".repeat(121)}😀`)).toBe("x".repeat(121))
    expect(fitReason("😀".repeat(40))).toBe("😀".repeat(30))
  })

  it("always fits, and cuts no more than it must", () => {
    fc.assert(
      fc.property(anyText(200), (reason) => {
        const fitted = fitReason(reason)
        expect(reason.startsWith(fitted)).toBe(true)
        expect(checkClose(1000, fitted)).toBe(undefined)
        if (fitted !== reason) expect(utf8(fitted).length).toBeGreaterThan(123 - 4)
      })
    )
  })
})
