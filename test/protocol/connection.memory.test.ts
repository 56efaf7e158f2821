import { describe, expect, it } from "@effect/vitest"
import type { Connection } from "../../src/protocol/connection.js"
import { join, pattern, retained } from "../fixtures/bytes.js"
import { machine, peerOf, roles } from "../fixtures/machine.js"

// What a header takes that is cut, and the first piece of a message or a control frame.
const overhead = 14 + 2 * 256

const held = (connection: Connection): number => retained(connection).bytes

describe.each(roles)("a %s holds", (role) => {
  const peer = peerOf(role)

  it("nothing at first, nor between messages", () => {
    const observed = machine(role)
    expect(held(observed.connection)).toBe(0)
    observed.receive(
      join(peer(1, "a"), peer(2, pattern(5000)), peer(10, "p"), peer(1, "b", { fin: false }), peer(0, "c"))
    )
    expect(observed.messages.length).toBe(3)
    expect(held(observed.connection)).toBe(0)
  })

  it("at most four times what it received of a message in 100,000 single bytes, in a few arrays", () => {
    for (const opcode of [1, 2]) {
      const observed = machine(role)
      const frame = peer(opcode, "x".repeat(100_000))
      for (let at = 0; at < frame.length - 1; at++) {
        observed.connection.receive(frame.slice(at, at + 1))
        if (at % 499 === 0) {
          const { bytes, arrays } = retained(observed.connection)
          expect(bytes).toBeLessThanOrEqual(4 * at + overhead)
          expect(arrays).toBeLessThanOrEqual(5)
        }
      }
      observed.receive(frame.slice(-1))
      expect(observed.messages.length).toBe(1)
      expect(held(observed.connection)).toBe(0)
    }
  })

  it("at most twice what it received in single-byte fragments, with pings between them", () => {
    const observed = machine(role, { maxFragments: 5000 })
    observed.receive(peer(2, "", { fin: false }))
    for (let sent = 1; sent <= 4000; sent++) {
      observed.receive(join(peer(0, "x", { fin: false }), peer(9, "p")))
      observed.output()
      // The slab that the pongs are written to is shared by all connections.
      if (sent % 250 === 0) expect(held(observed.connection)).toBeLessThanOrEqual(2 * sent + overhead)
    }
  })

  it("nothing for a length that was only declared", () => {
    for (const [opcode, length] of [
      [2, 1_000_000n],
      [1, 999_999n],
      [8, 125n]
    ] as const) {
      const observed = machine(role)
      observed.receive(peer(opcode, "", { length }))
      expect(held(observed.connection)).toBe(0)
      observed.receive(peer(opcode, "x".repeat(100)).slice(-100))
      expect(observed.connection.outcome).toBe(undefined)
      expect(held(observed.connection)).toBeGreaterThanOrEqual(100)
      expect(held(observed.connection)).toBeLessThanOrEqual(overhead)
    }
  })

  it("no chunk of which it needs a part", () => {
    const chunk = (bytes: Uint8Array): Uint8Array => {
      const large = new Uint8Array(65_536)
      large.set(bytes)
      return large.subarray(0, bytes.length)
    }
    const observed = machine(role)
    // The header of a frame, a piece of a message, a piece of a control frame.
    observed.connection.receive(chunk(join(peer(2, pattern(10), { fin: false }), peer(2, "x").slice(0, 1).fill(0))))
    observed.connection.receive(chunk(peer(0, pattern(2000), { fin: false }).slice(1)))
    observed.connection.receive(chunk(peer(9, pattern(125)).slice(0, 20)))
    expect(held(observed.connection)).toBeLessThanOrEqual(2 * 2010 + overhead + 256)
  })

  it("one pong, however many pings come while the transport takes nothing", () => {
    const observed = machine(role)
    observed.connection.setCongested(true)
    for (let count = 0; count < 1000; count++) observed.receive(peer(9, pattern(125)))
    expect(held(observed.connection)).toBeLessThanOrEqual(125)
  })

  it("nothing of a message or a pong once the connection is over, however it ends", () => {
    const ends: ReadonlyArray<(connection: Connection) => void> = [
      (connection) => connection.receiveEnd(),
      (connection) => connection.receive(peer(8, "")),
      (connection) => connection.receive(peer(3)),
      (connection) => connection.receive(peer(0, pattern(2001)))
    ]
    for (const end of ends) {
      const observed = machine(role, { maxMessageSize: 7000 })
      observed.connection.setCongested(true)
      observed.receive(peer(2, pattern(5000), { fin: false }), peer(9, pattern(100)))
      expect(held(observed.connection)).toBeGreaterThanOrEqual(5100)
      end(observed.connection)
      expect(observed.connection.outcome).toBeDefined()
      observed.output()
      expect(held(observed.connection)).toBe(0)
    }
  })

  it("nothing of a frame that its stream ended within", () => {
    const observed = machine(role)
    observed.receive(join(peer(2, pattern(5000), { fin: false }), peer(0, pattern(2000)).slice(0, 1500)))
    expect(held(observed.connection)).toBeGreaterThanOrEqual(6400)
    observed.connection.receiveEnd()
    expect(held(observed.connection)).toBe(0)
  })

  it("nothing of a control frame or a pong once the connection is over", () => {
    const observed = machine(role)
    observed.connection.setCongested(true)
    observed.receive(peer(9, pattern(100)), peer(10, pattern(100)).slice(0, 50))
    expect(held(observed.connection)).toBeGreaterThanOrEqual(100)
    observed.connection.receiveEnd()
    expect(held(observed.connection)).toBe(0)
  })
})

describe.each(roles)("a frame that a %s delivers", (role) => {
  const peer = peerOf(role)

  it("is at most twice its size in memory, in however small pieces it came", () => {
    const observed = machine(role, { frames: true })
    for (const size of [1, 2, 100, 255, 256, 257, 3000]) {
      for (const piece of [1, 7, 1000]) {
        const frame = peer(2, pattern(size))
        for (let at = 0; at < frame.length; at += piece) observed.receive(frame.slice(at, at + piece))
        const payload = observed.frames.at(-1)?.payload
        expect(payload?.length).toBe(size)
        expect(payload?.buffer.byteLength).toBeLessThanOrEqual(2 * size)
      }
    }
  })
})
