import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  asciiTable,
  type Extension,
  fieldTable,
  formatExtensions,
  hasToken,
  isKey,
  isTarget,
  isToken,
  parseExtensions,
  parseHost,
  parseTokens,
  schemeTable,
  spaceTable,
  targetTable,
  tokenTable
} from "../../src/protocol/tokens.js"

const tokenCharacters = "!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
const token = fc.stringOf(fc.constantFrom(...tokenCharacters), { minLength: 1, maxLength: 12 })
const failed = { _tag: "Failure", rule: expect.stringContaining("RFC") }

describe("a token", () => {
  it("consists of exactly the 77 characters of RFC 9110 5.6.2", () => {
    const accepted = Array.from({ length: 0x250 }, (_, code) => String.fromCharCode(code)).filter(isToken)
    const separators = `"(),/:;<=>?@[\\]{}`
    const expected = Array.from({ length: 0x7f - 0x21 }, (_, index) => String.fromCharCode(0x21 + index)).filter(
      (character) => !separators.includes(character)
    )
    expect(accepted).toEqual(expected)
    expect(accepted).toHaveLength(77)
  })

  it("isn't empty", () => {
    expect(isToken("")).toBe(false)
  })
})

describe("a table", () => {
  const between = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)
  const codes = (text: string) => Array.from(text, (character) => character.charCodeAt(0))
  const alphanumeric = [...between(0x30, 0x39), ...between(0x41, 0x5a), ...between(0x61, 0x7a)]

  it.each<[string, Uint8Array, ReadonlyArray<number>]>([
    ["a token", tokenTable, [...alphanumeric, ...codes("!#$%&'*+-.^_`|~")]],
    ["a field value", fieldTable, [9, ...between(0x20, 0x7e), ...between(0x80, 0xff)]],
    ["its ASCII", asciiTable, [9, ...between(0x20, 0x7e)]],
    ["whitespace", spaceTable, [9, 0x20]],
    ["a target", targetTable, between(0x21, 0x7e).filter((code) => code !== 0x23)],
    ["a scheme", schemeTable, [...alphanumeric, ...codes("+-.")]]
  ])("marks the characters of %s, and no others", (_, table, expected) => {
    expect(table).toHaveLength(256)
    expect(between(0, 255).filter((code) => table[code] === 1)).toEqual(expected.toSorted((a, b) => a - b))
    expect(between(0, 255).every((code) => table[code] === 0 || table[code] === 1)).toBe(true)
  })
})

describe("a target", () => {
  it.each(["/", "/chat?room=1&x=%20", "/a|b?{}", "//double"])("may be %s", (target) => {
    expect(isTarget(target)).toBe(true)
  })

  it.each(["", "chat", "*", "http://host/", "/a b", "/#top", "/\r\n", "/\u00e9", "/\u2603"])(
    "may not be %j",
    (target) => {
      expect(isTarget(target)).toBe(false)
    }
  )
})

describe("a key", () => {
  it("is whatever 16 bytes give in base64", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        expect(isKey(Buffer.from(bytes).toString("base64"))).toBe(true)
      })
    )
  })

  it("is no other text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.base64String(), fc.string(), fc.string({ minLength: 24, maxLength: 24 })), (text) => {
        const canonical = Buffer.from(text, "base64").toString("base64") === text
        expect(isKey(text)).toBe(canonical && Buffer.from(text, "base64").length === 16)
      })
    )
  })

  it.each([
    ["15 bytes", "dGhlIHNhbXBsZSBub25j"],
    ["17 bytes", "dGhlIHNhbXBsZSBub25jZSE="],
    ["18 bytes, as long as 16 are", "dGhlIHNhbXBsZSBub25jZSEh"],
    ["16 bytes with more behind them", "dGhlIHNhbXBsZSBub25jZQAA=="],
    ["16 bytes padded twice", "dGhlIHNhbXBsZSBub25jZQ===="],
    ["without its padding, as long as with it", "dGhlIHNhbXBsZSBub25jZQAA"],
    ["with half of its padding", "dGhlIHNhbXBsZSBub25jZQA="],
    ["bits that aren't zero behind the last byte", "dGhlIHNhbXBsZSBub25jZR=="],
    ["the URL-safe alphabet", "dGhlIHNhbXBsZSBub25-_Q=="],
    ["padding in the middle", "dGhlIHNhbXBsZSBub2=jZQ=="]
  ])("is not %s", (_, text) => {
    expect(isKey(text)).toBe(false)
  })
})

describe("parseTokens", () => {
  it.each([
    ["", []],
    ["a", ["a"]],
    ["a,b", ["a", "b"]],
    [" \ta \t,\t b ", ["a", "b"]],
    [",, a, ,b,", ["a", "b"]],
    ["constructor, __proto__", ["constructor", "__proto__"]]
  ])("reads %j as %j", (value, tokens) => {
    expect(parseTokens(value)).toEqual(tokens)
  })

  it.each(["a b", "a;b", "a/b", '"a"', "a, \u00e9", "a\u2603", "a\n,b", "a\u0000"])("refuses %j", (value) => {
    expect(parseTokens(value)).toEqual(failed)
  })

  it("reads back each list that was joined", () => {
    fc.assert(
      fc.property(fc.array(token), fc.constantFrom(",", ", ", " ,\t", ", ,"), (tokens, separator) => {
        expect(parseTokens(tokens.join(separator))).toEqual(tokens)
      })
    )
  })

  it("answers with tokens or a failure, whatever it is given", () => {
    fc.assert(
      fc.property(fc.fullUnicodeString(), (value) => {
        const tokens = parseTokens(value)
        if ("_tag" in tokens) expect(tokens).toEqual(failed)
        else expect(tokens.every(isToken)).toBe(true)
      })
    )
  })
})

describe("hasToken", () => {
  it.each([
    ["upgrade", true],
    ["keep-alive, Upgrade", true],
    ["UPGRADE ,close", true],
    ["UPGRADE", true],
    ["upgrad,", false],
    ["h2c/2.0, upgrade", true],
    ["upgrades", false],
    ["upgrad3", false],
    ["up,rade", false],
    ["upgrade/1", false],
    ["keep-alive", false],
    ["", false],
    ["keep-alive upgrade", false],
    ["upgrade; q=1", false],
    [undefined, false]
  ])("finds upgrade in %j: %j", (value, found) => {
    expect(hasToken(value, "upgrade")).toBe(found)
  })

  it("knows no letter of another alphabet whose lower case is one of ours", () => {
    expect(hasToken("webSoc\u212aet", "websocket")).toBe(false)
  })
})

describe("parseExtensions", () => {
  it.each<[string, ReadonlyArray<Extension>]>([
    ["", []],
    ["foo", [{ name: "foo", params: [] }]],
    [
      "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
      [
        {
          name: "permessage-deflate",
          params: [
            ["client_max_window_bits", undefined],
            ["server_max_window_bits", "10"]
          ]
        }
      ]
    ],
    [
      "a;x=1, ,b ; y = 2,",
      [
        { name: "a", params: [["x", "1"]] },
        { name: "b", params: [["y", "2"]] }
      ]
    ],
    [
      'a; x=1 ; y="2"\t, b',
      [
        {
          name: "a",
          params: [
            ["x", "1"],
            ["y", "2"]
          ]
        },
        { name: "b", params: [] }
      ]
    ],
    ['a; x="10"', [{ name: "a", params: [["x", "10"]] }]],
    ['a; x="1\\0"', [{ name: "a", params: [["x", "10"]] }]],
    [
      "a; x; x",
      [
        {
          name: "a",
          params: [
            ["x", undefined],
            ["x", undefined]
          ]
        }
      ]
    ],
    ["constructor; __proto__=toString", [{ name: "constructor", params: [["__proto__", "toString"]] }]]
  ])("reads %j", (value, extensions) => {
    expect(parseExtensions(value)).toEqual(extensions)
  })

  it.each([
    ";a",
    "a;",
    "a;;b",
    "a;=1",
    "a; x=",
    'a; x=""',
    'a; x="1 2"',
    'a; x="1',
    'a; x="1\\',
    'a; x="\\""',
    'a; x="1"2',
    "a b",
    "a; x y",
    "a=1",
    "a, \u00e9",
    '"a"'
  ])("refuses %j", (value) => {
    expect(parseExtensions(value)).toEqual(failed)
  })

  const extension: fc.Arbitrary<Extension> = fc.record({
    name: token,
    params: fc.array(fc.tuple(token, fc.option(token, { nil: undefined })))
  })

  it("reads back what formatExtensions wrote", () => {
    fc.assert(
      fc.property(fc.array(extension), (extensions) => {
        const value = formatExtensions(extensions)
        expect(typeof value === "string" ? parseExtensions(value) : value).toEqual(extensions)
      })
    )
  })

  it("gives tokens only, or a failure, whatever it is given", () => {
    const pieces = fc.constantFrom("a", "b", ";", ",", "=", '"', "\\", " ", "\t", "\n", "\u00e9", "x=1", '"y"')
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 24 }), (parts) => {
        const extensions = parseExtensions(parts.join(""))
        if ("_tag" in extensions) expect(extensions).toEqual(failed)
        // What was understood can be written, and means the same when read again.
        else expect(parseExtensions(String(formatExtensions(extensions)))).toEqual(extensions)
      })
    )
  })

  it("takes values of a hundred thousand characters, as backtracking parsers do not", () => {
    expect(parseExtensions(`a; x="${"\\a".repeat(50_000)}`)).toEqual(failed)
    expect(parseTokens(`a${" ".repeat(100_000)}b`)).toEqual(failed)
    expect(parseTokens(`a${",".repeat(100_000)}b`)).toEqual(["a", "b"])
  })
})

describe("formatExtensions", () => {
  it.each<[string, Extension]>([
    ["a name with a space", { name: "a b", params: [] }],
    ["an empty name", { name: "", params: [] }],
    ["a parameter with a line break", { name: "a", params: [["x\r\n", undefined]] }],
    ["a value with a comma", { name: "a", params: [["x", "1,2"]] }],
    ["an empty value", { name: "a", params: [["x", ""]] }]
  ])("refuses %s", (_, extension) => {
    expect(formatExtensions([{ name: "fine", params: [] }, extension])).toEqual(failed)
  })
})

describe("parseHost", () => {
  it.each([
    ["example.com", "example.com", undefined],
    ["EXAMPLE.com:8080", "example.com", 8080],
    ["example.com:", "example.com", undefined],
    ["127.0.0.1:0", "127.0.0.1", 0],
    ["[::1]", "[::1]", undefined],
    ["[2001:DB8::1]:65535", "[2001:db8::1]", 65535],
    ["under_score.local", "under_score.local", undefined]
  ])("reads %s", (text, hostname, port) => {
    expect(parseHost(text)).toEqual({ hostname, port })
  })

  it.each([
    "",
    ":80",
    "a:65536",
    "a:123456",
    "a:000080",
    "a:8o",
    "a:-1",
    "a:80:80",
    "a, b",
    "a,b",
    "a b",
    "a/b",
    "user@a",
    "a%2eb",
    "a\u00e9",
    "[]",
    "[::1",
    "[::g]",
    "[::1]80",
    "[fe80::1%eth0]",
    "::1"
  ])("refuses %j", (text) => {
    expect(parseHost(text)).toBeUndefined()
  })
})
