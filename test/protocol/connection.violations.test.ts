import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { fromHex, join, utf8 } from "../fixtures/bytes.js"
import { exceeded, failed, hear, machine, peerOf, roles } from "../fixtures/machine.js"

const rules = {
  rsv: "RSV bits must be 0 unless an extension that defines them was negotiated (RFC 6455 5.2)",
  stray: "a continuation frame must follow a data frame without FIN (RFC 6455 5.4)",
  interleaved: "a message must end before the next one begins (RFC 6455 5.4)",
  fragmented: "a control frame must not be fragmented (RFC 6455 5.5)",
  long: "a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)",
  minimal: "a payload length must be encoded in the fewest bytes that hold it (RFC 6455 5.2)",
  topBit: "the top bit of a 64-bit payload length must be 0 (RFC 6455 5.2)",
  text: "a text message must be UTF-8 (RFC 6455 8.1)",
  unmasked: "a client must mask every frame it sends (RFC 6455 5.1)",
  masked: "a server must not mask any frame it sends (RFC 6455 5.1)"
}

const badText: ReadonlyArray<readonly [string, string]> = [
  ["overlong", "c080"],
  ["overlong in three bytes", "e09fbf"],
  ["a surrogate", "eda080"],
  ["above U+10FFFF", "f4908080"],
  ["a stray continuation byte", "80"],
  ["a byte that is never in UTF-8", "ff"],
  ["a code point without its end", "e282"]
]

describe.each(roles)("a %s fails the connection", (role) => {
  const peer = peerOf(role)
  const key = role === "server" ? 0x01020304 : undefined
  const before = peer(1, "before")
  const heardBefore = ['text "before"']

  it.each([1, 2, 3, 4, 5, 6, 7])("over RSV bits %i, on any frame", (rsv) => {
    for (const opcode of [1, 2, 8, 9, 10]) {
      expect(hear(role, join(before, peer(opcode, "", { rsv })))).toEqual(failed(1002, rules.rsv, heardBefore))
    }
    const continued = join(peer(1, "", { fin: false }), peer(0, "", { rsv }))
    expect(hear(role, continued)).toEqual(failed(1002, rules.rsv))
  })

  it.each([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])("over the reserved opcode %i, also inside a message", (opcode) => {
    const rule = `opcode 0x${opcode.toString(16)} is reserved (RFC 6455 5.2)`
    expect(hear(role, join(before, peer(opcode, "x")))).toEqual(failed(1002, rule, heardBefore))
    expect(hear(role, join(peer(1, "", { fin: false }), peer(opcode, "", { fin: false })))).toEqual(failed(1002, rule))
  })

  it.each([8, 9, 10])("over the control frame %i without FIN", (opcode) => {
    expect(hear(role, join(before, peer(opcode, "", { fin: false })))).toEqual(
      failed(1002, rules.fragmented, heardBefore)
    )
  })

  it.each([8, 9, 10])("over the control frame %i with more than 125 bytes", (opcode) => {
    for (const payload of ["x".repeat(126), "x".repeat(65_536)]) {
      const observed = machine(role)
      observed.receive(join(before, peer(opcode, payload)))
      expect(observed.heard()).toEqual(failed(1002, rules.long, heardBefore))
    }
    expect(hear(role, join(before, peer(opcode, "x".repeat(126))))).toEqual(failed(1002, rules.long, heardBefore))
    for (const options of [
      { extended: 2, length: 5n },
      { extended: 8, length: 2n ** 53n }
    ] as const) {
      expect(hear(role, peer(opcode, "", options))).toEqual(failed(1002, rules.long))
    }
  })

  it("over the wrong masking", () => {
    const other = role === "server" ? undefined : 0x01020304
    const rule = role === "server" ? rules.unmasked : rules.masked
    for (const opcode of [1, 2, 8, 9, 10]) {
      for (const payload of ["", "x"]) {
        expect(hear(role, join(before, peer(opcode, payload, { key: other })))).toEqual(failed(1002, rule, heardBefore))
      }
    }
  })

  it.each([
    ["126 with 125", { extended: 2, length: 125n }],
    ["127 with 0", { extended: 8, length: 0n }],
    ["127 with 65535", { extended: 8, length: 65_535n }]
  ] as const)("over a length that isn't minimal: %s", (_, options) => {
    expect(hear(role, join(before, peer(2, "", { key, ...options })))).toEqual(failed(1002, rules.minimal, heardBefore))
  })

  it("over a 64-bit length with its top bit set", () => {
    for (const length of [2n ** 63n, 2n ** 64n - 1n, 2n ** 63n + 5n]) {
      expect(hear(role, join(before, peer(2, "", { length })))).toEqual(failed(1002, rules.topBit, heardBefore))
    }
  })

  it("over a length of 2^53 and more", () => {
    const rule = "a payload length above 2^53 - 1 can't be represented"
    for (const length of [2n ** 53n, 2n ** 63n - 1n]) {
      expect(hear(role, peer(2, "", { length }))).toEqual(failed(1009, rule))
    }
    expect(hear(role, peer(2, "", { length: 2n ** 53n - 1n }))).toEqual(
      exceeded("frame size", Number.MAX_SAFE_INTEGER, 1e6)
    )
  })

  it("over a continuation of nothing", () => {
    for (const fin of [true, false]) {
      expect(hear(role, join(before, peer(0, "x", { fin })))).toEqual(failed(1002, rules.stray, heardBefore))
    }
    const afterTheLast = join(peer(1, "a", { fin: false }), peer(0, "b"), peer(0, "c"))
    expect(hear(role, afterTheLast)).toEqual(failed(1002, rules.stray, ['text "ab"']))
    const afterPing = join(peer(9, ""), peer(0, "c"))
    expect(hear(role, afterPing)).toMatchObject({ outcome: `failed 1002: ${rules.stray}` })
  })

  it("over a message that begins inside another", () => {
    for (const first of [1, 2]) {
      for (const second of [1, 2]) {
        for (const fin of [true, false]) {
          const bytes = join(peer(first, "a", { fin: false }), peer(10, ""), peer(second, "b", { fin }))
          expect(hear(role, bytes)).toEqual(failed(1002, rules.interleaved, ["pong"]))
        }
      }
    }
  })

  it.each(badText)("over text that isn't UTF-8: %s", (_, hex) => {
    const bad = fromHex(hex)
    expect(hear(role, join(before, peer(1, join(utf8("ok "), bad))))).toEqual(failed(1007, rules.text, heardBefore))
    const inFragments = Array.from(bad, (byte) => peer(0, Uint8Array.of(byte), { fin: false }))
    expect(hear(role, join(peer(1, "ok", { fin: false }), ...inFragments, peer(0)))).toEqual(failed(1007, rules.text))
  })

  it("at the first bad byte of a text frame that hasn't arrived yet", () => {
    for (const [, hex] of badText.slice(0, -1)) {
      const bad = fromHex(hex)
      // Lengths that leave no doubt that more is to come.
      const whole = peer(1, join(utf8("ok"), bad, utf8("x".repeat(100))))
      const header = whole.length - 100 - bad.length - 2
      const observed = machine(role)
      let taken = 0
      while (observed.connection.outcome === undefined && taken < whole.length) {
        observed.receive(whole.slice(taken, ++taken))
      }
      const good = hex.startsWith("e") || hex.startsWith("f4") ? 1 : 0
      expect(taken).toBe(header + 2 + good + 1)
      expect(observed.heard()).toEqual(failed(1007, rules.text))
    }
  })

  it("not over the same bytes in a binary message", () => {
    for (const [, hex] of badText) {
      expect(hear(role, peer(2, fromHex(hex)))).toMatchObject({ events: [`binary ${hex}`], outcome: "open" })
    }
  })

  it("and takes nothing after it", () => {
    const observed = machine(role)
    observed.receive(join(before, peer(3, ""), peer(1, "after"), peer(9, "p"), peer(8, "")))
    const heard = observed.heard()
    expect(heard).toEqual(failed(1002, "opcode 0x3 is reserved (RFC 6455 5.2)", heardBefore))
    observed.receive(peer(1, "after"), peer(8, ""))
    observed.connection.receiveEnd()
    expect(observed.heard()).toEqual(heard)
    expect(observed.connection.isOpen).toBe(false)
  })

  it("without a second Close, if it has sent one", () => {
    const observed = machine(role)
    observed.connection.sendClose(1001, "bye")
    observed.receive(peer(3, ""))
    expect(observed.heard()).toEqual({
      events: [],
      sent: ['close 1001 "bye"'],
      outcome: "failed 1002: opcode 0x3 is reserved (RFC 6455 5.2)"
    })
    expect(observed.connection.sentCode).toBe(1001)
  })

  it("and sends the code as the one it sent", () => {
    const observed = machine(role)
    observed.receive(peer(1, fromHex("ff")))
    expect(observed.connection.sentCode).toBe(1007)
    expect(observed.connection.isClosing).toBe(true)
  })
})

describe("the rule in a Close frame", () => {
  it("is whole for each rule: none is longer than 123 bytes", () => {
    for (const rule of Object.values(rules)) expect(utf8(rule).length).toBeLessThanOrEqual(123)
  })

  it("is sent whole whatever a peer sends, and in a valid Close", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...roles),
        fc.nat(255),
        fc.nat(255),
        fc.uint8Array({ maxLength: 40 }),
        (role, first, second, rest) => {
          const observed = machine(role, { maxMessageSize: 100, maxFrameSize: 50 })
          observed.receive(join(Uint8Array.of(first, second), rest))
          const { outcome } = observed.connection
          if (outcome?._tag !== "Failed") return
          const { sent } = observed.heard()
          const reason =
            outcome.violation._tag === "Breach"
              ? outcome.violation.rule
              : `${outcome.violation.which} is limited to ${outcome.violation.limit}`
          expect(sent.at(-1)?.endsWith(JSON.stringify(reason))).toBe(true)
          expect(observed.connection.sentCode).toBeOneOf([1002, 1007, 1009])
        }
      ),
      { numRuns: 3000 }
    )
  })
})
