import { describe, expect, it } from "@effect/vitest"
import { CloseCode } from "effect-websocket"

// The IANA registry "WebSocket Close Code Number".
const registry: ReadonlyArray<readonly [code: number, value: number, name: string, onTheWire: boolean]> = [
  [1000, CloseCode.normal, "normal closure", true],
  [1001, CloseCode.goingAway, "going away", true],
  [1002, CloseCode.protocolError, "protocol error", true],
  [1003, CloseCode.unsupportedData, "unsupported data", true],
  [1005, CloseCode.noStatus, "no status received", false],
  [1006, CloseCode.abnormal, "abnormal closure", false],
  [1007, CloseCode.invalidPayload, "invalid payload", true],
  [1008, CloseCode.policyViolation, "policy violation", true],
  [1009, CloseCode.messageTooBig, "message too big", true],
  [1010, CloseCode.mandatoryExtension, "mandatory extension", true],
  [1011, CloseCode.internalError, "internal error", true],
  [1012, CloseCode.serviceRestart, "service restart", true],
  [1013, CloseCode.tryAgainLater, "try again later", true],
  [1014, CloseCode.badGateway, "bad gateway", true],
  [1015, CloseCode.tlsHandshake, "TLS handshake", false]
]

describe.each(registry)("%i", (code, value, name, onTheWire) => {
  it("has its number, its name and its right to be sent", () => {
    expect(value).toBe(code)
    expect(CloseCode.format(code)).toBe(`${code} (${name})`)
    expect(CloseCode.isSendable(code)).toBe(onTheWire)
  })
})

describe("isSendable", () => {
  it("changes only at the ends of the ranges", () => {
    const changes = Array.from({ length: 65_536 }, (_, code) => code).filter(
      (code) => CloseCode.isSendable(code) !== CloseCode.isSendable(code - 1)
    )
    expect(changes).toEqual([1000, 1004, 1007, 1015, 3000, 5000])
    expect(CloseCode.isSendable(4999)).toBe(true)
  })

  it("is false for what is no code", () => {
    for (const code of [-1000, 1000.5, 3000.000001, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(CloseCode.isSendable(code)).toBe(false)
    }
  })
})

describe("isClean", () => {
  it("is true for 1000, 1001 and 1005 alone", () => {
    const clean = Array.from({ length: 65_536 }, (_, code) => code).filter(CloseCode.isClean)
    expect(clean).toEqual([1000, 1001, 1005])
  })
})

describe("format", () => {
  it("is the bare number of a code without a name", () => {
    for (const code of [0, 1004, 1016, 3000, 4999]) expect(CloseCode.format(code)).toBe(String(code))
  })
})
