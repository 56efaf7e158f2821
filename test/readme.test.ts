import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { afterAll, describe, expect, it, vi } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Schedule } from "effect"
import { NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import { node, tsx } from "./fixtures/process.js"

// The snippets of the README's "Use it", run as they stand, but for the addresses in them.

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const folder = ".readme-snippets"
const snippets = [...readFileSync("README.md", "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ""]) => code)

/** The one snippet that holds these words, with something in it replaced, as a file. */
const snippet = (name: string, words: string, from: string, to: string) =>
  Effect.sync(() => {
    const found = snippets.filter((code) => code.includes(words))
    expect(found).toHaveLength(1)
    const [code = ""] = found
    expect(code).toContain(from)
    mkdirSync(folder, { recursive: true })
    const file = join(folder, name)
    writeFileSync(file, code.replaceAll(from, to))
    return file
  })

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A port that nobody listens on. */
const freePort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** Connects as soon as somebody listens. */
const connecting = (url: string, options?: WebSocket.ConnectOptions) =>
  Effect.retry(WebSocket.connect(url, options), {
    while: (error) => error._tag === "ConnectError",
    schedule: Schedule.spaced("100 millis")
  })

describe("README.md", () => {
  it.scopedLive("has a client that subscribes, logs what comes, and ends with the stream", () =>
    Effect.gen(function* () {
      const subscribed = yield* Deferred.make<readonly [unknown, string | undefined]>()
      const Feed = WebSocketServer.serve(
        (socket) =>
          Effect.gen(function* () {
            yield* Deferred.succeed(subscribed, [yield* socket.receive, socket.subprotocol])
            yield* socket.send("1.0842")
          }),
        { subprotocols: ["feed.v1"] }
      ).pipe(Layer.provideMerge(WebSocketServer.layer()), Layer.provide(NodeNetwork.layer))
      const { url } = Context.get(yield* Layer.build(Feed), WebSocketServer.WebSocketServer)
      const client = yield* tsx(yield* snippet("client.ts", "prices.example", "wss://prices.example/", url))
      yield* client.line(/1\.0842/)
      expect(yield* Deferred.await(subscribed)).toEqual(["subscribe EURUSD", "feed.v1"])
      const { code } = yield* client.exit
      expect(code).toBe(0)
    })
  )

  for (const [name, words, path, answer, subprotocols] of [
    ["server.ts", "WebSocketServer.layer({ port: 8080", "/", "hello", []],
    ["http.ts", "HttpRouter.get", "/chat", "you said hello", ["chat.v1"]]
  ] as const) {
    it.scopedLive(`has a server (${name}) that answers, and ends with 1001 on SIGTERM`, () =>
      Effect.gen(function* () {
        const port = yield* freePort
        const server = yield* tsx(yield* snippet(name, words, "port: 8080", `port: ${port}`))
        const exit = yield* Effect.fork(server.exit)
        const socket = yield* connecting(`ws://127.0.0.1:${port}${path}`, { subprotocols }).pipe(
          Effect.raceFirst(Effect.flatMap(Fiber.join(exit), (ended) => Effect.dieMessage(JSON.stringify(ended))))
        )
        expect(socket.subprotocol).toBe(subprotocols[0])
        yield* socket.send("hello")
        expect(yield* socket.receive).toBe(answer)
        yield* server.kill("SIGTERM")
        expect((yield* socket.closed).code).toBe(1001)
      }).pipe(Effect.provide(NodeNetwork.layer))
    )
  }

  it.scopedLive("has a broadcast that all hear alike", () =>
    Effect.gen(function* () {
      const port = yield* freePort
      const server = yield* tsx(yield* snippet("broadcast.ts", "Broadcast.make", "port: 8082", `port: ${port}`))
      const exit = yield* Effect.fork(server.exit)
      const open = connecting(`ws://127.0.0.1:${port}/`).pipe(
        Effect.raceFirst(Effect.flatMap(Fiber.join(exit), (ended) => Effect.dieMessage(JSON.stringify(ended))))
      )
      const [first, second] = [yield* open, yield* open]
      const heard = yield* second.receive
      expect(heard).toMatch(/^\d{4}-\d\d-\d\dT/)
      yield* Effect.repeat(first.receive, { until: (message) => message === heard })
      expect(yield* second.receive).toBe(yield* first.receive)
      yield* server.kill("SIGTERM")
      expect((yield* first.closed).code).toBe(1001)
    }).pipe(Effect.provide(NodeNetwork.layer))
  )

  it.scopedLive("sends a file as one message, and receives it as one", () =>
    Effect.gen(function* () {
      const file = yield* snippet("files.ts", "receiveFile", "const ", "export const ")
      // Without what is exported in place of what is local to a function.
      writeFileSync(file, readFileSync(file, "utf8").replaceAll("    export const ", "    const "))
      const [from, to] = [join(folder, "from.bin"), join(folder, "to.bin")]
      writeFileSync(from, Buffer.alloc(5_000_000, "abcdefghij"))
      writeFileSync(
        join(folder, "both.ts"),
        `import { NodeContext, NodeRuntime } from "@effect/platform-node"
        import { Deferred, Effect, Layer } from "effect"
        import { NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"
        import { receiveFile, sendFile } from "./files.js"
        Effect.gen(function* () {
          const done = yield* Deferred.make()
          const { serve, url } = yield* WebSocketServer.make({ port: 0, maxPayloadSize: 1e9, maxFragments: 1e9 })
          yield* serve((socket) => Effect.intoDeferred(receiveFile(socket, ${JSON.stringify(to)}), done))
          yield* sendFile(yield* WebSocket.connect(url), ${JSON.stringify(from)})
          yield* Deferred.await(done)
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeNetwork.layer, NodeContext.layer)), NodeRuntime.runMain)`
      )
      const both = yield* tsx(join(folder, "both.ts"))
      expect(yield* both.exit).toMatchObject({ code: 0, stderr: [] })
      expect(readFileSync(to).equals(readFileSync(from))).toBe(true)
    })
  )

  it.scopedLive("has a test that passes", () =>
    Effect.gen(function* () {
      const file = yield* snippet("echo.test.ts", "it.layer(Test)", "answers with what it got", "passes")
      writeFileSync(
        join(folder, "vitest.config.ts"),
        `import config from "../vitest.config.js"\nexport default { ...config, test: { include: [${JSON.stringify(file)}] } }\n`
      )
      const vitest = yield* node([
        "node_modules/vitest/vitest.mjs",
        "run",
        "--config",
        join(folder, "vitest.config.ts")
      ])
      const { code, stdout } = yield* vitest.exit
      expect({ code, passed: stdout.some((line) => /Tests.*1 passed/.test(line)) }).toEqual({ code: 0, passed: true })
    })
  )
})
