import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  type Complete,
  defaultMaxBytes,
  Fields,
  type HeaderPairs,
  type Limits,
  type Refusal,
  type RequestHead,
  type ResponseHead,
  requestReader,
  responseReader
} from "../../src/protocol/head.js"
import { writeRequest, writeResponse } from "../../src/protocol/headWriter.js"
import { retained } from "../fixtures/bytes.js"

const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))
const textOf = (bytes: unknown): string => {
  if (!(bytes instanceof Uint8Array)) throw new Error(`no bytes but ${JSON.stringify(bytes)}`)
  return Buffer.from(bytes).toString("latin1")
}
const request = (text: string, limits?: Limits) => requestReader(limits).push(latin1(text))
const response = (text: string, limits?: Limits) => responseReader(limits).push(latin1(text))

const complete = <Head>(answer: Complete<Head> | Refusal | undefined): Complete<Head> => {
  if (answer?._tag !== "Complete") throw new Error(`no head but ${JSON.stringify(answer)}`)
  return answer
}
const refused = (status: number, rule: string | RegExp) => ({
  _tag: "Refusal",
  status,
  headers: [],
  rule: expect.stringMatching(rule)
})

interface Reader<Head> {
  readonly push: (chunk: Uint8Array) => Complete<Head> | Refusal | undefined
}

/** Pushes the bytes cut at these places, until there is an answer; the chunks behind it are added to what follows the head. */
const pushCut = <Head>(reader: Reader<Head>, bytes: Uint8Array, cuts: ReadonlyArray<number>) => {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  for (const [index, start] of places.entries()) {
    const end = places[index + 1] ?? bytes.length
    const chunk = bytes.slice(start, end)
    const answer = reader.push(chunk)
    // The chunk is whoever's from now on: what was kept must be a copy.
    chunk.fill(0)
    if (answer?._tag === "Complete") {
      return { ...answer, rest: new Uint8Array([...answer.rest, ...bytes.subarray(end)]) }
    }
    if (answer !== undefined) return answer
  }
  return undefined
}

const browser = [
  "GET /chat?room=1 HTTP/1.1",
  "Host: server.example.com:8080",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "",
  ""
].join("\r\n")

describe("the reader of requests", () => {
  it("keeps the head's text as it stood, however it was cut, which isn't what fields are compared by", () => {
    const text = browser.replace("13", "13\t \xe9")
    for (const cuts of [[], [1], [20, 100]]) {
      const { head } = complete(pushCut(requestReader(), latin1(`${text}rest`), cuts))
      expect(head.fields.text).toBe(text)
      const madeUp = new Fields(head.fields.pairs)
      expect(madeUp.text).toBe("")
      expect(madeUp).toEqual(head.fields)
    }
  })

  it("reads the head of a browser's upgrade request, and leaves the frames behind it", () => {
    const { head, rest } = complete(request(`${browser}\x81\x00`))
    expect(head).toEqual({
      method: "GET",
      target: "/chat?room=1",
      minorVersion: 1,
      fields: new Fields([
        ["host", "server.example.com:8080"],
        ["connection", "Upgrade"],
        ["upgrade", "websocket"],
        ["sec-websocket-version", "13"],
        ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="]
      ])
    })
    expect(rest).toEqual(new Uint8Array([0x81, 0]))
  })

  it("trims the whitespace around values, keeps that within, and takes empty values", () => {
    const { head } = complete(request("GET / HTTP/1.1\r\nA: \t b \t c \t \r\nB:\r\nC:  \r\nD:d\r\n\r\n"))
    expect(head.fields.pairs).toEqual([
      ["a", "b \t c"],
      ["b", ""],
      ["c", ""],
      ["d", "d"]
    ])
  })

  it("reads bytes above ASCII as latin1, each of them, and a no-break space isn't whitespace", () => {
    const all = Array.from({ length: 128 }, (_, index) => String.fromCharCode(0x80 + index)).join("")
    const long = all.repeat(40)
    const { head } = complete(request(`GET / HTTP/1.1\r\nA: ${all}\r\nB: \xa0\r\nC: ${long}\r\n\r\n`))
    expect(head.fields.pairs).toEqual([
      ["a", all],
      ["b", "\xa0"],
      ["c", long]
    ])
  })

  it("reads each byte above ASCII as latin1 where it is the only one", () => {
    for (let byte = 0x80; byte <= 0xff; byte++) {
      const value = String.fromCharCode(byte)
      expect(complete(request(`GET / HTTP/1.1\r\nA: ${value}\r\n\r\n`)).head.fields.get("a")).toBe(value)
    }
  })

  it("takes a head without fields", () => {
    expect(complete(request("OPTIONS /x HTTP/1.1\r\n\r\n")).head).toMatchObject({ method: "OPTIONS", target: "/x" })
  })

  it("marks HTTP/1.0", () => {
    expect(complete(request("GET / HTTP/1.0\r\n\r\n")).head.minorVersion).toBe(0)
  })

  it("isn't confused by names that a prototype has", () => {
    const { fields } = complete(
      request("GET / HTTP/1.1\r\nConstructor: a\r\n__proto__: b\r\nconstructor: c\r\n\r\n")
    ).head
    expect(fields.get("constructor")).toBe("a, c")
    expect(fields.count("constructor")).toBe(2)
    expect(fields.get("__proto__")).toBe("b")
    expect(fields.get("tostring")).toBeUndefined()
    expect(fields.count("tostring")).toBe(0)
  })

  it.each([
    ["", "an empty text"],
    ["GET", "a method"],
    ["GET / HTTP/1.1", "a start line without its end"],
    ["GET / HTTP/1.1\r\nHost: a\r\n", "a head without its empty line"],
    ["GET / HTTP/1.1\r\n\r", "all but the last byte"]
  ])("waits for more after %j", (text) => {
    expect(request(text)).toBeUndefined()
  })

  const endings = "a line ends with"
  const names = "a header name"
  const start = "the start line"
  const target = "the request target"
  it.each([
    ["\r\nGET / HTTP/1.1\r\n\r\n", 400, start],
    [" GET / HTTP/1.1\r\n\r\n", 400, start],
    ["G(T / HTTP/1.1\r\n\r\n", 400, "the method"],
    ["GET\t/ HTTP/1.1\r\n\r\n", 400, "the method"],
    ["GET  / HTTP/1.1\r\n\r\n", 400, target],
    ["GET /  HTTP/1.1\r\n\r\n", 400, start],
    ["GET http://a/ HTTP/1.1\r\n\r\n", 400, target],
    ["OPTIONS * HTTP/1.1\r\n\r\n", 400, target],
    ["CONNECT a:80 HTTP/1.1\r\n\r\n", 400, target],
    ["GET /#a HTTP/1.1\r\n\r\n", 400, target],
    ["GET /\x7f HTTP/1.1\r\n\r\n", 400, target],
    ["GET /\xe9 HTTP/1.1\r\n\r\n", 400, target],
    ["GET /\r\n\r\n", 400, target],
    ["GET / HTTP/1.1 \r\n\r\n", 400, start],
    ["GET / HTTP/1.1\n\n", 400, start],
    ["GET / http/1.1\r\n\r\n", 400, start],
    ["GET / HTTP/x.1\r\n\r\n", 400, start],
    ["GET / HTTP/-1.1\r\n\r\n", 400, start],
    ["GET / 1TTP/1.1\r\n\r\n", 400, start],
    ["GET / HTTP/1,1\r\n\r\n", 400, start],
    ["GET / HTTP/1.x\r\n\r\n", 400, start],
    ["GET / HTTP/1./\r\n\r\n", 400, start],
    ["GET / HTTP/1.11\r\n\r\n", 400, start],
    ["GET / HTTP/2.0\r\n\r\n", 505, "the only version"],
    ["GET / HTTP/0.9\r\n\r\n", 505, "the only version"],
    ["GET / HTTP/9.0\r\n\r\n", 505, "the only version"],
    ["GET / HTTP/1.2\r\n\r\n", 505, "the only version"],
    ["GET / HTTP/1.9\r\n\r\n", 505, "the only version"],
    ["GET / HTTP/1.1\r\r\n\r\n", 400, endings],
    ["GET / HTTP/1.1\r\n\n", 400, endings],
    ["GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", 400, endings],
    ["GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", 400, endings],
    ["GET / HTTP/1.1\r\nA:\n\r\n", 400, endings],
    ["GET / HTTP/1.1\r\nA: b\r\n\r\r\n", 400, endings],
    ["GET / HTTP/1.1\r\n folded\r\n\r\n", 400, "folded"],
    ["GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", 400, "folded"],
    ["GET / HTTP/1.1\r\nA : b\r\n\r\n", 400, names],
    ["GET / HTTP/1.1\r\nA\r\n\r\n", 400, names],
    ["GET / HTTP/1.1\r\n: b\r\n\r\n", 400, names],
    ["GET / HTTP/1.1\r\n:A: b\r\n\r\n", 400, names],
    ["GET / HTTP/1.1\r\n(A: b\r\n\r\n", 400, names],
    ["GET / HTTP/1.1\r\nA\xe9: b\r\n\r\n", 400, names],
    ["GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 400, "a header value"],
    ["GET / HTTP/1.1\r\nA: \x1b\r\n\r\n", 400, "a header value"],
    ["GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n", 400, "a header value"],
    ["\x16\x03\x01\x02\x00", 400, "speaks TLS"],
    ["\x15\x03\x01", 400, "speaks TLS"],
    ["\xff", 400, start]
  ])("refuses %j with %i", (text, status, rule) => {
    expect(request(text)).toEqual(refused(status, rule))
  })

  it("refuses with the first byte that can't be right, and sticks to it", () => {
    const reader = requestReader()
    expect(reader.push(latin1("GET / HTTP/2"))).toEqual(refused(505, "the only version"))
    expect(reader.push(latin1(browser))).toEqual(refused(505, "the only version"))
  })

  it("refuses a head as soon as it has as many bytes as are allowed, and no end", () => {
    const exact = "GET / HTTP/1.1\r\nA: b\r\n\r\n"
    expect(complete(request(`${exact}rest`, { maxBytes: exact.length })).rest).toEqual(latin1("rest"))
    expect(request(exact, { maxBytes: exact.length - 1 })).toEqual(
      refused(431, `longer than ${exact.length - 1} bytes`)
    )
    const reader = requestReader()
    const endless = latin1(`GET /${"a".repeat(defaultMaxBytes)}`)
    expect(reader.push(endless.subarray(0, defaultMaxBytes - 1))).toBeUndefined()
    expect(reader.push(latin1("a"))).toEqual(refused(431, "longer than 16384 bytes"))
    expect(reader.push(latin1("a"))).toEqual(refused(431, "longer than 16384 bytes"))
  })

  it("refuses a garbled byte as such, even where the head is too long behind it", () => {
    expect(request(`GET /\0${"a".repeat(20_000)}`)).toEqual(refused(400, target))
    expect(request("GET /\0", { maxBytes: 6 })).toEqual(refused(400, target))
  })

  it("holds at most twice what came and never more than may come, and rarely asks for memory", () => {
    const reader = requestReader({ maxBytes: 1000 })
    const sizes = new Set<number>()
    for (let pushed = 1; pushed < 1000; pushed++) {
      expect(reader.push(latin1("GET /".charAt(pushed - 1) || "a"))).toBeUndefined()
      const { bytes } = retained(reader)
      expect(bytes).toBeGreaterThanOrEqual(pushed)
      expect(bytes).toBeLessThanOrEqual(Math.min(2 * pushed, 1000))
      sizes.add(bytes)
    }
    expect(sizes.size).toBeLessThanOrEqual(11)
  })

  it("refuses one field more than allowed at its first byte", () => {
    const fields = (count: number) => `GET / HTTP/1.1\r\n${"A: b\r\n".repeat(count)}`
    expect(complete(request(`${fields(100)}\r\n`)).head.fields.count("a")).toBe(100)
    expect(request(`${fields(100)}A`)).toEqual(refused(431, "more than 100 header fields"))
    expect(request(`${fields(2)}A`, { maxHeaders: 2 })).toEqual(refused(431, "more than 2 header fields"))
  })

  it("gives the same head again for what is pushed behind it", () => {
    const reader = requestReader()
    const first = complete(reader.push(latin1(`${browser}a`)))
    const second = complete(reader.push(latin1("bc")))
    expect(second.head).toBe(first.head)
    expect([textOf(first.rest), textOf(second.rest)]).toEqual(["a", "bc"])
  })

  it("answers the same byte by byte", () => {
    const bytes = latin1(`${browser}\x81\x00`)
    expect(pushCut(requestReader(), bytes, [...bytes.keys()])).toEqual(request(`${browser}\x81\x00`))
  })

  // Texts near to heads, so that most of the grammar is reached, right and wrong.
  const piece = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom("GET / HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "A: b", ": ", "x", "\xe9") },
    { weight: 1, arbitrary: fc.constantFrom("\r", "\n", " ", "\t", "\0", ":", "/", "HTTP/1.0", "\x7f") }
  )
  const nearHead = fc.oneof(
    fc.array(piece, { maxLength: 20 }).map((parts) => `GET / HTTP/1.1\r\n${parts.join("")}\r\n\r\n`),
    fc.array(piece, { maxLength: 20 }).map((parts) => parts.join("")),
    fc.constant(browser)
  )
  const cuts = fc.array(fc.nat(400), { maxLength: 12 })
  const limits = fc.record({ maxBytes: fc.integer({ min: 1, max: 120 }), maxHeaders: fc.integer({ min: 0, max: 5 }) })

  it("answers the same however the bytes are cut, and needs no chunk afterwards", () => {
    fc.assert(
      fc.property(nearHead, cuts, fc.option(limits, { nil: {} }), (text, places, chosen) => {
        expect(pushCut(requestReader(chosen), latin1(text), places)).toEqual(request(text, chosen))
      }),
      { numRuns: 1000 }
    )
  })

  it("has an answer after at most as many bytes as are allowed, whatever they are", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      nearHead.filter((text) => text !== "").map(latin1)
    )
    fc.assert(
      fc.property(bytes, limits, (chunk, chosen) => {
        const reader = requestReader(chosen)
        let answer: unknown
        for (let pushed = 0; pushed < chosen.maxBytes && answer === undefined; pushed++) {
          answer = reader.push(chunk.subarray(pushed % chunk.length, (pushed % chunk.length) + 1))
        }
        expect(answer).toBeDefined()
      }),
      { numRuns: 500 }
    )
  })
})

describe("the reader of responses", () => {
  it.each([
    ["HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\nrest", 101, 1],
    ["HTTP/1.1 404 \r\nA: b\r\n\r\nrest", 404, 1],
    ["HTTP/1.1 404\r\nA: b\r\n\r\nrest", 404, 1],
    ["HTTP/1.0 503 na\xefve\treason\r\nA: b\r\n\r\nrest", 503, 0]
  ])("reads %j", (text, status, minorVersion) => {
    expect(response(text)).toEqual({
      _tag: "Complete",
      head: { status, minorVersion, fields: new Fields([["a", "b"]]) },
      rest: latin1("rest")
    })
  })

  it.each([
    ["GET / HTTP/1.1\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1  101 a\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1\t101 a\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1 10 a\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1 1o1 a\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1 1/1 a\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1 1:1 a\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1 1010 a\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1 101 a\0\r\n\r\n", 400, "the start line"],
    ["HTTP/1.1 101 a\n\r\n", 400, "the start line"],
    ["HTTP/2.0 200 OK\r\n\r\n", 505, "the only version"],
    ["\x15\x03\x01\x00\x02", 400, "speaks TLS"],
    ["SSH-2.0-x", 400, "the start line"]
  ])("refuses %j", (text, status, rule) => {
    expect(response(text)).toEqual(refused(status, rule))
  })
})

const name = fc.stringOf(fc.constantFrom(..."abcXYZ019-_!~"), { minLength: 1, maxLength: 10 })
const value = fc
  .stringOf(
    fc
      .integer({ min: 0x20, max: 0xff })
      .filter((code) => code !== 0x7f)
      .map((code) => String.fromCharCode(code)),
    { maxLength: 30 }
  )
  .map((text) => text.replace(/^ +/, "").replace(/ +$/, ""))
const headers = fc.array(
  fc.tuple(name, value).filter(([key]) => !["content-length", "transfer-encoding"].includes(key.toLowerCase())),
  { maxLength: 20 }
)
const lowerCased = (pairs: HeaderPairs): HeaderPairs => pairs.map(([key, text]) => [key.toLowerCase(), text])

describe("what the writers write", () => {
  it("is read as the same request", () => {
    const target = fc.webPath({ size: "medium" }).map((path) => `/${path.replace(/^\//, "")}`)
    fc.assert(
      fc.property(name, target, headers, (method, path, pairs) => {
        const bytes = writeRequest({ method, target: path, headers: pairs })
        if (!(bytes instanceof Uint8Array)) throw new Error(bytes.rule)
        const expected: RequestHead = {
          method,
          target: path,
          minorVersion: 1,
          fields: new Fields(lowerCased(pairs))
        }
        expect(requestReader().push(bytes)).toEqual({ _tag: "Complete", head: expected, rest: new Uint8Array(0) })
      })
    )
  })

  it("is read as the same response, with its body behind it", () => {
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 599 }), headers, fc.uint8Array(), (code, pairs, content) => {
        const status = code === 204 || code === 304 ? 200 : code
        const bytes = writeResponse({ status, headers: pairs, body: content })
        if (!(bytes instanceof Uint8Array)) throw new Error(bytes.rule)
        const expected: ResponseHead = {
          status,
          minorVersion: 1,
          fields: new Fields([["content-length", String(content.length)], ...lowerCased(pairs)])
        }
        expect(responseReader().push(bytes)).toEqual({ _tag: "Complete", head: expected, rest: content })
      })
    )
  })
})
