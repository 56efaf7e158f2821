import { STATUS_CODES } from "node:http"
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  isBodiless,
  lastChunk,
  writeChunk,
  writeConnect,
  writeRequest,
  writeResponse
} from "../../src/protocol/headWriter.js"

const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))
const textOf = (bytes: unknown): string => {
  if (!(bytes instanceof Uint8Array)) throw new Error(`no bytes but ${JSON.stringify(bytes)}`)
  return Buffer.from(bytes).toString("latin1")
}
const failed = (rule: string) => ({ _tag: "Failure", rule: expect.stringContaining(rule) })

describe("what the writers write", () => {
  it("is text that a reader of the specification recognises", () => {
    expect(textOf(writeRequest({ method: "GET", target: "/a?b", headers: [["Host", "c"]] }))).toBe(
      "GET /a?b HTTP/1.1\r\nHost: c\r\n\r\n"
    )
    expect(textOf(writeResponse({ status: 403, headers: [["A", "b"]], body: latin1("no") }))).toBe(
      "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nA: b\r\n\r\nno"
    )
    expect(textOf(writeResponse({ status: 499, headers: [] }))).toBe("HTTP/1.1 499 \r\nContent-Length: 0\r\n\r\n")
    expect(textOf(writeResponse({ status: 204, headers: [] }))).toBe("HTTP/1.1 204 No Content\r\n\r\n")
  })

  it("has the registry's reason for each status that has one, and none for the others", () => {
    const reasons = Array.from({ length: 500 }, (_, index) => 100 + index).flatMap((status) => {
      const [line = ""] = textOf(writeResponse({ status, headers: [] })).split("\r\n")
      const reason = line.slice(`HTTP/1.1 ${status} `.length)
      return reason === "" ? [] : [[status, reason] as const]
    })
    expect(reasons).toEqual(reasons.map(([status]) => [status, STATUS_CODES[status]]))
    expect(reasons.map(([status]) => status)).toEqual([
      ...[101, 200, 204, 301, 302, 303, 304, 307, 308],
      ...[400, 401, 403, 404, 405, 408, 410, 421, 426, 429, 431],
      ...[500, 502, 503, 504, 505]
    ])
  })

  it("declares a body's length, the coding of one in chunks, and nothing of one that the end ends", () => {
    const body = latin1("four")
    const start = "HTTP/1.1 200 OK\r\n"
    expect(textOf(writeResponse({ status: 200, headers: [], body }))).toBe(`${start}Content-Length: 4\r\n\r\nfour`)
    expect(textOf(writeResponse({ status: 200, headers: [["A", "b"]], body: "chunks follow" }))).toBe(
      `${start}Transfer-Encoding: chunked\r\nA: b\r\n\r\n`
    )
    expect(textOf(writeResponse({ status: 200, headers: [], body: "follows" }))).toBe(`${start}\r\n`)
  })

  it("declares in the answer to a HEAD what it leaves away", () => {
    const declared = (body: Uint8Array | "chunks follow" | "follows") =>
      textOf(writeResponse({ status: 200, headers: [], body, headOnly: true }))
    expect(declared(latin1("four"))).toBe("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
    expect(declared("chunks follow")).toBe("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    expect(declared("follows")).toBe("HTTP/1.1 200 OK\r\n\r\n")
    expect(textOf(writeResponse({ status: 200, headers: [], body: latin1("four"), headOnly: false }))).toContain("four")
  })

  it("is a body in chunks, each with its size before it, and an end", () => {
    expect(textOf(writeChunk(latin1("ab")))).toBe("2\r\nab\r\n")
    expect(writeChunk(new Uint8Array(0))).toHaveLength(0)
    expect(textOf(lastChunk)).toBe("0\r\n\r\n")
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 5000 }), (part) => {
        const expected = [latin1(`${part.length.toString(16)}\r\n`), part, latin1("\r\n")]
        expect(writeChunk(part)).toEqual(new Uint8Array(Buffer.concat(expected)))
      })
    )
  })
})

describe("a status without a body", () => {
  it("is an interim one, 204 or 304", () => {
    const bodiless = Array.from({ length: 500 }, (_, index) => 100 + index).filter(isBodiless)
    expect(bodiless).toEqual([...Array.from({ length: 100 }, (_, index) => 100 + index), 204, 304])
  })

  it("declares none either, not even an empty one", () => {
    for (const status of [100, 101, 199, 204, 304]) {
      expect(textOf(writeResponse({ status, headers: [] }))).toMatch(/^HTTP\/1\.1 \d{3} [A-Za-z ]*\r\n\r\n$/)
      expect(textOf(writeResponse({ status, headers: [], body: new Uint8Array(0) }))).toMatch(/ [A-Za-z ]*\r\n\r\n$/)
    }
  })
})

describe("the writers refuse", () => {
  it.each<[string, string, string]>([
    ["a line break in a value", "a", "b\r\nInjected: c"],
    ["a lone line feed", "a", "b\nc"],
    ["a NUL", "a", "b\0"],
    ["a character that lower bytes would turn into a line break", "a", "b\u010ac"],
    ["a character outside of latin1", "a", "\u2603"]
  ])("%s", (_, key, text) => {
    expect(writeRequest({ method: "GET", target: "/", headers: [[key, text]] })).toEqual(failed("the value of a holds"))
    expect(writeResponse({ status: 200, headers: [[key, text]] })).toEqual(failed("the value of a holds"))
  })

  it.each(["", "a b", "a:", "a\r\n", "\u00e9"])("the name %j", (key) => {
    expect(writeResponse({ status: 200, headers: [[key, "b"]] })).toEqual(failed("a header name is a token"))
  })

  it.each(["Content-Length", "TRANSFER-ENCODING"])("a %s of the caller's", (key) => {
    expect(writeResponse({ status: 200, headers: [[key, "0"]] })).toEqual(failed("follow from the body"))
  })

  it.each(["", "G T", "GET\r\n"])("the method %j", (method) => {
    expect(writeRequest({ method, target: "/", headers: [] })).toEqual(failed("a method is a token"))
  })

  it.each(["", "a", "/a b", "/\r\nA: b"])("the target %j", (target) => {
    expect(writeRequest({ method: "GET", target, headers: [] })).toEqual(failed("a request target"))
  })

  it.each([99, 600, 200.5, Number.NaN])("the status %d", (status) => {
    expect(writeResponse({ status, headers: [] })).toEqual(failed("a status is a whole number"))
  })

  it.each([101, 204, 304])("a body with status %i", (status) => {
    for (const body of [latin1("a"), "chunks follow", "follows"] as const) {
      expect(writeResponse({ status, headers: [], body })).toEqual(failed(`status ${status} has no body`))
    }
  })
})

describe("a request for a tunnel", () => {
  it("names its target by host and port, twice", () => {
    expect(textOf(writeConnect("[::1]:80", [["a", "b"]]))).toBe(
      "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\na: b\r\n\r\n"
    )
  })

  it.each(["", "a", "a:", "a:b", "a:65536", "a b:1", "a\r\nb:1", "http://a:1", "u@a:1", "a:1/"])(
    "needs both: %j",
    (target) => {
      expect(writeConnect(target, [])).toEqual(failed("the target of a tunnel is a host and a port"))
    }
  )

  it("can't be given a field that isn't one", () => {
    expect(writeConnect("a:1", [["a", "b\r\nc: d"]])).toEqual(failed("the value of a holds"))
  })
})
