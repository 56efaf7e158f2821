import { isIPv4, isIPv6 } from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { parseIp } from "../../src/protocol/ip.js"

const hex = (text: string) => {
  const bytes = parseIp(text)
  return bytes && Buffer.from(bytes).toString("hex")
}

describe("an address", () => {
  it.each([
    ["127.0.0.1", "7f000001"],
    ["255.255.255.255", "ffffffff"],
    ["::", "00".repeat(16)],
    ["::1", `${"00".repeat(15)}01`],
    ["1::", `0001${"00".repeat(14)}`],
    ["2001:DB8::ff00:42:8329", "20010db8000000000000ff0000428329"],
    ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
    ["1:2:3:4:5:6:7::", "00010002000300040005000600070000"],
    ["::2:3:4:5:6:7:8", "00000002000300040005000600070008"],
    ["::ffff:10.1.2.3", "00000000000000000000ffff0a010203"],
    ["64:ff9b::192.0.2.33", "0064ff9b0000000000000000c0000221"],
    ["1:2:3:4:5:6:255.0.0.1", "000100020003000400050006ff000001"]
  ])("is read: %s", (text, bytes) => {
    expect(hex(text)).toBe(bytes)
  })

  it.each([
    ...[
      "",
      "a",
      "1.2.3",
      "1.2.3.4.5",
      "256.1.1.1",
      "01.2.3.4",
      "1.2.3.",
      "1.2.3.4 ",
      "1.2.3./",
      "1.2.3.;",
      "1.2.3.a",
      "1.2.3.1000",
      "0x1.2.3.4",
      "-1.2.3.4",
      "1e1.0.0.1"
    ],
    ...[
      ":",
      ":::",
      "1",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7:8::",
      "1:2:3:4::5:6:7:8",
      "1:2::3:4:5:6:7:8:9",
      "::1::",
      "12345::",
      "g::",
      "::1%lo"
    ],
    ...[
      "[::1]",
      "::1.2.3",
      "::256.1.1.1",
      "1.2.3.4::",
      "::1.2.3.4:5",
      "1:2:3:4:5:6:7:1.2.3.4",
      ":1:2:3:4:5:6:7",
      "::+1"
    ]
  ])("isn't read: %j", (text) => {
    expect(parseIp(text)).toBeUndefined()
  })

  it("is one exactly where Node says so", () => {
    const part = fc.constantFrom(":", "::", ".", "0", "1", "ff", "255", "10.0.0.1", "abcd", "12345", "256")
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(part, { maxLength: 16 }).map((all) => all.join("")),
          fc.ipV4(),
          fc.ipV6()
        ),
        (text) => {
          expect(parseIp(text)?.length).toBe(isIPv4(text) ? 4 : isIPv6(text) ? 16 : undefined)
        }
      ),
      { numRuns: 2000 }
    )
  })

  it("is the one that URLs make of it", () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        // Bun's refuses some that are addresses: 0:0:0::0:0.0.0.0.
        fc.pre(URL.canParse(`http://[${text}]`))
        expect(hex(new URL(`http://[${text}]`).hostname.slice(1, -1))).toBe(hex(text))
      })
    )
  })
})
