import { describe, expect, it } from "@effect/vitest"
import { acceptFirst, confirmOnly, type ExtensionSupport, type MessageExtension } from "../../src/protocol/extension.js"
import type { Extension } from "../../src/protocol/tokens.js"

const codec: MessageExtension = {
  rsv: 2,
  applies: () => true,
  encode: (payload) => payload,
  decode: (payload) => payload,
  bound: (size) => size
}

/** An extension that isn't compression: it takes any offer without parameters, and any answer without. */
const plain = (name: string): ExtensionSupport => ({
  name,
  offers: [{ name, params: [] }],
  accept: (offer) => (offer.params.length > 0 ? undefined : { response: offer, extension: codec }),
  confirm: (response) => (response.params.length > 0 ? `${name} has no parameters` : codec)
})

const named = (name: string, ...keys: ReadonlyArray<string>): Extension => ({
  name,
  params: keys.map((key) => [key, undefined] as const)
})

const supported = [plain("one"), plain("two")]

describe("acceptFirst", () => {
  it("takes the first offer that is accepted, in the client's order and not in ours", () => {
    expect(acceptFirst(supported, [named("three"), named("two", "x"), named("two"), named("one")])).toEqual({
      response: named("two"),
      extension: codec
    })
  })

  it("takes none if none is offered, known or accepted", () => {
    expect(acceptFirst(supported, [])).toBeUndefined()
    expect(acceptFirst(supported, [named("three"), named("one", "x")])).toBeUndefined()
    expect(acceptFirst([], [named("one")])).toBeUndefined()
  })
})

describe("confirmOnly", () => {
  it("has nothing to do if the server chose none", () => {
    expect(confirmOnly(supported, [])).toBeUndefined()
  })

  it("confirms what the server chose, or tells the rule that it breaks", () => {
    expect(confirmOnly(supported, [named("two")])).toBe(codec)
    expect(confirmOnly(supported, [named("two", "x")])).toBe("two has no parameters")
  })

  it("refuses what wasn't offered (RFC 6455 4.1), and more than one", () => {
    expect(confirmOnly(supported, [named("three")])).toMatch(/wasn't asked for/)
    expect(confirmOnly(supported, [named("one"), named("two")])).toMatch(/more than one/)
  })
})
