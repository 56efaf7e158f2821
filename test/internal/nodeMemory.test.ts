import { describe, expect, it, vi } from "@effect/vitest"

/** A module of its own for each test: it acts once in a process. */
const fresh = async () => {
  vi.resetModules()
  const asked = vi.spyOn(Buffer, "allocUnsafeSlow")
  const { expectMore } = await import("../../src/internal/nodeMemory.js")
  const reads = (count: number, size: number) => {
    for (let read = 0; read < count; read++) expectMore(size)
  }
  return { asked, reads }
}

describe("memory that large messages leave behind", () => {
  it("is kept after 4096 large reads, by one block of nearly 32 MiB, and by none for small reads", async () => {
    const { asked, reads } = await fresh()
    reads(10_000, 16 * 1024 - 1)
    reads(4096, 16 * 1024)
    expect(asked).not.toHaveBeenCalled()
    reads(10_000, 64 * 1024)
    expect(asked.mock.calls).toEqual([[32 * 1024 * 1024 - 64 * 1024]])
    asked.mockRestore()
  })

  it("isn't kept where there is no room for that block", async () => {
    const { asked, reads } = await fresh()
    asked.mockImplementation(() => {
      throw new RangeError("Array buffer allocation failed")
    })
    expect(() => reads(10_000, 64 * 1024)).not.toThrow()
    expect(asked).toHaveBeenCalledTimes(1)
    asked.mockRestore()
  })
})
