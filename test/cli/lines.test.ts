import { describe, expect, it } from "@effect/vitest"
import { Either } from "effect"
import { paint } from "effect-websocket/cli/format"
import { readJson, readText, readTyped, showMessages } from "effect-websocket/cli/lines"

const send = (message: string | Uint8Array) => Either.right({ _tag: "Send", message })
const close = (code?: number, reason?: string) => Either.right({ _tag: "Close", code, reason })
const bytes = Uint8Array.of(0, 0xff, 0x48)

describe("lines of a program", () => {
  it("are messages as they stand", () => {
    for (const line of ["", " a ", "/close", '{"type":"text"}']) expect(readText(line)).toEqual(send(line))
  })

  it("as JSON are text, bytes, or the wish to close", () => {
    expect(readJson('{"type":"text","data":"a\\nb"}')).toEqual(send("a\nb"))
    expect(readJson('{"type":"binary","base64":"AP9I"}')).toEqual(send(bytes))
    expect(readJson('{"type":"close"}')).toEqual(close())
    expect(readJson('{"type":"close","code":4000,"reason":"bye"}')).toEqual(close(4000, "bye"))
  })

  for (const line of ["", "text", "[]", '{"type":"ping"}', '{"type":"text"}', '{"type":"close","code":1.5}']) {
    it(`as JSON are refused in one line if they are like ${line || "nothing"}`, () => {
      expect(readJson(line)).toEqual(Either.left(expect.stringMatching(/^no such line: [^\n]+$/)))
    })
  }

  it("as JSON are refused if bytes are no base64", () => {
    expect(readJson('{"type":"binary","base64":"A"}')).toEqual(Either.left(expect.stringMatching(/^no base64: /)))
  })
})

describe("lines that are typed", () => {
  it("are messages, also with a slash inside, or with two in front", () => {
    for (const line of ["", "hello", " /close", "a/b"]) expect(readTyped(line)).toEqual(send(line))
    expect(readTyped("//join #room")).toEqual(send("/join #room"))
  })

  it("are commands with one slash in front", () => {
    expect(readTyped("/help")).toEqual(Either.right({ _tag: "Help" }))
    expect(readTyped("/ping ")).toEqual(Either.right({ _tag: "Ping" }))
    expect(readTyped("/binary 00 fF48")).toEqual(send(bytes))
    expect(readTyped("/close")).toEqual(close(undefined, ""))
    expect(readTyped("/close 4000")).toEqual(close(4000, ""))
    expect(readTyped("/close 4000 see you ")).toEqual(close(4000, "see you"))
  })

  for (const [line, problem] of [
    ["/join #room", /no command is called \/join; .*\/\//],
    ["/", /no command is called \//],
    ["/binary 4", /hexadecimal/],
    ["/binary xy", /hexadecimal/],
    ["/close see you", /a code before the reason/]
  ] as const) {
    it(`are refused with advice if they are like ${line}`, () => {
      expect(readTyped(line)).toEqual(Either.left(expect.stringMatching(problem)))
    })
  }
})

describe("messages", () => {
  const plain = paint(false)

  it("are lines of JSON for a program, with whose they are if that is known", () => {
    expect(showMessages(["a\nb", bytes], "program", plain)).toBe(
      '{"type":"text","data":"a\\nb"}\n{"type":"binary","base64":"AP9I"}'
    )
    expect(showMessages(["a"], "program", plain, "1.2.3.4:5")).toBe('{"type":"text","data":"a","from":"1.2.3.4:5"}')
  })

  it("are marked for a person, without control characters, and bytes in hexadecimal", () => {
    expect(showMessages(["a\u001b[2J"], "person", plain)).toBe("< a\\x1b[2J")
    expect(showMessages(["a"], "person", plain, "1.2.3.4:5")).toBe("1.2.3.4:5 < a")
    expect(showMessages([bytes], "person", plain)).toMatch(/^< 3 bytes\n00000000 {2}00 ff 48 +\.\.H$/)
    expect(showMessages([Uint8Array.of(1)], "person", plain)).toMatch(/^< 1 byte\n/)
    expect(showMessages([new Uint8Array()], "person", plain)).toBe("< 0 bytes")
  })

  it("of several lines can't be taken for several messages by a person", () => {
    expect(showMessages(["a\n< b\r\n< c"], "person", plain)).toBe("< a\n  < b\\x0d\n  < c")
  })

  it("are coloured where there are colours", () => {
    expect(showMessages(["a"], "person", paint(true))).toBe("\u001b[32m<\u001b[0m a")
  })

  it("are just their content in a pipe: text as lines, bytes as they are", () => {
    expect(showMessages(["a\u001b[2J", "b"], "pipe", plain)).toBe("a\u001b[2J\nb")
    expect(showMessages(["a", bytes, "b"], "pipe", plain)).toEqual(Buffer.from([0x61, 0x0a, ...bytes, 0x62, 0x0a]))
  })
})
