import { describe, expect, it } from "@effect/vitest"
import type { Address } from "effect-websocket/Flow"
import { Admission } from "effect-websocket/internal/admission"
import * as fc from "fast-check"

const tcp = (hostname: string): Address => ({ _tag: "TcpAddress", hostname, port: 1 })

/** Lets one in that has to be let in. */
const enterFrom = (admission: Admission, address: Address): (() => void) => {
  const entered = admission.enterFrom(address)
  return typeof entered === "function" ? entered : expect.fail(entered.rule)
}

const isRefused = (admission: Admission, address: Address): boolean => {
  const entered = admission.enterFrom(address)
  if (typeof entered === "function") {
    entered()
    return false
  }
  expect(entered).toMatchObject({ status: 429, rule: expect.stringContaining("as many connections as it may") })
  return true
}

/** Whether two spellings count as one address. */
const areOne = (one: string, other: string): boolean => {
  const admission = new Admission(10, 1)
  enterFrom(admission, tcp(one))
  return isRefused(admission, tcp(other))
}

describe("admission, altogether", () => {
  it("lets in up to the limit, refuses with 503 beyond it, and lets in again when one has left", () => {
    const admission = new Admission(2, 10)
    const entered = [admission.enter(), admission.enter()]
    expect(entered.map((each) => each?.refusal)).toEqual([undefined, undefined])
    expect(admission.open).toBe(2)
    const refused = admission.enter()
    expect(refused?.refusal).toMatchObject({ status: 503, rule: expect.stringContaining("no room") })
    expect(admission.open).toBe(2)
    entered[0]?.leave()
    expect(admission.open).toBe(1)
    // The one that was refused still stands there, and takes no place.
    expect(admission.enter()?.refusal).toBeUndefined()
    refused?.leave()
    expect(admission.open).toBe(2)
  })

  it("of none at all refuses everybody", () => {
    expect(new Admission(0, 10).enter()?.refusal).toMatchObject({ status: 503 })
  })

  it("has no answer for a crowd of more than a thousand at the door, until some of them have left", () => {
    const admission = new Admission(1, 10)
    const inside = admission.enter()
    const crowd = Array.from({ length: 1000 }, () => admission.enter())
    expect(crowd.every((each) => each?.refusal?.status === 503)).toBe(true)
    expect(admission.enter()).toBeUndefined()
    crowd[500]?.leave()
    expect(admission.enter()?.refusal).toMatchObject({ status: 503 })
    expect(admission.enter()).toBeUndefined()
    // A place inside is none at the door.
    inside?.leave()
    expect(admission.enter()?.refusal).toBeUndefined()
    expect(admission.enter()).toBeUndefined()
  })

  it("counts right, in whatever order they leave", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(fc.option(fc.nat(10))), (max, steps) => {
        const admission = new Admission(max, 10)
        const there: Array<{ readonly refused: boolean; readonly leave: () => void }> = []
        for (const step of steps) {
          if (step === null) {
            const entered = admission.enter()
            if (entered === undefined) return expect.fail("no crowd is there")
            expect(entered.refusal !== undefined).toBe(there.filter(({ refused }) => !refused).length >= max)
            there.push({ refused: entered.refusal !== undefined, leave: entered.leave })
          } else for (const left of there.splice(step, 1)) left.leave()
          expect(admission.open).toBe(there.filter(({ refused }) => !refused).length)
        }
      })
    )
  })
})

describe("admission by address", () => {
  it("lets in up to the limit from each address, refuses with 429 beyond it, and lets in again", () => {
    const admission = new Admission(10, 2)
    const leaves = [enterFrom(admission, tcp("192.0.2.1")), enterFrom(admission, tcp("192.0.2.1"))]
    expect(isRefused(admission, tcp("192.0.2.1"))).toBe(true)
    expect(isRefused(admission, tcp("192.0.2.2"))).toBe(false)
    leaves[0]?.()
    expect(isRefused(admission, tcp("192.0.2.1"))).toBe(false)
  })

  it("knows no strangers among this machine's own programs", () => {
    const admission = new Admission(10, 0)
    for (const hostname of ["127.0.0.1", "127.8.9.1", "::1", "localhost", "::ffff:127.0.0.1", "::FFFF:127.0.0.1"]) {
      expect(isRefused(admission, tcp(hostname))).toBe(false)
    }
    expect(isRefused(admission, { _tag: "UnixAddress", path: "/run/app.sock" })).toBe(false)
    for (const hostname of ["128.0.0.1", "12.7.0.1", "::2", "1::1", "::ffff:10.0.0.1", "fe80::1%lo", "unknown"]) {
      expect(isRefused(admission, tcp(hostname))).toBe(true)
    }
  })

  it("takes an IPv4 address that is mapped into IPv6 for the same", () => {
    expect(areOne("192.0.2.1", "::ffff:192.0.2.1")).toBe(true)
    expect(areOne("::FFFF:192.0.2.1", "192.0.2.1")).toBe(true)
    expect(areOne("::ffff:192.0.2.1", "::ffff:192.0.2.2")).toBe(false)
  })

  for (const [one, other, same] of [
    ["2001:db8:1:2::1", "2001:db8:1:2::2", true],
    ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true],
    ["2001:db8:1:2::1", "2001:DB8:0001:0002:0:0:0:9", true],
    ["2001:db8:1:2::1", "2001:db8:1:3::1", false],
    ["2001:db8::1", "2001:db8:0:0:1::", true],
    ["2001:db8::1", "2001:db8:0:1::1", false],
    ["1::", "1:0:0:0::9", true],
    ["::2", "::3", true],
    ["::2", "0:0:0:1::2", false],
    ["::1:2:3:4:5", "0:0:0:1:9:9:9:9", true],
    ["::ffff:0:0:0:0:0:0", "0:ffff::", true],
    ["::ffff:0:0:0:0:0:0", "::1:0:0:0:0:0:0", false],
    ["fe80::1%eth0", "fe80::2%eth1", true],
    ["fe80::%eth0", "fe80:0:0:1::", false]
  ] as const) {
    it(`takes ${one} and ${other} for ${same ? "one" : "two"}`, () => {
      expect(areOne(one, other)).toBe(same)
      expect(areOne(other, one)).toBe(same)
    })
  }

  const groups = (length: number) =>
    fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: length, maxLength: length })
  /** Everything that an address may be spelled as. */
  const spellings = (address: ReadonlyArray<number>): ReadonlyArray<string> => {
    const full = address.map((group) => group.toString(16))
    const all = [full.join(":"), full.map((group) => group.padStart(4, "0").toUpperCase()).join(":")]
    for (let from = 0; from < 8; from++) {
      for (let to = from + 1; to <= 8 && address.slice(from, to).every((group) => group === 0); to++) {
        all.push(`${full.slice(0, from).join(":")}::${full.slice(to).join(":")}`)
      }
    }
    return all
  }

  it("goes by the first 64 bits of IPv6, however they are spelled", () => {
    fc.assert(
      fc.property(groups(4), groups(4), groups(4), groups(4), (network, host, otherNetwork, otherHost) => {
        // Mapped IPv4 and loopback have rules of their own.
        fc.pre(network.some((group) => group > 1) && otherNetwork.some((group) => group > 1))
        const same = network.every((group, index) => group === otherNetwork[index])
        for (const one of spellings([...network, ...host])) {
          for (const other of spellings([...network, ...otherHost])) expect(areOne(one, other)).toBe(true)
          for (const other of spellings([...otherNetwork, ...host])) expect(areOne(one, other)).toBe(same)
        }
      })
    )
  })

  it("counts right, in whatever order they leave, and keeps nothing of those who left", () => {
    const names = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "::ffff:192.0.2.1"]
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.tuple(fc.option(fc.constantFrom(...names)), fc.nat(8))),
        (max, steps) => {
          const admission = new Admission(10, max)
          const there: Array<{ readonly name: string; readonly leave: () => void }> = []
          const plain = (name: string) => name.replace("::ffff:", "")
          for (const [name, index] of steps) {
            if (name === null) for (const left of there.splice(index, 1)) left.leave()
            else {
              const count = there.filter((each) => plain(each.name) === plain(name)).length
              const entered = admission.enterFrom(tcp(name))
              expect(typeof entered === "function").toBe(count < max)
              if (typeof entered === "function") there.push({ name, leave: entered })
            }
          }
          for (const { leave } of there) leave()
          expect(Reflect.get(admission, "byAddress")).toEqual(new Map())
        }
      )
    )
  })
})
