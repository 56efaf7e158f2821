import { describe, expect, it } from "@effect/vitest"
import { Either } from "effect"
import * as OriginPolicy from "effect-websocket/OriginPolicy"
import * as fc from "fast-check"

const verdict = (policy: OriginPolicy.OriginPolicy, origin: string | undefined, host?: string, secure = true) =>
  OriginPolicy.validate(policy, { origin, host, secure })
const allowed = Either.void
const reason = (text: string) => Either.left(expect.stringContaining(text))

const policies: ReadonlyArray<readonly [string, OriginPolicy.OriginPolicy]> = [
  ["allowAll", OriginPolicy.allowAll],
  ["sameOrigin", OriginPolicy.sameOrigin],
  ["a list", OriginPolicy.allowList(["https://a.example"])],
  ["a predicate", OriginPolicy.allowList(() => false)]
]

describe("a request without Origin", () => {
  it.each(policies)("is allowed by %s, since no page sent it", (_, policy) => {
    expect(verdict(policy, undefined, "a.example")).toEqual(allowed)
  })
})

describe("the origin null", () => {
  it.each(policies.slice(1))("is refused by %s", (_, policy) => {
    expect(verdict(policy, "null", "null")).toEqual(reason("opaque"))
  })

  it("is allowed by allowAll", () => {
    expect(verdict(OriginPolicy.allowAll, "null")).toEqual(allowed)
  })

  it("is refused by lists that name it or allow all", () => {
    expect(verdict(OriginPolicy.allowList(["null"]), "null")).toEqual(reason("opaque"))
    expect(
      verdict(
        OriginPolicy.allowList(() => true),
        "null"
      )
    ).toEqual(reason("opaque"))
  })
})

describe("a malformed origin", () => {
  const malformed = [
    "",
    "a.example",
    "https://",
    "https:/a.example",
    "://a.example",
    "https://a.example/",
    "https://a.example/path",
    "https://user@a.example",
    "https://a.example:port",
    "https://a.example:99999",
    "https://a.example, https://a.example",
    "https://a.example https://b.example",
    "ht tp://a.example",
    "https://[::1",
    "NULL",
    " https://a.example"
  ]

  it.each(malformed)("%j is refused by all but allowAll", (origin) => {
    for (const [, policy] of policies.slice(1)) {
      expect(verdict(policy, origin, "a.example")).toEqual(reason("malformed"))
    }
    expect(
      verdict(
        OriginPolicy.allowList(() => true),
        origin
      )
    ).toEqual(reason("malformed"))
    expect(verdict(OriginPolicy.allowAll, origin)).toEqual(allowed)
  })
})

describe("sameOrigin", () => {
  it.each([
    ["https://a.example", "a.example", true],
    ["https://a.example", "a.example:443", true],
    ["https://a.example:443", "a.example", true],
    ["HTTPS://A.example", "a.EXAMPLE", true],
    ["https://a.example:8443", "a.example:8443", true],
    ["http://a.example", "a.example", false],
    ["http://a.example", "a.example:80", false],
    ["http://[::1]:3000", "[::1]:3000", false],
    ["http://127.0.0.1:3000", "127.0.0.1:3000", false]
  ])("allows %s at %s (secure: %s)", (origin, host, secure) => {
    expect(verdict(OriginPolicy.sameOrigin, origin, host, secure)).toEqual(allowed)
  })

  it.each([
    ["another scheme", "http://a.example", "a.example", true],
    ["another scheme, the other way", "https://a.example", "a.example", false],
    ["another scheme with the port of ours", "http://a.example:443", "a.example", true],
    ["another host", "https://b.example", "a.example", true],
    ["a subdomain", "https://sub.a.example", "a.example", true],
    ["a parent domain", "https://example", "a.example", true],
    ["a host that ours is a prefix of", "https://a.example.evil", "a.example", true],
    ["another port", "https://a.example:8443", "a.example", true],
    ["the default port of the other scheme", "https://a.example:80", "a.example", true],
    ["the scheme of the socket", "wss://a.example", "a.example", true],
    ["a malformed host", "https://a.example", "a.example/", true],
    ["an empty host", "https://a.example", "", true],
    ["no host", "https://a.example", undefined, true]
  ])("refuses %s", (_, origin, host, secure) => {
    expect(verdict(OriginPolicy.sameOrigin, origin, host, secure)).toEqual(reason("not the origin of this server"))
  })
})

describe("allowList", () => {
  const list = OriginPolicy.allowList([
    "https://a.example",
    "HTTP://B.example:80/",
    "http://localhost:3000",
    "chrome-extension://abcdef",
    "not an origin",
    ""
  ])

  it.each([
    "https://a.example",
    "https://A.EXAMPLE:443",
    "http://b.example",
    "http://localhost:3000",
    "chrome-extension://abcdef"
  ])("allows %s", (origin) => {
    expect(verdict(list, origin)).toEqual(allowed)
  })

  it.each([
    "http://a.example",
    "https://a.example:444",
    "https://evil-a.example",
    "https://b.example",
    "http://localhost",
    "chrome-extension://abcdeg",
    "constructor://a"
  ])("refuses %s", (origin) => {
    expect(verdict(list, origin)).toEqual(reason("not on the list"))
  })

  it("allows nothing if it is empty", () => {
    expect(verdict(OriginPolicy.allowList([]), "https://a.example")).toEqual(reason("not on the list"))
  })

  it("gives a predicate each origin as a browser writes it", () => {
    const seen: Array<string> = []
    const policy = OriginPolicy.allowList((origin) => seen.push(origin) > 1)
    expect(verdict(policy, "HTTPS://A.Example:443")).toEqual(reason("not on the list"))
    expect(verdict(policy, "http://[::1]:08080")).toEqual(allowed)
    expect(seen).toEqual(["https://a.example", "http://[::1]:8080"])
  })

  it("agrees with the URL standard on which of two web origins are the same", () => {
    const origin = fc
      .tuple(
        fc.constantFrom("http", "https"),
        fc.constantFrom("a.example", "A.example", "b.example", "[::1]"),
        fc.constantFrom("", ":80", ":443", ":8080")
      )
      .map(([scheme, host, port]) => `${scheme}://${host}${port}`)
    fc.assert(
      fc.property(origin, origin, (listed, asked) => {
        const same = new URL(listed).origin === new URL(asked).origin
        expect(Either.isRight(verdict(OriginPolicy.allowList([listed]), asked))).toBe(same)
      })
    )
  })
})

describe("validate", () => {
  it("also takes the policy last", () => {
    const request = { origin: "https://b.example", host: "a.example", secure: true }
    expect(OriginPolicy.validate(request)(OriginPolicy.sameOrigin)).toEqual(reason("not the origin of this server"))
    expect(OriginPolicy.validate(request)(OriginPolicy.allowAll)).toEqual(allowed)
  })
})
