import { lookup } from "node:dns/promises"
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Tls from "node:tls"
import { afterAll, describe, expect } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { type ListenOptions, Network, type TlsClientOptions } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { makeCertificates } from "./fixtures/certificates.js"
import { bytes, closed, reading, settle } from "./fixtures/heard.js"
import { event, listening, live, loopback, openResources, rawClient, rawServer } from "./fixtures/node.js"
import { networkSuite } from "./suites/network.js"

const certificates = makeCertificates()
const directory = mkdtempSync(join(tmpdir(), "effect-websocket-"))
afterAll(() => rmSync(directory, { recursive: true }))
let files = 0

networkSuite("NodeNetwork over TCP", {
  layer: NodeNetwork.layer,
  listenOn: () => ({ address: loopback }),
  openResources
})

networkSuite("NodeNetwork over TLS", {
  layer: NodeNetwork.layer,
  listenOn: () => ({ address: loopback, tls: certificates.good }),
  tls: { ca: certificates.ca },
  openResources
})

networkSuite("NodeNetwork over a Unix socket", {
  layer: NodeNetwork.layer,
  listenOn: () => ({ address: { _tag: "UnixAddress", path: join(directory, `${files++}.sock`) } }),
  openResources
})

describe("connect", () => {
  const failsOverTls = (
    title: string,
    server: ListenOptions["tls"],
    tls: TlsClientOptions,
    expected: { readonly code: string; readonly detail: RegExp },
    hostname = "127.0.0.1"
  ) =>
    live(
      title,
      Effect.gen(function* () {
        const { flows, port } = yield* listening({ address: loopback, tls: server })
        const { connect } = yield* Network
        const error = yield* Effect.flip(connect({ address: { _tag: "TcpAddress", hostname, port }, tls }))
        expect(error).toMatchObject({ _tag: "ConnectError", reason: "tls", code: expected.code })
        expect(error.detail).toMatch(expected.detail)
        expect(error.detail).toContain(expected.code)
        expect(error.cause).toBeInstanceOf(Error)
        if (server !== undefined) expect(flows.every((flow) => flow.secure)).toBe(true)
      })
    )
  const { ca, expired, good, selfSigned, wrongName } = certificates

  failsOverTls(
    "says that a certificate has expired, and whose",
    expired,
    { ca },
    {
      code: "CERT_HAS_EXPIRED",
      detail: /certificate of 127\.0\.0\.1 has expired/
    }
  )
  failsOverTls(
    "says that the authority is unknown",
    good,
    {},
    {
      code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      detail: /unknown authority: the certificate of 127\.0\.0\.1 .*`ca`/
    }
  )
  failsOverTls(
    "says that a certificate signed itself",
    selfSigned,
    { ca },
    {
      code: "DEPTH_ZERO_SELF_SIGNED_CERT",
      detail: /unknown authority/
    }
  )
  failsOverTls(
    "says which name doesn't match",
    wrongName,
    { ca },
    {
      code: "ERR_TLS_CERT_ALTNAME_INVALID",
      detail: /name mismatch: the certificate isn't for localhost: .*other\.test/
    },
    "localhost"
  )
  failsOverTls(
    "verifies an IP address, too",
    wrongName,
    { ca },
    {
      code: "ERR_TLS_CERT_ALTNAME_INVALID",
      detail: /isn't for 127\.0\.0\.1/
    }
  )
  failsOverTls(
    "verifies `servername` instead of the host, if given",
    good,
    { ca, servername: "nobody.test" },
    {
      code: "ERR_TLS_CERT_ALTNAME_INVALID",
      detail: /isn't for nobody\.test/
    }
  )
  failsOverTls(
    "refuses a certificate of its own that is no PEM",
    good,
    { ca, cert: "nonsense" },
    {
      code: "ERR_OSSL_PEM_NO_START_LINE",
      detail: /client certificate or its key is no PEM/
    }
  )

  const echoesOverTls = (title: string, server: ListenOptions["tls"], tls: TlsClientOptions, hostname: string) =>
    live(
      title,
      Effect.gen(function* () {
        const { port } = yield* listening({ address: loopback, tls: server }, (flow) => {
          reading(flow, { data: (chunk) => void flow.write(chunk, false) })
        })
        const { connect } = yield* Network
        const flow = yield* connect({ address: { _tag: "TcpAddress", hostname, port }, tls })
        const handler = reading(flow)
        flow.write(bytes("secret"), false)
        yield* handler.until(({ text }) => text() === "secret")
        expect(flow.secure).toBe(true)
      })
    )

  echoesOverTls("accepts a name with a dot at its end", good, { ca, servername: "flow.test." }, "127.0.0.1")
  echoesOverTls("accepts another name that the certificate has", good, { ca, servername: "flow.test" }, "127.0.0.1")
  echoesOverTls("accepts several authorities", good, { ca: [selfSigned.cert, ca] }, "127.0.0.1")
  echoesOverTls("accepts anything with verify: false", expired, { verify: false }, "localhost")
  echoesOverTls(
    "sends a client certificate to a server that wants one",
    { ...good, clientCa: [ca] },
    { ca, ...certificates.client },
    "localhost"
  )

  live(
    "without the client certificate that a server wants closes the flow with an error",
    Effect.gen(function* () {
      const { address, flows } = yield* listening({ address: loopback, tls: { ...good, clientCa: ca } })
      const { connect } = yield* Network
      const handler = reading(yield* connect({ address, tls: { ca } }))
      yield* closed(handler)
      expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "read" })
      expect(flows).toEqual([])
    })
  )

  live(
    "sends the host's name to the server, but no IP address",
    Effect.gen(function* () {
      const names: Array<unknown> = []
      const options = { cert: good.cert, key: Redacted.value(good.key) }
      const server = Tls.createServer(options, (socket) => {
        names.push(socket.servername)
        expect(socket.alpnProtocol).toBe(false)
        socket.on("error", () => {})
      })
      const port = yield* rawServer(server)
      const { connect } = yield* Network
      for (const hostname of ["localhost", "127.0.0.1"]) {
        const accepted = yield* Effect.fork(event(server, "secureConnection"))
        yield* Effect.yieldNow()
        yield* Effect.scoped(
          Effect.zipRight(
            connect({ address: { _tag: "TcpAddress", hostname, port }, tls: { ca } }),
            Fiber.join(accepted)
          )
        )
      }
      // Where there is none, Node says false and Deno null.
      expect(names.map((name) => name || "none")).toEqual(["localhost", "none"])
    })
  )

  live(
    "names the stage and says what to do for a host that doesn't exist, a port nobody listens on, and one out of range",
    Effect.gen(function* () {
      const { connect } = yield* Network
      const failing = (hostname: string, port: number, tls?: TlsClientOptions) =>
        Effect.flip(connect({ address: { _tag: "TcpAddress", hostname, port }, tls }))
      const dns = yield* failing("does-not-exist.invalid", 80)
      expect(dns.reason).toBe("dns")
      expect(dns.detail).toMatch(/"does-not-exist\.invalid"/)
      expect((yield* failing("does-not-exist.invalid", 80, {})).reason).toBe("dns")
      const { port } = yield* Effect.scoped(listening({ address: loopback }))
      for (const error of [yield* failing("localhost", port), yield* failing("127.0.0.1", port, {})]) {
        expect(error).toMatchObject({ reason: "tcp", code: "ECONNREFUSED" })
        expect(error.detail).toMatch(/nobody listens there/)
      }
      expect(yield* failing("127.0.0.1", 70_000, {})).toMatchObject({ reason: "tcp", code: "ERR_SOCKET_BAD_PORT" })
      const unix = yield* Effect.flip(connect({ address: { _tag: "UnixAddress", path: join(directory, "nothing") } }))
      expect(unix).toMatchObject({ reason: "tcp", code: "ENOENT" })
    })
  )

  live(
    "names the TLS stage when the server speaks none, or hangs up",
    Effect.gen(function* () {
      const { connect } = yield* Network
      const failing = (answer: (socket: Net.Socket) => void) =>
        Effect.scoped(
          Effect.gen(function* () {
            const port = yield* rawServer(Net.createServer((socket) => void answer(socket.on("error", () => {}))))
            return yield* Effect.flip(connect({ address: { ...loopback, port }, tls: {} }))
          })
        )
      const plain = yield* failing((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))
      expect(plain.reason).toBe("tls")
      expect(plain.detail).toMatch(/doesn't speak TLS/)
      const hungUp = yield* failing((socket) => socket.end())
      expect(hungUp).toMatchObject({ reason: "tls", code: "ECONNRESET" })
      expect(hungUp.detail).toMatch(/hung up during the TLS handshake/)
    })
  )

  live(
    "that is interrupted in the TLS handshake closes the socket",
    Effect.gen(function* () {
      const server = Net.createServer()
      const port = yield* rawServer(server)
      const gone = yield* Deferred.make<void>()
      server.on("connection", (socket) => {
        socket.resume().on("error", () => {})
        socket.on("close", () => Deferred.unsafeDone(gone, Exit.void))
      })
      const accepted = yield* Effect.fork(event(server, "connection"))
      yield* Effect.yieldNow()
      const { connect } = yield* Network
      const fiber = yield* Effect.fork(connect({ address: { ...loopback, port }, tls: {} }))
      yield* Fiber.join(accepted)
      yield* settle
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(gone)
    })
  )
})

describe("listen", () => {
  const failing = (options: ListenOptions) =>
    Effect.flatMap(Network, ({ listen }) => Effect.flip(listen(options, () => {})))

  live(
    "says what is wrong with an address or a certificate",
    Effect.gen(function* () {
      const foreign = yield* failing({ address: { ...loopback, hostname: "192.0.2.1" } })
      expect(foreign).toMatchObject({ _tag: "ListenError", code: "EADDRNOTAVAIL", address: "192.0.2.1:0" })
      expect(foreign.detail).toMatch(/isn't one of this machine's/)
      const folder = yield* failing({ address: { _tag: "UnixAddress", path: join(directory, "missing", "x.sock") } })
      expect(["ENOENT", "EACCES"]).toContain(folder.code)
      const stale = join(directory, "stale.sock")
      writeFileSync(stale, "")
      const taken = yield* failing({ address: { _tag: "UnixAddress", path: stale } })
      expect(taken.detail).toMatch(/path exists already.*EADDRINUSE/)
      const range = yield* failing({ address: { ...loopback, port: 70_000 } })
      expect(range.code).toBe("ERR_SOCKET_BAD_PORT")
      const { cert } = certificates.good
      const noPem = yield* failing({ address: loopback, tls: { cert, key: Redacted.make("nonsense") } })
      expect(noPem.detail).toMatch(/certificate or its key can't be used/)
      const mismatch = yield* failing({ address: loopback, tls: { cert, key: certificates.expired.key } })
      expect(mismatch.detail).toMatch(/certificate or its key can't be used.*mismatch/i)
      expect(mismatch.cause).toBeInstanceOf(Error)
    })
  )

  live(
    "removes the file of a Unix socket with its scope",
    Effect.gen(function* () {
      const path = join(directory, "removed.sock")
      yield* Effect.scoped(
        Effect.zipRight(
          listening({ address: { _tag: "UnixAddress", path } }),
          Effect.sync(() => expect(statSync(path).isSocket()).toBe(true))
        )
      )
      expect(() => statSync(path)).toThrow(/ENOENT/)
    })
  )

  live(
    "that is interrupted leaves no server",
    Effect.gen(function* () {
      const { listen } = yield* Network
      const before = yield* openResources
      for (const hostname of ["127.0.0.1", "localhost"]) {
        for (let turns = 0; turns < 4; turns++) {
          const fiber = yield* Effect.fork(listen({ address: { ...loopback, hostname } }, () => {}).pipe(Effect.scoped))
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow()
          yield* Fiber.interrupt(fiber)
        }
      }
      // Behind the host name's lookups that are still under way.
      yield* Effect.promise(() => lookup("localhost"))
      yield* settle
      yield* openResources.pipe(Effect.tap(settle), Effect.repeat({ until: (open) => open <= before }))
    })
  )

  live(
    "over TLS drops those that are in the handshake when its scope closes, and keeps the others",
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const server = yield* Scope.extend(
        Effect.flatMap(Network, ({ listen }) =>
          listen({ address: loopback, tls: certificates.good }, (flow) => {
            reading(flow, { data: (chunk) => void flow.write(chunk, false), end: () => flow.end() })
          })
        ),
        scope
      )
      const { connect } = yield* Network
      const client = yield* connect({ address: server.address, tls: { ca: certificates.ca } })
      const atClient = reading(client)
      client.write(bytes("a"), false)
      yield* atClient.until(({ text }) => text() === "a")
      const silent = yield* rawClient(server.address._tag === "TcpAddress" ? server.address.port : 0)
      yield* settle
      silent.resume()
      const dropped = yield* Effect.fork(event(silent, "close"))
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(dropped)
      client.write(bytes("b"), false)
      yield* atClient.until(({ text }) => text() === "ab")
      client.end()
      yield* closed(atClient)
    })
  )
})
