import { describe, expect, it, vi } from "@effect/vitest"
import { Effect } from "effect"
import * as Rng from "effect-websocket/Rng"
import * as fc from "fast-check"

const words = (rng: Rng.Service, count: number): ReadonlyArray<number> => Array.from({ length: count }, rng.uint32)
const bytes = (rng: Rng.Service, size: number): Uint8Array => {
  const filled = new Uint8Array(size)
  rng.fill(filled)
  return filled
}
const isWord = (word: number): boolean => Number.isInteger(word) && word >= 0 && word <= 0xffffffff

describe("the default", () => {
  it.effect("is there without being provided, and is the secure one", () =>
    Effect.gen(function* () {
      expect(yield* Rng.Rng).toBe(Rng.secure)
    })
  )

  it("gives words of 32 bits, each bit of them set about half of the time", () => {
    // 20,000 words are five pools.
    const drawn = words(Rng.secure, 20_000)
    expect(drawn.every(isWord)).toBe(true)
    for (let bit = 0; bit < 32; bit++) {
      const ones = drawn.filter((word) => ((word >>> bit) & 1) === 1).length
      // 10,000 expected; the deviation is 71, so this is off by chance once in 10^45.
      expect(Math.abs(ones - 10_000)).toBeLessThan(1000)
    }
  })

  it("doesn't hand the same bytes out twice, across pools", () => {
    const seen = new Set(Array.from({ length: 5000 }, () => Buffer.from(bytes(Rng.secure, 16)).toString("hex")))
    expect(seen.size).toBe(5000)
  })

  it("asks the platform for a pool at a time", () => {
    const asked = vi.spyOn(globalThis.crypto, "getRandomValues")
    words(Rng.secure, 4096 * 3)
    expect(asked.mock.calls.map(([pool]) => pool?.byteLength)).toEqual([16_384, 16_384, 16_384])
    asked.mockRestore()
  })

  it("wipes a word of the pool when it is handed out", () => {
    const asked = vi.spyOn(globalThis.crypto, "getRandomValues")
    // Up to a new pool, one word of which is taken.
    while (asked.mock.calls.length === 0) Rng.secure.uint32()
    const pool = asked.mock.calls[0]?.[0]
    asked.mockRestore()
    if (!(pool instanceof Uint8Array)) throw new Error("no pool")
    const zeros = () => pool.findIndex((byte) => byte !== 0)
    const atFirst = zeros()
    words(Rng.secure, 1000)
    // The first byte after the wiped ones may happen to be zero itself.
    expect(atFirst).toBeGreaterThanOrEqual(4)
    expect(atFirst).toBeLessThan(4004)
    expect(zeros()).toBeGreaterThanOrEqual(4004)
    expect(zeros()).toBeLessThan(16_384)
  })
})

describe("fill", () => {
  it("overwrites exactly the bytes it is given, of any size and place", () => {
    fc.assert(
      fc.property(fc.nat(40), fc.nat(10), fc.integer(), (size, before, seed) => {
        const around = new Uint8Array(before + size + 8)
        Rng.deterministic(seed).fill(around.subarray(before, before + size))
        expect([...around.subarray(0, before)].every((byte) => byte === 0)).toBe(true)
        expect([...around.subarray(before + size)].every((byte) => byte === 0)).toBe(true)
        expect(around.subarray(before, before + size)).toEqual(bytes(Rng.deterministic(seed), 48).subarray(0, size))
      })
    )
  })

  it("takes more than a pool at once", () => {
    const filled = bytes(Rng.secure, 40_000)
    expect(filled.subarray(-16).some((byte) => byte !== 0)).toBe(true)
    expect(new Set(filled).size).toBe(256)
  })
})

describe("a deterministic source", () => {
  it("repeats for the same seed, and only for it", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), (seed, other) => {
        const first = words(Rng.deterministic(seed), 20)
        expect(first.every(isWord)).toBe(true)
        expect(words(Rng.deterministic(seed), 20)).toEqual(first)
        if (other >>> 0 !== seed >>> 0) expect(words(Rng.deterministic(other), 20)).not.toEqual(first)
      })
    )
  })

  it("goes through words that differ", () => {
    expect(new Set(words(Rng.deterministic(0), 10_000)).size).toBe(10_000)
  })
})

describe("the layers", () => {
  it.effect("provide a source of one's own", () =>
    Effect.gen(function* () {
      const own: Rng.Service = { uint32: () => 7, fill: (target) => target.fill(7) }
      expect(yield* Effect.provide(Rng.Rng, Rng.layer(own))).toBe(own)
    })
  )

  it.effect("start a deterministic sequence anew each time they are built", () =>
    Effect.gen(function* () {
      const draw = Effect.map(Rng.Rng, (rng) => words(rng, 3)).pipe(Effect.provide(Rng.layerDeterministic(5)))
      const first = yield* draw
      expect(yield* draw).toEqual(first)
      expect(first).toEqual(words(Rng.deterministic(5), 3))
    })
  )
})
