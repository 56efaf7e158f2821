import { describe, expect, it } from "@effect/vitest"
import { join, pattern } from "../fixtures/bytes.js"
import { exceeded, hear, machine, peerOf, roles, stillOpen } from "../fixtures/machine.js"

describe.each(roles)("a %s with a limit of", (role) => {
  const peer = peerOf(role)
  const ten = "0123456789"

  it("10 bytes per message takes 10, in any fragments, and refuses 11", () => {
    const options = { maxMessageSize: 10 }
    const split = (last: string) =>
      join(
        peer(1, "01234", { fin: false }),
        peer(9, "not counted"),
        peer(0, "", { fin: false }),
        peer(0, "5678", { fin: false }),
        peer(0, last)
      )
    expect(hear(role, join(peer(1, ten), split("9"), peer(1, ten)), options).events).toEqual(
      Array(3).fill(`text "${ten}"`)
    )
    expect(hear(role, peer(1, `${ten}x`), options)).toEqual(exceeded("message size", 11, 10))
    expect(hear(role, join(peer(1, ten), peer(2, `${ten}x`)), options)).toEqual(
      exceeded("message size", 11, 10, [`text "${ten}"`])
    )
    expect(hear(role, split("9x"), options)).toMatchObject({ events: [], outcome: "exceeded message size: 11 > 10" })
  })

  it("10 bytes per frame takes 10 in each frame of a message, and refuses 11", () => {
    const options = { maxFrameSize: 10 }
    const twenty = join(peer(1, ten, { fin: false }), peer(0, ten))
    expect(hear(role, twenty, options)).toEqual(stillOpen([`text "${ten}${ten}"`]))
    expect(hear(role, peer(1, `${ten}x`), options)).toEqual(exceeded("frame size", 11, 10))
    expect(hear(role, join(peer(1, ten, { fin: false }), peer(0, `${ten}x`)), options)).toEqual(
      exceeded("frame size", 11, 10)
    )
  })

  it("3 fragments per message takes 3, and refuses the fourth at its first byte, even empty ones", () => {
    const options = { maxFragments: 3 }
    const three = [peer(2, "", { fin: false }), peer(0, "", { fin: false })]
    const whole = join(...three, peer(9, ""), peer(0, ""))
    expect(hear(role, join(whole, whole), options)).toEqual(stillOpen(["binary", "binary"], ["pong fin", "pong fin"]))
    for (const fin of [true, false]) {
      const bytes = join(...three, peer(0, "", { fin: false }), peer(0, "", { fin }))
      expect(hear(role, bytes, options)).toEqual(exceeded("fragments per message", 4, 3))
    }
    const first = join(...three, peer(0, "", { fin: false }), peer(0, "").slice(0, 1))
    expect(hear(role, first, options)).toEqual(exceeded("fragments per message", 4, 3))
  })

  it("one fragment per message takes whole messages only", () => {
    const options = { maxFragments: 1 }
    expect(hear(role, join(peer(1, "a"), peer(1, "b")), options)).toEqual(stillOpen(['text "a"', 'text "b"']))
    expect(hear(role, join(peer(1, "a", { fin: false }), peer(0, "b")), options)).toEqual(
      exceeded("fragments per message", 2, 1)
    )
  })

  it("0 bytes per message takes empty ones", () => {
    const options = { maxMessageSize: 0 }
    expect(hear(role, join(peer(1), peer(2, "", { fin: false }), peer(0)), options)).toEqual(
      stillOpen(['text ""', "binary"])
    )
    expect(hear(role, peer(1, "x"), options)).toEqual(exceeded("message size", 1, 0))
  })

  it("any size judges the length that is declared, before the key or a byte of the payload comes", () => {
    for (const length of [11n, 200n, 70_000n, 2n ** 32n, 2n ** 53n - 1n]) {
      for (const which of ["frame size", "message size"] as const) {
        const options =
          which === "frame size" ? { maxFrameSize: 10 } : { maxMessageSize: 10, maxFrameSize: 2 ** 53 - 1 }
        const header = peer(2, "", { length })
        const declared = role === "server" ? header.slice(0, -4) : header
        expect(hear(role, declared, options)).toEqual(exceeded(which, Number(length), 10))
        // A byte less leaves it open.
        expect(hear(role, declared.slice(0, -1), options)).toEqual(stillOpen([]))
      }
    }
  })

  it("the frame's size and the message's, tells of the frame's first", () => {
    expect(hear(role, peer(1, `${ten}x`), { maxFrameSize: 10, maxMessageSize: 10 })).toEqual(
      exceeded("frame size", 11, 10)
    )
  })

  it("any kind doesn't hold for control frames", () => {
    const options = { maxMessageSize: 0, maxFrameSize: 0, maxFragments: 1 }
    const long = "x".repeat(125)
    expect(hear(role, join(peer(1, "", { fin: false }), peer(9, long), peer(10, long)), options)).toEqual(
      stillOpen([`pong ${"78".repeat(125)}`], [`pong fin ${"78".repeat(125)}`])
    )
  })

  it("2^53 - 1 bytes doesn't lose precision", () => {
    const options = { maxMessageSize: Number.MAX_SAFE_INTEGER, maxFrameSize: Number.MAX_SAFE_INTEGER }
    const observed = machine(role, options)
    observed.receive(join(peer(2, "ab", { fin: false }), peer(0, "", { length: 2n ** 53n - 3n })))
    expect(observed.connection.outcome).toBe(undefined)
    const over = machine(role, options)
    over.receive(join(peer(2, "ab", { fin: false }), peer(0, "", { length: 2n ** 53n - 2n })))
    expect(over.connection.outcome?._tag).toBe("Failed")
  })

  it("any kind starts anew with each message", () => {
    const options = { maxMessageSize: 10, maxFragments: 2 }
    const observed = machine(role, options)
    for (let turn = 0; turn < 20; turn++) {
      observed.receive(join(peer(2, pattern(5), { fin: false }), peer(0, pattern(5))))
      observed.receive(peer(2, pattern(10)))
    }
    expect(observed.messages.length).toBe(40)
    expect(observed.connection.outcome).toBe(undefined)
  })
})
