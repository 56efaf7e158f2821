import { describe, expect, it } from "@effect/vitest"
import { Frame } from "effect-websocket"
import { closePayload } from "../../src/protocol/close.js"
import type { OpcodeValue } from "../../src/protocol/frame.js"
import { fromHex, join, parse, pattern, toHex, utf8, wire } from "../fixtures/bytes.js"
import { machine, roles } from "../fixtures/machine.js"

const { Opcode } = Frame
const part = (opcode: OpcodeValue, payload: string | Uint8Array, fin = false) => Frame.make({ opcode, payload, fin })

describe.each(roles)("a %s sends", (role) => {
  it("messages as whole frames, masked only by a client and each with another key", () => {
    const observed = machine(role)
    observed.connection.sendMessage("Hello €")
    observed.connection.sendMessage(pattern(3))
    observed.connection.sendMessage("")
    observed.connection.sendMessage(new Uint8Array(0))
    observed.connection.sendPing(new Uint8Array(0))
    const bytes = observed.output()
    const keys = parse(bytes).map(({ key }) => key)
    expect(observed.sent).toEqual(['text fin "Hello €"', "binary fin 00070e", 'text fin ""', "binary fin", "ping fin"])
    expect(new Set(keys).size).toBe(role === "client" ? 5 : 1)
    expect(toHex(bytes)).toBe(
      toHex(
        join(
          wire(1, "Hello €", { key: keys[0] }),
          wire(2, pattern(3), { key: keys[1] }),
          wire(1, "", { key: keys[2] }),
          wire(2, "", { key: keys[3] }),
          wire(9, "", { key: keys[4] })
        )
      )
    )
  })

  it("frames of any kind that keep the rules", () => {
    const observed = machine(role)
    for (const frame of [
      Frame.text("whole"),
      part(Opcode.text, "one "),
      Frame.ping("p"),
      part(Opcode.continuation, ""),
      Frame.pong(),
      part(Opcode.continuation, "two", true),
      part(Opcode.binary, pattern(2)),
      part(Opcode.continuation, pattern(1), true),
      Frame.binary(pattern(3)),
      Frame.ping("x".repeat(125))
    ]) {
      expect(observed.connection.sendFrame(frame)).toBe(undefined)
    }
    expect(observed.connection.sendMessage("after")).toBe(undefined)
    expect(observed.heard().sent).toEqual([
      'text fin "whole"',
      'text "one "',
      "ping fin 70",
      "continuation",
      "pong fin",
      "continuation fin 74776f",
      "binary 0007",
      "continuation fin 00",
      "binary fin 00070e",
      `ping fin ${"78".repeat(125)}`,
      'text fin "after"'
    ])
  })

  it("a Close as a frame like any other Close, and then is closing", () => {
    for (const [payload, sentCode, sent] of [
      [closePayload(1001, "going"), 1001, 'close 1001 "going"'],
      [new Uint8Array(0), undefined, "close fin"]
    ] as const) {
      const observed = machine(role)
      expect(observed.connection.sendFrame(part(Opcode.close, payload, true))).toBe(undefined)
      expect(observed.connection).toMatchObject({ isOpen: false, isClosing: true, sentCode })
      expect(observed.heard().sent).toEqual([sent])
    }
  })

  it("a Close in the middle of a message that sendFrame began", () => {
    const observed = machine(role)
    observed.connection.sendFrame(part(Opcode.text, "half"))
    observed.connection.sendClose(1000, "")
    expect(observed.heard().sent).toEqual(['text "half"', 'close 1000 ""'])
  })
})

describe.each(roles)("a %s refuses to send", (role) => {
  /** The rule, after which nothing was queued and all is as before. */
  const refused = (frame: Frame.Frame, before: ReadonlyArray<Frame.Frame> = []) => {
    const observed = machine(role)
    for (const one of before) expect(observed.connection.sendFrame(one)).toBe(undefined)
    observed.output()
    const breach = observed.connection.sendFrame(frame)
    expect(observed.connection.output.size).toBe(0)
    expect(observed.connection.isOpen).toBe(true)
    return breach === undefined ? "sent" : `${breach.closeCode} ${breach.rule}`
  }
  const open = [part(Opcode.text, "a")]

  it("RSV bits", () => {
    const rule = "1002 RSV bits must be 0 unless an extension that defines them was negotiated (RFC 6455 5.2)"
    for (let rsv = 1; rsv <= 7; rsv++) {
      expect(refused(Frame.make({ rsv, payload: "x" }))).toBe(rule)
      expect(refused(Frame.make({ rsv, opcode: Opcode.close }))).toBe(rule)
    }
  })

  it("reserved opcodes, which types keep away from whoever has them", () => {
    for (const opcode of [3, 7, 11, 15]) {
      for (const before of [[], open]) {
        expect(refused(part(opcode as OpcodeValue, "x", true), before)).toBe(
          `1002 opcode 0x${opcode.toString(16)} is reserved (RFC 6455 5.2)`
        )
      }
    }
  })

  it("control frames that are fragmented or longer than 125 bytes", () => {
    for (const opcode of [Opcode.close, Opcode.ping, Opcode.pong]) {
      expect(refused(part(opcode, ""))).toBe("1002 a control frame must not be fragmented (RFC 6455 5.5)")
      expect(refused(part(opcode, pattern(126), true))).toBe(
        "1002 a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)"
      )
    }
  })

  it("a Close that says what must not be said", () => {
    const close = (payload: Uint8Array) => part(Opcode.close, payload, true)
    expect(refused(close(closePayload(1006, "")))).toBe("1002 close code 1006 must not be sent (RFC 6455 7.4)")
    expect(refused(close(pattern(1)))).toMatch(/^1002 a Close frame's payload must be empty/)
    expect(refused(close(fromHex("03e8ff")))).toBe("1007 a close reason must be UTF-8 (RFC 6455 5.5.1)")
  })

  it("a continuation of nothing, and a message inside another", () => {
    const stray = "1002 a continuation frame must follow a data frame without FIN (RFC 6455 5.4)"
    const interleaved = "1002 a message must end before the next one begins (RFC 6455 5.4)"
    expect(refused(part(Opcode.continuation, "x", true))).toBe(stray)
    expect(refused(part(Opcode.continuation, "x"), [Frame.text("whole")])).toBe(stray)
    expect(refused(part(Opcode.continuation, "x"), [...open, part(Opcode.continuation, "", true)])).toBe(stray)
    for (const begun of [Opcode.text, Opcode.binary] as const) {
      expect(refused(Frame.text("x"), [part(begun, "a")])).toBe(interleaved)
      expect(refused(part(Opcode.binary, "x"), [part(begun, "a"), part(Opcode.continuation, "b")])).toBe(interleaved)
    }
  })

  it("a whole message inside of one that sendFrame began, until that has ended", () => {
    for (const message of ["text", pattern(3)]) {
      const observed = machine(role)
      observed.connection.sendFrame(part(Opcode.binary, "a"))
      expect(observed.connection.sendMessage(message)?.rule).toMatch(/^a message must end before the next one begins/)
      observed.connection.sendFrame(part(Opcode.continuation, "", true))
      expect(observed.connection.sendMessage(message)).toBe(undefined)
      expect(observed.heard().sent.length).toBe(3)
    }
  })

  it("text that isn't UTF-8, over all of its fragments, and not the same bytes in a binary message", () => {
    const rule = "1007 a text message must be UTF-8 (RFC 6455 8.1)"
    const cut = fromHex("e282")
    expect(refused(part(Opcode.text, fromHex("ff"), true))).toBe(rule)
    expect(refused(part(Opcode.text, cut, true))).toBe(rule)
    expect(refused(part(Opcode.continuation, "x"), [part(Opcode.text, cut)])).toBe(rule)
    expect(refused(part(Opcode.continuation, "", true), [part(Opcode.text, cut)])).toBe(rule)
    const observed = machine(role)
    for (const frame of [
      part(Opcode.binary, fromHex("ff")),
      part(Opcode.continuation, cut, true),
      part(Opcode.text, cut),
      part(Opcode.continuation, ""),
      part(Opcode.continuation, fromHex("ac"), true),
      Frame.text("next")
    ]) {
      expect(observed.connection.sendFrame(frame)).toBe(undefined)
    }
  })

  it("a bad fragment only: the message can go on with a better one", () => {
    const observed = machine(role)
    observed.connection.sendFrame(part(Opcode.text, fromHex("e282")))
    for (const bad of [part(Opcode.continuation, "x"), part(Opcode.continuation, fromHex("acff")), Frame.text("y")]) {
      expect(observed.connection.sendFrame(bad)).toBeDefined()
    }
    expect(observed.connection.sendFrame(part(Opcode.continuation, fromHex("ac"), true))).toBe(undefined)
    expect(toHex(join(...parse(observed.output()).map(({ payload }) => payload)))).toBe(toHex(utf8("€")))
  })
})
