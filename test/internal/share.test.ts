import { describe, expect, it } from "@effect/vitest"
import { Share } from "effect-websocket/internal/share"

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve))
const kibibyte = 1024

describe("the share of a turn", () => {
  it("is 256 KiB of large messages", () => {
    const share = new Share()
    expect([1, 2, 3, 4].map(() => share.isUsedUp(64 * kibibyte, 1))).toEqual([false, false, false, true])
  })

  it("is used up sooner by small ones, which take longer", () => {
    expect(new Share().isUsedUp(64 * kibibyte, 1724)).toBe(true)
  })

  it("isn't touched by small reads, of which there is one in a turn", () => {
    const share = new Share()
    expect(Array.from({ length: 1000 }, () => share.isUsedUp(1000, 30)).includes(true)).toBe(false)
  })

  it("is there anew in the next turn, and each has one of its own", async () => {
    const [one, other] = [new Share(), new Share()]
    expect(one.isUsedUp(300 * kibibyte, 1)).toBe(true)
    expect(other.isUsedUp(64 * kibibyte, 1)).toBe(false)
    await nextTurn()
    expect([one, other].map((share) => share.isUsedUp(64 * kibibyte, 1))).toEqual([false, false])
  })
})
