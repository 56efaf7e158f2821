import * as Net from "node:net"
import { describe, expect, it, vi } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Frame, NodeNetwork, WebSocket } from "effect-websocket"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const file = "examples/echo-server.ts"

const start = (env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const server = yield* tsx(file, [], { PORT: "0", ...env })
    const [, url = ""] = yield* server.line(/^listening on (ws:\S+)$/)
    return { server, url }
  })

const connect = (url: string, options?: WebSocket.ConnectOptions) =>
  WebSocket.connect(url, options).pipe(Effect.provide(NodeNetwork.layer))

/** Opens a connection, breaks the protocol with a reserved opcode, and waits to be thrown out. */
const breakIn = ({ hostname, port }: URL) =>
  Effect.async<void, Error>((resume) => {
    const socket = Net.connect(Number(port), hostname)
    socket.on("error", (error) => resume(Effect.fail(error)))
    socket.on("close", () => resume(Effect.void))
    socket.on("end", () => socket.end())
    socket.resume()
    const head = ["GET / HTTP/1.1", `Host: ${hostname}:${port}`, "Upgrade: websocket", "Connection: Upgrade"]
    const handshake = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    socket.write(`${[...head, ...handshake].join("\r\n")}\r\n\r\n`)
    socket.write(Buffer.from([0x8f, 0x80, 0, 0, 0, 0]))
    return Effect.sync(() => socket.destroy())
  })

class Url extends Context.Tag("Url")<Url, string>() {}

const running = (env?: Readonly<Record<string, string>>) =>
  Layer.scoped(
    Url,
    Effect.map(start(env), ({ url }) => url)
  )

describe("examples/echo-server.ts", () => {
  it.scopedLive("compresses with DEFLATE=1 whatever is offered, and not without it", () =>
    Effect.gen(function* () {
      const negotiated: Array<string | undefined> = []
      for (const DEFLATE of ["1", "0"]) {
        const { url } = yield* start({ DEFLATE })
        const socket = yield* connect(url, {
          deflate: { threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 8, serverNoContextTakeover: false }
        })
        negotiated.push(socket.headers["sec-websocket-extensions"])
        for (const message of ["", "a", "ab".repeat(40_000), new Uint8Array(70_000).fill(7)]) {
          yield* socket.send(message)
          expect(yield* socket.receive).toEqual(message)
        }
      }
      expect(negotiated).toEqual([
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=8",
        undefined
      ])
    })
  )

  it.scopedLive("sends every message back with its type, and says one line", () =>
    Effect.gen(function* () {
      const { server, url } = yield* start()
      expect(url).toMatch(/^ws:\/\/127\.0\.0\.1:\d+\/$/)
      const socket = yield* connect(url)
      for (const message of ["", "hello", "grüße 👋", new Uint8Array(0), new Uint8Array([1, 2, 3])]) {
        yield* socket.send(message)
        expect(yield* socket.receive).toEqual(message)
      }
      yield* socket.close()
      yield* server.kill("SIGTERM")
      const { code, stdout, stderr } = yield* server.exit
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: [`listening on ${url}`], stderr: [] })
    })
  )

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it.scopedLive(`closes every connection with 1001 and exits with 0 on ${signal}`, () =>
      Effect.gen(function* () {
        const { server, url } = yield* start()
        const sockets = yield* Effect.all([connect(url), connect(url), connect(url)], { concurrency: 3 })
        yield* server.kill(signal)
        for (const socket of sockets) {
          const closed = yield* socket.closed
          expect(closed).toMatchObject({ code: 1001, initiator: "remote", clean: true })
        }
        const { code, stderr } = yield* server.exit
        expect({ code, stderr }).toEqual({ code: 0, stderr: [] })
      })
    )
  }

  it.layer(running())("where nothing is said", (it) => {
    it.scoped("lets pages of every origin connect", () =>
      Effect.gen(function* () {
        const url = yield* Url
        const socket = yield* connect(url, { headers: { origin: "https://elsewhere.example" } })
        yield* socket.send("hello")
        expect(yield* socket.receive).toBe("hello")
      })
    )

    it.scoped("serves on after a client that breaks the protocol", () =>
      Effect.gen(function* () {
        const url = yield* Url
        yield* breakIn(new URL(url))
        const socket = yield* connect(url)
        yield* socket.send("still there?")
        expect(yield* socket.receive).toBe("still there?")
      })
    )

    it.scoped("takes 64 MiB and 200000 fragments where nothing else is said", () =>
      Effect.gen(function* () {
        const url = yield* Url
        const socket = yield* connect(url, { maxPayloadSize: 64 * 1024 * 1024 })
        const large = new Uint8Array(64 * 1024 * 1024)
        large[large.length - 1] = 7
        yield* socket.send(large)
        const echo = yield* socket.receive
        expect(typeof echo === "string" ? -1 : Buffer.compare(echo, large)).toBe(0)
        yield* socket.sendFrame(Frame.make({ opcode: Frame.Opcode.text, fin: false, payload: "a" }))
        const next = Frame.make({ opcode: Frame.Opcode.continuation, fin: false, payload: "b" })
        for (let sent = 1; sent < 199_999; sent++) yield* socket.sendFrame(next)
        yield* socket.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, fin: true, payload: "c" }))
        expect(yield* socket.receive).toHaveLength(200_000)
      })
    )
  })

  it.layer(running({ MAX_PAYLOAD: "1000", MAX_FRAGMENTS: "3" }))("with limits", (it) => {
    it.scoped("accepts messages up to MAX_PAYLOAD bytes, and closes with 1009 above", () =>
      Effect.gen(function* () {
        const url = yield* Url
        const socket = yield* connect(url)
        yield* socket.send("x".repeat(1000))
        expect(yield* socket.receive).toHaveLength(1000)
        yield* socket.send("x".repeat(1001))
        const closed = yield* Effect.flip(socket.receive)
        expect(closed).toMatchObject({ _tag: "ConnectionClosed", code: 1009 })
      })
    )

    it.scoped("accepts messages of MAX_FRAGMENTS frames, and closes with 1009 above", () =>
      Effect.gen(function* () {
        const url = yield* Url
        const socket = yield* connect(url)
        const send = (parts: ReadonlyArray<string>) =>
          Effect.forEach(parts, (part, index) =>
            socket.sendFrame(
              Frame.make({
                opcode: index === 0 ? Frame.Opcode.text : Frame.Opcode.continuation,
                fin: index === parts.length - 1,
                payload: part
              })
            )
          )
        yield* send(["a", "b", "c"])
        expect(yield* socket.receive).toBe("abc")
        yield* send(["a", "b", "c", "d"])
        const closed = yield* Effect.flip(socket.receive)
        expect(closed).toMatchObject({ _tag: "ConnectionClosed", code: 1009 })
      })
    )
  })

  for (const [env, line] of [
    [{ PORT: "many" }, /^PORT: .*"many"/],
    [{ PORT: "65536" }, /^PORT: expected an integer between 0 and 65535$/],
    [{ MAX_PAYLOAD: "0" }, /^MAX_PAYLOAD: expected an integer between 1 and/],
    [{ MAX_FRAGMENTS: "1.5" }, /^MAX_FRAGMENTS: .*"1\.5"/],
    [{ DEFLATE: "yes" }, /^DEFLATE: .*"yes"/],
    [{ HOST: "no-such-host.invalid" }, /^listening on no-such-host\.invalid:0 failed: /]
  ] as const) {
    it.scopedLive(`says in one line what is wrong with ${JSON.stringify(env)}, and exits with 1`, () =>
      Effect.gen(function* () {
        const server = yield* tsx(file, [], { PORT: "0", ...env })
        const { code, stdout, stderr } = yield* server.exit
        expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: [], stderr: [expect.stringMatching(line)] })
      })
    )
  }

  it.scopedLive("says in one line that the port is taken, and exits with 1", () =>
    Effect.gen(function* () {
      const first = yield* start()
      const { port } = new URL(first.url)
      const server = yield* tsx(file, [], { PORT: port })
      const { code, stdout, stderr } = yield* server.exit
      expect({ code, stdout }).toEqual({ code: 1, stdout: [] })
      expect(stderr).toEqual([expect.stringContaining("EADDRINUSE")])
    })
  )
})
