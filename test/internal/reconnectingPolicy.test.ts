import { describe, expect, it } from "@effect/vitest"
import { Cause, Chunk, Duration, Effect, Schedule } from "effect"
import { ReconnectingWebSocket, WebSocketError } from "effect-websocket"
import { isRetryable, retryAfter } from "../../src/internal/reconnectingPolicy.js"

const address = "ws://server.example/"

const io = (code?: string) =>
  new WebSocketError.IoError({ operation: "read", address, ...(code === undefined ? undefined : { code }) })

const connect = (reason: WebSocketError.ConnectReason, code?: string, cause?: unknown) =>
  new WebSocketError.ConnectError({
    reason,
    address,
    detail: "",
    cause,
    ...(code === undefined ? undefined : { code })
  })

const closed = (code: number, initiator: "local" | "remote" = "remote") =>
  new WebSocketError.ConnectionClosed({ code, reason: "", initiator, clean: true, address })

const refused = (status: number, headers: Readonly<Record<string, string>> = {}) =>
  new WebSocketError.HandshakeError({ rule: "", address, status, headers })

const codesWhere = (test: (code: number) => boolean, codes: ReadonlyArray<number>) => codes.filter(test)
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)

describe("isRetryable", () => {
  it("is what the public module offers", () => {
    expect(ReconnectingWebSocket.isRetryable).toBe(isRetryable)
  })

  it("knows which close codes mean that the server may be back", () => {
    const all = [...range(1000, 1015), ...range(3000, 3010), ...range(4000, 4010)]
    expect(codesWhere((code) => isRetryable(closed(code)), all)).toEqual([
      1001, 1005, 1006, 1011, 1012, 1013, 1014, 3008
    ])
    expect(codesWhere((code) => isRetryable(closed(code, "local")), all)).toEqual([])
  })

  it("knows which statuses do", () => {
    const all = [101, 200, 204, 301, 302, 307, ...range(400, 431), 451, ...range(500, 511)]
    expect(codesWhere((status) => isRetryable(refused(status)), all)).toEqual([408, 429, ...range(500, 511)])
  })

  it("tells a server that dies in the opening handshake from one that breaks it", () => {
    const broken = (cause?: unknown) => new WebSocketError.HandshakeError({ rule: "", address, cause })
    expect([broken(io()), broken(), broken(new Error("other"))].map(isRetryable)).toEqual([true, false, false])
  })

  it("tries again whatever the transport did", () => {
    const errors = [io("ECONNRESET"), io("ETIMEDOUT"), io(), connect("dns", "ENOTFOUND"), connect("dns", "EAI_AGAIN")]
    const more = [connect("tcp", "ECONNREFUSED"), connect("tcp", "ENOENT"), connect("timeout")]
    expect([...errors, ...more].filter((error) => !isRetryable(error))).toEqual([])
  })

  it("doesn't try again with a bad URL", () => {
    expect(isRetryable(connect("url"))).toBe(false)
  })

  it("tells TLS that broke from TLS that somebody has to repair", () => {
    const broke = ["ECONNRESET", "EPIPE", "ETIMEDOUT", "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR", undefined]
    const repair = [
      "CERT_HAS_EXPIRED",
      "CERT_NOT_YET_VALID",
      "DEPTH_ZERO_SELF_SIGNED_CERT",
      "SELF_SIGNED_CERT_IN_CHAIN",
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
      "ERROR_IN_CERT_NOT_AFTER_FIELD",
      "HOSTNAME_MISMATCH",
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "ERR_OSSL_PEM_NO_START_LINE",
      "ERR_SSL_WRONG_VERSION_NUMBER",
      "ERR_SSL_PACKET_LENGTH_TOO_LONG",
      "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
      "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"
    ]
    const retried = (codes: ReadonlyArray<string | undefined>) =>
      codes.filter((code) => isRetryable(connect("tls", code)))
    expect(retried(broke)).toEqual(broke)
    expect(retried(repair)).toEqual([])
  })

  it("judges a proxy by what it answered, or by why it can't be reached", () => {
    const again = [
      connect("proxy", "HTTP 502"),
      connect("proxy", "HTTP 429"),
      connect("proxy", "SOCKS 1"),
      connect("proxy", "SOCKS 5"),
      connect("proxy", "ECONNREFUSED", connect("tcp", "ECONNREFUSED")),
      connect("proxy", undefined, io())
    ]
    const never = [
      connect("proxy", "HTTP 407"),
      connect("proxy", "HTTP 403"),
      connect("proxy", "SOCKS 2"),
      connect("proxy", "SOCKS 7"),
      connect("proxy", "SOCKS 8"),
      connect("proxy", "CERT_HAS_EXPIRED", connect("tls", "CERT_HAS_EXPIRED")),
      connect("proxy")
    ]
    expect(again.filter((error) => !isRetryable(error))).toEqual([])
    expect(never.filter(isRetryable)).toEqual([])
  })

  it("tries again after a timeout, and after nothing else that it doesn't know", () => {
    expect(isRetryable(new Cause.TimeoutException())).toBe(true)
    const rule = { rule: "", closeCode: 1002, address }
    const others = [
      new WebSocketError.ProtocolError({ side: "remote", ...rule }),
      new WebSocketError.ProtocolError({ side: "local", ...rule }),
      new WebSocketError.PayloadTooLarge({ which: "message size", limit: 1, size: 2, address }),
      new WebSocketError.ListenError({ address, detail: "" }),
      new Error("other"),
      "text",
      undefined
    ]
    expect(others.filter(isRetryable)).toEqual([])
  })
})

describe("retryAfter", () => {
  const now = Date.UTC(1994, 10, 6, 8, 49, 0)
  const wait = (value: string, status = 503) => retryAfter(refused(status, { "retry-after": value }), now, 300_000)

  it("reads seconds and each form of an HTTP date", () => {
    expect(
      [
        "0",
        "37",
        " 5 ",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994"
      ].map((value) => wait(value))
    ).toEqual([0, 37_000, 5000, 37_000, 37_000, 37_000])
  })

  it("is bounded, and never in the past", () => {
    expect(["301", "9".repeat(400), "Mon, 07 Nov 1994 08:49:37 GMT"].map((value) => wait(value))).toEqual([
      300_000, 300_000, 300_000
    ])
    expect(wait("Sun, 06 Nov 1994 08:48:59 GMT")).toBe(0)
  })

  it("ignores what it can't read", () => {
    const values = ["", "-5", "1.5", "soon", "1994-11-06", "Sun, 06 Nov 1994", "Sun, 06 Foo 1994 08:49:37 GMT"]
    expect(values.map((value) => wait(value))).toEqual(values.map(() => 0))
  })

  it("is for refusals with 429 and 503", () => {
    expect([429, 503, 500, 408].map((status) => wait("5", status))).toEqual([5000, 5000, 0, 0])
    expect([refused(503), io(), undefined].map((error) => retryAfter(error, now, 300_000))).toEqual([0, 0, 0])
  })
})

describe("defaultSchedule", () => {
  it.effect("doubles from 250 to 500 milliseconds up to 15 to 30 seconds, at random, and never ends", () =>
    Effect.gen(function* () {
      const attempts = Array.from({ length: 3000 }, () => undefined)
      const delays = yield* Schedule.run(Schedule.delays(ReconnectingWebSocket.defaultSchedule), 0, attempts)
      const millis = Chunk.toReadonlyArray(delays).map((delay) => Duration.toMillis(delay))
      expect(millis).toHaveLength(3000)
      const outside = millis.filter((delay, index) => {
        const most = Math.min(30_000, 500 * 2 ** index)
        return !(delay >= most / 2 && delay <= most)
      })
      expect(outside).toEqual([])
      expect(new Set(millis.slice(10)).size).toBeGreaterThan(2000)
    })
  )
})
