import { createServer, type Server } from "node:http"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { NodeNetwork, OriginPolicy, WebSocket, WebSocketServer } from "effect-websocket"
import { WebSocket as Undici } from "undici"
import { type PerMessageDeflateOptions, WebSocketServer as WsServer, WebSocket as WsSocket } from "ws"
import { launch } from "../fixtures/browser.js"
import { jsonText, noise } from "../fixtures/deflating.js"

// Twice, so that a context that is taken over has something to offer, and a wrong one something to spoil.
const messages: ReadonlyArray<WebSocket.Message> = [1, 2].flatMap((round) => [
  jsonText(1024),
  new Uint8Array(new TextEncoder().encode(jsonText(1024, 5))),
  "",
  new Uint8Array(0),
  `ten bytes${round}`,
  jsonText(300 * 1024, round),
  noise(20_000),
  new Uint8Array(100_000),
  "smörgåsbord 🌍 ".repeat(200)
])

const size = messages.reduce((sum, message) => sum + Buffer.byteLength(message), 0)

const sameMessages = (received: ReadonlyArray<WebSocket.Message>) => {
  expect(received.length).toBe(messages.length)
  // One by one, since a difference in 300 KiB isn't worth printing.
  for (const [index, message] of messages.entries()) {
    const other = received[index]
    expect(typeof other).toBe(typeof message)
    expect(Buffer.from(other ?? "").equals(Buffer.from(message))).toBe(true)
  }
}

const takeovers = [
  ["both take over", false, false],
  ["the client does", true, false],
  ["the server does", false, true],
  ["neither does", true, true]
] as const
const bits = [8, 9, 10, 12, 15] as const

const matrix = takeovers.flatMap(([title, serverNoContextTakeover, clientNoContextTakeover]) =>
  bits.map((windowBits) => ({
    title: `${title}, ${windowBits} bits`,
    // Within 256 bytes, which is too little for zlib, nothing but runs is found.
    most: size * (windowBits === 8 ? 0.7 : 0.5),
    options: {
      serverNoContextTakeover,
      clientNoContextTakeover,
      serverMaxWindowBits: windowBits,
      clientMaxWindowBits: windowBits,
      threshold: 0
    }
  }))
)

const own = { deflate: { serverNoContextTakeover: false, clientNoContextTakeover: false, threshold: 0 } } as const

/** A page of this machine: from anywhere else a browser doesn't connect to it. */
const emptyPage = Effect.acquireRelease(
  Effect.async<{ readonly server: Server; readonly url: string }>((resume) => {
    const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<p>"))
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      resume(Effect.succeed({ server, url: `http://127.0.0.1:${port}/` }))
    })
  }),
  ({ server }) =>
    Effect.sync(() => {
      server.closeAllConnections()
      server.close()
    })
).pipe(Effect.map(({ url }) => url))

/** Our server, which sends back what it gets. */
const echoServer = (options: WebSocketServer.ServerOptions) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make({ origin: OriginPolicy.allowAll, ...options })
    yield* server.serve((socket) => Stream.run(socket.messages, socket.sink))
    return server.url
  })

/** A server of ws that sends back what it gets; also how much it has read at the last message. */
const wsEchoServer = (perMessageDeflate: PerMessageDeflateOptions | false) =>
  Effect.acquireRelease(
    Effect.async<{ readonly server: WsServer; readonly url: string; readonly read: () => number }>((resume) => {
      let read = 0
      const server = new WsServer({ port: 0, host: "127.0.0.1", perMessageDeflate })
      server.on("connection", (socket, request) => {
        socket.on("message", (data, isBinary) => {
          socket.send(data, { binary: isBinary })
          read = request.socket.bytesRead
        })
      })
      server.on("listening", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ server, url: `ws://127.0.0.1:${port}/`, read: () => read }))
      })
    }),
    ({ server }) =>
      Effect.sync(() => {
        for (const client of server.clients) client.terminate()
        server.close()
      })
  )

/** Sends all messages, and collects as many. */
const exchange = (socket: WebSocket.WebSocket) =>
  Effect.map(
    Effect.all([socket.sendAll(messages), Effect.replicateEffect(socket.receive, messages.length)], { concurrency: 2 }),
    ([, received]) => received
  )

/** The same with a client of ws; also what was agreed on, and how much came over the wire. */
const wsExchange = (url: string, perMessageDeflate: PerMessageDeflateOptions) =>
  Effect.async<
    { readonly received: ReadonlyArray<WebSocket.Message>; readonly extensions: string; readonly read: number },
    Error
  >((resume) => {
    const received: Array<WebSocket.Message> = []
    const socket = new WsSocket(url, { perMessageDeflate })
    let read = () => 0
    socket.on("upgrade", (response) => {
      read = () => response.socket.bytesRead
    })
    socket.on("error", (error) => resume(Effect.fail(error)))
    socket.on("close", (code) => resume(Effect.fail(new Error(`closed with ${code}`))))
    socket.on("open", () => {
      for (const message of messages) socket.send(message)
    })
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      received.push(isBinary ? new Uint8Array(data) : String(data))
      if (received.length < messages.length) return
      resume(Effect.succeed({ received, extensions: socket.extensions, read: read() }))
    })
    return Effect.sync(() => socket.terminate())
  })

const agreed = (extensions: string) => expect(extensions.split(";")[0]).toBe("permessage-deflate")

describe("a client of ws and our server", () => {
  it.live.each(matrix)("what ws asks for: $title", ({ options, most }) =>
    Effect.gen(function* () {
      const { received, extensions, read } = yield* wsExchange(yield* echoServer(own), options)
      sameMessages(received)
      agreed(extensions)
      expect(read).toBeLessThan(most)
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
  )

  it.live.each(matrix)("what we ask for: $title", ({ options, most }) =>
    Effect.gen(function* () {
      const { received, extensions, read } = yield* wsExchange(yield* echoServer({ deflate: options }), {
        threshold: 0
      })
      sameMessages(received)
      agreed(extensions)
      expect(read).toBeLessThan(most)
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
  )
})

describe("our client and a server of ws", () => {
  const ours = (url: string, options: WebSocket.ConnectOptions) =>
    Effect.gen(function* () {
      const socket = yield* WebSocket.connect(url, options)
      agreed(socket.headers["sec-websocket-extensions"] ?? "")
      sameMessages(yield* exchange(socket))
    })

  it.live.each(matrix)("what we ask for: $title", ({ options, most }) =>
    Effect.gen(function* () {
      const { url, read } = yield* wsEchoServer({ threshold: 0 })
      yield* ours(url, { deflate: options })
      expect(read()).toBeLessThan(most)
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
  )

  it.live.each(matrix)("what ws asks for: $title", ({ options, most }) =>
    Effect.gen(function* () {
      const { url, read } = yield* wsEchoServer(options)
      yield* ours(url, own)
      expect(read()).toBeLessThan(most)
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
  )

  it.live("goes on uncompressed if the server has no compression", () =>
    Effect.gen(function* () {
      const { url } = yield* wsEchoServer(false)
      const socket = yield* WebSocket.connect(url, own)
      expect(socket.headers["sec-websocket-extensions"]).toBeUndefined()
      sameMessages(yield* exchange(socket))
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
  )
})

describe("undici, which inflates", () => {
  const undiciExchange = (url: string) =>
    Effect.async<{ readonly received: ReadonlyArray<WebSocket.Message>; readonly extensions: string }, Error>(
      (resume) => {
        const received: Array<WebSocket.Message> = []
        const socket = new Undici(url)
        socket.binaryType = "arraybuffer"
        socket.addEventListener("error", () => resume(Effect.fail(new Error("undici failed"))))
        socket.addEventListener("close", ({ code }) => resume(Effect.fail(new Error(`closed with ${code}`))))
        socket.addEventListener("open", () => {
          for (const message of messages) socket.send(message)
        })
        socket.addEventListener("message", ({ data }) => {
          received.push(data instanceof ArrayBuffer ? new Uint8Array(data) : String(data))
          if (received.length === messages.length) {
            resume(Effect.succeed({ received, extensions: socket.extensions }))
          }
        })
        return Effect.sync(() => socket.close())
      }
    )

  it.live.each(matrix.filter(({ options }) => options.serverMaxWindowBits >= 9))("$title", ({ options }) =>
    Effect.gen(function* () {
      const { received, extensions } = yield* undiciExchange(yield* echoServer({ deflate: options }))
      sameMessages(received)
      agreed(extensions)
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
  )
})

describe("Chromium, which deflates and inflates", () => {
  it.live(
    "with takeover and without, and windows of all sizes",
    () =>
      Effect.gen(function* () {
        const browser = yield* launch()
        const page = yield* browser.open(yield* emptyPage)
        for (const { title, options } of matrix) {
          const url = yield* echoServer({ deflate: options })
          const result = yield* page.evaluate(`new Promise((resolve, reject) => {
            const text = ${JSON.stringify(jsonText(20_000))}
            const messages = [text, "", "ten bytes!", text, new Uint8Array(50_000).buffer, new ArrayBuffer(0), text]
            const socket = new WebSocket(${JSON.stringify(url)})
            socket.binaryType = "arraybuffer"
            const differs = (a, b) => typeof a === "string" ? a !== b
              : new Uint8Array(a).join() !== new Uint8Array(b).join()
            let at = 0
            socket.onopen = () => { for (const message of messages) socket.send(message) }
            socket.onclose = ({ code, reason }) => reject(new Error(${JSON.stringify(title)} + at + code + " " + reason))
            socket.onmessage = ({ data }) => {
              if (differs(messages[at++], data)) reject(new Error("message " + at + " differs"))
              else if (at === messages.length) { resolve(socket.extensions); socket.close() }
            }
          })`)
          expect(`${title}: ${result}`).toContain(`${title}: permessage-deflate`)
        }
      }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer)),
    60_000
  )
})
