import { describe, expect, it } from "@effect/vitest"
import { connectError, listenError, serverName, stringOf } from "../../src/internal/nodeErrors.js"

const tcp = { _tag: "TcpAddress", hostname: "chat.example", port: 443 } as const
const unix = { _tag: "UnixAddress", path: "/run/app.sock" } as const
const failure = (code: string | undefined, message = "as Node says it") =>
  Object.assign(new Error(message), code === undefined ? {} : { code })

describe("connectError says what to do", () => {
  it.each([
    ["EAI_AGAIN", "tcp", /couldn't be resolved for now/],
    ["EHOSTUNREACH", "tcp", /no route/],
    ["ENETUNREACH", "tcp", /no route/],
    ["ENOENT", "tcp", /no such socket file/],
    ["EACCES", "tcp", /no permission/],
    ["ECONNRESET", "tcp", /hung up at once/],
    ["EPIPE", "tls", /hung up during the TLS handshake/],
    ["CERT_NOT_YET_VALID", "tls", /certificate of chat\.example isn't valid yet/],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "tls", /isn't for chat\.example: as Node says it/],
    ["SELF_SIGNED_CERT_IN_CHAIN", "tls", /unknown authority/],
    ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "tls", /unknown authority/],
    ["ERR_SSL_PACKET_LENGTH_TOO_LONG", "tls", /chat\.example doesn't speak TLS/],
    ["ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE", "tls", /chat\.example .* may want a client certificate/],
    ["ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE", "tls", /chat\.example .* may want a client certificate/],
    ["ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED", "tls", /chat\.example refused the client certificate/],
    ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "tls", /chat\.example refused the client certificate/],
    ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", "tls", /no version of TLS in common/],
    ["EADDRNOTAVAIL", "tcp", /^as Node says it/],
    ["EWHATEVER", "tcp", /^as Node says it \(EWHATEVER\)$/]
  ] as const)("for %s", (code, reason, detail) => {
    const cause = failure(code)
    const error = connectError({ address: tcp, tls: {} }, reason, cause)
    expect(error).toMatchObject({ _tag: "ConnectError", reason, code, cause, address: "chat.example:443" })
    expect(error.detail).toMatch(detail)
    expect(error.detail).toContain(code)
  })

  it("with the first failure of several addresses, without a code, and for what is no error", () => {
    const several = Object.assign(new AggregateError([failure("EWHATEVER", "the first"), failure("EOTHER")]), {
      code: "EWHATEVER"
    })
    expect(connectError({ address: tcp }, "tcp", several).detail).toBe(
      "the first (EWHATEVER); tried ?: EWHATEVER, ?: EOTHER"
    )
    const bare = connectError({ address: unix }, "tcp", failure(undefined))
    expect(bare.detail).toBe("as Node says it")
    expect(bare.code).toBeUndefined()
    expect(connectError({ address: unix }, "tcp", "a string").detail).toBe("a string")
    expect(connectError({ address: tcp }, "tcp", new AggregateError([])).detail).toBe("")
  })
})

describe("connectError", () => {
  it("counts the system's timeout as one, unless TLS had begun", () => {
    const reasons = (["tcp", "tls"] as const).map(
      (stage) => connectError({ address: tcp, tls: {} }, stage, failure("ETIMEDOUT")).reason
    )
    expect(reasons).toEqual(["timeout", "tls"])
    expect(connectError({ address: tcp }, "tcp", failure("ETIMEDOUT")).detail).toMatch(/firewall/)
  })

  it("lets the host's own answer speak, where a family of addresses has no route", () => {
    const tried = (address: string, code: string) => Object.assign(failure(code), { address })
    const errors = [tried("2001:db8::1", "ENETUNREACH"), tried("192.0.2.1", "ECONNREFUSED")]
    const error = connectError({ address: tcp }, "tcp", new AggregateError(errors))
    expect(error.code).toBe("ECONNREFUSED")
    expect(error.detail).toMatch(/nobody listens.*; tried 2001:db8::1: ENETUNREACH, 192\.0\.2\.1: ECONNREFUSED$/)
    expect(connectError({ address: tcp }, "tcp", new AggregateError(errors.slice(0, 1))).code).toBe("ENETUNREACH")
  })

  it("names what a certificate is for, in bounded length, or its common name", () => {
    const mismatch = (cert: object) =>
      connectError({ address: tcp, tls: {} }, "tls", Object.assign(failure("ERR_TLS_CERT_ALTNAME_INVALID"), { cert }))
    const many = mismatch({ subjectaltname: "DNS:a.example, ".repeat(1000) })
    expect(many.detail).toMatch(/isn't for chat\.example: it is for DNS:a\.example, .*…/)
    expect(many.detail.length).toBeLessThan(450)
    expect(mismatch({ subject: { CN: "b.example" } }).detail).toMatch(/it is for b\.example/)
  })
})

describe("listenError says what to do", () => {
  it.each([
    ["EADDRINUSE", tcp, /port is taken/],
    ["EADDRINUSE", unix, /path exists already/],
    ["EACCES", tcp, /ports below 1024/],
    ["EACCES", unix, /directory's owner and mode/],
    ["EADDRNOTAVAIL", tcp, /isn't one of this machine's/],
    ["ENOENT", unix, /directory doesn't exist/],
    ["ENOTDIR", unix, /directory doesn't exist/],
    ["ENOTFOUND", tcp, /host name doesn't exist/],
    ["ERR_SSL_EE_KEY_TOO_SMALL", tcp, /certificate or its key can't be used: as Node says it/],
    ["EWHATEVER", tcp, /^as Node says it/]
  ] as const)("for %s", (code, address, detail) => {
    const error = listenError({ address }, failure(code))
    expect(error).toMatchObject({ _tag: "ListenError", code })
    expect(error.detail).toMatch(detail)
    expect(error.detail).toContain(code)
  })

  it("without a code, too", () => {
    expect(listenError({ address: tcp }, failure(undefined)).detail).toBe("as Node says it")
  })
})

describe("serverName", () => {
  it("is the option, or the host, or localhost for a Unix socket, without a dot at the end", () => {
    expect(serverName(tcp, { servername: "other.example." })).toBe("other.example")
    expect(serverName({ ...tcp, hostname: "chat.example." }, {})).toBe("chat.example")
    expect(serverName(unix, {})).toBe("localhost")
  })
})

describe("stringOf", () => {
  it("reads only strings, and only of objects", () => {
    expect(stringOf({ code: 5 }, "code")).toBeUndefined()
    expect(stringOf(null, "code")).toBeUndefined()
    expect(stringOf("text", "code")).toBeUndefined()
    expect(stringOf({ code: "E" }, "code")).toBe("E")
  })
})
