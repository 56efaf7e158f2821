import { describe, expect, it } from "@effect/vitest"
import { Pings } from "effect-websocket/internal/pings"
import * as fc from "fast-check"

const four = (number: number) => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, number)
  return bytes
}

describe("pings", () => {
  const expecting = (count: number) => {
    const pings = new Pings()
    const told: Array<string> = []
    const expected = Array.from({ length: count }, (_, index) =>
      pings.expect((answered) => told.push(`${index} ${answered ? "answered" : "never"}`))
    )
    return { pings, told, expected, payload: (index: number) => expected[index]?.payload ?? new Uint8Array(0) }
  }

  it("carry four bytes that differ from ping to ping", () => {
    const { expected } = expecting(300)
    expect(new Set(expected.map(({ payload }) => payload.join(" "))).size).toBe(300)
    for (const { payload } of expected) expect(payload.length).toBe(4)
  })

  it("are answered by their own pong, once", () => {
    const { payload, pings, told } = expecting(2)
    pings.pong(payload(0))
    pings.pong(payload(0))
    expect(told).toEqual(["0 answered"])
    pings.pong(payload(1))
    expect(told).toEqual(["0 answered", "1 answered"])
  })

  it("are answered by a later pong too, the oldest first, but not by an earlier one", () => {
    const { payload, pings, told } = expecting(4)
    pings.pong(payload(2))
    expect(told).toEqual(["0 answered", "1 answered", "2 answered"])
    pings.pong(payload(1))
    expect(told).toHaveLength(3)
  })

  it("aren't answered by what they didn't ask for", () => {
    const { payload, pings, told } = expecting(1)
    for (const other of [new Uint8Array(0), four(77), payload(0).subarray(1), Uint8Array.of(...payload(0), 0)]) {
      pings.pong(other)
    }
    expect(told).toEqual([])
  })

  it("that are forgotten are told nothing, and leave the others alone", () => {
    const { expected, payload, pings, told } = expecting(3)
    expected[1]?.forget()
    expected[1]?.forget()
    pings.pong(payload(1))
    expect(told).toEqual([])
    pings.pong(payload(2))
    expect(told).toEqual(["0 answered", "2 answered"])
    pings.end()
    expect(told).toHaveLength(2)
  })

  it("are told once when no pong can come any more", () => {
    const { payload, pings, told } = expecting(2)
    pings.end()
    pings.end()
    pings.pong(payload(1))
    expect(told).toEqual(["0 never", "1 never"])
  })

  it("may be sent by whoever is told of a pong", () => {
    const pings = new Pings()
    const told: Array<string> = []
    const first = pings.expect(() => {
      told.push("first")
      pings.expect((answered) => told.push(`second ${answered}`))
    })
    pings.pong(first.payload)
    expect(told).toEqual(["first"])
    pings.end()
    expect(told).toEqual(["first", "second false"])
  })

  it("are each told exactly once, whatever is answered, forgotten or ended in between", () => {
    fc.assert(
      fc.property(fc.nat(10), fc.array(fc.tuple(fc.constantFrom("pong", "forget"), fc.nat(12))), (count, steps) => {
        const { expected, payload, pings, told } = expecting(count)
        const forgotten = new Set<number>()
        for (const [what, index] of steps) {
          if (what === "pong") pings.pong(payload(index))
          else if (!told.some((text) => text.startsWith(`${index} `))) {
            expected[index]?.forget()
            if (index < count) forgotten.add(index)
          }
        }
        pings.end()
        const indexes = told.map((text) => Number(text.split(" ", 1)[0]))
        expect(new Set(indexes).size).toBe(indexes.length)
        expect([...indexes, ...forgotten].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i))
      })
    )
  })
})
