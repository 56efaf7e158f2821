import { createHash } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  acceptResponse,
  checkRequest,
  checkResponse,
  plainResponse,
  refusal,
  supportedVersion,
  writeUpgradeRequest
} from "../../src/protocol/handshake.js"
import { Fields, type HeaderPairs, requestReader, responseReader } from "../../src/protocol/head.js"
import type { Extension } from "../../src/protocol/tokens.js"

const key = "dGhlIHNhbXBsZSBub25jZQ=="
const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64")
const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))
const textOf = (bytes: unknown): string => {
  if (!(bytes instanceof Uint8Array)) throw new Error(`no bytes but ${JSON.stringify(bytes)}`)
  return Buffer.from(bytes).toString("latin1")
}
const failed = (rule: string) => ({ _tag: "Failure", rule: expect.stringContaining(rule) })

const valid: HeaderPairs = [
  ["host", "example.com"],
  ["upgrade", "websocket"],
  ["connection", "Upgrade"],
  ["sec-websocket-version", "13"],
  ["sec-websocket-key", key]
]

/** The valid fields without those of the same names, and with these. */
const withFields = (base: HeaderPairs, changed: HeaderPairs): HeaderPairs => [
  ...base.filter(([name]) => !changed.some(([other]) => other === name)),
  ...changed
]
const without = (base: HeaderPairs, name: string): HeaderPairs => base.filter(([other]) => other !== name)

const check = (pairs: HeaderPairs, start: { readonly method?: string; readonly minorVersion?: 0 | 1 } = {}) =>
  checkRequest({ method: "GET", target: "/", minorVersion: 1, ...start, fields: new Fields(pairs) })

describe("checkRequest", () => {
  it("accepts the example of RFC 6455 1.2", () => {
    const answer = requestReader().push(
      latin1(
        [
          "GET /chat HTTP/1.1",
          "Host: server.example.com",
          "Upgrade: websocket",
          "Connection: Upgrade",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
          "Origin: http://example.com",
          "Sec-WebSocket-Protocol: chat, superchat",
          "Sec-WebSocket-Version: 13",
          "",
          ""
        ].join("\r\n")
      )
    )
    if (answer?._tag !== "Complete") throw new Error("no head")
    expect(checkRequest(answer.head)).toEqual({
      key,
      subprotocols: ["chat", "superchat"],
      extensions: [],
      origin: "http://example.com",
      host: "server.example.com"
    })
  })

  it("accepts the least that is due", () => {
    expect(check(valid)).toEqual({ key, subprotocols: [], extensions: [], origin: undefined, host: "example.com" })
  })

  it.each<[string, HeaderPairs]>([
    ["Connection with other options", [["connection", "keep-alive, UPGRADE"]]],
    [
      "Connection on two lines",
      [
        ["connection", "keep-alive"],
        ["connection", "upgrade"]
      ]
    ],
    ["Upgrade in capitals and with other protocols", [["upgrade", "h2c/2.0, WebSocket"]]],
    ["an empty body that is declared", [["content-length", "0"]]],
    [
      "fields nobody knows",
      [
        ["constructor", "a"],
        ["__proto__", "b"]
      ]
    ]
  ])("accepts %s", (_, changed) => {
    expect(check(withFields(valid, changed))).toMatchObject({ key })
  })

  it("joins subprotocols and extensions of several lines, in order", () => {
    const offer = check([
      ...valid,
      ["sec-websocket-protocol", "b"],
      ["sec-websocket-extensions", "x; p=1"],
      ["sec-websocket-protocol", "a, constructor"],
      ["sec-websocket-extensions", "y"]
    ])
    expect(offer).toMatchObject({
      subprotocols: ["b", "a", "constructor"],
      extensions: [
        { name: "x", params: [["p", "1"]] },
        { name: "y", params: [] }
      ]
    })
  })

  const refused = (status: number, headers: HeaderPairs = []) => ({
    _tag: "Refusal",
    status,
    headers,
    rule: expect.stringContaining("RFC")
  })
  const upgrade: HeaderPairs = [
    ["Upgrade", "websocket"],
    ["Sec-WebSocket-Version", "13"]
  ]

  it("answers HTTP/1.0 with 505", () => {
    expect(check(valid, { minorVersion: 0 })).toEqual(refused(505))
  })

  it.each(["POST", "HEAD", "get", "OPTIONS"])("answers %s with 405, and says that GET is allowed", (method) => {
    expect(check(valid, { method })).toEqual(refused(405, [["Allow", "GET"]]))
  })

  it.each<[string, HeaderPairs]>([
    ["without Upgrade", without(valid, "upgrade")],
    ["with another Upgrade", withFields(valid, [["upgrade", "h2c"]])],
    ["without Connection", without(valid, "connection")],
    ["with Connection: keep-alive", withFields(valid, [["connection", "keep-alive"]])],
    ["without a version", without(valid, "sec-websocket-version")],
    ["with version 8", withFields(valid, [["sec-websocket-version", "8"]])],
    [
      "with two versions",
      withFields(valid, [
        ["sec-websocket-version", "13"],
        ["sec-websocket-version", "13"]
      ])
    ],
    ["with version 013", withFields(valid, [["sec-websocket-version", "013"]])]
  ])("answers a request %s with 426, which names the protocol and its version", (_, pairs) => {
    expect(check(pairs)).toEqual(refused(426, upgrade))
  })

  it.each<[string, HeaderPairs]>([
    ["without Host", without(valid, "host")],
    ["with two Hosts", [...valid, ["host", "example.com"]]],
    ["with an empty Host", withFields(valid, [["host", ""]])],
    ["with a malformed Host", withFields(valid, [["host", "exa mple.com"]])],
    ["with a user in Host", withFields(valid, [["host", "a@example.com"]])],
    ["with a body", [...valid, ["content-length", "5"]]],
    ["with two lengths", [...valid, ["content-length", "0"], ["content-length", "0"]]],
    ["with a length that is no number", [...valid, ["content-length", "+0"]]],
    ["with a chunked body", [...valid, ["transfer-encoding", "chunked"]]],
    ["with an empty Transfer-Encoding", [...valid, ["transfer-encoding", ""]]],
    ["without a key", without(valid, "sec-websocket-key")],
    ["with two keys", [...valid, ["sec-websocket-key", key]]],
    ["with an empty key", withFields(valid, [["sec-websocket-key", ""]])],
    ["with a key of 15 bytes", withFields(valid, [["sec-websocket-key", "dGhlIHNhbXBsZSBub25j"]])],
    ["with a key that isn't canonical", withFields(valid, [["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR=="]])],
    ["with two Origins", [...valid, ["origin", "http://a"], ["origin", "http://a"]]],
    ["with a subprotocol twice", [...valid, ["sec-websocket-protocol", "a, b, a"]]],
    ["with an empty subprotocol list", [...valid, ["sec-websocket-protocol", ","]]],
    ["with a subprotocol that is no token", [...valid, ["sec-websocket-protocol", "a b"]]],
    ["with malformed extensions", [...valid, ["sec-websocket-extensions", "a; x="]]],
    ["with an empty extension list", [...valid, ["sec-websocket-extensions", ""]]]
  ])("answers a request %s with 400", (_, pairs) => {
    expect(check(pairs)).toEqual(refused(400))
  })

  it("tells a malformed list of subprotocols from one that is empty or repeats itself", () => {
    const rule = (value: string) => check([...valid, ["sec-websocket-protocol", value]])
    expect(rule("a b")).toMatchObject({ rule: expect.stringContaining("isn't a list of tokens") })
    for (const value of ["", "a, a"]) expect(rule(value)).toMatchObject({ rule: expect.stringContaining("none twice") })
  })
})

describe("plainResponse", () => {
  it("is the 101 with nothing but the key's proof", () => {
    expect(plainResponse(accept)).toEqual(acceptResponse({ accept }))
  })
})

describe("acceptResponse", () => {
  it("writes the 101", () => {
    expect(textOf(acceptResponse({ accept }))).toBe(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
    )
  })

  it("adds what was negotiated, and the caller's headers", () => {
    const text = textOf(
      acceptResponse({
        accept,
        subprotocol: "chat",
        extensions: [
          {
            name: "x",
            params: [
              ["p", undefined],
              ["q", "1"]
            ]
          }
        ],
        headers: [
          ["Set-Cookie", "a=b"],
          ["Set-Cookie", "c=d"]
        ]
      })
    )
    expect(text).toContain(
      "\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: x; p; q=1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n"
    )
  })

  it.each([
    "Upgrade",
    "CONNECTION",
    "Sec-WebSocket-Accept",
    "sec-websocket-protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Anything"
  ])("refuses the caller's %s", (name) => {
    expect(acceptResponse({ accept, headers: [[name, "a"]] })).toEqual(failed("of the handshake itself"))
  })

  it("refuses a body's length, injection, and names that are no tokens", () => {
    expect(acceptResponse({ accept, headers: [["Content-Length", "0"]] })).toEqual(failed("follow from the body"))
    expect(acceptResponse({ accept, headers: [["a", "b\r\nc: d"]] })).toEqual(failed("control character"))
    expect(acceptResponse({ accept, subprotocol: "a\r\nb: c" })).toEqual(failed("a subprotocol is a token"))
    expect(acceptResponse({ accept, subprotocol: "" })).toEqual(failed("a subprotocol is a token"))
    expect(acceptResponse({ accept, extensions: [{ name: "a\r\n", params: [] }] })).toEqual(failed("is a token"))
  })
})

describe("refusal", () => {
  it("writes the rule as text, and closes the connection", () => {
    expect(textOf(refusal({ status: 400, headers: [], rule: "no caf\u00e9" }))).toBe(
      "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nno caf\xc3\xa9\n"
    )
  })

  it("lists Upgrade in Connection where it sends Upgrade", () => {
    const refused = check(without(valid, "upgrade"))
    if (!("_tag" in refused)) throw new Error("not refused")
    const text = textOf(refusal(refused))
    expect(text).toContain("HTTP/1.1 426 Upgrade Required\r\n")
    expect(text).toContain("\r\nConnection: Upgrade, close\r\n")
    expect(text).toContain("\r\nUpgrade: websocket\r\n")
    expect(text).toContain("\r\nSec-WebSocket-Version: 13\r\n")
  })

  it("writes no body where the status has none", () => {
    expect(textOf(refusal({ status: 304, headers: [["ETag", '"a"']], rule: "same" }))).toBe(
      'HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: "a"\r\n\r\n'
    )
  })

  it("refuses an interim status, headers that are its own, and injection", () => {
    for (const status of [101, 199]) {
      expect(refusal({ status, headers: [], rule: "a" })).toEqual(failed("final status"))
    }
    expect(textOf(refusal({ status: 200, headers: [], rule: "a" }))).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(refusal({ status: 600, headers: [], rule: "a" })).toEqual(failed("a status is"))
    expect(refusal({ status: 403, headers: [["Connection", "keep-alive"]], rule: "a" })).toEqual(
      failed("can't be given")
    )
    expect(refusal({ status: 403, headers: [["content-type", "text/html"]], rule: "a" })).toEqual(
      failed("can't be given")
    )
    expect(refusal({ status: 403, headers: [["a", "b\nc"]], rule: "a" })).toEqual(failed("control character"))
  })
})

const plain = { host: "example.com", target: "/", key, subprotocols: [], extensions: [], headers: [] }

describe("writeUpgradeRequest", () => {
  it("writes a request in full", () => {
    const text = textOf(
      writeUpgradeRequest({
        host: "example.com:8080",
        target: "/chat?a=b",
        key,
        subprotocols: ["v2", "v1"],
        extensions: [
          { name: "x", params: [["p", "1"]] },
          { name: "y", params: [] }
        ],
        origin: "https://example.com",
        headers: [["Authorization", "Bearer a"]]
      })
    )
    expect(text).toBe(
      `GET /chat?a=b HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v2, v1\r\nSec-WebSocket-Extensions: x; p=1, y\r\nOrigin: https://example.com\r\nAuthorization: Bearer a\r\n\r\n`
    )
  })

  const token = fc.stringOf(fc.constantFrom(..."abcXYZ01.-_!"), { minLength: 1, maxLength: 8 })
  const extension: fc.Arbitrary<Extension> = fc.record({
    name: token,
    params: fc.array(fc.tuple(token, fc.option(token, { nil: undefined })), { maxLength: 3 })
  })

  it("is understood by checkRequest as what it was given", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        fc.uniqueArray(token, { maxLength: 5 }),
        fc.array(extension, { maxLength: 4 }),
        fc.option(
          fc.webAuthority().map((host) => `http://${host}`),
          { nil: undefined }
        ),
        (bytes, subprotocols, extensions, origin) => {
          const nonce = Buffer.from(bytes).toString("base64")
          const request = writeUpgradeRequest({ ...plain, key: nonce, subprotocols, extensions, origin })
          if (!(request instanceof Uint8Array)) throw new Error(request.rule)
          const answer = requestReader().push(request)
          if (answer?._tag !== "Complete") throw new Error("no head")
          expect(checkRequest(answer.head)).toEqual({
            key: nonce,
            subprotocols,
            extensions,
            origin,
            host: "example.com"
          })
        }
      )
    )
  })

  it.each(["Host", "Upgrade", "connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "sec-websocket-protocol"])(
    "refuses the caller's %s",
    (name) => {
      expect(writeUpgradeRequest({ ...plain, headers: [[name, "a"]] })).toEqual(failed("of the handshake itself"))
    }
  )

  it("takes Origin as an option or as a header, not as both", () => {
    expect(textOf(writeUpgradeRequest({ ...plain, headers: [["Origin", "http://a"]] }))).toContain(
      "\r\nOrigin: http://a\r\n"
    )
    expect(writeUpgradeRequest({ ...plain, origin: "http://a", headers: [["origin", "http://b"]] })).toEqual(
      failed("of the handshake itself")
    )
    expect(writeUpgradeRequest({ ...plain, origin: "http://a", headers: [["Host", "b"]] })).toEqual(
      failed("of the handshake itself")
    )
  })

  it.each([
    ["a host with a path", { host: "a/b" }, "the host isn't"],
    ["a target with a space", { target: "/a b" }, "a request target"],
    ["a target without a slash", { target: "chat" }, "a request target"],
    ["a short key", { key: "AAAA" }, "a key is 16 bytes"],
    ["a subprotocol with a comma", { subprotocols: ["a,b"] }, "a subprotocol is a token"],
    ["one such subprotocol among others", { subprotocols: ["a", "b c"] }, "a subprotocol is a token"],
    ["an empty subprotocol", { subprotocols: [""] }, "a subprotocol is a token"],
    ["a subprotocol twice", { subprotocols: ["a", "b", "a"] }, "none twice"],
    ["an extension that is no token", { extensions: [{ name: "a;b", params: [] }] }, "is a token"],
    ["an origin with a line break", { origin: "http://a\r\nb: c" }, "control character"],
    ["a header with a line break", { headers: [["a", "b\r\nc: d"] as const] }, "control character"],
    ["a body's length", { headers: [["content-length", "3"] as const] }, "follow from the body"]
  ])("refuses %s", (_, changed, rule) => {
    expect(writeUpgradeRequest({ ...plain, ...changed })).toEqual(failed(rule))
  })
})

describe("checkResponse", () => {
  const good: HeaderPairs = [
    ["upgrade", "websocket"],
    ["connection", "Upgrade"],
    ["sec-websocket-accept", accept]
  ]
  const offered = { accept, subprotocols: ["v2", "v1"], extensions: ["x", "y"] }
  const judge = (pairs: HeaderPairs, start: { readonly status?: number; readonly minorVersion?: 0 | 1 } = {}) =>
    checkResponse({ status: 101, minorVersion: 1, ...start, fields: new Fields(pairs) }, offered)

  it("accepts what acceptResponse writes", () => {
    const extensions = [{ name: "y", params: [["p", "1"] as const] }]
    const bytes = acceptResponse({ accept, subprotocol: "v1", extensions })
    const answer = responseReader().push(latin1(textOf(bytes)))
    if (answer?._tag !== "Complete") throw new Error("no head")
    expect(checkResponse(answer.head, offered)).toEqual({ subprotocol: "v1", extensions })
  })

  it("accepts a response that chose nothing, in any case of letters", () => {
    const pairs = withFields(good, [
      ["upgrade", "WebSocket"],
      ["connection", "keep-alive, UPGRADE"]
    ])
    expect(judge(pairs)).toEqual({ subprotocol: undefined, extensions: [] })
  })

  it.each<[string, HeaderPairs, string]>([
    ["without Upgrade", without(good, "upgrade"), "lacks Upgrade"],
    ["with more than websocket in Upgrade", withFields(good, [["upgrade", "websocket, h2c"]]), "lacks Upgrade"],
    ["without Connection", without(good, "connection"), "lacks Connection"],
    ["with Connection: close", withFields(good, [["connection", "close"]]), "lacks Connection"],
    ["without an accept value", without(good, "sec-websocket-accept"), "Sec-WebSocket-Accept"],
    ["with that of another key", withFields(good, [["sec-websocket-accept", "AAAA"]]), "Sec-WebSocket-Accept"],
    [
      "with one that differs in case",
      withFields(good, [["sec-websocket-accept", accept.toLowerCase()]]),
      "Sec-WebSocket-Accept"
    ],
    ["with it twice", [...good, ["sec-websocket-accept", accept]], "Sec-WebSocket-Accept"],
    ["with a subprotocol not asked for", [...good, ["sec-websocket-protocol", "v3"]], "a subprotocol that wasn't"],
    ["with one in other case", [...good, ["sec-websocket-protocol", "V1"]], "a subprotocol that wasn't"],
    ["with two subprotocols", [...good, ["sec-websocket-protocol", "v1, v2"]], "a subprotocol that wasn't"],
    [
      "with a subprotocol on two lines",
      [...good, ["sec-websocket-protocol", "v1"], ["sec-websocket-protocol", "v1"]],
      "a subprotocol that wasn't"
    ],
    ["with an empty subprotocol", [...good, ["sec-websocket-protocol", ""]], "a subprotocol that wasn't"],
    ["with an extension not asked for", [...good, ["sec-websocket-extensions", "z"]], "an extension that wasn't"],
    ["with one more than was asked for", [...good, ["sec-websocket-extensions", "x, z"]], "an extension that wasn't"],
    ["with an extension of a prototype", [...good, ["sec-websocket-extensions", "constructor"]], "an extension that"],
    ["with an extension twice", [...good, ["sec-websocket-extensions", "x, y, x"]], "an extension twice"],
    ["with malformed extensions", [...good, ["sec-websocket-extensions", "x;"]], "isn't a list of extensions"]
  ])("fails a response %s", (_, pairs, rule) => {
    expect(judge(pairs)).toEqual(failed(rule))
  })

  it("fails another status, and says which", () => {
    expect(judge(good, { status: 403 })).toEqual(failed("answered 403"))
    expect(judge(good, { status: 200 })).toEqual(failed("answered 200"))
  })

  it("fails HTTP/1.0", () => {
    expect(judge(good, { minorVersion: 0 })).toEqual(failed("HTTP/1.0"))
  })
})

describe("the version", () => {
  it("is 13", () => {
    expect(supportedVersion).toBe("13")
  })
})
