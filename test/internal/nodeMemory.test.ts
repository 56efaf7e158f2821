import { describe, expect, it, vi } from "@effect/vitest"

/** A module of its own for each test: it acts once in a process. */
const fresh = async () => {
  vi.resetModules()
  const asked = vi.spyOn(Buffer, "allocUnsafeSlow")
  const { expectMore } = await import("../../src/internal/nodeMemory.js")
  return { asked, expectMore }
}

describe("memory that large messages leave behind", () => {
  it("is kept from the first large read on, by one block of nearly 32 MiB, and by none for small reads", async () => {
    const { asked, expectMore } = await fresh()
    for (let read = 0; read < 16 * 1024; read += 1024) expectMore(read)
    expect(asked).not.toHaveBeenCalled()
    for (const read of [16 * 1024, 64 * 1024, 64 * 1024]) expectMore(read)
    expect(asked.mock.calls).toEqual([[32 * 1024 * 1024 - 64 * 1024]])
    asked.mockRestore()
  })

  it("isn't kept where there is no room for that block", async () => {
    const { asked, expectMore } = await fresh()
    asked.mockImplementation(() => {
      throw new RangeError("Array buffer allocation failed")
    })
    for (let count = 0; count < 3; count++) expect(() => expectMore(64 * 1024)).not.toThrow()
    expect(asked).toHaveBeenCalledTimes(1)
    asked.mockRestore()
  })
})
