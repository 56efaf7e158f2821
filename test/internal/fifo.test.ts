import { describe, expect, it } from "@effect/vitest"
import { Fifo } from "effect-websocket/internal/fifo"
import * as fc from "fast-check"
import { retained } from "../fixtures/bytes.js"

describe("Fifo", () => {
  it("behaves like an array, however it is used", () => {
    const command = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ _tag: fc.constant("push" as const), count: fc.integer({ min: 1, max: 600 }) })
      },
      {
        weight: 4,
        arbitrary: fc.record({ _tag: fc.constant("shift" as const), count: fc.integer({ min: 1, max: 900 }) })
      },
      {
        weight: 3,
        arbitrary: fc.record({ _tag: fc.constant("take" as const), divisor: fc.integer({ min: 1, max: 5000 }) })
      },
      { weight: 1, arbitrary: fc.record({ _tag: fc.constant("clear" as const) }) }
    )
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
        const fifo = new Fifo<number>()
        let model: Array<number> = []
        let next = 1
        for (const each of commands) {
          if (each._tag === "push") {
            for (let index = 0; index < each.count; index++) {
              fifo.push(next)
              model.push(next++)
            }
          } else if (each._tag === "shift") {
            for (let index = 0; index < each.count; index++) expect(fifo.shift()).toBe(model.shift())
          } else if (each._tag === "take") {
            const fits = (item: number) => item % each.divisor === 0
            const at = model.findIndex(fits)
            expect(fifo.take(fits)).toBe(at < 0 ? undefined : model.splice(at, 1)[0])
          } else {
            fifo.clear()
            model = []
          }
          expect(fifo.length).toBe(model.length)
          expect(fifo.peek()).toBe(model[0])
        }
      }),
      { numRuns: 100 }
    )
  })

  it("keeps nothing of what was taken, even if it never empties", () => {
    const fifo = new Fifo<Uint8Array>()
    fifo.push(new Uint8Array(10))
    for (let index = 0; index < 10_000; index++) {
      fifo.push(new Uint8Array(10))
      expect(fifo.shift()?.length).toBe(10)
      if (index % 500 === 0) expect(retained(fifo)).toEqual({ bytes: 10, arrays: 1 })
    }
    fifo.push(new Uint8Array(20))
    expect(fifo.take(({ length }) => length === 20)?.length).toBe(20)
    expect(retained(fifo)).toEqual({ bytes: 10, arrays: 1 })
  })
})
