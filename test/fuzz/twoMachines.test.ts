import { describe, expect, it } from "@effect/vitest"
import type { Outcome } from "../../src/protocol/connection.js"
import * as Wire from "../../src/protocol/frame.js"
import { Random } from "./random.js"
import { limits, pairOf, retained, Side } from "./side.js"
import { walk } from "./walk.js"

// Two state machines, piped together: whatever both applications do, however the bytes
// are cut and delayed between them, the laws at the head of protocol/connection.ts hold.

// Two slabs, and the windows of compression in both directions.
const overhead = 2 * 64 * 1024 + 2 * 40 * 1024 + 8 * 1024

const step = (random: Random, sides: readonly [Side, Side]): void => {
  const [a, b] = random.oneIn(2) ? sides : [sides[1], sides[0]]
  const choice = random.int(10)
  if (choice < 5) a.act()
  else if (choice < 7) a.flush()
  else a.deliver(b, random.oneIn(3) ? 1 + random.int(5) : random.int(random.oneIn(5) ? 200_000 : 400))
  for (const side of sides) {
    // A message of ours may wait twice: as it was encoded, and in a slab of its size.
    expect(retained(side.connection)).toBeLessThanOrEqual(
      3 * limits.maxMessageSize + overhead + 3 * side.connection.output.size
    )
  }
}

/** Lets everything arrive. */
const settle = (random: Random, sides: readonly [Side, Side]): void => {
  for (const side of sides) side.connection.setCongested(false)
  for (let turns = 0; turns < 10_000; turns++) {
    for (const side of sides) side.flush()
    if (sides.every((side) => side.inFlight === 0)) return
    const [a, b] = random.oneIn(2) ? sides : [sides[1], sides[0]]
    a.deliver(b, random.oneIn(2) ? 1 + random.int(50) : 100_000)
  }
  throw new Error("it doesn't come to rest")
}

const checkWire = (side: Side): void => {
  const { frames, partial } = walk(side.wire)
  expect(partial).toBeUndefined()
  expect(frames.every(({ masked }) => masked === (side.role === "client"))).toBe(true)
  const closes = frames.filter(({ opcode }) => opcode === Wire.close)
  expect(closes.length).toBeLessThanOrEqual(1)
  if (closes.length === 1) expect(frames.at(-1)).toBe(closes[0])
}

const isSubsequence = (part: ReadonlyArray<string>, whole: ReadonlyArray<string>): boolean => {
  let at = 0
  for (const each of whole) if (each === part[at]) at++
  return at === part.length
}

const answers = (side: Side): ReadonlyArray<string> => side.pongs.filter((payload) => payload !== "!")

const closedOf = ({ connection }: Side): Extract<Outcome, { readonly _tag: "Closed" }> => {
  const { outcome } = connection
  if (outcome?._tag !== "Closed") throw new Error(`not closed, but ${JSON.stringify(outcome)}`)
  return outcome
}

const seeds = Array.from({ length: 8 }, (_, index) => index)
const walksOfEach = 25

/** Some walks, each with a name for when it fails. */
const each = (group: number, check: (random: Random) => void): void => {
  for (let index = 0; index < walksOfEach; index++) {
    const seed = group * 1000 + index
    try {
      check(new Random(seed))
    } catch (error) {
      throw new Error(`walk ${seed}`, { cause: error })
    }
  }
}

describe("two state machines piped together", () => {
  it.each(seeds)("deliver every message once and in order, and close as both said (walks %i)", (group) => {
    each(group, (random) => {
      const sides = pairOf(random)
      for (let count = random.int(150); count > 0; count--) step(random, sides)
      const [first, second] = random.oneIn(2) ? sides : [sides[1], sides[0]]
      first.close()
      if (random.oneIn(3)) second.close()
      // The other one goes on until it hears of it.
      for (let count = random.int(30); count > 0; count--) step(random, sides)
      settle(random, sides)

      for (const [from, to] of [
        [first, second],
        [second, first]
      ] as const) {
        expect(to.received).toEqual(from.sent)
        checkWire(from)
        const { code, reason, clean } = closedOf(to)
        expect(clean).toBe(true)
        expect(code).toBe(from.connection.sentCode ?? 1005)
        expect(reason).toBe(from.reason)
        expect(closedOf(from).sentCode).toBe(from.connection.sentCode)
        // RFC 6455 5.5.3: an answer to a ping may be left out for that to a later one, but isn't made up.
        expect(isSubsequence(answers(from), from.pings)).toBe(true)
      }
      // Who answers sends back the code that it was told (RFC 6455 5.5.1).
      expect([first, second].map((side) => closedOf(side).initiator)).toContain("local")
      for (const side of sides) {
        const { initiator, code, sentCode } = closedOf(side)
        if (initiator === "remote") expect(sentCode ?? 1005).toBe(code)
      }
    })
  })

  it("answer every ping while nothing is in the way", () => {
    each(100, (random) => {
      const sides = pairOf(random)
      for (let count = 40; count > 0; count--) {
        for (const side of sides) side.act()
        settle(random, sides)
      }
      for (const side of sides) expect(answers(side)).toEqual(side.pings)
    })
  })

  it.each(seeds)("have an outcome whenever the transport ends, and nothing after it (walks %i)", (group) => {
    each(200 + group, (random) => {
      const sides = pairOf(random)
      for (let count = random.int(100); count > 0; count--) step(random, sides)
      if (random.oneIn(2)) random.pick(sides).close()
      for (let count = random.int(30); count > 0; count--) step(random, sides)
      const cleanly = sides.map(({ connection }) => connection.outcome !== undefined)
      for (const side of sides) side.connection.receiveEnd()
      sides.forEach((side, index) => {
        const other = sides[1 - index]
        const outcome = closedOf(side)
        expect(outcome.clean).toBe(cleanly[index])
        if (!outcome.clean) expect(outcome.code).toBe(1006)
        // What came is what was sent first.
        expect(side.received).toEqual(other?.sent.slice(0, side.received.length))
        side.flush()
        const before = [side.received.length, side.pongs.length, side.wire.length]
        side.connection.setCongested(false)
        side.connection.receive(Wire.encodeFrame({ opcode: 9, rsv: 0, fin: true, payload: new Uint8Array(3) }, 1))
        side.connection.receiveEnd()
        expect(side.connection.sendClose(1000, "")).toBeUndefined()
        side.flush()
        expect([side.received.length, side.pongs.length, side.wire.length]).toEqual(before)
        expect(side.connection.outcome).toBe(outcome)
      })
    })
  })
})

describe("memory", () => {
  const frame = (fin: boolean, opcode: Wire.OpcodeValue, size: number) =>
    Wire.encodeFrame({ fin, rsv: 0, opcode, payload: new Uint8Array(size).fill(0x61) }, 0x0a0b0c0d)

  /** Bytes as a part of what a socket reads at most, as if other connections' data stood beside them. */
  const inLargeChunk = (bytes: Uint8Array): Uint8Array => {
    const chunk = new Uint8Array(64 * 1024)
    chunk.set(bytes, 100)
    return chunk.subarray(100, 100 + bytes.length)
  }

  it.each([
    ["a frame that comes byte by byte", 1, 20_000],
    ["fragments of one byte", 0, 900],
    ["pieces just below the size that is coalesced", 1000, 100_000],
    ["pieces of a page", 4096, 100_000]
  ])("holds %s in a constant factor of what was received", (_, piece, total) => {
    const { connection } = new Side("server", new Random(1), undefined)
    const empty = retained(connection)
    let received = 0
    const take = (bytes: Uint8Array, payload: number) => {
      connection.receive(inLargeChunk(bytes))
      received += payload
      expect(retained(connection)).toBeLessThanOrEqual(empty + 4 * received + 4096)
    }
    if (piece === 0) {
      for (let count = 0; count < total; count++) take(frame(false, count === 0 ? 1 : 0, 1), 1)
    } else {
      const bytes = frame(true, 1, total).slice(0, -1)
      for (let at = 0; at < bytes.length; at += piece) take(bytes.slice(at, at + piece), piece)
    }
    expect(connection.outcome).toBeUndefined()
  })

  it("holds nothing for what is only declared", () => {
    const { connection } = new Side("server", new Random(1), undefined)
    const empty = retained(connection)
    connection.receive(inLargeChunk(frame(true, 2, 100_000).slice(0, 14)))
    expect(connection.outcome).toBeUndefined()
    expect(retained(connection)).toBeLessThanOrEqual(empty + 1024)
  })

  it("holds no more than the message that is complete, the close and the pong that waits, whatever is sent", () => {
    each(300, (random) => {
      const { connection } = new Side("server", random, undefined)
      const empty = retained(connection)
      connection.setCongested(true)
      for (let count = 0; count < 300 && connection.outcome === undefined; count++) {
        connection.receive(frame(random.oneIn(5), random.pick([0, 1, 2, 9, 9, 10]), random.int(126)))
        expect(retained(connection)).toBeLessThanOrEqual(empty + 2.5 * limits.maxMessageSize + overhead)
      }
      connection.receiveEnd()
      connection.output.clear()
      expect(retained(connection)).toBeLessThanOrEqual(empty + 1024)
    })
  })
})
