import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { WebSocketError } from "effect-websocket"

const address = "wss://example.org/feed"
const closed = {
  code: 1000,
  reason: "",
  sentCode: 1000,
  initiator: "remote",
  clean: true,
  address
} as const

describe("the message of", () => {
  it.each([
    [closed, "closed by the peer with 1000 (normal closure), sent 1000 (normal closure)"],
    [
      { ...closed, code: 4001, reason: "kicked", sentCode: 1001, initiator: "local" },
      'closed by this side with 4001 "kicked", sent 1001 (going away)'
    ],
    [{ ...closed, code: 1005, sentCode: undefined }, "closed by the peer with 1005 (no status received)"],
    [
      { ...closed, code: 1006, sentCode: 1000, initiator: "local", clean: false },
      "closed by this side without a Close frame from the peer, sent 1000 (normal closure)"
    ],
    [
      { ...closed, code: 1006, reason: "the stream ended inside a frame", sentCode: undefined, clean: false },
      "closed by the peer without a Close frame from the peer: the stream ended inside a frame"
    ]
  ] as const)("ConnectionClosed says who, with what and what was sent: %#", (fields, end) => {
    expect(new WebSocketError.ConnectionClosed(fields).message).toBe(`connection to ${address} ${end}`)
  })

  it("ProtocolError says which side broke which rule", () => {
    const fields = { rule: "text must be UTF-8", closeCode: 1007, address }
    expect(new WebSocketError.ProtocolError({ ...fields, side: "remote" }).message).toBe(
      `${address} broke the protocol, closed with 1007 (invalid payload): text must be UTF-8`
    )
    expect(new WebSocketError.ProtocolError({ ...fields, side: "local" }).message).toBe(
      `refused to send to ${address}: text must be UTF-8`
    )
  })

  it("PayloadTooLarge says which limit, and what to do", () => {
    expect(new WebSocketError.PayloadTooLarge({ which: "message size", limit: 10, size: 11, address }).message).toBe(
      `${address} sent too much: message size 11 is over the limit of 10; raise the limit if such messages are expected`
    )
  })

  it("IoError says what was tried, with the code if there is one", () => {
    expect(new WebSocketError.IoError({ operation: "read", code: "ECONNRESET", address }).message).toBe(
      `reading from ${address} failed (ECONNRESET)`
    )
    expect(new WebSocketError.IoError({ operation: "write", address }).message).toBe(`writing to ${address} failed`)
  })

  it("HandshakeError says the rule, and the status if there was one", () => {
    expect(new WebSocketError.HandshakeError({ rule: "not a 101", status: 403, address }).message).toBe(
      `opening handshake with ${address} failed with HTTP 403: not a 101`
    )
    expect(new WebSocketError.HandshakeError({ rule: "the stream ended", address }).message).toBe(
      `opening handshake with ${address} failed: the stream ended`
    )
  })

  it("ConnectError and ListenError say what failed", () => {
    expect(new WebSocketError.ConnectError({ reason: "dns", detail: "no such name", address }).message).toBe(
      `connecting to ${address} failed (dns): no such name`
    )
    expect(new WebSocketError.ListenError({ detail: "the port is taken", address: "0.0.0.0:80" }).message).toBe(
      "listening on 0.0.0.0:80 failed: the port is taken"
    )
  })
})

const cause = new Error("underneath")

const inLife = [
  new WebSocketError.ConnectionClosed(closed),
  new WebSocketError.ProtocolError({ side: "remote", rule: "a rule", closeCode: 1002, address }),
  new WebSocketError.PayloadTooLarge({ which: "frame size", limit: 1, size: 2, address }),
  new WebSocketError.IoError({ operation: "read", code: "EPIPE", address, cause })
]

const before = [
  new WebSocketError.HandshakeError({ rule: "r", address, status: 404, headers: { a: "b" }, body: "no", cause }),
  new WebSocketError.ConnectError({ reason: "tls", detail: "expired", code: "CERT_HAS_EXPIRED", address, cause }),
  new WebSocketError.ListenError({ detail: "taken", code: "EADDRINUSE", address, cause })
]

const all = [...inLife, ...before]

describe("every error", () => {
  it("is an Error, with its own tag and name", () => {
    const tags = [
      "ConnectionClosed",
      "ProtocolError",
      "PayloadTooLarge",
      "IoError",
      "HandshakeError",
      "ConnectError",
      "ListenError"
    ]
    expect(all.map(({ _tag }) => _tag)).toEqual(tags)
    expect(all.map(({ name }) => name)).toEqual(tags)
    for (const error of all) expect(error).toBeInstanceOf(Error)
  })

  it("goes through its Schema and JSON, and comes back with the same message", () => {
    const schema = Schema.Union(
      WebSocketError.ConnectionClosed,
      WebSocketError.ProtocolError,
      WebSocketError.PayloadTooLarge,
      WebSocketError.IoError,
      WebSocketError.HandshakeError,
      WebSocketError.ConnectError,
      WebSocketError.ListenError
    )
    for (const error of all) {
      const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(schema)(error)))
      const again = Schema.decodeUnknownSync(schema)(json)
      expect(again).toBeInstanceOf(error.constructor)
      expect(again._tag).toBe(error._tag)
      expect(again.message).toBe(error.message)
      if ("cause" in error) expect(again.cause).toMatchObject({ message: "underneath" })
    }
  })

  it("keeps its cause", () => {
    for (const error of before) expect(error.cause).toBe(cause)
  })

  it.effect("is caught by its tag", () =>
    Effect.gen(function* () {
      for (const error of all) {
        const caught = yield* Effect.fail(error).pipe(
          Effect.catchTags({
            ConnectionClosed: ({ code }) => Effect.succeed(code),
            ProtocolError: ({ rule }) => Effect.succeed(rule),
            PayloadTooLarge: ({ limit }) => Effect.succeed(limit),
            IoError: ({ code }) => Effect.succeed(code),
            HandshakeError: ({ status }) => Effect.succeed(status),
            ConnectError: ({ reason }) => Effect.succeed(reason),
            ListenError: ({ detail }) => Effect.succeed(detail)
          })
        )
        const expected = [1000, "a rule", 1, "EPIPE", 404, "tls", "taken"][all.indexOf(error)]
        expect(caught).toBe(expected)
      }
    })
  )

  it("refuses fields that it doesn't have room for", () => {
    const decode = Schema.decodeUnknownEither(WebSocketError.PayloadTooLarge)
    expect(decode({ _tag: "PayloadTooLarge", which: "wishes", limit: 1, size: 2, address })._tag).toBe("Left")
    expect(decode({ _tag: "PayloadTooLarge", which: "frame size", limit: 1, size: 2, address })._tag).toBe("Right")
  })
})

describe("isWebSocketError", () => {
  it("knows the errors that end a connection from those before it, and from anything else", () => {
    expect(inLife.map(WebSocketError.isWebSocketError)).toEqual([true, true, true, true])
    expect(before.map(WebSocketError.isWebSocketError)).toEqual([false, false, false])
    for (const other of [undefined, null, "IoError", new Error("no"), { _tag: "IoError" }, 0]) {
      expect(WebSocketError.isWebSocketError(other)).toBe(false)
    }
  })
})
