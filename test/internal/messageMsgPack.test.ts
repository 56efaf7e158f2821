import * as MsgPack from "@effect/platform/MsgPack"
import { describe, expect, it } from "@effect/vitest"
import { Schema } from "effect"
import * as fc from "fast-check"
import { objection } from "../../src/internal/messageMsgPack.js"

const Packed = MsgPack.schema(Schema.Unknown)
const pack = Schema.encodeSync(Packed)
const unpack = Schema.decodeUnknownSync(Packed)

const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"))

const values = fc.object({
  withBigInt: false,
  withDate: true,
  withNullPrototype: false,
  values: [
    fc.boolean(),
    fc.integer(),
    fc.double({ noNaN: true }),
    fc.string({ maxLength: 300 }),
    fc.constant(null),
    fc.constant(undefined),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(fc.integer(), { minLength: 14, maxLength: 20 })
  ]
})

describe("objection", () => {
  it("has none to what is packed of plain values, and to each of its beginnings that it is cut off", () => {
    fc.assert(
      fc.property(values, (value) => {
        const bytes = pack(value)
        expect(objection(bytes)).toBe(undefined)
        for (let size = 0; size < bytes.length; size++) {
          if (objection(bytes.subarray(0, size)) !== "it ends in the middle of a value") expect.fail(`at ${size}`)
        }
        expect(objection(Buffer.concat([bytes, bytes]))).toBe("it goes on behind the value")
      }),
      { numRuns: 100 }
    )
  })

  it("has none to each way to write a value, whatever its length says", () => {
    const all = [
      "00 7f 80 90 a0 bf" +
        "61".repeat(31) +
        "c0 c2 c3 c400 c40101 c5000101 c60000000101 ca00000000 cb0000000000000000",
      "cc01 cd0001 ce00000001 cf0000000000000001 d001 d10001 d200000001 d30000000000000001",
      "d40000 d6ff00000001 d7ff0000000000000001 c70cff000000000000000000000001 c80004ff00000001 c900000004ff00000001",
      "d90161 da000161 db0000000161 dc0000 dc000101 dd00000000 dd0000000101 de0000 de0001a16101 df00000000 df00000001a16101 e0 ff"
    ].join("")
    // One array of all of them.
    const count = 6 + 9 + 8 + 6 + 13
    const message = hex(`dc00${count.toString(16)}${all}`)
    expect(objection(message)).toBe(undefined)
    expect(unpack(message)).toHaveLength(count)
  })

  it.each([
    ["an array of 4 billion elements in 5 bytes", "dd ffffffff"],
    ["an array of 32 million", "dd 01ffffff c0 c0"],
    ["arrays that share out the same rest", "dd 00000004 dc0003 dc0002 c0 c0"],
    ["a map", "df 7fffffff a161 c0"],
    ["a text", "db ffffffff 61"],
    ["bytes", "c6 00000002 61"],
    ["an extension", "c7 0c ff 00"],
    ["a length that is cut off", "c6 0000"],
    ["an extension without a type", "d4"]
  ])("judges a declared length by what is there: %s", (_, bytes) => {
    expect(objection(hex(bytes))).toBe("it ends in the middle of a value")
  })

  it.each([
    ["a record", "d47240 91 a161 01"],
    ["a record of two bytes", "d5724001 91 a161 01"],
    ["a regular expression", "c70178 00 92 a161 a0"],
    ["a reference", "d66900000001 92 01 d67000000001"],
    ["a set", "d47300 9101"],
    ["bundled strings", "d662ffffffff a161 a162 c0"],
    ["a large integer", "c70942 010000000000000000"],
    ["typed memory", "c70374 0100ff"],
    ["an error", "d46500 93 a5 4572726f72 a161 c0"],
    ["a date of no known length", "d4ff00"],
    ["an undefined of no known length", "c70000"]
  ])("lets no extension pass that stands for no plain value: %s", (_, bytes) => {
    expect(objection(hex(bytes))).toBe("it has an extension that stands for no plain value")
  })

  it("knows the token that is never used", () => {
    expect(objection(hex("92c0c1"))).toBe("it has a token that means nothing")
  })
})
