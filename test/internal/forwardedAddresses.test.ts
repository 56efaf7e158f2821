import { describe, expect, it } from "@effect/vitest"
import type { Address } from "effect-websocket/Flow"
import { seenBy } from "effect-websocket/internal/forwarded"
import * as fc from "fast-check"
import { Fields, type HeaderPairs } from "../../src/protocol/head.js"

const direct: Address = { _tag: "TcpAddress", hostname: "10.0.0.1", port: 4711 }

const seen = (
  trustedProxies: number,
  fields: Readonly<Record<string, string | ReadonlyArray<string>>>,
  secure = false
) => {
  const pairs: HeaderPairs = Object.entries({ host: "inside.example", ...fields }).flatMap(([name, value]) =>
    (typeof value === "string" ? [value] : value).map((each) => [name, each] as const)
  )
  return seenBy({ remoteAddress: direct, secure }, new Fields(pairs), trustedProxies)
}

const addressIn = (trustedProxies: number, list: string | ReadonlyArray<string>) =>
  seen(trustedProxies, { "x-forwarded-for": list }).remoteAddress

const tcp = (hostname: string, port = 0): Address => ({ _tag: "TcpAddress", hostname, port })

const asItIs = { remoteAddress: direct, secure: false, host: "inside.example" }

describe("what a client makes up", () => {
  const spoofed = { "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example" }

  it("is believed by nobody who trusts no proxy", () => {
    for (const none of [0, -1, Number.NaN]) expect(seen(none, spoofed)).toEqual(asItIs)
  })

  it("changes nothing where the number of proxies is right, whatever it is", () => {
    const entry = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.constantFrom("127.0.0.1", "", "unknown", "[::1]:1", "a b", ";", "[", "]:", "\u00ff")
    )
    fc.assert(
      fc.property(
        fc.array(fc.array(entry).map((entries) => entries.join(","))),
        fc.ipV4(),
        fc.array(fc.ipV4(), { maxLength: 3 }),
        (made, client, proxies) => {
          const list = [...made, [client, ...proxies].join(", ")]
          expect(addressIn(proxies.length + 1, list)).toEqual(tcp(client))
        }
      )
    )
  })

  it("is an address all the same, whatever text it is", () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 4 }), (text, proxies) => {
        const address = addressIn(proxies, text)
        expect(address._tag === "TcpAddress" && address.port >= 0 && address.port < 65_536).toBe(true)
      })
    )
  })
})

describe("what proxies tell", () => {
  it("may take TLS away as well as add it", () => {
    for (const scheme of ["http", "ws", "gopher"])
      expect(seen(1, { "x-forwarded-proto": scheme }, true).secure).toBe(false)
    for (const scheme of ["https", "HTTPS", "wss", " https "]) {
      expect(seen(1, { "x-forwarded-proto": scheme }).secure).toBe(true)
    }
  })

  it("is nothing where a field is empty", () => {
    for (const empty of ["", " ", ",", ", "]) {
      const fields = { "x-forwarded-for": empty, "x-forwarded-proto": empty, "x-forwarded-host": empty }
      expect(seen(1, fields)).toEqual(asItIs)
      expect(seen(1, fields, true)).toEqual({ ...asItIs, secure: true })
    }
  })

  it("is the first entry where there are fewer entries than proxies, since one overwrites instead of appending", () => {
    expect(addressIn(3, "192.0.2.1")).toEqual(tcp("192.0.2.1"))
    expect(addressIn(3, "192.0.2.1, 10.0.0.2")).toEqual(tcp("192.0.2.1"))
    expect(seen(3, { "x-forwarded-for": "a, b, c", "x-forwarded-proto": "https" }).secure).toBe(true)
  })

  for (const [text, hostname, port] of [
    ["192.0.2.1", "192.0.2.1", 0],
    ["192.0.2.1:4711", "192.0.2.1", 4711],
    ["2001:db8::1", "2001:db8::1", 0],
    ["[2001:db8::1]", "2001:db8::1", 0],
    ["[2001:db8::1]:4711", "2001:db8::1", 4711],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1", 0],
    ["::1", "::1", 0],
    ["192.0.2.1:", "192.0.2.1", 0],
    ["192.0.2.1:0", "192.0.2.1", 0],
    ["192.0.2.1:65535", "192.0.2.1", 65_535],
    ["192.0.2.1:65536", "192.0.2.1", 0],
    ["192.0.2.1:-1", "192.0.2.1", 0],
    ["192.0.2.1:1.5", "192.0.2.1", 0],
    ["192.0.2.1:x", "192.0.2.1", 0],
    ["unknown", "unknown", 0],
    ["_hidden:_port", "_hidden", 0]
  ] as const) {
    it(`is understood as ${text}`, () => {
      expect(addressIn(1, text)).toEqual(tcp(hostname, port))
    })
  }
})
