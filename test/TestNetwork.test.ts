import { describe, expect, it } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Exit, Fiber, Layer, Option, Redacted, TestClock } from "effect"
import type { Flow } from "effect-websocket/Flow"
import { Network } from "effect-websocket/Network"
import * as TestNetwork from "effect-websocket/TestNetwork"
import type { ConnectError } from "effect-websocket/WebSocketError"
import { bytes, type Heard, heard, pattern, reading, settle } from "./fixtures/heard.js"
import { networkSuite } from "./suites/network.js"

const openResources = Effect.gen(function* () {
  const network = yield* TestNetwork.TestNetwork
  const flows = yield* Effect.forEach(yield* network.connections, ({ open }) => open)
  return flows.flat().length + (yield* network.listeners).length
})

networkSuite("TestNetwork", {
  layer: TestNetwork.layer,
  listenOn: () => ({ address: { _tag: "TcpAddress", hostname: "127.0.0.1", port: 0 } }),
  openResources
})

const tls = { cert: "", key: Redacted.make("") }
let paths = 0

networkSuite("TestNetwork, secure, under a path, coalescing", {
  layer: Layer.tap(TestNetwork.layer, (context) =>
    Context.get(context, TestNetwork.TestNetwork).set({ fragmentation: "coalesce", capacity: 1000 })
  ),
  listenOn: () => ({ address: { _tag: "UnixAddress", path: `/run/${paths++}.sock` }, tls }),
  tls: {},
  openResources
})

const texts = (handler: Heard) => handler.chunks.map((chunk) => Buffer.from(chunk).toString("latin1"))

const at = (hostname: string, port: number) => ({ address: { _tag: "TcpAddress", hostname, port } }) as const

describe("latency", () => {
  it.scoped("passes on the TestClock, in each direction, and keeps the order", () =>
    Effect.gen(function* () {
      const { client, server, set } = yield* TestNetwork.pair({ latency: "50 millis" })
      const atServer = reading(server, { data: (chunk) => void server.write(chunk, false) })
      const atClient = reading(client)
      client.write(bytes("slow"), false)
      yield* TestClock.adjust("49 millis")
      yield* settle
      expect(atServer.events).toEqual([])
      yield* set({ latency: "1 millis" })
      client.write(bytes("fast"), false)
      client.end()
      yield* TestClock.adjust("1 millis")
      yield* settle
      expect(atServer.text()).toBe("slowfast")
      expect(atServer.events).toEqual(["data", "end"])
      expect(atClient.events).toEqual([])
      yield* TestClock.adjust("1 millis")
      yield* settle
      expect(atClient.text()).toBe("slowfast")
    })
  )

  it.scoped("makes connect take a round trip, in which it can be interrupted", () =>
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      const { connect, listen } = yield* Network
      yield* listen(at("host", 80), () => {})
      yield* network.set({ latency: "10 millis" })
      const fiber = yield* Effect.fork(Effect.scoped(Effect.zipRight(connect(at("host", 80)), Effect.never)))
      const interrupted = yield* Effect.fork(Effect.scoped(connect(at("host", 80))))
      yield* TestClock.adjust("19 millis")
      yield* Fiber.interrupt(interrupted)
      expect(yield* network.connections).toEqual([])
      yield* TestClock.adjust("1 millis")
      yield* settle
      expect((yield* network.connections).length).toBe(1)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(TestNetwork.layer))
  )

  it("of a connection that is over holds no timer", async () => {
    let sleeping = 0
    const clock = Object.assign(Clock.make(), {
      sleep: () =>
        Effect.async<void>(() => {
          sleeping++
          return Effect.sync(() => sleeping--)
        })
    })
    for (const finish of ["destroy", "reset"] as const) {
      const { client, reset, server } = TestNetwork.unsafePair({ latency: "1 hour" }, clock)
      client.write(bytes("a"), false)
      server.write(bytes("b"), false)
      server.end()
      expect(sleeping).toBe(2)
      if (finish === "reset") await Effect.runPromise(reset)
      else for (const flow of [client, server]) flow.destroy()
      await Effect.runPromise(settle)
      expect(sleeping).toBe(0)
    }
  })

  it.effect.each([0, 1])("that falls to %d ms lets nothing overtake what is on its way", (latency) =>
    Effect.gen(function* () {
      const { client, server, set } = yield* TestNetwork.pair({ latency: "50 millis" })
      const atServer = reading(server)
      server.write(bytes("unread"), false)
      client.write(bytes("before"), false)
      yield* set({ latency })
      client.destroy()
      yield* TestClock.adjust("49 millis")
      yield* settle
      expect(atServer.events).toEqual([])
      yield* TestClock.adjust("1 millis")
      yield* settle
      expect(atServer.text()).toBe("before")
      expect(atServer.error()?.code).toBe("ECONNRESET")
    }).pipe(Effect.scoped)
  )

  it.scoped("is what a reset takes, too, behind the data sent before it", () =>
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair({ latency: "10 millis" })
      const atClient = reading(client)
      server.write(bytes("before"), false)
      client.write(bytes("unread"), false)
      yield* TestClock.adjust("5 millis")
      server.destroy()
      yield* TestClock.adjust("5 millis")
      yield* settle
      expect(atClient.text()).toBe("before")
      expect(atClient.events).toEqual(["data"])
      yield* TestClock.adjust("5 millis")
      yield* settle
      expect(atClient.events).toEqual(["data", "close"])
      expect(atClient.error()?.code).toBe("ECONNRESET")
    })
  )
})

describe("fragmentation", () => {
  const arrivals = (fragmentation: TestNetwork.Fragmentation) =>
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair({ fragmentation })
      client.write(bytes("abcde"), true)
      client.write(bytes("fgh"), false)
      const atServer = reading(server)
      yield* settle
      expect(atServer.text()).toBe("abcdefgh")
      return texts(atServer)
    })

  it.scoped("cuts as the sender wrote, all together, by a size, or by a function", () =>
    Effect.gen(function* () {
      expect(yield* arrivals("write")).toEqual(["abcde", "fgh"])
      expect(yield* arrivals("coalesce")).toEqual(["abcdefgh"])
      expect(yield* arrivals(3)).toEqual(["abc", "def", "gh"])
      expect(yield* arrivals((available) => available / 2)).toEqual(["abcd", "ef", "g", "h"])
      expect(yield* arrivals(() => 0)).toEqual([..."abcdefgh"])
      expect(yield* arrivals(() => Number.POSITIVE_INFINITY)).toEqual(["abcdefgh"])
    })
  )

  it.scoped("by a seed is the same for the same seed, and another for another", () =>
    Effect.gen(function* () {
      const sizes = (seed: number) => {
        const next = TestNetwork.randomSizes(seed)
        return Array.from({ length: 100 }, () => next(1000))
      }
      expect(sizes(1)).toEqual(sizes(1))
      expect(sizes(1)).not.toEqual(sizes(2))
      expect(Math.min(...sizes(3))).toBeGreaterThanOrEqual(1)
      expect(Math.max(...sizes(3))).toBeLessThanOrEqual(1000)
      const { client, server } = yield* TestNetwork.pair({ fragmentation: TestNetwork.randomSizes(7) })
      const atServer = reading(server)
      const all = pattern(200_000)
      client.write(all, false)
      yield* atServer.until(({ size }) => size() === all.length)
      expect(Buffer.concat(atServer.chunks).equals(all)).toBe(true)
      expect(new Set(atServer.chunks.map(({ length }) => length)).size).toBeGreaterThan(5)
    })
  )
})

describe("capacity", () => {
  it.scoped("bounds what is in flight, exactly, and a larger one has room at once", () =>
    Effect.gen(function* () {
      const { client, server, set } = yield* TestNetwork.pair({ capacity: 10 })
      const atClient = reading(client)
      expect(client.write(pattern(10), false)).toBe(true)
      expect(client.write(pattern(5), false)).toBe(false)
      expect(client.bufferedBytes()).toBe(5)
      yield* set({ capacity: 15 })
      yield* settle
      expect(client.bufferedBytes()).toBe(0)
      expect(atClient.events).toEqual(["drain"])
      expect(client.write(pattern(1), false)).toBe(false)
      server.destroy()
      yield* settle
      expect(client.bufferedBytes()).toBe(0)
    })
  )

  it.scoped("is 64 KiB by default", () =>
    Effect.gen(function* () {
      const { client } = yield* TestNetwork.pair()
      expect(client.write(pattern(TestNetwork.defaultCapacity), false)).toBe(true)
      client.write(pattern(1), false)
      expect(client.bufferedBytes()).toBe(1)
    })
  )
})

describe("commands", () => {
  it.scoped("stall holds everything in one direction until unstall", () =>
    Effect.gen(function* () {
      const { client, server, stall, unstall } = yield* TestNetwork.pair()
      const atServer = reading(server)
      const atClient = reading(client)
      yield* stall("toServer")
      client.write(bytes("held"), false)
      client.end()
      server.write(bytes("through"), false)
      yield* settle
      expect(atServer.events).toEqual([])
      expect(atClient.text()).toBe("through")
      yield* unstall("toServer")
      yield* settle
      expect(atServer.text()).toBe("held")
      expect(atServer.events).toEqual(["data", "end"])
    })
  )

  it.scoped("halfClose ends one direction", () =>
    Effect.gen(function* () {
      const { client, halfClose, server } = yield* TestNetwork.pair()
      const atServer = reading(server)
      const atClient = reading(client)
      yield* halfClose("toClient")
      yield* settle
      expect(atClient.events).toEqual(["end"])
      client.write(bytes("on"), false)
      yield* settle
      expect(atServer.text()).toBe("on")
      yield* halfClose("toServer")
      yield* settle
      expect(atServer.events).toEqual(["data", "end", "close"])
    })
  )

  it.scoped("reset breaks both flows at once, also stalled and paused ones", () =>
    Effect.gen(function* () {
      const connection = yield* TestNetwork.pair()
      const { client, server } = connection
      yield* connection.stall("toClient")
      server.write(bytes("lost"), false)
      const atClient = reading(client)
      const atServer = heard()
      server.attach(atServer)
      expect(yield* connection.open).toEqual(["client", "server"])
      yield* connection.reset
      yield* connection.reset
      expect(yield* connection.open).toEqual([])
      yield* settle
      for (const handler of [atClient, atServer]) {
        expect(handler.events).toEqual(["close"])
        expect(handler.error()).toMatchObject({ _tag: "IoError", code: "ECONNRESET" })
      }
    })
  )

  it.scoped("to the network act on all its connections, and conditions on later ones, too", () =>
    Effect.gen(function* () {
      const network = yield* TestNetwork.TestNetwork
      const { connect, listen } = yield* Network
      const flows: Array<Flow> = []
      yield* listen(at("host", 80), (flow) => flows.push(flow))
      const first = reading(yield* connect(at("host", 80)))
      yield* network.stall("toClient")
      yield* network.set({ fragmentation: 1 })
      const second = reading(yield* connect(at("host", 80)))
      for (const flow of flows) flow.write(bytes("ab"), false)
      yield* settle
      expect([...first.events, ...second.events]).toEqual([])
      yield* network.unstall("toClient")
      yield* settle
      expect([texts(first), texts(second)]).toEqual([
        ["a", "b"],
        ["a", "b"]
      ])
      yield* network.halfClose("toClient")
      yield* settle
      expect([first.events, second.events]).toEqual([
        ["data", "end"],
        ["data", "end"]
      ])
      yield* network.reset
      yield* settle
      expect([first.error()?.code, second.error()?.code]).toEqual(["ECONNRESET", "ECONNRESET"])
      expect(yield* network.connections).toEqual([])
    }).pipe(Effect.provide(TestNetwork.layer))
  )
})

describe("the network in memory", () => {
  it.scoped("finds a listener on every address under any name, and another under its own", () =>
    Effect.gen(function* () {
      const { connect, listen } = yield* Network
      const network = yield* TestNetwork.TestNetwork
      const any = yield* listen(at("0.0.0.0", 80), () => {})
      yield* listen(at("one", 81), () => {})
      yield* connect(at("chat.example", 80))
      yield* connect(at("one", 81))
      expect(yield* Effect.flip(connect(at("two", 81)))).toMatchObject({ reason: "tcp", code: "ECONNREFUSED" })
      expect(yield* network.listeners).toContainEqual(any)
      expect((yield* network.listeners).length).toBe(2)
      expect((yield* network.connections).length).toBe(2)
    }).pipe(Effect.provide(TestNetwork.layer))
  )

  it.scoped("refuses TLS where none is spoken, and hangs up on the reverse", () =>
    Effect.gen(function* () {
      const { connect, listen } = yield* Network
      let accepted = 0
      yield* listen(at("plain", 80), () => accepted++)
      yield* listen({ ...at("secure", 443), tls }, () => accepted++)
      const error = yield* Effect.flip(connect({ ...at("plain", 80), tls: {} }))
      expect(error).toMatchObject({ _tag: "ConnectError", reason: "tls" })
      const plain = reading(yield* connect(at("secure", 443)))
      yield* plain.until(({ events }) => events.includes("end"))
      expect(accepted).toBe(0)
    }).pipe(Effect.provide(TestNetwork.layer))
  )

  it.scoped("leaves nothing of an attempt that is interrupted when it was just accepted", () =>
    Effect.gen(function* () {
      const { connect, listen } = yield* Network
      const network = yield* TestNetwork.TestNetwork
      const fiber = yield* Deferred.make<Fiber.RuntimeFiber<Flow, ConnectError>>()
      let atServer = Option.none<Heard>()
      yield* listen(at("host", 80), (flow) => {
        atServer = Option.some(reading(flow, { end: () => flow.end() }))
        Effect.runSync(Effect.flatMap(Deferred.await(fiber), (it) => Fiber.interruptFork(it)))
      })
      const attempt = yield* Effect.fork(connect(at("host", 80)))
      yield* Deferred.succeed(fiber, attempt)
      expect(Exit.isInterrupted(yield* Fiber.await(attempt))).toBe(true)
      yield* settle
      expect((yield* atServer).events).toEqual(["end", "close"])
      expect(yield* network.connections).toEqual([])
    }).pipe(Effect.provide(TestNetwork.layer))
  )

  it.scoped("destroys what is open when its scope closes", () =>
    Effect.gen(function* () {
      const [atClient, atServer] = yield* Effect.gen(function* () {
        const { connect, listen } = yield* Network
        let server = Option.none<Heard>()
        yield* listen(at("host", 80), (flow) => {
          server = Option.some(reading(flow))
        })
        const client = reading(yield* connect(at("host", 80)))
        return [client, yield* server] as const
      }).pipe(Effect.scoped, Effect.provide(TestNetwork.layer))
      yield* settle
      expect(atClient.events).toEqual(["close"])
      expect(atServer.events.at(-1)).toBe("close")
    })
  )

  it("has a pair for tests without Effect", async () => {
    const { client, server } = TestNetwork.unsafePair()
    const atServer = reading(server)
    client.write(bytes("plain"), false)
    expect(atServer.events).toEqual([])
    await Effect.runPromise(settle)
    expect(atServer.text()).toBe("plain")
    client.destroy()
    server.destroy()
  })
})
