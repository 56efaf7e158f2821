import { once } from "node:events"
import { createServer } from "node:https"
import type { AddressInfo, Socket } from "node:net"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { Frame, NodeNetwork, WebSocket } from "effect-websocket"
import { type ServerOptions, WebSocketServer, WebSocket as Ws } from "ws"
import { type Certificate, makeCertificates } from "../fixtures/certificates.js"
import { pattern } from "../fixtures/heard.js"
import { serving } from "./server.js"

const sizes = [0, 1, 125, 126, 65_535, 65_536, 1_048_000]
const messages: ReadonlyArray<WebSocket.Message> = [
  ...sizes.map((size) => "x".repeat(size)),
  ...sizes.map(pattern),
  ...["grüße", "日本語", "👩‍👩‍👧‍👦", "\u0000\uffff\u{10ffff}", "é".repeat(100_000)]
]

const closes = [
  [1000, "bye"],
  [1001, ""],
  [undefined, ""],
  [3000, ""],
  [4999, "grüße"]
] as const

/** The values that an event comes with, the next time. */
const next = (emitter: NodeJS.EventEmitter, event: string) =>
  Effect.promise(async (): Promise<ReadonlyArray<unknown>> => once(emitter, event)).pipe(
    Effect.map((values) => values.map((value) => (value instanceof Buffer ? value.toString() : value)))
  )

/** A server of ws: its port, and its side of the next connection. */
const wsServer = (options: ServerOptions = {}, tls?: Certificate) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      if (tls === undefined) {
        const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options })
        await once(server, "listening")
        return { server, http: undefined, address: server.address() }
      }
      const http = createServer({ cert: tls.cert, key: Redacted.value(tls.key) })
      const server = new WebSocketServer({ server: http, ...options })
      http.listen(0, "127.0.0.1")
      await once(http, "listening")
      return { server, http, address: http.address() }
    }),
    ({ server, http }) =>
      Effect.sync(() => {
        for (const client of server.clients) client.terminate()
        server.close()
        http?.close()
      })
  ).pipe(
    Effect.map(({ server, address }) => ({
      server,
      port: isBound(address) ? address.port : 0,
      accepted: Effect.async<Ws>((resume) => {
        server.once("connection", (ws) => resume(Effect.succeed(ws)))
      })
    }))
  )

const isBound = (address: AddressInfo | string | null): address is AddressInfo =>
  typeof address === "object" && address !== null

const connect = (url: string, options?: WebSocket.ConnectOptions) =>
  WebSocket.connect(url, options).pipe(Effect.provide(NodeNetwork.layer))

/** Our client, and the side of ws. */
const pair = (options?: ServerOptions, own?: WebSocket.ConnectOptions) =>
  Effect.gen(function* () {
    const { accepted, port } = yield* wsServer(options)
    const [socket, ws] = yield* Effect.all([connect(`ws://127.0.0.1:${port}/`, own), accepted], { concurrency: 2 })
    return { socket, ws, port }
  })

const echoing = (ws: Ws) => ws.on("message", (data, binary) => ws.send(data, { binary }))

describe("ws, a server of our client", () => {
  it.scopedLive("exchanges messages of all sizes and types", () =>
    Effect.gen(function* () {
      const { socket, ws } = yield* pair({ perMessageDeflate: true })
      echoing(ws)
      yield* Effect.fork(socket.sendAll(messages))
      for (const message of messages) {
        const echo = yield* socket.receive
        const same =
          typeof message === "string" || typeof echo === "string"
            ? echo === message
            : Buffer.compare(echo, message) === 0
        expect(same).toBe(true)
      }
    })
  )

  it.scopedLive("sends and takes fragments, with pings between them", () =>
    Effect.gen(function* () {
      const { socket, ws } = yield* pair()
      ws.send("frag", { fin: false })
      ws.ping("between")
      ws.send("", { fin: false })
      ws.send("ments", { fin: true })
      expect(yield* socket.receive).toBe("fragments")

      const message = next(ws, "message")
      const ping = next(ws, "ping")
      const { continuation, text } = Frame.Opcode
      yield* socket.sendFrame(Frame.make({ opcode: text, fin: false, payload: "frag" }))
      yield* socket.sendPing("between")
      yield* socket.sendFrame(Frame.make({ opcode: continuation, fin: true, payload: "ments" }))
      expect(yield* Effect.all([message, ping], { concurrency: 2 })).toEqual([["fragments", false], ["between"]])
    })
  )

  it.scopedLive("answers pings, and has its own answered", () =>
    Effect.gen(function* () {
      const { socket, ws } = yield* pair()
      const pong = yield* Effect.fork(next(ws, "pong"))
      ws.ping("ws asks")
      const frame = yield* socket.receiveFrame
      expect(Frame.format(frame)).toContain("ping")
      expect(yield* pong).toEqual(["ws asks"])
      yield* socket.sendPing("we ask")
      const answer = yield* socket.receiveFrame
      expect([answer.opcode, new TextDecoder().decode(answer.payload)]).toEqual([Frame.Opcode.pong, "we ask"])
    })
  )

  for (const [code, reason] of closes) {
    it.scopedLive(`closes with ${code ?? "no code"}, and is closed so`, () =>
      Effect.gen(function* () {
        const first = yield* pair()
        first.ws.close(code, reason)
        expect(yield* first.socket.closed).toMatchObject({
          code: code ?? 1005,
          reason,
          initiator: "remote",
          clean: true
        })

        const second = yield* pair()
        const seen = yield* Effect.fork(next(second.ws, "close"))
        yield* code === undefined
          ? second.socket.sendFrame(Frame.make({ opcode: Frame.Opcode.close }))
          : second.socket.close(code, reason)
        expect(yield* seen).toEqual([code ?? 1005, reason])
        expect(yield* second.socket.closed).toMatchObject({ code: code ?? 1005, initiator: "local", clean: true })
      })
    )
  }

  it.scopedLive("chooses a subprotocol, or none", () =>
    Effect.gen(function* () {
      const handleProtocols = (offered: Set<string>) => ["v2", "v1"].find((each) => offered.has(each)) ?? false
      for (const [offered, chosen] of [
        [["v1", "v2"], "v2"],
        [["v1"], "v1"],
        [["v3"], undefined],
        [[], undefined]
      ] as const) {
        const { socket } = yield* pair({ handleProtocols }, { subprotocols: offered })
        expect(socket.subprotocol).toBe(chosen)
      }
    })
  )

  it.scopedLive("speaks wss if we trust its certificate", () =>
    Effect.gen(function* () {
      const { ca, good } = makeCertificates()
      const { accepted, port } = yield* wsServer({}, good)
      const url = `wss://localhost:${port}/`
      const [socket, ws] = yield* Effect.all([connect(url, { tls: { ca } }), accepted], { concurrency: 2 })
      echoing(ws)
      yield* socket.send("hello")
      expect([socket.secure, yield* socket.receive]).toEqual([true, "hello"])
      const refused = yield* Effect.flip(connect(url))
      expect(refused).toMatchObject({ _tag: "ConnectError", reason: "tls" })
    })
  )

  it.scopedLive("is a typed error when it refuses, and when it vanishes", () =>
    Effect.gen(function* () {
      const { port } = yield* wsServer({ verifyClient: (_, answer) => answer(false, 401, "who are you?") })
      const refused = yield* Effect.flip(connect(`ws://127.0.0.1:${port}/`))
      expect(refused).toMatchObject({ _tag: "HandshakeError", status: 401, body: "who are you?" })

      const { socket, ws } = yield* pair()
      ws.terminate()
      const gone = yield* Effect.flip(socket.receive)
      expect(gone).toMatchObject({ _tag: "ConnectionClosed", code: 1006, clean: false })
      expect(yield* Effect.flip(socket.send("anybody?"))).toBe(gone)
    })
  )
})

/** A client of ws on our server, once it is open. */
const visit = (url: string, options?: ConstructorParameters<typeof Ws>[2]) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const ws = new Ws(url, options)
      await once(ws, "open")
      return ws
    }),
    (ws) => Effect.sync(() => ws.terminate())
  )

/** The TCP connection under a client of ws. */
const tcp = (ws: Ws): Socket => Reflect.get(ws, "_socket")

describe("ws, a client of our server", () => {
  it.scopedLive("sends fragments, with pings between them that are answered", () =>
    Effect.gen(function* () {
      const { base } = yield* serving()
      const ws = yield* visit(`${base}/echo`)
      const message = next(ws, "message")
      const pong = next(ws, "pong")
      ws.send("frag", { fin: false })
      ws.ping("between")
      ws.send("", { fin: false })
      ws.pong("unasked for")
      ws.send("ments", { fin: true })
      expect(yield* Effect.all([message, pong], { concurrency: 2 })).toEqual([["fragments", false], ["between"]])
      ws.send(Buffer.from([1]), { fin: false })
      ws.send(Buffer.from([2]), { fin: true })
      expect(yield* next(ws, "message")).toEqual(["\u0001\u0002", true])
    })
  )

  for (const [code, reason] of closes) {
    it.scopedLive(`closes with ${code ?? "no code"}`, () =>
      Effect.gen(function* () {
        const { base, told } = yield* serving()
        const ws = yield* visit(`${base}/told`)
        const closed = yield* Effect.fork(next(ws, "close"))
        ws.close(code, reason)
        expect(yield* told).toBe(`${code ?? 1005} ${reason}`.trim())
        expect(yield* closed).toEqual([code ?? 1005, ""])
      })
    )
  }

  it.scopedLive("has no compression that our server doesn't speak", () =>
    Effect.gen(function* () {
      const { base } = yield* serving()
      const ws = yield* visit(`${base}/echo`, { perMessageDeflate: true })
      expect(ws.extensions).toBe("")
    })
  )

  for (const [how, vanish, seen] of [
    ["ends without a Close", (ws: Ws) => tcp(ws).end(), "1006"],
    ["is terminated", (ws: Ws) => ws.terminate(), "1006"],
    ["resets the connection", (ws: Ws) => tcp(ws).resetAndDestroy(), "IoError"],
    ["ends in the middle of a message", (ws: Ws) => ws.send("half", { fin: false }, () => tcp(ws).end()), "1006"],
    [
      "ends in the middle of a frame",
      (ws: Ws) => tcp(ws).end(Buffer.from([0x81, 0xfe, 0x10, 0x00, 1, 2, 3, 4, 5])),
      "1006 the stream ended inside a frame"
    ],
    ["breaks the protocol", (ws: Ws) => tcp(ws).write(Buffer.from([0x8f, 0x80, 0, 0, 0, 0])), "ProtocolError"]
  ] as const) {
    it.scopedLive(`that ${how} is a typed error in the handler, and the server serves on`, () =>
      Effect.gen(function* () {
        const { base, told, serves } = yield* serving()
        const ws = yield* visit(`${base}/told`)
        ws.on("error", () => {})
        vanish(ws)
        expect(yield* told).toBe(seen)
        expect(yield* serves).toBe("still there?")
      })
    )
  }
})
