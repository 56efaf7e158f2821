import { describe, expect, it } from "@effect/vitest"
import { Frame } from "effect-websocket"
import type { MessageExtension } from "../../src/protocol/extension.js"
import { breach, excess } from "../../src/protocol/violation.js"
import { fromHex, join, pattern, utf8 } from "../fixtures/bytes.js"
import { exceeded, failed, hear, machine, peerOf, roles, stillOpen } from "../fixtures/machine.js"

const broken = breach(1007, "the test extension can't undo this")

/** Sends messages backwards, if they are long enough or that is wished for, and says so with RSV1. */
const backwards: MessageExtension = {
  rsv: 4,
  bound: (size) => size,
  applies: (size, wish) => wish ?? size >= 4,
  encode: (payload) => payload.slice().reverse(),
  decode: (payload, limit) =>
    payload[0] === 0x21
      ? broken
      : // As if it were inflated.
        payload.length * 2 > limit
        ? excess("message size", limit, payload.length * 2)
        : payload.slice().reverse()
}

const options = { extension: backwards }
const rsvRule = "RSV bits must be 0 unless an extension that defines them was negotiated (RFC 6455 5.2)"

describe.each(roles)("a %s with an extension receives", (role) => {
  const peer = peerOf(role)

  it("what was transformed and what wasn't, in fragments too", () => {
    const bytes = join(
      peer(1, "olleH", { rsv: 4 }),
      peer(1, "plain"),
      peer(2, fromHex("030201"), { rsv: 4 }),
      peer(1, "", { rsv: 4, fin: false }),
      peer(0, "eno", { fin: false }),
      peer(9, "p"),
      peer(0, " eht"),
      peer(1, "in ", { fin: false }),
      peer(0, "parts"),
      peer(1, "", { rsv: 4 })
    )
    expect(hear(role, bytes, options)).toEqual(
      stillOpen(
        ['text "Hello"', 'text "plain"', "binary 010203", 'text "the one"', 'text "in parts"', 'text ""'],
        ["pong fin 70"]
      )
    )
  })

  it("text whose code points are whole only when it is transformed back", () => {
    expect(hear(role, peer(1, utf8("€").reverse(), { rsv: 4 }), options)).toEqual(stillOpen(['text "€"']))
    expect(hear(role, peer(1, "€", { rsv: 4 }), options)).toEqual(
      failed(1007, "a text message must be UTF-8 (RFC 6455 8.1)")
    )
    expect(hear(role, peer(2, "€", { rsv: 4 }), options).events).toEqual(["binary ac82e2"])
  })

  it("no RSV bit of another's, nor its own on a continuation or a control frame", () => {
    for (const bits of [1, 2, 3, 5, 6, 7]) {
      expect(hear(role, peer(1, "x", { rsv: bits }), options)).toEqual(failed(1002, rsvRule))
    }
    for (const opcode of [8, 9, 10]) {
      expect(hear(role, peer(opcode, "", { rsv: 4 }), options)).toEqual(failed(1002, rsvRule))
    }
    for (const first of [0, 4]) {
      const bytes = join(peer(1, "x", { fin: false, rsv: first }), peer(0, "y", { rsv: 4 }))
      expect(hear(role, bytes, options)).toEqual(failed(1002, rsvRule))
    }
  })

  it("no reserved opcode under the cover of its bit", () => {
    expect(hear(role, peer(3, "", { rsv: 4 }), options)).toEqual(failed(1002, "opcode 0x3 is reserved (RFC 6455 5.2)"))
  })

  it("what the extension can't undo as a failure, in its words", () => {
    expect(hear(role, join(peer(1, "ok"), peer(1, "!x", { rsv: 4 }), peer(1, "late")), options)).toEqual(
      failed(1007, broken.rule, ['text "ok"'])
    )
  })

  it("as much as the limits allow, on the wire and behind the extension", () => {
    const limited = { ...options, maxMessageSize: 8, maxFragments: 2 }
    expect(hear(role, peer(1, "dcba", { rsv: 4 }), limited)).toEqual(stillOpen(['text "abcd"']))
    expect(hear(role, peer(1, "edcba", { rsv: 4 }), limited)).toEqual(exceeded("message size", 10, 8))
    expect(hear(role, peer(1, "123456789", { rsv: 4 }), limited)).toEqual(exceeded("message size", 9, 8))
    const three = join(peer(1, "", { rsv: 4, fin: false }), peer(0, "", { fin: false }), peer(0))
    expect(hear(role, three, limited)).toEqual(exceeded("fragments per message", 3, 2))
  })

  it("what is larger on the wire than before, up to the extension's bound, if no smaller limit on frames forbids it", () => {
    /** Puts two bytes in front. */
    const prefixing = {
      ...backwards,
      bound: (size: number) => size + 2,
      decode: (payload: Uint8Array) => payload.slice(2)
    }
    for (const [maxFrameSize, heard] of [
      [7, exceeded("frame size", 10, 7)],
      [8, stillOpen(['text "12345678"'])],
      [9, stillOpen(['text "12345678"'])],
      [20, stillOpen(['text "12345678"'])]
    ] as const) {
      const limited = { extension: prefixing, maxMessageSize: 8, maxFrameSize }
      expect(hear(role, peer(1, "..12345678", { rsv: 4 }), limited)).toEqual(heard)
      // What isn't transformed has no such allowance.
      const which = maxFrameSize < 9 ? "frame size" : "message size"
      expect(hear(role, peer(1, "123456789"), limited)).toEqual(exceeded(which, 9, Math.min(8, maxFrameSize)))
    }
    const limited = { extension: prefixing, maxMessageSize: 8 }
    const bytes = join(peer(1, "..123", { rsv: 4, fin: false }), peer(0, "456789"))
    expect(hear(role, bytes, limited)).toEqual(exceeded("message size", 11, 8))
    expect(hear(role, bytes, { ...limited, maxFrameSize: 8 })).toEqual(exceeded("message size", 11, 8))
  })

  it("frames with a message each of what was transformed, for who takes frames", () => {
    const bytes = join(
      peer(1, "olleH", { rsv: 4, fin: false }),
      peer(9, "p"),
      peer(0, " "),
      peer(2, fromHex("0201"), { rsv: 4 }),
      peer(1, "pl", { fin: false }),
      peer(0, "ain")
    )
    expect(hear(role, bytes, { ...options, frames: true })).toEqual(
      stillOpen(
        [
          "frame ping fin 70",
          'frame text fin " Hello"',
          "frame binary fin 0102",
          'frame text "pl"',
          "frame continuation fin 61696e"
        ],
        ["pong fin 70"]
      )
    )
  })
})

describe.each(roles)("a %s with an extension sends", (role) => {
  it("what it applies to transformed, and the rest plain", () => {
    const observed = machine(role, options)
    observed.connection.sendMessage("abc")
    observed.connection.sendMessage("abcd")
    observed.connection.sendMessage(pattern(4))
    observed.connection.sendMessage("abcd", false)
    observed.connection.sendMessage("abc", true)
    observed.connection.sendMessage("€uro", true)
    expect(observed.connection.sendFrame(Frame.text("a frame as it is"))).toBe(undefined)
    observed.connection.sendClose(1000, "bye")
    expect(observed.heard().sent).toEqual([
      'text fin "abc"',
      'text fin rsv=4 "dcba"',
      "binary fin rsv=4 150e0700",
      'text fin "abcd"',
      'text fin rsv=4 "cba"',
      `text fin rsv=4 ${JSON.stringify(Buffer.from(utf8("€uro").reverse()).toString())}`,
      'text fin "a frame as it is"',
      'close 1000 "bye"'
    ])
  })

  it("no frame that claims to be transformed, and nothing inside of another message", () => {
    const observed = machine(role, options)
    expect(observed.connection.sendFrame(Frame.make({ rsv: 4, payload: "x" }))?.rule).toBe(rsvRule)
    observed.connection.sendFrame(Frame.make({ fin: false, payload: "x" }))
    expect(observed.connection.sendMessage("long enough")?.rule).toMatch(/^a message must end/)
    expect(observed.heard().sent).toEqual(['text "x"'])
  })

  it("what the same machine reads", () => {
    const sender = machine(role, options)
    const receiver = machine(role === "client" ? "server" : "client", options)
    const messages = ["short".slice(2), "long enough €", pattern(3), pattern(30_000)]
    for (const message of messages) sender.connection.sendMessage(message)
    receiver.receive(sender.output())
    expect(receiver.messages.map((one) => Buffer.from(one).toString("hex"))).toEqual(
      messages.map((one) => Buffer.from(one).toString("hex"))
    )
  })
})
