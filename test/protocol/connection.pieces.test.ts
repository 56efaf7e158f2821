import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { anyText, cutBy, fromHex, join, utf8 } from "../fixtures/bytes.js"
import { codecs, compressed } from "../fixtures/deflating.js"
import { type MachineOptions, machine, peerOf, roles } from "../fixtures/machine.js"

describe.each(roles)("a %s that takes pieces", (role) => {
  const peer = peerOf(role)
  const taking = (options: MachineOptions = {}) => {
    const observed = machine(role, options)
    observed.connection.deliver("pieces")
    return observed
  }
  /** Each piece, in words. */
  const piecesOf = ({ frames }: ReturnType<typeof machine>) =>
    frames.map(({ fin, opcode, payload }) => `${opcode} ${Buffer.from(payload)}${fin ? "." : ""}`)

  it("gets what a read brought of a message at once, frames cut and joined", () => {
    const observed = taking()
    const frame = peer(1, "hello", { fin: false })
    const header = frame.length - 5
    observed.receive(frame.subarray(0, header))
    expect(piecesOf(observed)).toEqual([])
    observed.receive(frame.subarray(header, header + 2), frame.subarray(header + 2))
    observed.receive(join(peer(0, " wo", { fin: false }), peer(9, "p"), peer(0, "rld")), peer(2, "x"))
    expect(piecesOf(observed)).toEqual(["1 he", "0 llo", "0  wo", "9 p.", "0 rld.", "2 x."])
    expect(observed.heard().sent).toEqual(["pong fin 70"])
  })

  it("gets empty frames, too, so that it knows of a message's beginning and end", () => {
    const observed = taking()
    observed.receive(peer(1, "", { fin: false }), peer(0, "", { fin: false }), peer(0, ""), peer(2, ""))
    expect(piecesOf(observed)).toEqual(["1 ", "0 ", "0 .", "2 ."])
  })

  it("begins with what is there when it is turned on, in the middle of a frame or between two", () => {
    for (const [before, expected] of [
      [join(peer(1, "ab", { fin: false }), peer(0, "cd").subarray(0, -1)), "1 abc"],
      [join(peer(1, "ab", { fin: false }), peer(0, "c", { fin: false })), "1 abc"],
      [peer(1, "", { fin: false }), "1 "]
    ] as const) {
      const observed = machine(role)
      observed.receive(before)
      expect(observed.frames).toEqual([])
      observed.connection.deliver("pieces")
      expect(piecesOf(observed)).toEqual([expected])
      observed.connection.deliver("pieces")
      expect(piecesOf(observed).length).toBe(1)
    }
  })

  it("begins with nothing where nothing is there, or only a header", () => {
    for (const before of [
      new Uint8Array(0),
      peer(1, "whole"),
      peer(1, "x").subarray(0, -1),
      peer(9, "ping").subarray(0, -1)
    ]) {
      const observed = machine(role)
      observed.receive(before)
      observed.connection.deliver("pieces")
      expect(observed.frames).toEqual([])
    }
  })

  it("goes on with a message of which frames were taken", () => {
    const observed = machine(role, { frames: true })
    observed.receive(peer(1, "ab", { fin: false }))
    observed.connection.deliver("pieces")
    expect(piecesOf(observed)).toEqual(["1 ab"])
    observed.receive(peer(0, "cd").subarray(0, -1))
    expect(piecesOf(observed)).toEqual(["1 ab", "0 c"])
    const halfway = machine(role, { frames: true })
    halfway.receive(join(peer(1, "ab", { fin: false }), peer(0, "cd").subarray(0, -1)))
    halfway.connection.deliver("pieces")
    expect(piecesOf(halfway)).toEqual(["1 ab", "0 c"])
  })

  it("fails at the first bad byte of text, behind the pieces before it", () => {
    const observed = taking()
    observed.receive(peer(1, fromHex("61e282"), { fin: false }), peer(0, fromHex("ac62"), { fin: false }))
    observed.receive(peer(0, fromHex("63ff64"), { fin: false }))
    expect(observed.frames.length).toBe(2)
    expect(observed.heard().outcome).toMatch(/^failed 1007/)
    const unfinished = taking()
    unfinished.receive(peer(1, fromHex("e282")))
    expect(unfinished.heard().outcome).toMatch(/^failed 1007/)
    // What came as part of a whole message was validated as well.
    const turned = machine(role)
    turned.receive(peer(1, fromHex("e282"), { fin: false }))
    turned.connection.deliver("pieces")
    turned.receive(peer(0, fromHex("62")))
    expect(turned.heard().outcome).toMatch(/^failed 1007/)
  })

  it("is held to the same limits, over the whole message", () => {
    const options = { maxMessageSize: 5, maxFragments: 3 }
    const large = taking(options)
    large.receive(peer(2, "abc", { fin: false }), peer(0, "de", { fin: false }), peer(0, "f"))
    expect(large.heard().outcome).toBe("exceeded message size: 6 > 5")
    const many = taking(options)
    for (const opcode of [2, 0, 0, 0]) many.receive(peer(opcode, "", { fin: false }))
    expect(many.heard().outcome).toBe("exceeded fragments per message: 4 > 3")
  })

  it("gets a compressed message whole, also if it had begun before", () => {
    for (const first of [0, 4]) {
      const { client, server } = codecs({ threshold: 0 })
      const observed = machine(role, { extension: role === "client" ? client : server })
      const bytes = compressed("again and again and again")
      observed.receive(peer(1, bytes.subarray(0, first), { fin: false, rsv: 4 }))
      observed.connection.deliver("pieces")
      observed.receive(peer(0, bytes.subarray(first)).subarray(0, -1))
      expect(observed.frames).toEqual([])
      observed.receive(peer(0, bytes.subarray(first)).subarray(-1))
      observed.receive(peer(1, "plain"))
      expect(piecesOf(observed)).toEqual(["1 again and again and again.", "1 plain."])
    }
  })

  it("gets every byte of every message once, however they are cut, and whenever it is turned on", () => {
    const message = fc.record({
      text: anyText(30),
      isText: fc.boolean(),
      fragments: fc.array(fc.nat(40), { maxLength: 4 })
    })
    const sizes = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 20 })
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), sizes, fc.nat(20), (messages, cuts, turnedAt) => {
        const stream = messages.flatMap(({ fragments, isText, text }) => {
          const parts = fragments.length === 0 ? [utf8(text)] : cutBy(utf8(text), fragments)
          return parts.map((part, index) =>
            peer(index > 0 ? 0 : isText ? 1 : 2, part, { fin: index === parts.length - 1 })
          )
        })
        const observed = machine(role)
        cutBy(join(...stream), cuts).forEach((chunk, index) => {
          if (index === turnedAt) observed.connection.deliver("pieces")
          observed.receive(chunk)
        })
        observed.connection.deliver("pieces")
        const received = observed.messages.map((each) => Buffer.from(each).toString())
        let current: Array<Uint8Array> = []
        for (const { fin, opcode, payload } of observed.frames) {
          // A message's first piece, and no other, has its opcode.
          expect(opcode === 0).toBe(current.length > 0)
          current.push(payload)
          if (!fin) continue
          received.push(Buffer.concat(current).toString())
          current = []
        }
        expect(current).toEqual([])
        expect(received).toEqual(messages.map(({ text }) => text))
        expect(observed.heard().outcome).toBe("open")
      }),
      { numRuns: 500 }
    )
  })
})
