import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, Fiber, Scheduler, type Scope, Stream, Supervisor } from "effect"
import { Frame, WebSocket, WebSocketServer } from "effect-websocket"
import type { Flow } from "effect-websocket/Flow"
import { Network } from "effect-websocket/Network"
import { inUse } from "./fixtures/heap.js"
import { settle } from "./fixtures/heard.js"
import { upgradeRequest } from "./fixtures/rawPeer.js"
import { ScriptedFlow } from "./fixtures/scriptedFlow.js"

// What work costs, in counts that don't depend on the machine, so that a change that makes it more expensive is seen.
// Times are measured by `npm run bench`.

type Handler = (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>

const echoes: Readonly<Record<string, Handler>> = {
  "run with a handler": (socket) => socket.run((message) => socket.send(message)),
  "run with an Effect.gen handler": (socket) =>
    socket.run((message) =>
      Effect.gen(function* () {
        yield* socket.send(yield* Effect.succeed(message))
      })
    ),
  "a loop over receive and send": (socket) =>
    Effect.gen(function* () {
      while (true) yield* socket.send(yield* socket.receive)
    }),
  "a loop over receiveAll and sendAll": (socket) =>
    Effect.gen(function* () {
      while (true) yield* socket.sendAll(yield* socket.receiveAll)
    }),
  "messages into the sink": (socket) => Stream.run(socket.messages, socket.sink)
}

/** Counts how often a fiber is woken up. Fibers don't yield of themselves, which they do after so many steps. */
class CountingScheduler implements Scheduler.Scheduler {
  wakeUps = 0
  shouldYield(): false {
    return false
  }
  scheduleTask(...scheduled: Parameters<Scheduler.Scheduler["scheduleTask"]>): void {
    this.wakeUps++
    Scheduler.defaultScheduler.scheduleTask(...scheduled)
  }
}

/** A server's connection, over a flow in the hands of the test; with the fiber that it is served in. */
const connected = (handler: Handler, scheduler: Scheduler.Scheduler = Scheduler.defaultScheduler) =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const flow = new ScriptedFlow()
      const serving = yield* WebSocket.accept(flow).pipe(
        Effect.flatMap(handler),
        Effect.scoped,
        Effect.ignore,
        Effect.withScheduler(scheduler),
        Effect.forkDaemon
      )
      yield* settle
      flow.handler.data(new TextEncoder().encode(upgradeRequest()))
      yield* settle
      expect(Buffer.concat(flow.written).toString()).toContain("101 Switching Protocols")
      flow.written = []
      return { flow, serving }
    }),
    ({ flow, serving }) =>
      Effect.zipRight(
        Effect.sync(() => flow.close()),
        Fiber.interrupt(serving)
      )
  ).pipe(Effect.map(({ flow }) => flow))

const inRead = 32
const payload = new Uint8Array(16).fill(0x5a)
const frame = (role: Frame.Role): Uint8Array =>
  Either.getOrThrow(Frame.encode(Frame.make({ opcode: 2, payload }), role))
const echo = Buffer.concat(Array.from({ length: inRead }, () => frame("server")))

/** What one read brings: memory of its own, for messages are unmasked in place. */
const reads = (count: number): ReadonlyArray<Uint8Array> => {
  const read = Buffer.concat(Array.from({ length: inRead }, () => frame("client")))
  return Array.from({ length: count }, () => new Uint8Array(read))
}

/** Gives reads to a connection, one after the other, and lets it answer each. */
const exchange = (flow: ScriptedFlow, batch: ReadonlyArray<Uint8Array>) =>
  Effect.gen(function* () {
    for (const read of batch) {
      flow.handler.data(read)
      yield* settle
    }
  })

const expectOneWriteEach = (flow: ScriptedFlow, count: number) => {
  expect(Buffer.concat(flow.written).equals(Buffer.concat(Array.from({ length: count }, () => echo)))).toBe(true)
  // One more where the memory that frames are written into comes to its end.
  expect(flow.written.length).toBeLessThanOrEqual(count + 1)
}

describe("32 messages in one read, echoed", () => {
  for (const [form, handler] of Object.entries(echoes)) {
    it.scopedLive(`leave in one write, and take one wake-up: ${form}`, () =>
      Effect.gen(function* () {
        const scheduler = new CountingScheduler()
        const flow = yield* connected(handler, scheduler)
        scheduler.wakeUps = 0
        const count = 20
        yield* exchange(flow, reads(count))
        expectOneWriteEach(flow, count)
        expect(scheduler.wakeUps).toBeLessThanOrEqual(count)
      })
    )
  }

  it.scopedLive("leave in one write, though the handler lets other fibers run before each answer", () =>
    Effect.gen(function* () {
      const flow = yield* connected((socket) =>
        socket.run((message) => Effect.zipRight(Effect.yieldNow(), socket.send(message)))
      )
      const count = 20
      yield* exchange(flow, reads(count))
      expectOneWriteEach(flow, count)
    })
  )
})

/** Bytes; twice as many as it takes now, and more where `Effect.gen` has the greatest part of it. */
const mostGarbage: Readonly<Record<string, number>> = {
  "run with a handler": 1000,
  "run with an Effect.gen handler": 6000,
  "a loop over receive and send": 3000,
  "a loop over receiveAll and sendAll": 1200,
  "messages into the sink": 1800
}

/**
 * The lower quartile: a collection in the midst of a sample makes it too small, and code that isn't compiled yet, as on
 * a machine that is busy, makes it too large.
 */
const quartile = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 4)] ?? Number.NaN

describe("garbage of a message of 16 bytes, echoed with 32 in a read", () => {
  for (const [form, handler] of Object.entries(echoes)) {
    it.scopedLive(`stays below a limit: ${form}`, () =>
      Effect.gen(function* () {
        const flow = yield* connected(handler)
        const forgotten = (batch: ReadonlyArray<Uint8Array>) =>
          Effect.tap(exchange(flow, batch), () => {
            flow.written = []
          })
        // Until what is run is compiled.
        yield* forgotten(reads(200))
        const each = 10
        const samples: Array<number> = []
        for (let sample = 0; sample < 9; sample++) {
          const batch = reads(each)
          inUse()
          const before = process.memoryUsage().heapUsed
          yield* forgotten(batch)
          samples.push((process.memoryUsage().heapUsed - before) / (each * inRead))
        }
        expect(quartile(samples)).toBeLessThan(mostGarbage[form] ?? 0)
      })
    )
  }
})

/** Bytes, without the socket: a third more than it is now. */
const mostOfQuiet = { accepted: 30_000, served: 14_000 }

/** A server whose flows are in the hands of the test. */
const served = (handler: Handler) =>
  Effect.gen(function* () {
    let accept = (_: Flow): void => {}
    const network = Network.of({
      connect: () => Effect.die("nobody connects"),
      upgrade: () => Effect.die("nobody upgrades"),
      listen: (_, onFlow) =>
        Effect.sync(() => {
          accept = onFlow
          return { address: new ScriptedFlow().localAddress, secure: false }
        })
    })
    const options = { maxConnectionsPerAddress: 2000, drainTimeout: 0 }
    const server = yield* Effect.provideService(WebSocketServer.make(options), Network, network)
    yield* server.serve(handler)
    return Effect.acquireRelease(
      Effect.sync(() => {
        const flow = new ScriptedFlow()
        accept(flow)
        flow.handler.data(new TextEncoder().encode(upgradeRequest()))
        return flow
      }),
      (flow) => Effect.sync(() => flow.close())
    )
  })

describe("memory", () => {
  it.scopedLive("nothing is kept of messages that were echoed", () =>
    Effect.gen(function* () {
      const flow = yield* connected((socket) => socket.run((message) => socket.send(message)))
      const exchange = (count: number) =>
        Effect.gen(function* () {
          for (let sent = 0; sent < count; sent += 100) {
            for (const read of reads(100)) flow.handler.data(read)
            yield* settle
            flow.written = []
          }
          return inUse()
        })
      const before = yield* exchange(2000)
      const more = 10_000
      const kept = (yield* exchange(more)) - before
      // Not as much as a byte for each message.
      expect(kept).toBeLessThan(more * inRead)
    })
  )

  const keptBy = (opened: Effect.Effect<ScriptedFlow, never, Scope.Scope>) =>
    Effect.gen(function* () {
      const [read = new Uint8Array(0)] = reads(1)
      const quiet = Effect.gen(function* () {
        const flow = yield* opened
        flow.handler.data(new Uint8Array(read))
        yield* settle
        expect(flow.written.length).toBeGreaterThan(0)
        flow.written = []
      })
      const open = (count: number) =>
        Effect.all(
          Array.from({ length: count }, () => quiet),
          { concurrency: 50 }
        )
      yield* open(200)
      const before = inUse()
      yield* open(1000)
      return (inUse() - before) / 1000
    })
  const echo: Handler = (socket) => socket.run((message) => socket.send(message))

  it.scopedLive("what a quiet connection keeps stays below a limit", () =>
    Effect.gen(function* () {
      expect(yield* keptBy(connected(echo))).toBeLessThan(mostOfQuiet.accepted)
    })
  )

  it.scopedLive("what a quiet connection of a server keeps stays below a lower one", () =>
    Effect.gen(function* () {
      expect(yield* keptBy(yield* served(echo))).toBeLessThan(mostOfQuiet.served)
    })
  )
})

describe("an opening handshake", () => {
  it.scopedLive("of a server makes one fiber, in the read that brings the request, and wakes none", () =>
    Effect.gen(function* () {
      const scheduler = new CountingScheduler()
      const started: Array<unknown> = []
      const supervisor = new Fibers(started)
      const open = yield* served(echoes["run with a handler"] ?? Effect.die).pipe(
        Effect.withScheduler(scheduler),
        Effect.supervised(supervisor)
      )
      yield* open
      yield* settle
      started.length = 0
      scheduler.wakeUps = 0
      const flow = yield* open
      expect(Buffer.concat(flow.written).toString()).toContain("101 Switching Protocols")
      expect(started).toHaveLength(1)
      expect(scheduler.wakeUps).toBe(0)
    })
  )
})

/** Notes which fibers are started. */
class Fibers extends Supervisor.AbstractSupervisor<void> {
  readonly value = Effect.void
  constructor(private readonly started: Array<unknown>) {
    super()
  }
  override onStart(...[, , , fiber]: Parameters<Supervisor.Supervisor<void>["onStart"]>): void {
    this.started.push(fiber)
  }
}
