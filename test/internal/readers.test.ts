import { describe, expect, it } from "@effect/vitest"
import { Readers } from "../../src/internal/readers.js"

/** A reader that can be told that it is over. */
const fiber = () => {
  const reader = { over: false, woken: 0, unsafePoll: () => (reader.over ? "an exit" : null) }
  return reader
}

const wait = (readers: Readers, reader: ReturnType<typeof fiber>) =>
  readers.add(reader, () => {
    reader.woken++
  })

describe("readers", () => {
  it("are each woken once, in the order in which they came", () => {
    const readers = new Readers()
    const order: Array<number> = []
    for (const index of [1, 2, 3]) readers.add(fiber(), () => order.push(index))
    expect(readers.some).toBe(true)
    readers.wake()
    readers.wake()
    expect(order).toEqual([1, 2, 3])
    expect(readers.some).toBe(false)
  })

  it("may wait again when they are woken, for the next time", () => {
    for (const others of [0, 1]) {
      const readers = new Readers()
      for (let index = 0; index < others; index++) wait(readers, fiber())
      const reader = fiber()
      const again = () => {
        reader.woken++
        readers.add(reader, again)
      }
      readers.add(reader, again)
      readers.wake()
      expect(reader.woken).toBe(1)
      readers.wake()
      expect(reader.woken).toBe(2)
    }
  })

  it("wait once each, however often they were interrupted before", () => {
    const readers = new Readers()
    const [one, other] = [fiber(), fiber()]
    wait(readers, other)
    for (let index = 0; index < 5; index++) wait(readers, one)
    readers.wake()
    expect([one.woken, other.woken]).toEqual([1, 1])
  })

  it("that are over are forgotten, so that no more are kept than twice those that aren't", () => {
    const readers = new Readers()
    const living = Array.from({ length: 20 }, fiber)
    for (const reader of living) wait(readers, reader)
    let kept = 0
    for (let index = 0; index < 1000; index++) {
      const reader = fiber()
      reader.over = true
      readers.add(reader, () => kept++)
    }
    readers.wake()
    expect(living.every(({ woken }) => woken === 1)).toBe(true)
    expect(kept).toBeLessThan(60)
  })
})
