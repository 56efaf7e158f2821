import { describe, expect, it } from "@effect/vitest"
import { everyCut, join, toHex, utf8 } from "../fixtures/bytes.js"
import { hear, machine, peerOf, roles, stillOpen } from "../fixtures/machine.js"

const pong = (payload: string): string => `pong fin ${toHex(utf8(payload))}`.trim()

describe.each(roles)("a %s answers pings", (role) => {
  const peer = peerOf(role)

  it("each with the same payload, in order", () => {
    expect(hear(role, join(peer(9, "one"), peer(9), peer(9, "x".repeat(125))))).toEqual(
      stillOpen([], [pong("one"), "pong fin", pong("x".repeat(125))])
    )
  })

  it("only the latest, as long as the transport takes nothing", () => {
    for (const chunks of everyCut(join(peer(9, "one"), peer(1, "text"), peer(9, "two")))) {
      const observed = machine(role)
      observed.connection.setCongested(true)
      observed.receive(...chunks)
      expect(observed.heard()).toEqual(stillOpen(['text "text"']))
      observed.connection.setCongested(false)
      expect(observed.heard().sent).toEqual([pong("two")])
      observed.connection.setCongested(true)
      observed.connection.setCongested(false)
      expect(observed.heard().sent).toEqual([pong("two")])
    }
  })

  it("at once again, after it has", () => {
    const observed = machine(role)
    observed.connection.setCongested(true)
    observed.connection.setCongested(false)
    observed.receive(peer(9, "now"))
    expect(observed.heard().sent).toEqual([pong("now")])
  })

  it("never an older one after a newer one", () => {
    const observed = machine(role)
    observed.connection.setCongested(true)
    observed.receive(peer(9, "old"))
    observed.connection.setCongested(false)
    observed.receive(peer(9, "new"))
    observed.connection.setCongested(true)
    observed.connection.setCongested(false)
    expect(observed.heard().sent).toEqual([pong("old"), pong("new")])
  })

  it("of a flood in one chunk the first ones and the last, though the transport was never congested", () => {
    const observed = machine(role)
    const flood = Array.from({ length: 2000 }, (_, index) => peer(9, `${index}`.padStart(125, ".")))
    observed.receive(join(...flood))
    expect(observed.connection.output.size).toBeLessThan(65_536 + 3 * 131)
    const { sent } = observed.heard()
    expect(sent.length).toBeLessThan(600)
    expect(sent.slice(0, -1)).toEqual(sent.slice(0, -1).map((_, index) => pong(`${index}`.padStart(125, "."))))
    expect(sent.at(-1)).toBe(pong("1999".padStart(125, ".")))
  })

  it("at once, as long as less than 64 KiB wait", () => {
    const header = role === "client" ? 8 : 4
    for (const [size, sent] of [
      [65_535, ["one", "two"]],
      [65_536, ["two"]]
    ] as const) {
      const observed = machine(role)
      observed.connection.sendMessage("x".repeat(size - header))
      expect(observed.connection.output.size).toBe(size)
      observed.receive(join(peer(9, "one"), peer(9, "two")))
      expect(observed.heard().sent.slice(1)).toEqual(sent.map(pong))
    }
  })

  it("with one pong per chunk at most, behind much that waits already", () => {
    const observed = machine(role)
    observed.connection.sendMessage("x".repeat(70_000))
    observed.receive(join(peer(9, "one"), peer(9, "two")), join(peer(9, "three"), peer(9, "four")))
    expect(observed.heard().sent.slice(1)).toEqual([pong("two"), pong("four")])
  })
})
