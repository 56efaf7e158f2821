import { describe, expect, it } from "@effect/vitest"
import {
  exitCodeOf,
  type Failure,
  hexDump,
  describe as inWords,
  isColoured,
  isFailure,
  paint,
  printable
} from "effect-websocket/cli/format"
import * as Errors from "effect-websocket/WebSocketError"

const address = "ws://server.example/"
const refusal = (body?: string) => new Errors.HandshakeError({ rule: "the server refused", address, status: 403, body })
const closed = new Errors.ConnectionClosed({ code: 4001, reason: "", initiator: "remote", clean: true, address })

describe("exit codes", () => {
  const local = { side: "local", rule: "", closeCode: 1002, address } as const
  const failures: ReadonlyArray<readonly [code: number, what: string, failure: Failure]> = [
    [1, "a URL that is none", new Errors.ConnectError({ reason: "url", address, detail: "" })],
    [1, "a close code that must not be sent", new Errors.ProtocolError(local)],
    [2, "no connection", new Errors.ConnectError({ reason: "tcp", address, detail: "" })],
    [2, "no listener", new Errors.ListenError({ address, detail: "" })],
    [3, "a refusal", refusal()],
    [4, "a close that is no ordinary end", closed],
    [4, "a reset", new Errors.IoError({ operation: "read", code: "ECONNRESET", address })],
    [5, "a breach of the protocol", new Errors.ProtocolError({ ...local, side: "remote" })],
    [5, "a message over the limit", new Errors.PayloadTooLarge({ which: "message size", limit: 1, size: 2, address })],
    [6, "pings without an answer", new Errors.IoError({ operation: "read", code: "ETIMEDOUT", address })]
  ]
  for (const [code, what, failure] of failures) {
    it(`${code} for ${what}`, () => {
      expect(isFailure(failure)).toBe(true)
      expect(exitCodeOf(failure)).toBe(code)
    })
  }
})

it("a refusal is told with what the server said to it, and without empty lines", () => {
  expect(inWords(refusal("  no cookie\n"))).toBe(`${refusal().message}\nno cookie`)
  expect(inWords(refusal(" \n"))).toBe(refusal().message)
  expect(inWords(refusal())).toBe(refusal().message)
})

describe("the text of a peer", () => {
  it("can't move the cursor, colour, ring, or turn the direction of writing", () => {
    expect(printable("a\u001b[2Jb\rc\u0007d\u009b1me\u007f\u202ef\u2066g")).toBe(
      "a\\x1b[2Jb\\x0dc\\x07d\\x9b1me\\x7f\\u202ef\\u2066g"
    )
  })

  it("stays as it is otherwise", () => {
    const text = "grüße\t👋\n日本語 \\x1b"
    expect(printable(text)).toBe(text)
  })
})

describe("bytes", () => {
  it("are shown in sixteens, with their place and their text", () => {
    expect(hexDump(Uint8Array.from({ length: 18 }, (_, index) => index + 0x38))).toBe(
      [
        "00000000  38 39 3a 3b 3c 3d 3e 3f 40 41 42 43 44 45 46 47  89:;<=>?@ABCDEFG",
        "00000010  48 49                                            HI"
      ].join("\n")
    )
    expect(hexDump(Uint8Array.of(0x1f, 0x20, 0x7e, 0x7f, 0xff))).toMatch(/ \. ~\.\.$/)
    expect(hexDump(new Uint8Array())).toBe("")
  })

  it("are shown up to the first 1,024", () => {
    const lines = hexDump(new Uint8Array(1030)).split("\n")
    expect(lines).toHaveLength(65)
    expect(lines[63]).toMatch(/^000003f0 /)
    expect(lines[64]).toBe("… 6 bytes more")
  })
})

describe("colours", () => {
  it("are for terminals that have them, unless NO_COLOR says otherwise", () => {
    const terminal = { isTTY: true }
    expect(isColoured(terminal, {})).toBe(true)
    expect(isColoured({}, {})).toBe(false)
    expect(isColoured(terminal, { NO_COLOR: "1" })).toBe(false)
    expect(isColoured(terminal, { NO_COLOR: "" })).toBe(true)
    expect(isColoured(terminal, { TERM: "dumb" })).toBe(false)
  })

  it("end with the text that they are for", () => {
    expect(paint(true).red("no")).toBe("\u001b[31mno\u001b[0m")
    expect(paint(false).red("no")).toBe("no")
  })
})
