import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createServer, request as httpRequest } from "node:http"
import { lookup } from "node:dns/promises"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duplex, PassThrough } from "node:stream"
import * as Tls from "node:tls"
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { afterAll, describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted, Scope } from "effect"
import type { Flow, Handler } from "effect-websocket/Flow"
import { type ListenOptions, Network, type TlsClientOptions } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { makeCertificates } from "./fixtures/certificates.js"
import { bytes, type Heard, heard, pattern, settle } from "./fixtures/heard.js"
import { networkSuite } from "./suites/network.js"

const certificates = makeCertificates()
const directory = mkdtempSync(join(tmpdir(), "effect-websocket-"))
afterAll(() => rmSync(directory, { recursive: true }))
let files = 0

const openResources = Effect.sync(
  () => process.getActiveResourcesInfo().filter((resource) => /TCP|TLS|Pipe/.test(resource)).length
)

const loopback = { _tag: "TcpAddress", hostname: "127.0.0.1", port: 0 } as const

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

const reading = (flow: Flow, react?: Partial<Handler>): Heard => {
  const handler = heard(react)
  flow.attach(handler)
  flow.resume()
  return handler
}
const closed = (handler: Heard) => handler.until(({ events }) => events.includes("close"))

/** Waits for an event of one of Node's emitters. */
const event = (emitter: NodeJS.EventEmitter, name: string) =>
  Effect.async<void>((resume) => {
    emitter.once(name, () => resume(Effect.void))
  })

/** Listens, with the flows that were accepted so far, which the scope destroys. */
const listening = (options: ListenOptions, onFlow: (flow: Flow) => void = () => {}) =>
  Effect.gen(function* () {
    const { listen } = yield* Network
    const flows: Array<Flow> = []
    const first = yield* Deferred.make<Flow>()
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const flow of flows) flow.destroy()
      })
    )
    const { address } = yield* listen(options, (flow) => {
      flows.push(flow)
      onFlow(flow)
      Deferred.unsafeDone(first, Exit.succeed(flow))
    })
    return { address, flows, first: Deferred.await(first), port: address._tag === "TcpAddress" ? address.port : 0 }
  })

/** A peer that is a plain Node socket, so that it can misbehave. */
const rawClient = (port: number) =>
  Effect.acquireRelease(
    Effect.async<Net.Socket>((resume) => {
      const socket: Net.Socket = Net.connect(port, "127.0.0.1", () => resume(Effect.succeed(socket)))
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** A plain Node server, of which the scope destroys everything. */
const rawServer = (server: Net.Server) =>
  Effect.acquireRelease(
    Effect.async<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () => Effect.sync(() => server.close())
  )

const live = <E>(title: string, body: Effect.Effect<unknown, E, Network | Scope.Scope>) =>
  it.live(title, () => body.pipe(Effect.scoped, Effect.provide(NodeNetwork.layer)))

describe("a real reset", () => {
  const resets = (title: string, tls: ListenOptions["tls"], before: (socket: Net.Socket) => Effect.Effect<unknown>) =>
    live(
      title,
      Effect.gen(function* () {
        const heardAtServer: Array<Heard> = []
        const server = yield* listening({ address: loopback, tls }, (flow) => heardAtServer.push(reading(flow)))
        const socket = yield* rawClient(server.port)
        yield* before(socket)
        socket.resetAndDestroy()
        // The listener still serves.
        const { connect } = yield* Network
        const client = yield* connect({
          address: server.address,
          tls: tls === undefined ? undefined : { ca: certificates.ca }
        })
        client.write(bytes("still there?"), false)
        yield* Effect.iterate(undefined, {
          while: () => heardAtServer.at(-1)?.text() !== "still there?",
          body: () => settle
        })
        yield* settle
        // Whoever was accepted before hears of the reset, and of nothing after it.
        for (const handler of heardAtServer.slice(0, -1)) {
          yield* closed(handler)
          expect(handler.events.at(-1)).toBe("close")
          expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "read", code: "ECONNRESET" })
        }
      })
    )

  resets("right after the connection was made harms nobody else", undefined, () => Effect.void)
  resets("of an accepted flow closes it with ECONNRESET", undefined, () => settle)
  resets("in the middle of data closes it with ECONNRESET", undefined, (socket) =>
    Effect.zipRight(
      Effect.sync(() => socket.write(pattern(10_000))),
      settle
    )
  )
  resets("before a TLS handshake harms nobody else", certificates.good, () => settle)
  resets("in the middle of a TLS handshake harms nobody else", certificates.good, (socket) =>
    Effect.zipRight(
      // The beginning of a ClientHello.
      Effect.sync(() => socket.write(Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3))),
      settle
    )
  )

  live(
    "right behind data is an end or a close, never a throw",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback })
      const socket = yield* rawClient(server.port)
      const handler = reading(yield* server.first)
      socket.write(pattern(10_000))
      socket.resetAndDestroy()
      // Node reports a reset that it finds together with the last data as an end.
      yield* handler.until(({ events }) => events.includes("end") || events.includes("close"))
    })
  )

  live(
    "of a flow that nobody has attached to yet is kept for the one who does",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback })
      const socket = yield* rawClient(server.port)
      const flow = yield* server.first
      socket.resetAndDestroy()
      while (flow.write(bytes("x"), false)) yield* settle
      const handler = heard()
      flow.attach(handler)
      yield* closed(handler)
      expect(handler.events).toEqual(["close"])
      expect(handler.error()?._tag).toBe("IoError")
    })
  )

  live(
    "after the end closes the flow with an error of the write that meets it",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback })
      const socket = yield* rawClient(server.port)
      const flow = yield* server.first
      const handler = reading(flow)
      socket.end()
      yield* handler.until(({ events }) => events.includes("end"))
      socket.resetAndDestroy()
      while (!handler.events.includes("close")) {
        flow.write(bytes("x"), false)
        yield* settle
      }
      expect(handler.events.filter((event) => event !== "drain")).toEqual(["end", "close"])
      expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "write" })
    })
  )

  live(
    "of the TCP connection under TLS closes the flow with an error",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback, tls: certificates.good })
      const tcp = yield* rawClient(server.port)
      const socket = Tls.connect({
        socket: Duplex.from({ readable: tcp, writable: tcp }),
        ca: certificates.ca,
        servername: "localhost"
      })
      socket.on("error", () => {})
      yield* event(socket, "secureConnect")
      const flow = yield* server.first
      const handler = reading(flow)
      socket.resume()
      flow.write(bytes("hello"), false)
      yield* event(socket, "data")
      yield* settle
      tcp.resetAndDestroy()
      yield* closed(handler)
      expect(handler.error()).toMatchObject({ _tag: "IoError", code: "ECONNRESET" })
    })
  )

  live(
    "doesn't need close_notify: a TLS peer's bare FIN is an end",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback, tls: certificates.good })
      const tcp = yield* rawClient(server.port)
      const socket = Tls.connect({ socket: tcp, ca: certificates.ca, servername: "localhost" })
      socket.on("error", () => {})
      yield* event(socket, "secureConnect")
      const flow = yield* server.first
      const handler = reading(flow)
      socket.resume()
      flow.write(bytes("hello"), false)
      yield* event(socket, "data")
      tcp.end()
      yield* handler.until(({ events }) => events.includes("end"))
      flow.destroy()
      yield* closed(handler)
      expect(handler.error()).toBeUndefined()
    })
  )
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
      detail: /no start line/i
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
      expect(names).toEqual(["localhost", false])
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
      expect(mismatch.detail).toMatch(/certificate or its key can't be used.*mismatch/)
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

describe("fromDuplex", () => {
  it.live("makes a flow of any stream of bytes, which keeps no listener on it after the close", () =>
    Effect.gen(function* () {
      const stream = new PassThrough()
      const own = ["error", "close", "data", "end", "drain"].map((name) => stream.listenerCount(name))
      const address = { _tag: "TcpAddress", hostname: "tunnel", port: 1 } as const
      const flow = NodeNetwork.fromDuplex(stream, { remoteAddress: address, secure: true })
      expect([flow.remoteAddress, flow.localAddress, flow.secure]).toEqual([
        address,
        { _tag: "UnixAddress", path: "" },
        true
      ])
      const handler = reading(flow)
      flow.write(bytes("echo"), false)
      flow.end()
      yield* closed(handler)
      expect(handler.text()).toBe("echo")
      expect(handler.events.filter((event) => event !== "drain")).toEqual(["data", "end", "close"])
      expect(["error", "close", "data", "end", "drain"].map((name) => stream.listenerCount(name))).toEqual(own)
    })
  )

  it.live("hears of what happened to a stream before it became a flow", () =>
    Effect.gen(function* () {
      const broken = new PassThrough()
      broken.on("error", () => {})
      broken.destroy(Object.assign(new Error("gone"), { code: "EPIPE" }))
      const pending = reading(NodeNetwork.fromDuplex(broken))
      yield* closed(pending)
      const afterwards = reading(NodeNetwork.fromDuplex(broken))
      yield* closed(afterwards)
      for (const handler of [pending, afterwards]) {
        expect(handler.events).toEqual(["close"])
        expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "write", code: "EPIPE" })
      }
      const ended = new PassThrough()
      ended.end()
      ended.resume()
      yield* event(ended, "close")
      const late = reading(NodeNetwork.fromDuplex(ended))
      yield* closed(late)
      expect(late.events).toEqual(["end", "close"])
      expect(late.error()).toBeUndefined()
      const destroyed = new PassThrough()
      const flow = NodeNetwork.fromDuplex(destroyed)
      const handler = heard()
      flow.attach(handler)
      destroyed.destroy()
      yield* closed(handler)
      expect(handler.error()).toBeUndefined()
    })
  )

  it.live("lets a socket be half open that wasn't made for it", () =>
    Effect.gen(function* () {
      const got = heard()
      const server = Net.createServer({ allowHalfOpen: true }, (socket) => {
        socket.on("data", (chunk) => got.data(chunk)).on("end", () => got.end())
        socket.end("bye")
      })
      const port = yield* rawServer(server)
      const flow = NodeNetwork.fromDuplex(yield* rawClient(port))
      const handler = reading(flow)
      yield* handler.until(({ events }) => events.includes("end"))
      yield* settle
      flow.write(bytes("more"), false)
      flow.end()
      yield* closed(handler)
      yield* got.until(({ events }) => events.includes("end"))
      expect([handler.text(), got.text()]).toEqual(["bye", "more"])
    }).pipe(Effect.scoped)
  )

  it.live("closes on an error of a stream that wouldn't by itself", () =>
    Effect.gen(function* () {
      const stream = new Duplex({ autoDestroy: false, read() {}, write() {} })
      const handler = reading(NodeNetwork.fromDuplex(stream))
      stream.emit("error", new Error("no code"))
      yield* closed(handler)
      expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "read", address: "unix:" })
      expect(handler.error()?.code).toBeUndefined()
    })
  )

  it.live("sends writes that announce more in one piece", () =>
    Effect.gen(function* () {
      const batches: Array<number> = []
      const stream = new Duplex({
        read() {},
        writev(chunks, done) {
          batches.push(chunks.length)
          done()
        }
      })
      const flow = NodeNetwork.fromDuplex(stream)
      flow.write(bytes("head"), true)
      flow.write(bytes("er"), true)
      flow.write(bytes("body"), false)
      expect(batches).toEqual([3])
      flow.destroy()
      yield* settle
    })
  )
})

describe("upgrade", () => {
  /** An HTTP server whose handler takes the connection over, once `gate` is open. */
  const served = (
    gate: Effect.Effect<void>,
    use: (
      flow: Flow,
      request: HttpServerRequest.HttpServerRequest
    ) => Effect.Effect<unknown, unknown, Network | Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const asked = yield* Deferred.make<void>()
      const server = NodeNetwork.prepareServer(createServer())
      const http = yield* NodeHttpServer.make(() => server, { host: "127.0.0.1", port: 0 })
      const network = yield* Network
      const done = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
      yield* http.serve(
        Effect.gen(function* () {
          const request = yield* HttpServerRequest.HttpServerRequest
          yield* Deferred.succeed(asked, undefined)
          yield* gate
          const exit = yield* network.upgrade(request).pipe(
            Effect.flatMap((flow) => use(flow, request)),
            Effect.provideService(Network, network),
            Effect.scoped,
            Effect.uninterruptible,
            Effect.exit
          )
          yield* Deferred.succeed(done, exit)
          // A body would be written to the connection that is no longer the HTTP server's.
          return HttpServerResponse.empty()
        })
      )
      return {
        port: http.address._tag === "TcpAddress" ? http.address.port : 0,
        asked: Deferred.await(asked),
        done: Effect.flatten(Deferred.await(done))
      }
    })

  const head = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

  live(
    "takes the connection over, with the bytes that came right behind the request",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, (flow) =>
        Effect.gen(function* () {
          const handler = reading(flow)
          yield* handler.until(({ text }) => text().length >= 9)
          flow.write(bytes(`got ${handler.text()}`), false)
          flow.end()
          yield* closed(handler)
          return [handler.events, flow.secure, flow.localAddress]
        })
      )
      const client = yield* rawClient(port)
      const answer: Array<string> = []
      client.on("data", (chunk) => answer.push(String(chunk)))
      const over = yield* Effect.fork(event(client, "close"))
      client.write(`${head}early`)
      yield* settle
      client.write("late")
      yield* Fiber.join(over)
      expect(answer.join("")).toBe("got earlylate")
      expect(yield* done).toEqual([["data", "end", "close"], false, { ...loopback, port }])
    })
  )

  live(
    "destroys the flow when its scope closes, and the server's answer to it harms nobody",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, () => Effect.void)
      const client = yield* rawClient(port)
      client.resume()
      const over = yield* Effect.fork(event(client, "close"))
      yield* Effect.yieldNow()
      client.write(head)
      yield* done
      yield* Fiber.join(over)
    })
  )

  live(
    "of a connection that was reset in the meantime closes with the error, and nothing is thrown",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { asked, done, port } = yield* served(Effect.uninterruptible(Deferred.await(gate)), (flow) =>
        Effect.gen(function* () {
          const handler = reading(flow)
          yield* closed(handler)
          return [handler.events, handler.error()?.code]
        })
      )
      const client = yield* rawClient(port)
      client.write(head)
      yield* asked
      client.resetAndDestroy()
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      const exit = yield* Effect.exit(done)
      // The HTTP server interrupts the handler of a connection that is gone; if it came further, it heard of the reset.
      if (Exit.isSuccess(exit)) expect(exit.value).toEqual([["close"], "ECONNRESET"])
    })
  )

  live(
    "fails for a connection that was taken over already",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, (_, request) =>
        Effect.flatMap(Network, ({ upgrade }) => Effect.flip(upgrade(request)))
      )
      const client = yield* rawClient(port)
      client.write(head)
      expect(yield* done).toMatchObject({ _tag: "HandshakeError", rule: expect.stringContaining("already") })
    })
  )

  live(
    "fails for a request that asks for no upgrade, and for one of another platform",
    Effect.gen(function* () {
      const { done, port } = yield* served(Effect.void, () => Effect.void)
      httpRequest({ host: "127.0.0.1", port, agent: false }, (response) => response.resume()).end()
      expect(yield* Effect.flip(done)).toMatchObject({
        _tag: "HandshakeError",
        rule: expect.stringContaining("doesn't ask for an upgrade")
      })
      const { upgrade } = yield* Network
      const foreign = HttpServerRequest.fromWeb(new Request("http://x/"))
      expect(yield* Effect.flip(upgrade(foreign))).toMatchObject({
        _tag: "HandshakeError",
        rule: expect.stringContaining("Node HTTP server")
      })
    })
  )
})
