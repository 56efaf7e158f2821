import * as Net from "node:net"
import { HttpServer } from "@effect/platform"
import { describe, expect, it, vi } from "@effect/vitest"
import { Chunk, Effect, Exit, Layer, Scope, Stream } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"
import * as Rooms from "../../examples/chat/rooms.js"
import * as Chat from "../../examples/chat/server.js"
import { settle } from "../fixtures/heard.js"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const local = { host: "127.0.0.1", port: 0 }

const url = HttpServer.addressFormattedWith((base) => Effect.succeed(base.replace("http", "ws")))

const at = (base: string, room: string, name: string) => `${base}/chat/${room}?name=${encodeURIComponent(name)}`

const enter = (base: string, room: string, name: string, options?: WebSocket.ConnectOptions) =>
  WebSocket.connect(at(base, room, name), options).pipe(Effect.provide(NodeNetwork.layer))

const hear = (socket: WebSocket.WebSocket): Effect.Effect<unknown, unknown> =>
  Effect.map(socket.receive, (message): unknown => JSON.parse(String(message)))

const say = (socket: WebSocket.WebSocket, text: string) => socket.send(JSON.stringify({ type: "say", text }))

const person = (name: string) => ({ id: expect.any(Number), name })

describe("examples/chat", () => {
  it.layer(Chat.layer(local))("a room", (it) => {
    it.scoped("welcomes, tells who comes and goes, and passes on what is said, to its own people only", () =>
      Effect.gen(function* () {
        const base = yield* url
        const ada = yield* enter(base, "one", "Ada")
        expect(yield* hear(ada)).toEqual({
          ...{ type: "welcome", room: "one", you: person("Ada") },
          people: [person("Ada")]
        })
        const grace = yield* enter(base, "one", " Grace ")
        expect(yield* hear(grace)).toMatchObject({ type: "welcome", people: [person("Ada"), person("Grace")] })
        expect(yield* hear(ada)).toEqual({ type: "joined", person: person("Grace") })
        const elsewhere = yield* enter(base, "two", "Joan")
        expect(yield* hear(elsewhere)).toMatchObject({ people: [person("Joan")] })

        yield* say(ada, "  two\nlines 👋 ")
        for (const socket of [ada, grace]) {
          expect(yield* hear(socket)).toEqual({ type: "said", person: person("Ada"), text: "two\nlines 👋" })
        }
        yield* grace.close()
        expect(yield* hear(ada)).toEqual({ type: "left", person: person("Grace") })
        yield* say(elsewhere, "nobody spoke here")
        expect(yield* hear(elsewhere)).toMatchObject({ text: "nobody spoke here" })
      })
    )

    for (const [what, room, name] of [
      ["a name of nothing but spaces", "one", "  "],
      ["a name that is too long", "one", "x".repeat(33)],
      ["a name of two lines", "one", "a\nb"],
      ["a room's name with capitals", "One", "Ada"],
      ["a room's name that is too long", "x".repeat(33), "Ada"]
    ] as const) {
      it.scoped(`refuses ${what} with 400`, () =>
        Effect.gen(function* () {
          const refused = yield* Effect.flip(enter(yield* url, room, name))
          expect(refused).toMatchObject({ _tag: "HandshakeError", status: 400 })
        })
      )
    }

    it.scoped("refuses the pages of other sites with 403, and what is no upgrade with 426", () =>
      Effect.gen(function* () {
        const base = yield* url
        const headers = { origin: "https://elsewhere.example" }
        const refused = yield* Effect.flip(enter(base, "one", "Ada", { headers }))
        expect(refused).toMatchObject({ _tag: "HandshakeError", status: 403 })
        const plain = yield* Effect.promise(() => fetch(at(base, "one", "Ada").replace("ws", "http")))
        expect([plain.status, plain.headers.get("sec-websocket-version")]).toEqual([426, "13"])
      })
    )

    for (const [what, message] of [
      ["is no JSON", "hello"],
      ["is of no known type", `{"type":"shout","text":"hello"}`],
      ["has an empty text", `{"type":"say","text":" "}`],
      ["has a text that is too long", JSON.stringify({ type: "say", text: "x".repeat(2001) })],
      ["is binary", new Uint8Array([1, 2, 3])]
    ] as const) {
      it.scoped(`closes with 1008 on a message that ${what}, and lets the others talk on`, () =>
        Effect.gen(function* () {
          const base = yield* url
          const ada = yield* enter(base, "rude", "Ada")
          const mallory = yield* enter(base, "rude", "Mallory")
          yield* mallory.send(message)
          expect(yield* mallory.closed).toMatchObject({ code: 1008, reason: "not a message of this chat" })
          expect(yield* Effect.all([hear(ada), hear(ada), hear(ada)])).toMatchObject([
            { type: "welcome" },
            { type: "joined" },
            { type: "left", person: person("Mallory") }
          ])
        })
      )
    }

    it.scoped("closes with 1009 on a message that is larger than any text", () =>
      Effect.gen(function* () {
        const socket = yield* enter(yield* url, "large", "Ada")
        yield* socket.send("x".repeat(100_000))
        expect(yield* socket.closed).toMatchObject({ code: 1009 })
      })
    )

    it.scoped("makes nobody wait for one who doesn't read, who misses the oldest and is told so", () =>
      Effect.gen(function* () {
        const base = yield* url
        // Enough for the buffers of both systems and both ends to be full, and more.
        const rounds = 60
        const perRound = 100
        const text = "€".repeat(2000)
        const slow = yield* enter(base, "slow", "Slow", { receiveBufferSize: 1 })
        const ada = yield* enter(base, "slow", "Ada", { receiveBufferSize: 2 ** 20 })
        yield* hear(ada)
        for (let round = 0; round < rounds; round++) {
          for (let line = 0; line < perRound; line++) yield* say(ada, text)
          for (let line = 0; line < perRound; line++) {
            expect(yield* hear(ada)).toMatchObject({ type: "said" })
          }
        }
        yield* say(ada, "the end")
        let heard = 0
        let missed = 0
        while (true) {
          const reply = yield* hear(slow)
          if (typeof reply !== "object" || reply === null || !("type" in reply)) throw new Error("no reply")
          if (reply.type === "missed" && "count" in reply) {
            expect(reply).toMatchObject({ people: [person("Slow"), person("Ada")] })
            missed += Number(reply.count)
          }
          if (reply.type === "said") heard++
          if ("text" in reply && reply.text === "the end") break
        }
        expect(missed).toBeGreaterThan(0)
        expect(heard + missed).toBe(rounds * perRound + 1)
      })
    )

    it.scoped("exists while somebody is in it, also if that one's connection breaks", () =>
      Effect.gen(function* () {
        const base = yield* url
        const rooms = yield* Rooms.Rooms
        const ada = yield* enter(base, "short-lived", "Ada")
        yield* hear(ada)
        expect(yield* rooms.names).toContain("short-lived")
        const { port } = new URL(base)
        yield* Effect.async<void>((resume) => {
          const socket = Net.connect(Number(port), "127.0.0.1")
          const head = ["GET /chat/short-lived?name=Gone HTTP/1.1", "Host: x", "Upgrade: websocket"]
          const more = [
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
          ]
          socket.write(`${[...head, ...more].join("\r\n")}\r\n\r\n`)
          socket.once("data", () => {
            socket.resetAndDestroy()
            resume(Effect.void)
          })
        })
        expect(yield* Effect.all([hear(ada), hear(ada)])).toEqual([
          { type: "joined", person: person("Gone") },
          { type: "left", person: person("Gone") }
        ])
        yield* ada.close()
        // The server may still be at it: its last step comes after the one that Ada sees.
        while ((yield* rooms.names).includes("short-lived")) yield* settle
      })
    )

    it.scoped("closes with 1013 when it is full", () =>
      Effect.gen(function* () {
        const rooms = yield* Rooms.Rooms
        for (let seat = 0; seat < 100; seat++) yield* rooms.join("full", `guest ${seat}`)
        const socket = yield* enter(yield* url, "full", "Ada")
        expect(yield* socket.closed).toMatchObject({ code: 1013, reason: "the room is full" })
      })
    )
  })

  it.effect("has 1000 rooms at most", () =>
    Effect.gen(function* () {
      const rooms = yield* Rooms.Rooms
      for (let room = 0; room < 1000; room++) yield* rooms.join(`room-${room}`, "Ada")
      const full = yield* Effect.flip(rooms.join("one-more", "Ada"))
      expect(full.message).toBe("there are too many rooms")
    }).pipe(Effect.scoped, Effect.provide(Rooms.layer))
  )

  it.effect("tells the first of a room nothing but the welcome and what follows", () =>
    Effect.gen(function* () {
      const rooms = yield* Rooms.Rooms
      const ada = yield* rooms.join("quiet", "Ada")
      yield* ada.say("hello")
      const replies = yield* Stream.runCollect(Stream.take(ada.replies, 2))
      expect(Chunk.toReadonlyArray(replies)).toMatchObject([{ type: "welcome" }, { type: "said", text: "hello" }])
    }).pipe(Effect.scoped, Effect.provide(Rooms.layer))
  )

  it.scopedLive("closes every connection with 1001 when it shuts down", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const base = yield* Layer.buildWithScope(Chat.layer(local), scope).pipe(
        Effect.flatMap((context) => Effect.provide(url, context))
      )
      const sockets = yield* Effect.all([enter(base, "one", "Ada"), enter(base, "two", "Grace")])
      yield* Scope.close(scope, Exit.void)
      for (const socket of sockets) expect(yield* socket.closed).toMatchObject({ code: 1001, clean: true })
    })
  )
})

describe("examples/chat/main.ts", () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it.scopedLive(`prints its URL, and exits with 0 on ${signal}, whoever is connected`, () =>
      Effect.gen(function* () {
        const server = yield* tsx("examples/chat/main.ts", [], { PORT: "0" })
        const [, page = ""] = yield* server.line(/^chat at (http:\/\/127\.0\.0\.1:\d+)\/$/)
        const socket = yield* enter(page.replace("http", "ws"), "lobby", "Ada")
        yield* hear(socket)
        // As browsers do it: a connection for later, on which nothing was said yet.
        const idle = yield* Effect.acquireRelease(
          Effect.async<Net.Socket>((resume) => {
            const idle = Net.connect(Number(new URL(page).port), "127.0.0.1", () => resume(Effect.succeed(idle)))
            idle.on("error", () => {})
          }),
          (idle) => Effect.sync(() => idle.destroy())
        )
        yield* server.kill(signal)
        expect(yield* socket.closed).toMatchObject({ code: 1001, clean: true })
        const { code, stdout, stderr } = yield* server.exit
        expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: [`chat at ${page}/`], stderr: [] })
        expect(idle.localPort).not.toBe(0)
      })
    )
  }

  it.scopedLive("says in one line what is wrong with PORT, and exits with 1", () =>
    Effect.gen(function* () {
      const server = yield* tsx("examples/chat/main.ts", [], { PORT: "0" })
      const [, port = ""] = yield* server.line(/^chat at http:\/\/127\.0\.0\.1:(\d+)\/$/)
      for (const [value, line] of [
        [port, /^listen EADDRINUSE: .* \(PORT and HOST choose another\)$/],
        ["80x", /^PORT: .*"80x"/],
        ["-1", /^PORT: expected an integer between 0 and 65535$/]
      ] as const) {
        const other = yield* tsx("examples/chat/main.ts", [], { PORT: value })
        const { code, stdout, stderr } = yield* other.exit
        expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: [], stderr: [expect.stringMatching(line)] })
      }
    })
  )
})
