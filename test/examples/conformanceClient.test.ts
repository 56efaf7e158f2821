import { once } from "node:events"
import { createServer, type IncomingMessage } from "node:http"
import type { Duplex } from "node:stream"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { type WebSocket, WebSocketServer } from "ws"
import { tsx } from "../fixtures/process.js"

const file = "examples/conformance-client.ts"

type Sent = readonly [data: string | Buffer, binary: boolean]

/** What a case does, and what it has to have heard in the end. */
interface Case {
  readonly name: string
  readonly run: (socket: WebSocket, raw: Duplex) => void
  readonly echoes: ReadonlyArray<Sent>
  readonly result: RegExp
  /** Answers the request with this instead of a 101. */
  readonly refusal?: string
}

const large = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7) % 251))

/** Sends messages, and closes once as many came back. */
const sending =
  (...messages: ReadonlyArray<Sent>): Case["run"] =>
  (socket) => {
    for (const [data, binary] of messages) socket.send(data, { binary })
    let left = messages.length
    socket.on("message", () => {
      if (--left === 0) socket.close(1000)
    })
  }

const cases: ReadonlyArray<Case> = [
  {
    name: "echoes text and binary",
    run: sending(["größer", false], [Buffer.from([0, 255, 128]), true], ["", false], [large, true]),
    echoes: [
      ["größer", false],
      [Buffer.from([0, 255, 128]), true],
      ["", false],
      [large, true]
    ],
    result: /^closed$/
  },
  {
    name: "breaks the protocol",
    run: (_, raw) => raw.write(Buffer.from([0x83, 0x00])),
    echoes: [],
    result: /^ProtocolError: /
  },
  {
    name: "refuses the handshake",
    run: () => {},
    echoes: [],
    result: /^HandshakeError: .*503/,
    refusal: "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
  },
  {
    name: "drops the TCP connection after an echo",
    run: (socket, raw) => {
      socket.send("last words")
      socket.once("message", () => raw.destroy())
    },
    echoes: [["last words", false]],
    result: /./
  },
  {
    name: "drops the TCP connection in place of an answer",
    run: () => {},
    echoes: [],
    result: /^HandshakeError: /,
    refusal: ""
  },
  {
    name: "sends pings and fragments",
    run: (socket) => {
      socket.send("frag", { fin: false })
      socket.ping("one")
      socket.send("", { fin: false })
      socket.ping("two")
      socket.send("ments", { fin: true })
      socket.once("message", () => socket.close(4001, "enough"))
    },
    echoes: [["fragments", false]],
    result: /^closed 4001$/
  },
  {
    name: "sends a short text, compressed if that was agreed on",
    run: sending(["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false], ["b", false]),
    echoes: [
      ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false],
      ["b", false]
    ],
    result: /^closed$/
  }
]

/** A fuzzing server: its URL, and what it was asked for and heard. */
const fuzzingServer = (deflate: boolean) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const asked: Array<string> = []
      const heard: Array<Array<Sent>> = cases.map(() => [])
      const pongs: Array<string> = []
      const extensions: Array<string> = []
      // Whether the first data frame of a connection had RSV1.
      const compressed: Array<boolean> = []
      const server = createServer()
      const sockets = new WebSocketServer({
        noServer: true,
        perMessageDeflate: deflate ? { threshold: 0 } : false
      })

      const runCase = (index: number, { run, refusal }: Case, request: IncomingMessage, raw: Duplex, head: Buffer) => {
        if (refusal !== undefined) {
          raw.end(refusal)
          return
        }
        raw.once("data", (data: Buffer) => {
          if (((data[0] ?? 0) & 0x0f) < 8) compressed[index] = ((data[0] ?? 0) & 0x40) !== 0
        })
        sockets.handleUpgrade(request, raw, head, (socket) => {
          extensions.push(socket.extensions)
          socket.on("error", () => {})
          socket.on("pong", (payload) => pongs.push(payload.toString()))
          socket.on("message", (data: Buffer, binary) => {
            heard[index]?.push([binary ? data : data.toString(), binary])
          })
          run(socket, raw)
        })
      }

      server.on("upgrade", (request, raw, head) => {
        raw.on("error", () => {})
        const { pathname, searchParams } = new URL(request.url ?? "", "ws://server")
        asked.push(`${pathname} ${searchParams.get("case") ?? ""} ${searchParams.get("agent") ?? ""}`)
        const index = Number(searchParams.get("case")) - 1
        const current = cases[index]
        if (current !== undefined) return runCase(index, current, request, raw, head)
        sockets.handleUpgrade(request, raw, head, (socket) => {
          if (pathname.endsWith("getCaseCount")) socket.send(String(cases.length))
          socket.close(1000)
        })
      })
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      const address = server.address()
      if (address === null || typeof address === "string") throw new Error("the server has no port")
      return { url: `ws://127.0.0.1:${address.port}`, asked, heard, pongs, extensions, compressed, server, sockets }
    }),
    ({ server, sockets }) =>
      Effect.promise(async () => {
        for (const socket of sockets.clients) socket.terminate()
        server.closeAllConnections()
        server.close()
        await once(server, "close")
      })
  )

describe("examples/conformance-client.ts", () => {
  for (const deflate of [false, true]) {
    it.scopedLive(
      `runs every case in order, echoes exactly, and exits with 0, ${deflate ? "with" : "without"} compression`,
      () =>
        Effect.gen(function* () {
          const server = yield* fuzzingServer(deflate)
          const agent = "an agent & more"
          const client = yield* tsx(file, [], {
            URL: deflate ? `${server.url}/some/path//` : server.url,
            AGENT: agent,
            ...(deflate ? { DEFLATE: "1" } : {})
          })
          const { code, stdout, stderr } = yield* client.exit
          expect(stderr).toEqual([])
          expect(code).toBe(0)

          const path = deflate ? "/some/path" : ""
          expect(server.asked).toEqual([
            `${path}/getCaseCount  `,
            ...cases.map((_, index) => `${path}/runCase ${index + 1} ${agent}`),
            `${path}/updateReports  ${agent}`
          ])
          expect(server.heard).toEqual(cases.map(({ echoes }) => echoes))
          expect(server.pongs).toEqual(["one", "two"])
          expect(new Set(server.extensions)).toEqual(new Set([deflate ? "permessage-deflate" : ""]))
          // Of the cases that are echoed to, each echo is compressed, down to the shortest.
          expect(server.compressed.filter((one) => one !== undefined)).toEqual(
            cases.flatMap(({ echoes, name }) => (echoes.length > 0 && !name.includes("pings") ? [deflate] : []))
          )

          expect(stdout.length).toBe(cases.length + 2)
          expect(stdout[0]).toBe(`${cases.length} cases`)
          cases.forEach(({ result }, index) => {
            const [, told = ""] = /^case (\d+): (.*)$/.exec(stdout[index + 1] ?? "")?.slice(1) ?? []
            expect(told).toMatch(result)
          })
          expect(stdout.at(-1)).toBe("reports: closed")
        })
    )
  }

  it.scopedLive("fails with a message if there is no server to ask for cases", () =>
    Effect.gen(function* () {
      const client = yield* tsx(file, [], { URL: "ws://127.0.0.1:1" })
      const { code, stderr } = yield* client.exit
      expect(code).toBe(1)
      expect(stderr.length).toBe(1)
      expect(stderr[0]).toContain("127.0.0.1:1")
    })
  )

  it.scopedLive("refuses a setting that makes no sense", () =>
    Effect.gen(function* () {
      const client = yield* tsx(file, [], { MAX_FRAGMENTS: "0" })
      const { code, stderr } = yield* client.exit
      expect(code).toBe(1)
      expect(stderr).toEqual(["MAX_FRAGMENTS: expected an integer of at least 1"])
    })
  )
})
