import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted, Schema, Stream } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"
import { makeCertificates } from "../fixtures/certificates.js"
import { cli, file, fileWith, serve } from "../fixtures/cli.js"
import { program } from "../fixtures/process.js"

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const connect = (url: string, options?: WebSocket.ConnectOptions) =>
  Effect.flatMap(Layer.build(NodeNetwork.layer), (context) => Effect.provide(WebSocket.connect(url, options), context))

/** The command as a server, once it listens. */
const listen = (...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const child = yield* cli(["listen", "0", ...args])
    const [, url = ""] = yield* args.includes("--json")
      ? child.line(/^\{"type":"listening","url":"(.*)"\}$/)
      : child.note(/^listening on (\S+), (?:echoing|broadcasting); Ctrl-C ends it$/)
    return { ...child, url }
  })

const events = (lines: ReadonlyArray<string>) => lines.map((line) => Schema.decodeUnknownSync(Schema.parseJson())(line))

describe("listen", () => {
  it.scopedLive("sends messages back, prints them, and tells who comes and goes", () =>
    Effect.gen(function* () {
      const server = yield* listen()
      const socket = yield* connect(server.url)
      yield* socket.send("hello")
      yield* socket.send(Uint8Array.of(0x48, 0x0a))
      expect([yield* socket.receive, yield* socket.receive]).toEqual(["hello", Uint8Array.of(0x48, 0x0a)])
      yield* socket.close(4000, "bye\u001b[2J")
      yield* server.note(/^127\.0\.0\.1:\d+ closed with 4000 "bye\\x1b\[2J"$/)
      yield* server.kill("SIGINT")
      const { code, stderr, stdout } = yield* server.exit
      expect({ code, stdout }).toEqual({ code: 130, stdout: ["hello", "H"] })
      expect(stderr[1]).toMatch(/^127\.0\.0\.1:\d+ connected to ws:\/\/127\.0\.0\.1:\d+\/$/)
    })
  )

  it.scopedLive("prints messages and events as JSON, with whose they are", () =>
    Effect.gen(function* () {
      const server = yield* listen("--json", "--subprotocol", "feed.v2", "-s", "feed.v1")
      const socket = yield* connect(`${server.url}a?b`, { subprotocols: ["feed.v1", "feed.v2"] })
      yield* socket.send("hello")
      expect(yield* socket.receive).toBe("hello")
      yield* socket.close(4000, "bye")
      yield* server.line(/"close"/)
      yield* server.kill("SIGTERM")
      const { code, stderr, stdout } = yield* server.exit
      expect({ code, stderr }).toEqual({ code: 143, stderr: [] })
      const from = expect.stringMatching(/^127\.0\.0\.1:\d+$/)
      expect(events(stdout)).toEqual([
        { type: "listening", url: server.url },
        { type: "open", from, url: `${server.url}a?b`, subprotocol: "feed.v2" },
        { type: "text", data: "hello", from },
        { type: "close", from, code: 4000, reason: "bye" }
      ])
    })
  )

  it.scopedLive("--broadcast sends messages to all others, and isn't held up by one that doesn't read", () =>
    Effect.gen(function* () {
      const server = yield* listen("--broadcast", "--deflate")
      const [from, to, deaf] = yield* Effect.all([connect(server.url), connect(server.url), connect(server.url)])
      yield* server.note(new RegExp(`:${portOf(deaf)} connected`))
      const count = 200
      const heard = yield* Effect.fork(Stream.runCollect(Stream.take(to.messages, count)))
      for (let index = 0; index < count; index++) yield* from.send(`${index}${"x".repeat(128 * 1024)}`)
      const numbers = Array.from(yield* Fiber.join(heard), (message) => parseInt(String(message), 10))
      expect(numbers).toEqual(Array.from({ length: count }, (_, index) => index))
      yield* to.send("last")
      expect(yield* from.receive).toBe("last")
    })
  )

  it.scopedLive("closes with 1001 when it is told to end", () =>
    Effect.gen(function* () {
      const server = yield* listen()
      const socket = yield* connect(server.url)
      yield* server.kill("SIGTERM")
      expect(yield* socket.closed).toMatchObject({ code: 1001, clean: true, initiator: "remote" })
      expect((yield* server.exit).code).toBe(143)
    })
  )

  it.scopedLive("speaks TLS with --cert and --key", () =>
    Effect.gen(function* () {
      const { ca, good } = makeCertificates()
      const server = yield* listen(
        ...["--cert", yield* fileWith(good.cert), "--key", yield* fileWith(Redacted.value(good.key))]
      )
      expect(server.url).toMatch(/^wss:/)
      const socket = yield* connect(server.url.replace("127.0.0.1", "localhost"), { tls: { ca } })
      yield* socket.send("hello")
      expect(yield* socket.receive).toBe("hello")
    })
  )

  it.scopedLive("lets pages of other sites in with --any-origin only", () =>
    Effect.gen(function* () {
      const headers = { origin: "https://other.example" }
      const strict = yield* listen()
      expect(yield* Effect.flip(Effect.asVoid(connect(strict.url, { headers })))).toMatchObject({
        _tag: "HandshakeError",
        status: 403
      })
      const open = yield* listen("--any-origin")
      expect((yield* connect(open.url, { headers })).role).toBe("client")
    })
  )

  it.scopedLive("accepts what --max-payload says", () =>
    Effect.gen(function* () {
      const server = yield* listen("--max-payload", "10")
      const socket = yield* connect(server.url)
      yield* socket.send("12345678901")
      expect(yield* socket.closed).toMatchObject({ code: 1009 })
      yield* server.note(/sent too much/)
    })
  )

  it.scopedLive("exits with 2 if the port is taken", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(() => Effect.void)
      const child = yield* cli(["listen", new URL(url).port])
      expect(yield* child.exit).toMatchObject({
        code: 2,
        stdout: [],
        stderr: [expect.stringMatching(/^listening on 127\.0\.0\.1:\d+ failed: .*EADDRINUSE/)]
      })
    })
  )

  it.scopedLive("ends quietly with 0, and its connections with 1001, when nobody reads on", () =>
    Effect.gen(function* () {
      const line = `$cli listen 0 --json | { read -r line; echo $line; }; echo \${PIPESTATUS[0]}`
      const cliLine = `${process.execPath} ${file}`
      const child = yield* program("bash", ["-c", line], { env: { cli: cliLine } })
      const [, url = ""] = yield* child.line(/"listening","url":"(.*)"/)
      const socket = yield* connect(url)
      // The first may still find the pipe open.
      yield* Effect.forever(Effect.zipRight(socket.send("hello"), socket.receive)).pipe(Effect.ignore)
      expect(yield* socket.closed).toMatchObject({ code: 1001 })
      const { stderr, stdout } = yield* child.exit
      expect({ stderr, last: stdout.at(-1) }).toEqual({ stderr: [], last: "0" })
    })
  )
})

const portOf = ({ localAddress }: WebSocket.WebSocket) => (localAddress._tag === "TcpAddress" ? localAddress.port : 0)
