import { describe, expect, it } from "@effect/vitest"
import {
  checkLength,
  checkStart,
  encodeFrame,
  Header,
  headerSize,
  isControl,
  isOpcode,
  Known,
  maxHeaderSize,
  readHeader,
  writeHeader
} from "../../src/protocol/frame.js"
import type { Breach } from "../../src/protocol/violation.js"
import { fromHex, pattern, toHex, utf8, wire, xor } from "../fixtures/bytes.js"

const read = (bytes: Uint8Array, masked?: boolean): Header | Breach => {
  const header = new Header()
  return readHeader(bytes, 0, bytes.length, masked, header) ?? header
}

const complete = (bytes: Uint8Array, masked?: boolean): Header => {
  const header = read(bytes, masked)
  if ("_tag" in header) throw new Error(header.rule)
  expect(header.known).toBe(Known.all)
  return header
}

/** The bytes read, and what was read written again. */
const both = (bytes: Uint8Array) => {
  const { opcode, rsv, fin, masked, key, size, length } = complete(bytes)
  const payload = xor(bytes.subarray(size, size + length), masked ? key : 0)
  if (!isOpcode(opcode)) throw new Error("reserved")
  const frame = { opcode, rsv, fin, payload }
  return { ...frame, payload: toHex(payload), bytes: toHex(encodeFrame(frame, masked ? key : undefined)) }
}

const hello = toHex(utf8("Hello"))
const key = 0x37fa213d

describe("a frame and its bytes", () => {
  it.each([
    ["a whole unmasked text", "81 05 48656c6c6f", { opcode: 1, rsv: 0, fin: true, payload: hello }],
    ["the same one masked", "81 85 37fa213d 7f9f4d5158", { opcode: 1, rsv: 0, fin: true, payload: hello }],
    ["the first fragment", "01 03 48656c", { opcode: 1, rsv: 0, fin: false, payload: "48656c" }],
    ["the last fragment", "80 02 6c6f", { opcode: 0, rsv: 0, fin: true, payload: "6c6f" }],
    ["an unmasked ping", "89 05 48656c6c6f", { opcode: 9, rsv: 0, fin: true, payload: hello }],
    ["a masked pong", "8a 85 37fa213d 7f9f4d5158", { opcode: 10, rsv: 0, fin: true, payload: hello }],
    ["an empty masked close", "88 80 37fa213d", { opcode: 8, rsv: 0, fin: true, payload: "" }],
    ["RSV1", "c2 00", { opcode: 2, rsv: 4, fin: true, payload: "" }],
    ["RSV2", "a2 00", { opcode: 2, rsv: 2, fin: true, payload: "" }],
    ["RSV3", "92 00", { opcode: 2, rsv: 1, fin: true, payload: "" }],
    ["all RSV bits, without FIN", "72 00", { opcode: 2, rsv: 7, fin: false, payload: "" }],
    ["a key of zero", "82 82 00000000 0102", { opcode: 2, rsv: 0, fin: true, payload: "0102" }],
    ["a key with its top bit set", "82 82 ff000001 ff02", { opcode: 2, rsv: 0, fin: true, payload: "0002" }]
  ])("agree: %s (RFC 6455 5.7 and 5.2)", (_, hex, frame) => {
    expect(both(fromHex(hex))).toEqual({ ...frame, bytes: toHex(fromHex(hex)) })
  })

  it.each([
    [0, "00"],
    [1, "01"],
    [125, "7d"],
    [126, "7e 007e"],
    [127, "7e 007f"],
    [128, "7e 0080"],
    [65_535, "7e ffff"],
    [65_536, "7f 0000000000010000"],
    [65_537, "7f 0000000000010001"]
  ])("agree at a length of %i", (length, hex) => {
    const payload = pattern(length)
    const plain = Buffer.concat([fromHex(`82${hex}`), payload])
    expect(both(plain)).toEqual({ opcode: 2, rsv: 0, fin: true, payload: toHex(payload), bytes: toHex(plain) })
    const masked = wire(2, payload, { key })
    expect(both(masked)).toEqual({ opcode: 2, rsv: 0, fin: true, payload: toHex(payload), bytes: toHex(masked) })
  })

  it("leave the payload that was encoded as it is", () => {
    const payload = pattern(100)
    encodeFrame({ opcode: 2, rsv: 0, fin: true, payload }, key)
    expect(toHex(payload)).toBe(toHex(pattern(100)))
  })
})

describe("a header and its bytes", () => {
  const lengths: ReadonlyArray<readonly [number, string]> = [
    [0, "00"],
    [125, "7d"],
    [126, "7e 007e"],
    [65_535, "7e ffff"],
    [65_536, "7f 0000000000010000"],
    [2 ** 31 - 1, "7f 000000007fffffff"],
    [2 ** 31, "7f 0000000080000000"],
    [2 ** 32 - 1, "7f 00000000ffffffff"],
    [2 ** 32, "7f 0000000100000000"],
    [2 ** 32 + 0x8000_0001, "7f 0000000180000001"],
    [2 ** 53 - 1, "7f 001fffffffffffff"]
  ]

  it.each(lengths)("agree at a declared length of %i", (length, hex) => {
    const plain = fromHex(`02 ${hex}`)
    const written = new Uint8Array(maxHeaderSize + 1)
    const end = writeHeader(written, 1, false, 0, 2, length, undefined)
    expect(complete(plain)).toMatchObject({ fin: false, opcode: 2, masked: false, length, size: plain.length })
    expect(toHex(written.subarray(1, end))).toBe(toHex(plain))
    expect(headerSize(length, false)).toBe(plain.length)
  })

  it.each(lengths)("agree at a declared length of %i, masked", (length, hex) => {
    const masked = fromHex(`c1 ${hex} fedcba98`)
    masked[1] = (masked[1] ?? 0) | 0x80
    const written = new Uint8Array(maxHeaderSize + 1)
    const end = writeHeader(written, 1, true, 4, 1, length, 0xfedc_ba98)
    expect(complete(masked)).toMatchObject({ fin: true, rsv: 4, opcode: 1, length, key: 0xfedc_ba98 })
    expect(toHex(written.subarray(1, end))).toBe(toHex(masked))
    expect(headerSize(length, true)).toBe(masked.length)
  })

  it("are known step by step", () => {
    const steps = (hex: string) => {
      const bytes = fromHex(hex)
      return Array.from({ length: bytes.length + 1 }, (_, end) => {
        const header = read(bytes.subarray(0, end))
        return "_tag" in header ? header.rule : header.known
      })
    }
    const { nothing, start, length, all } = Known
    expect(steps("82 05")).toEqual([nothing, start, all])
    expect(steps("82 85 01020304")).toEqual([nothing, start, length, length, length, length, all])
    expect(steps("82 7e 0100")).toEqual([nothing, start, start, start, all])
    expect(steps("82 fe 0100 01020304")).toEqual([nothing, start, start, start, ...Array(4).fill(length), all])
    expect(steps("82 7f 0000000000010000")).toEqual([nothing, ...Array(9).fill(start), all])
  })

  it("are read from the place they are told, and nothing behind them", () => {
    const header = new Header()
    expect(readHeader(fromHex("ffff 8103 ffff"), 2, 4, false, header)).toBe(undefined)
    expect(header).toMatchObject({ known: Known.all, opcode: 1, length: 3, size: 2 })
  })

  it("take nothing that lies behind the end for theirs, wherever they begin", () => {
    const bytes = fromHex("ffffffff 82fe0100 01020304")
    const { nothing, start, length, all } = Known
    const known = Array.from({ length: 9 }, (_, size) => {
      const header = new Header()
      expect(readHeader(bytes, 4, 4 + size, true, header)).toBe(undefined)
      return header.known
    })
    expect(known).toEqual([nothing, start, start, start, ...Array(4).fill(length), all])
  })

  it("find no wrong length in what lies behind the end", () => {
    const bytes = fromHex("827f ffffffffffffffff")
    const rules = Array.from({ length: 4 }, (_, end) => readHeader(bytes, 0, end, false, new Header())?.closeCode)
    expect(rules).toEqual([undefined, undefined, undefined, 1002])
  })
})

describe("readHeader", () => {
  const ruleOf = (hex: string, masked?: boolean): string | undefined => {
    const header = read(fromHex(hex), masked)
    return "_tag" in header ? `${header.closeCode} ${header.rule}` : undefined
  }

  it.each([
    ["126 with 125", "82 7e 007d"],
    ["126 with 0", "82 7e 0000"],
    ["127 with 125", "82 7f 000000000000007d"],
    ["127 with 65535", "82 7f 000000000000ffff"]
  ])("refuses a length that would fit in fewer bytes: %s", (_, hex) => {
    expect(ruleOf(hex)).toBe("1002 a payload length must be encoded in the fewest bytes that hold it (RFC 6455 5.2)")
    expect(ruleOf(hex.slice(0, -2))).toBe(undefined)
  })

  it.each(["8000000000000000", "8000000000000001", "ffffffffffffffff"])(
    "refuses a 64-bit length with its top bit set as soon as that is seen: %s",
    (length) => {
      const rule = "1002 the top bit of a 64-bit payload length must be 0 (RFC 6455 5.2)"
      for (let digits = 2; digits <= 16; digits += 2) expect(ruleOf(`82 7f ${length.slice(0, digits)}`)).toBe(rule)
      expect(ruleOf("82 7f")).toBe(undefined)
    }
  )

  it.each(["0020000000000000", "0020000000000001", "7fffffffffffffff", "00ffffff00000000"])(
    "refuses a length that a number can't hold: %s",
    (length) => {
      expect(ruleOf(`82 7f ${length}`)).toBe("1009 a payload length above 2^53 - 1 can't be represented")
    }
  )

  it("refuses the wrong masking at the second byte, and none if it doesn't matter", () => {
    expect(ruleOf("82 00", true)).toBe("1002 a client must mask every frame it sends (RFC 6455 5.1)")
    expect(ruleOf("82 80", false)).toBe("1002 a server must not mask any frame it sends (RFC 6455 5.1)")
    expect(ruleOf("82 80 00000000", true)).toBe(undefined)
    expect(ruleOf("82 00", false)).toBe(undefined)
    expect(ruleOf("82 00")).toBe(undefined)
    expect(ruleOf("82 80 00000000")).toBe(undefined)
  })

  it("refuses a control frame above 125 bytes at the second byte, whatever length follows", () => {
    for (const opcode of ["88", "89", "8a"]) {
      for (const length of ["7e", "7f", "fe", "ff"]) {
        for (const rest of ["", "007d", "0100", "0020000000000000", "ffffffffffffffff"]) {
          expect(ruleOf(`${opcode}${length}${rest}`)).toBe(
            "1002 a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)"
          )
        }
      }
      expect(ruleOf(`${opcode}7d`)).toBe(undefined)
    }
  })
})

describe("the rules of a single frame", () => {
  const defined = [0x0, 0x1, 0x2, 0x8, 0x9, 0xa]
  const opcodes = Array.from({ length: 16 }, (_, opcode) => opcode)

  it("know six opcodes, of which three are for control", () => {
    expect(opcodes.filter(isOpcode)).toEqual(defined)
    expect(defined.filter(isControl)).toEqual([0x8, 0x9, 0xa])
    expect([-1, 16, 0x11].some(isOpcode)).toBe(false)
  })

  it("refuse the reserved opcodes by name", () => {
    for (const opcode of opcodes.filter((value) => !isOpcode(value))) {
      for (const fin of [true, false]) {
        expect(checkStart(fin, opcode)).toEqual({
          _tag: "Breach",
          closeCode: 1002,
          rule: `opcode 0x${opcode.toString(16)} is reserved (RFC 6455 5.2)`
        })
      }
    }
  })

  it("refuse a control frame without FIN, and no data frame", () => {
    expect(defined.filter((opcode) => checkStart(true, opcode) !== undefined)).toEqual([])
    expect(defined.filter((opcode) => checkStart(false, opcode) !== undefined)).toEqual([0x8, 0x9, 0xa])
    expect(checkStart(false, 0x9)?.rule).toBe("a control frame must not be fragmented (RFC 6455 5.5)")
  })

  it("refuse a control frame above 125 bytes, and no data frame", () => {
    expect(defined.filter((opcode) => checkLength(opcode, 125) !== undefined)).toEqual([])
    expect(defined.filter((opcode) => checkLength(opcode, 126) !== undefined)).toEqual([0x8, 0x9, 0xa])
    expect(checkLength(0x8, 126)).toMatchObject({ closeCode: 1002 })
  })
})
