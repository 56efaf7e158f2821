import { describe, expect, it } from "@effect/vitest"
import { closePayload } from "../../src/protocol/close.js"
import { cutAt, everyCut, fromHex, join, utf8 } from "../fixtures/bytes.js"
import { failed, hear, machine, peerOf, roles, stillOpen } from "../fixtures/machine.js"

describe.each(roles)("a %s that takes frames", (role) => {
  const peer = peerOf(role)
  const frames = { frames: true }

  it("gets each one as it was sent, control frames too, and answers pings all the same", () => {
    const bytes = join(
      peer(1, "whole"),
      peer(2, "a", { fin: false }),
      peer(9, "p"),
      peer(0, "", { fin: false }),
      peer(10, "q"),
      peer(0, "b"),
      peer(1, "")
    )
    expect(hear(role, bytes, frames)).toEqual(
      stillOpen(
        [
          'frame text fin "whole"',
          "frame binary 61",
          "frame ping fin 70",
          "frame continuation",
          "frame pong fin 71",
          "pong 71",
          "frame continuation fin 62",
          'frame text fin ""'
        ],
        ["pong fin 70"]
      )
    )
  })

  it("gets a Close before it is over", () => {
    expect(hear(role, join(peer(1, "a", { fin: false }), peer(8, closePayload(1000, "bye"))), frames)).toEqual({
      events: ['frame text "a"', "frame close fin 03e8627965"],
      sent: ['close 1000 ""'],
      outcome: 'closed 1000 "bye", sent 1000, remote, clean'
    })
  })

  it("doesn't get a Close that is none", () => {
    expect(hear(role, peer(8, closePayload(1005, "")), frames)).toEqual(
      failed(1002, "close code 1005 must not be sent (RFC 6455 7.4)")
    )
    expect(hear(role, peer(8, "x"), frames)).toMatchObject({ events: [] })
  })

  it("gets fragments of text as they are, code points cut, but only as long as they are UTF-8", () => {
    const [first = new Uint8Array(0), second = new Uint8Array(0)] = cutAt(utf8("€"), 2)
    const begin = peer(1, first, { fin: false })
    const rule = "a text message must be UTF-8 (RFC 6455 8.1)"
    const observed = machine(role, frames)
    observed.receive(begin, peer(0, second))
    expect(observed.frames.map(({ payload }) => payload)).toEqual([first, second])
    const bad = machine(role, frames)
    bad.receive(begin, peer(0, "x"))
    expect(bad.frames.length).toBe(1)
    expect(bad.heard().outcome).toBe(`failed 1007: ${rule}`)
    const unfinished = machine(role, frames)
    unfinished.receive(begin, peer(0, ""))
    expect(unfinished.frames.length).toBe(1)
    expect(unfinished.heard().outcome).toBe(`failed 1007: ${rule}`)
    expect(hear(role, peer(1, fromHex("ff")), frames)).toEqual(failed(1007, rule))
  })

  it("is held to the same limits", () => {
    const options = { frames: true, maxMessageSize: 2, maxFragments: 2 }
    const two = join(peer(1, "a", { fin: false }), peer(0, "b"))
    expect(hear(role, join(two, two), options).outcome).toBe("open")
    expect(hear(role, join(peer(1, "a", { fin: false }), peer(0, "bc")), options).outcome).toBe(
      "exceeded message size: 3 > 2"
    )
    const three = join(peer(1, "", { fin: false }), peer(0, "", { fin: false }), peer(0))
    expect(hear(role, three, options).outcome).toBe("exceeded fragments per message: 3 > 2")
  })
})

describe.each(roles)("a %s that turns to frames", (role) => {
  const peer = peerOf(role)

  /** What it hears if it turns after so many bytes. */
  const turnAfter = (bytes: Uint8Array, place: number) => {
    const observed = machine(role)
    const [before, after] = cutAt(bytes, place)
    if (before !== undefined) observed.receive(before)
    observed.connection.deliver("frames")
    if (after !== undefined) observed.receive(...Array.from(after, (byte) => Uint8Array.of(byte)))
    return observed.heard()
  }

  it("between two messages gets the second one as a frame", () => {
    const first = peer(1, "one")
    expect(turnAfter(join(first, peer(1, "two")), first.length).events).toEqual(['text "one"', 'frame text fin "two"'])
  })

  it("inside a message gets what came before as a part of its first frame", () => {
    const parts = [
      peer(1, "one ", { fin: false }),
      peer(0, "two ", { fin: false }),
      peer(9, "p"),
      peer(0, "three ", { fin: false }),
      peer(0, "four")
    ]
    const ends = parts.map((_, index) => join(...parts.slice(0, index + 1)).length)
    const all = join(...parts, peer(1, "next"))
    const next = 'frame text fin "next"'
    const ping = "frame ping fin 70"
    for (let place = 0; place < all.length; place++) {
      const past = ends.filter((end) => end <= place).length
      const expected = [
        [
          'frame text "one "',
          "frame continuation 74776f20",
          ping,
          "frame continuation 746872656520",
          "frame continuation fin 666f7572",
          next
        ],
        ['frame text "one two "', ping, "frame continuation 746872656520", "frame continuation fin 666f7572", next],
        [ping, 'frame text "one two three "', "frame continuation fin 666f7572", next],
        ['frame text "one two three "', "frame continuation fin 666f7572", next],
        ['frame text fin "one two three four"', next],
        ['text "one two three four"', next]
      ][past]
      expect(turnAfter(all, place)).toEqual(stillOpen(expected ?? [], ["pong fin 70"]))
    }
  })

  it("inside a code point goes on with its bytes", () => {
    const bytes = join(peer(1, fromHex("e282"), { fin: false }), peer(0, fromHex("ac")))
    for (let place = 0; place < bytes.length; place++) {
      const observed = turnAfter(bytes, place)
      expect(observed.outcome).toBe("open")
      expect(observed.events.length).toBeGreaterThan(0)
    }
    const bad = join(peer(1, fromHex("e282"), { fin: false }), peer(0, "x"))
    for (let place = 0; place < bad.length; place++) expect(turnAfter(bad, place).outcome).toMatch(/^failed 1007/)
  })

  it("delivers the bytes of a message in order, wherever it turns and however they are cut", () => {
    const content = utf8("aé€😀z")
    const bytes = join(peer(1, content.slice(0, 4), { fin: false }), peer(0, content.slice(4)))
    for (const chunks of everyCut(bytes)) {
      for (let turn = 0; turn < chunks.length; turn++) {
        const observed = machine(role)
        chunks.forEach((chunk, index) => {
          if (index === turn) observed.connection.deliver("frames")
          observed.receive(chunk)
        })
        const [first] = observed.frames
        expect(first?.opcode).toBe(1)
        expect(observed.frames.at(-1)?.fin).toBe(true)
        expect(join(...observed.frames.map(({ payload }) => payload))).toEqual(content)
      }
    }
  })
})
