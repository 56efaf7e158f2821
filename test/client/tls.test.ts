import { execFileSync, spawn } from "node:child_process"
import { createPrivateKey } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Tls from "node:tls"
import { afterAll, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import type { Address } from "effect-websocket/Flow"
import type { TlsClientOptions, TlsServerOptions } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { type Certificate, makeCertificates } from "../fixtures/certificates.js"
import { refusedBy } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import * as nodeFixtures from "../fixtures/node.js"
import { rawServer, upgradedServer } from "../fixtures/rawPeer.js"

const certificates = makeCertificates()
const { ca, client, expired, good, selfSigned, wrongName } = certificates
const directory = mkdtempSync(join(tmpdir(), "effect-websocket-tls-"))
afterAll(() => rmSync(directory, { recursive: true }))
const file = (name: string, content: string) => {
  writeFileSync(join(directory, name), content)
  return join(directory, name)
}

/** A certificate for localhost that is valid from the year 2099, signed by itself. */
const notYetValid = ((): Certificate => {
  const [key, request, cert] = ["future.key", "future.csr", "future.pem"].map((name) => join(directory, name))
  if (key === undefined || request === undefined || cert === undefined) throw new Error("unreachable")
  const config = file(
    "ca.cnf",
    `[ca]\ndefault_ca=c\n[c]\ndatabase=${file("index", "")}\nserial=${file("serial", "01\n")}\nnew_certs_dir=${directory}\n` +
      "default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=DNS:localhost\n"
  )
  const openssl = (...args: ReadonlyArray<string>) => execFileSync("openssl", args, { stdio: "pipe" })
  openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
  openssl("req", "-new", "-key", key, "-subj", "/CN=localhost", "-out", request)
  openssl(
    ...["ca", "-batch", "-selfsign", "-config", config, "-keyfile", key, "-in", request, "-out", cert, "-notext"],
    ...["-startdate", "20990101000000Z", "-enddate", "20990201000000Z"]
  )
  return { cert: readFileSync(cert, "utf8"), key: Redacted.make(readFileSync(key, "utf8")) }
})()

const test = testsOn(NodeNetwork.layer)
const loopback = { _tag: "TcpAddress", hostname: "127.0.0.1", port: 0 } as const
const urlOf = (address: Address, host = "localhost") =>
  `wss://${host}:${address._tag === "TcpAddress" ? address.port : 0}/`

/** Connects to a server with these certificates, which answers as it should. */
const succeeds = (title: string, server: TlsServerOptions, tls: TlsClientOptions, host?: string) =>
  test(
    title,
    Effect.gen(function* () {
      const listening = yield* rawServer({ address: loopback, tls: server })
      const connecting = yield* Effect.fork(
        WebSocket.connect(urlOf(listening.address, host), { tls, address: listening.address })
      )
      const peer = yield* upgradedServer(listening)
      const socket = yield* Fiber.join(connecting)
      expect(socket.secure).toBe(true)
      yield* peer.destroy
    })
  )

const fails = (
  title: string,
  server: TlsServerOptions,
  tls: TlsClientOptions,
  expected: { readonly code: string; readonly detail: RegExp },
  host?: string
) =>
  test(
    title,
    Effect.gen(function* () {
      const listening = yield* rawServer({ address: loopback, tls: server })
      const error = yield* refusedBy(urlOf(listening.address, host), { tls, address: listening.address })
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "tls", code: expected.code })
      if (error._tag === "ConnectError") expect(error.detail).toMatch(expected.detail)
      expect(error.message).toContain(expected.code)
      expect(error.message).toContain("127.0.0.1:")
      for (const secret of [tls.key, tls.passphrase]) {
        if (secret !== undefined) expect(JSON.stringify(error)).not.toContain(Redacted.value(secret))
      }
    })
  )

const encrypted = (certificate: Certificate, passphrase: string): Redacted.Redacted<string> => {
  const key = createPrivateKey(Redacted.value(certificate.key))
  const pem = key.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase })
  return Redacted.make(pem.toString())
}

describe("wss verifies the server's certificate", () => {
  succeeds("and accepts a good one of an authority that it was given", good, { ca })
  succeeds("for the URL's host, also where `address` leads elsewhere", good, { ca }, "flow.test")
  succeeds("and doesn't with verify: false", expired, { verify: false }, "nobody.test")
  fails(
    "and refuses it by default, the authority being unknown",
    good,
    {},
    { code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE", detail: /unknown authority: the certificate of localhost / }
  )
  fails(
    "and says that it signed itself",
    selfSigned,
    { ca },
    { code: "DEPTH_ZERO_SELF_SIGNED_CERT", detail: /unknown authority: the certificate of localhost / }
  )
  fails(
    "and says that it has expired",
    expired,
    { ca },
    { code: "CERT_HAS_EXPIRED", detail: /the certificate of localhost has expired/ }
  )
  fails(
    "and says that it isn't valid yet",
    notYetValid,
    { ca: notYetValid.cert },
    { code: "CERT_NOT_YET_VALID", detail: /the certificate of localhost isn't valid yet/ }
  )
  fails(
    "and says for which names it is",
    wrongName,
    { ca },
    { code: "ERR_TLS_CERT_ALTNAME_INVALID", detail: /isn't for localhost: it is for DNS:other\.test/ }
  )
  fails(
    "by the name in `servername` if there is one",
    good,
    { ca, servername: "third.test" },
    { code: "ERR_TLS_CERT_ALTNAME_INVALID", detail: /isn't for third\.test: it is for DNS:localhost, DNS:flow\.test/ }
  )
  fails(
    "by the URL's host, and not by where `address` leads",
    good,
    { ca },
    { code: "ERR_TLS_CERT_ALTNAME_INVALID", detail: /isn't for nobody\.test/ },
    "nobody.test"
  )
})

describe("a client certificate", () => {
  const server = { ...good, clientCa: ca }
  succeeds("is shown to a server that wants one", server, { ca, ...client })
  succeeds("may have an encrypted key", server, {
    ca,
    cert: client.cert,
    key: encrypted(client, "open sesame"),
    passphrase: Redacted.make("open sesame")
  })
  fails(
    "with an encrypted key needs its passphrase",
    server,
    { ca, cert: client.cert, key: encrypted(client, "open sesame") },
    { code: "ERR_OSSL_BAD_DECRYPT", detail: /the client certificate's key is encrypted; give its `passphrase`/ }
  )
  fails(
    "with an encrypted key needs the right passphrase",
    server,
    { ca, cert: client.cert, key: encrypted(client, "open sesame"), passphrase: Redacted.make("shut sesame") },
    { code: "ERR_OSSL_BAD_DECRYPT", detail: /the passphrase isn't that of the client certificate's key/ }
  )
  fails(
    "needs the key that belongs to it",
    server,
    { ca, cert: client.cert, key: good.key },
    { code: "ERR_OSSL_X509_KEY_VALUES_MISMATCH", detail: /don't belong together/ }
  )
  fails(
    "must be PEM",
    server,
    { ca, cert: "nonsense", key: client.key },
    { code: "ERR_OSSL_PEM_NO_START_LINE", detail: /is no PEM/ }
  )

  /** A server that says which certificate it doesn't like, as most do. */
  const openssl = (version: string) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.async<{ readonly child: ReturnType<typeof spawn>; readonly port: string }>((resume) => {
          const child = spawn("openssl", [
            ...["s_server", "-accept", "127.0.0.1:0", version, "-Verify", "1", "-verify_return_error"],
            ...["-CAfile", file("ca.pem", ca), "-cert", file("good.pem", good.cert)],
            ...["-key", file("good.key", Redacted.value(good.key))]
          ])
          let printed = ""
          child.stdout.on("data", (bytes) => {
            printed += String(bytes)
            const port = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(printed)?.[1]
            if (port !== undefined) resume(Effect.succeed({ child, port }))
          })
        }),
        ({ child }) =>
          Effect.async<void>((resume) => {
            child.once("exit", () => resume(Effect.void))
            child.kill("SIGKILL")
          })
      ),
      ({ port }) => `wss://localhost:${port}/`
    )

  for (const [version, tls, code, detail] of [
    [
      "-tls1_3",
      { ca },
      // TLSV1 in BoringSSL.
      expect.stringMatching(/^ERR_SSL_TLSV1(3)?_ALERT_CERTIFICATE_REQUIRED$/),
      /localhost wants a client certificate; give one with its key as `tls`/
    ],
    [
      "-tls1_3",
      { ca, ...selfSigned },
      "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
      /localhost refused the client certificate: unknown ca/
    ],
    [
      "-tls1_2",
      { ca },
      // SSLV3 until OpenSSL 3.5, SSL/TLS since.
      expect.stringMatching(/^ERR_SSL_(SSLV3|SSL\/TLS)_ALERT_HANDSHAKE_FAILURE$/),
      /localhost .* may want a client certificate/
    ],
    ["-tls1_2", { ca, ...selfSigned }, "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", /localhost refused the client certificate/]
  ] as const) {
    it.scopedLive(
      `that ${"cert" in tls ? "is refused" : "is missing"} is named by the error (openssl ${version})`,
      () =>
        Effect.gen(function* () {
          const error = yield* refusedBy(yield* openssl(version), { tls })
          expect(error).toMatchObject({ _tag: "ConnectError", reason: "tls", code })
          expect(error.message).toMatch(detail)
        }).pipe(Effect.provide(NodeNetwork.layer))
    )
  }

  test(
    "may be why a server hangs up without a word, and the error says so",
    Effect.gen(function* () {
      const listening = yield* rawServer({ address: loopback, tls: server })
      const error = yield* refusedBy(urlOf(listening.address), { tls: { ca, ...selfSigned } })
      expect(error._tag).toBe("HandshakeError")
      expect(error.message).toMatch(/without an answer; over TLS that may be its verdict on a client certificate/)
    })
  )
})

describe("TLS offers", () => {
  const secrets = { cert: good.cert, key: Redacted.value(good.key) }

  test(
    "HTTP/1.1 and nothing else, and the server's name",
    Effect.gen(function* () {
      const offered: Array<unknown> = []
      const server = Tls.createServer({ ...secrets, ALPNProtocols: ["h2", "http/1.1"] }, (socket) => {
        offered.push(socket.alpnProtocol, socket.servername)
        socket.destroy()
      })
      const port = yield* nodeFixtures.rawServer(server)
      const address = { ...loopback, port }
      const error = yield* refusedBy(`wss://flow.test:${port}/`, { tls: { ca }, address })
      expect(error._tag).toBe("HandshakeError")
      expect(offered).toEqual(["http/1.1", "flow.test"])
    })
  )

  test(
    "what a server for HTTP/2 alone refuses, and the error says so",
    Effect.gen(function* () {
      const server = Tls.createServer({ ...secrets, ALPNProtocols: ["h2"] })
      const port = yield* nodeFixtures.rawServer(server)
      const error = yield* refusedBy(`wss://localhost:${port}/`, { tls: { ca } })
      expect(error).toMatchObject({ reason: "tls", code: "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL" })
      expect(error.message).toMatch(/localhost doesn't offer HTTP\/1\.1/)
    })
  )

  test(
    "no version below 1.2, and the error says so",
    Effect.gen(function* () {
      const server = Tls.createServer({
        ...secrets,
        minVersion: "TLSv1.1",
        maxVersion: "TLSv1.1",
        // BoringSSL knows no levels.
        ...("Bun" in globalThis ? undefined : { ciphers: "ALL:@SECLEVEL=0" })
      })
      const port = yield* nodeFixtures.rawServer(server)
      const error = yield* refusedBy(`wss://localhost:${port}/`, { tls: { ca } })
      expect(error).toMatchObject({ reason: "tls", code: expect.stringMatching(/PROTOCOL/) })
      expect(error.message).toMatch(/no version of TLS in common/)
    })
  )
})

describe("the key log", () => {
  for (const maxVersion of ["TLSv1.3", "TLSv1.2"] as const) {
    test(
      `hears all secrets of the session, as the server knows them (${maxVersion})`,
      Effect.gen(function* () {
        const lines: Array<string> = []
        const theirs: Array<string> = []
        const server = Tls.createServer({ cert: good.cert, key: Redacted.value(good.key), maxVersion })
        server.on("keylog", (line) => theirs.push(line.toString()))
        server.on("secureConnection", (socket) =>
          socket
            .on("error", () => {})
            .resume()
            .end("HTTP/1.1 403 No\r\n\r\n")
        )
        const port = yield* nodeFixtures.rawServer(server)
        const error = yield* refusedBy(`wss://localhost:${port}/`, { tls: { ca, keyLog: (line) => lines.push(line) } })
        expect(error).toMatchObject({ status: 403 })
        expect(lines.length).toBe(maxVersion === "TLSv1.3" ? 5 : 1)
        expect(lines.sort()).toEqual(theirs.sort())
        expect(lines.every((line) => /^[A-Z_0-9]+ [0-9a-f]{64} [0-9a-f]+\n$/.test(line))).toBe(true)
      })
    )
  }

  test(
    "that throws fails the connection, and nothing else",
    Effect.gen(function* () {
      const listening = yield* rawServer({ address: loopback, tls: good })
      const keyLog = () => {
        throw new Error("disk full")
      }
      const error = yield* refusedBy(urlOf(listening.address), { tls: { ca, keyLog } })
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "tls", detail: "disk full" })
    })
  )
})
