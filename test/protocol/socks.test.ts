import { describe, expect, it } from "@effect/vitest"
import * as Socks from "../../src/protocol/socks.js"

const bytes = (...values: ReadonlyArray<number>) => Uint8Array.from(values)
const failed = (rule: string) => ({ _tag: "Failure", rule: expect.stringContaining(rule) })

describe("what a SOCKS5 client says", () => {
  it("offers a password only if it has one", () => {
    expect(Socks.greeting(false)).toEqual(bytes(5, 1, 0))
    expect(Socks.greeting(true)).toEqual(bytes(5, 2, 0, 2))
  })

  it("is a user name and a password of 1 to 255 bytes", () => {
    expect(Socks.login("a", "ö")).toEqual(bytes(1, 1, 97, 2, 0xc3, 0xb6))
    expect(Socks.login("x".repeat(255), "y".repeat(255))).toHaveLength(513)
    for (const [name, password] of [
      ["", "a"],
      ["a", ""],
      ["x".repeat(256), "a"],
      ["a", "ö".repeat(128)]
    ] as const) {
      expect(Socks.login(name, password)).toEqual(failed("RFC 1929"))
    }
  })

  it("is a request for a host and a port", () => {
    expect(Socks.connectRequest("1.2.3.4:65535")).toEqual(bytes(5, 1, 0, 1, 1, 2, 3, 4, 255, 255))
    expect(Socks.connectRequest("[::1]:1")).toEqual(bytes(5, 1, 0, 4, ...new Array<number>(15).fill(0), 1, 0, 1))
    expect(Socks.connectRequest("ab.c:256")).toEqual(bytes(5, 1, 0, 3, 4, 97, 98, 46, 99, 1, 0))
    expect(Socks.connectRequest(`${"x".repeat(255)}:1`)).toHaveLength(262)
    expect(Socks.connectRequest(`${"x".repeat(256)}:1`)).toEqual(failed("at most 255 bytes"))
    for (const authority of ["", "a", "a:", "a b:1", "a:65536", "a\0:1"]) {
      expect(Socks.connectRequest(authority)).toEqual(failed("a host and a port"))
    }
  })
})

describe("what a SOCKS5 client hears", () => {
  it("is a method that it offered, or none", () => {
    for (const withPassword of [false, true]) {
      expect(Socks.readMethod(bytes(5, 0), withPassword)).toBe(0)
      expect(Socks.readMethod(bytes(5, 255), withPassword)).toBe(255)
      expect(Socks.readMethod(bytes(5, 2), withPassword)).toBe(withPassword ? 2 : undefined)
      expect(Socks.readMethod(bytes(5, 1), withPassword)).toBeUndefined()
      expect(Socks.readMethod(bytes(4, 0), withPassword)).toBeUndefined()
    }
  })

  it("is whether a login succeeded", () => {
    expect(Socks.readLogin(bytes(1, 0))).toBe(true)
    expect(Socks.readLogin(bytes(1, 255))).toBe(false)
    expect(Socks.readLogin(bytes(5, 0))).toBeUndefined()
  })

  it("is a code, and how much follows it", () => {
    expect(Socks.readCode(bytes(5, 7))).toBe(7)
    expect(Socks.readCode(bytes(0, 90))).toBeUndefined()
    expect([1, 3, 4, 0, 2].map((type) => Socks.readBound(bytes(0, type, 9)))).toEqual([5, 11, 17, undefined, undefined])
  })

  it("has words for each code of RFC 1928 6, and for all others", () => {
    expect(Array.from({ length: 8 }, (_, index) => Socks.explainReply(index + 1))).toEqual([
      "general failure of the proxy",
      "its rules don't allow the connection",
      "there is no route to the network",
      "there is no route to the host, or its name can't be resolved",
      "nobody listens there",
      "the time to live expired",
      "it doesn't connect to anybody",
      "it doesn't support this type of address"
    ])
    for (const code of [0, 9, 255]) expect(Socks.explainReply(code)).toBe("a reason unknown to RFC 1928")
  })
})
