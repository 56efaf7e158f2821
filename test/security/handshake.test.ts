import { HttpRouter, HttpServer } from "@effect/platform"
import { describe } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import { TestNetwork } from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { echo, echoing, empty, knock, status } from "../fixtures/knocking.js"
import { type RawPeer, rawClient, upgradeRequest } from "../fixtures/rawPeer.js"
import { serving } from "../fixtures/routes.js"
import { attack, attackOnRoutes, clientOf, inMemory } from "./attack.js"

type Server = WebSocketServer.WebSocketServer["Type"]

const servesOn = (url: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const socket = yield* WebSocket.connect(url)
      yield* socket.send("still there?")
      expect(yield* socket.receive).toBe("still there?")
    })
  )

const leave = (peer: RawPeer) => Effect.zipRight(peer.ended, peer.end)

/** Asks, and is refused; the connection ends, and nothing else came. */
const refused = (server: Pick<Server, "address">, request: string | Uint8Array) =>
  Effect.gen(function* () {
    const peer = yield* rawClient(server.address)
    yield* peer.send(request)
    const refusal = yield* status(peer)
    yield* leave(peer)
    expect(peer.heard.text().match(/HTTP\/1\.1 /g)).toHaveLength(1)
    return refusal
  })

describe("names", () => {
  // Of members that every object has.
  const names = ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"]

  attack(
    "ws 3.3.1 (2017): extensions, subprotocols and headers that are called like members of every object are plain names",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0, deflate: true, subprotocols: ["toString"] })
      yield* server.serveWith(
        ({ headers, subprotocols }) =>
          Effect.succeed({ data: JSON.stringify([headers["constructor"], headers["valueof"], subprotocols]) }),
        (socket, seen) => socket.send(seen)
      )
      for (const name of names) {
        const { peer, status } = yield* knock(
          server,
          upgradeRequest({
            "Sec-WebSocket-Extensions": `${name}, permessage-deflate; ${name}=1, ${names.join(";")}`,
            "Sec-WebSocket-Protocol": names.join(", "),
            ...Object.fromEntries(names.map((header) => [header, "2"]))
          })
        )
        expect(status).toBe(101)
        const head = yield* peer.head
        expect(head).toContain("Sec-WebSocket-Protocol: toString\r\n")
        expect(head).not.toContain("Extensions")
        const { payload } = yield* peer.frame(({ opcode }) => opcode === 1)
        expect(JSON.parse(String(Buffer.from(payload)))).toEqual(["2", "2", names])
        yield* peer.destroy
      }
      // What was read has left no trace in what all objects share.
      expect(Object.getOwnPropertyNames({})).toEqual([])
      expect(Reflect.get({}, "2")).toBeUndefined()
      for (const name of names) {
        const { connecting, peer } = yield* clientOf({ "Sec-WebSocket-Extensions": name }, { deflate: true })
        const error = yield* Effect.flip(Effect.asVoid(Fiber.join(connecting)))
        expect(error).toMatchObject({ _tag: "HandshakeError", rule: expect.stringMatching(/extension/) })
        yield* leave(peer)
      }
    })
  )
})

describe("a header that is long", () => {
  // Whatever looks at it once for each of its characters would be busy for minutes, and the test over its time.
  const many = 300_000
  const roomy = { maxHeadSize: 4 * many }

  const answers = (expected: number, changes: Parameters<typeof upgradeRequest>[0]) =>
    Effect.gen(function* () {
      const server = yield* echoing(roomy)
      expect(yield* refused(server, upgradeRequest(changes))).toBe(expected)
      yield* servesOn(server.url)
    })
  const spaced = `a${" ".repeat(many)}b`

  attack(
    "CVE-2021-32640 (ws): 300,000 spaces in a list of subprotocols are read once",
    answers(400, { "Sec-WebSocket-Protocol": spaced })
  )

  attack(
    "CVE-2020-7662 (websocket-extensions): a quoted parameter of 150,000 escapes that never ends is read once",
    answers(400, { "Sec-WebSocket-Extensions": `a; b="${"\\a".repeat(many / 2)}` })
  )

  attack(
    "CVE-2023-26103 (Deno): 300,000 spaces in Connection and in Upgrade are read once",
    answers(426, { Connection: spaced, Upgrade: spaced })
  )

  attack(
    "CVE-2023-43669 (tungstenite): a head in 200,000 reads of one byte is read once",
    Effect.gen(function* () {
      const network = yield* TestNetwork
      yield* network.set({ fragmentation: 1 })
      const server = yield* echoing(roomy)
      const { peer, status } = yield* knock(server, upgradeRequest({ "X-Long": "x".repeat(200_000) }))
      expect(status).toBe(101)
      yield* peer.destroy
    }).pipe(Effect.provide(inMemory[1])),
    [inMemory]
  )

  attack(
    "CVE-2023-43669 (tungstenite): a head without end is answered with 431 at 16 KiB, and one that is slow with 408 after 10 seconds",
    Effect.gen(function* () {
      const server = yield* echoing()
      expect(yield* refused(server, `GET / HTTP/1.1\r\nX: ${"x".repeat(16_384)}`)).toBe(431)
      const slow = yield* rawClient(server.address)
      yield* slow.send("GET / HTTP/1.1\r\n")
      for (let second = 0; second < 10; second++) {
        yield* settle
        expect(slow.heard.size()).toBe(0)
        yield* slow.send("X")
        yield* settle
        yield* TestClock.adjust("1 second")
      }
      expect(yield* status(slow)).toBe(408)
      yield* leave(slow)
      yield* empty(server)
    })
  )
})

describe("a request with more headers than are read", () => {
  const many = "a:\r\n".repeat(2500)
  const crowded = (before: string) => upgradeRequest().replace(`${before}:`, `${many}${before}:`)

  attack(
    "CVE-2024-37890 (ws): headers beyond the hundredth are refused with 431, not ignored",
    Effect.gen(function* () {
      const server = yield* echoing()
      for (const name of ["Host", "Upgrade", "Sec-WebSocket-Key"])
        expect(yield* refused(server, crowded(name))).toBe(431)
      yield* servesOn(server.url)
    })
  )

  const app = HttpRouter.empty.pipe(HttpRouter.get("/", WebSocketServer.upgrade(echo)), HttpServer.serve())

  attackOnRoutes(
    "CVE-2024-37890 (ws): in a route, each header that Node has dropped is missed with 400 or 426, or all with 431, and the process lives on",
    Effect.gen(function* () {
      const server = yield* serving(app)
      // Each is the first of those that Node drops; its newest versions refuse the request themselves.
      const refusesItself = 431
      expect([400, refusesItself]).toContain(yield* refused(server, crowded("Host")))
      expect([426, refusesItself]).toContain(yield* refused(server, crowded("Upgrade")))
      expect([426, refusesItself]).toContain(yield* refused(server, crowded("Sec-WebSocket-Version")))
      expect([400, refusesItself]).toContain(
        yield* refused(
          server,
          upgradeRequest({ "Sec-WebSocket-Key": undefined, "Sec-WebSocket-Version": "13" }).replace(
            "\r\n\r\n",
            `\r\n${many}Sec-WebSocket-Key: a\r\n\r\n`
          )
        )
      )
      yield* servesOn(server.url)
    })
  )

  describe("or with a body", () => {
    const smuggled = "GET /smuggled HTTP/1.1\r\nHost: server.example\r\n\r\n"
    const bodies: ReadonlyArray<string> = [
      upgradeRequest({ "Content-Length": `${smuggled.length}` }) + smuggled,
      `${upgradeRequest({ "Transfer-Encoding": "chunked" })}${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`
    ]

    attack(
      "CVE-2026-69243 (aiohttp): an upgrade with a body is refused with 400, and the body is neither a request nor frames",
      Effect.gen(function* () {
        const server = yield* echoing()
        for (const request of bodies) expect(yield* refused(server, request)).toBe(400)
        // Two opinions on its length, or none.
        for (const length of [["0", "5"], ["5", "0"], ["+0"], ["0x0"], ["0", "0"]]) {
          expect(yield* refused(server, upgradeRequest({ "Content-Length": length }) + smuggled)).toBe(400)
        }
        yield* servesOn(server.url)
      })
    )

    attackOnRoutes(
      "CVE-2026-69243 (aiohttp): in a route, an upgrade with a body is refused with 400, and the body is neither a request nor frames",
      Effect.gen(function* () {
        const server = yield* serving(app)
        for (const request of bodies) expect(yield* refused(server, request)).toBe(400)
        yield* servesOn(server.url)
      })
    )
  })
})
