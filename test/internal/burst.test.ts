import { describe, expect, it } from "@effect/vitest"
import { burst } from "../../src/internal/burst.js"

/** Writes what was sent since it last wrote. */
class Written {
  readonly writes: Array<number> = []
  private sent = 0
  private waits = false

  send(): void {
    this.sent++
    if (this.waits) burst.goOn()
    else burst.add(this)
    this.waits = true
  }

  uncork(): void {
    this.writes.push(this.sent)
    this.sent = 0
    this.waits = false
  }
}

/** Microtasks, one after the other, in the order in which fibers have them that yield to each other. */
const turns = async (count: number, each: (turn: number) => void): Promise<void> => {
  for (let turn = 0; turn < count; turn++) {
    await undefined
    each(turn)
  }
}

const quiet = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe("what is sent outside of a read", () => {
  it("leaves in one write, though each message is sent in a microtask of its own", async () => {
    const written = new Written()
    await turns(30, () => written.send())
    await quiet()
    expect(written.writes).toEqual([30])
  })

  it("leaves in one write for each connection", async () => {
    const [one, other] = [new Written(), new Written()]
    await turns(10, (turn) => (turn % 2 === 0 ? one : other).send())
    await quiet()
    expect([one.writes, other.writes]).toEqual([[5], [5]])
  })

  it("waits a few microtasks for more", async () => {
    const written = new Written()
    await turns(9, (turn) => {
      if (turn % 3 === 0) written.send()
    })
    await quiet()
    expect(written.writes).toEqual([3])
  })

  it("doesn't wait until all microtasks are done, for a fiber that computes has very many", async () => {
    const written = new Written()
    written.send()
    let leftAt = Number.POSITIVE_INFINITY
    await turns(1000, (turn) => {
      if (written.writes.length > 0) leftAt = Math.min(leftAt, turn)
    })
    expect(leftAt).toBeLessThan(10)
  })

  it("doesn't wait for ever where there is always more", async () => {
    const written = new Written()
    await turns(1000, () => written.send())
    await quiet()
    expect(written.writes.length).toBeGreaterThan(10)
    expect(written.writes.reduce((sum, sent) => sum + sent, 0)).toBe(1000)
  })

  it("leaves on the other connections, too, where one of them throws", async () => {
    const told: Array<unknown> = []
    const onRejection = (reason: unknown) => told.push(reason)
    const others = process.listeners("unhandledRejection")
    process.removeAllListeners("unhandledRejection").on("unhandledRejection", onRejection)
    const written = new Written()
    burst.add({
      uncork: () => {
        throw new Error("a stream that throws")
      }
    })
    written.send()
    await quiet()
    await quiet()
    process.off("unhandledRejection", onRejection)
    for (const other of others) process.on("unhandledRejection", other)
    expect(written.writes).toEqual([1])
    expect(told).toEqual([new Error("a stream that throws")])
  })

  it("begins anew when it has left", async () => {
    const written = new Written()
    for (let times = 0; times < 3; times++) {
      written.send()
      await quiet()
    }
    expect(written.writes).toEqual([1, 1, 1])
  })
})
