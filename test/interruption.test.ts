import { describe } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, FiberId, Scheduler, Stream } from "effect"
import type { Flow, Handler } from "effect-websocket/Flow"
import { type ConnectOptions, type ListenOptions, Network } from "effect-websocket/Network"
import { TestNetwork } from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import type { WebSocketError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { inWords, onManualClock, until } from "./fixtures/faultStage.js"
import { testInMemory } from "./fixtures/leaks.js"

// A fiber is interrupted after its first step, after its second, and so on, until it ends before that. Steps are taken
// wherever something happens that it may wait for: before each task of the scheduler that runs its fibers, and before
// and after each callback of its flow. Interruption from outside finds it at these places: suspended.

type Watched = Fiber.RuntimeFiber<unknown, unknown>

/** Counts steps, and interrupts the first fiber that runs here when there were so many. */
class Steps implements Scheduler.Scheduler {
  /** None, at first. */
  private left = 0
  private watched: Watched | undefined

  constructor(private readonly onInterrupt: () => void) {}

  /** From now on. */
  interruptAfter(steps: number): void {
    this.left = steps
    this.watched = undefined
  }

  private step(): void {
    if (this.watched === undefined || --this.left !== 0) return
    this.onInterrupt()
    this.watched.unsafeInterruptAsFork(FiberId.none)
  }

  shouldYield(fiber: Watched): number | false {
    if (this.left > 0) this.watched ??= fiber
    return Scheduler.defaultScheduler.shouldYield(fiber)
  }

  scheduleTask(task: () => void, priority: number, fiber?: Watched): void {
    const stepped = () => {
      this.step()
      task()
    }
    Scheduler.defaultScheduler.scheduleTask(stepped, priority, fiber)
  }

  readonly tap = (flow: Flow): Flow => {
    const around = (tell: () => void) => {
      this.step()
      tell()
      this.step()
    }
    const watch = (handler: Handler): Handler => ({
      data: (bytes) => around(() => handler.data(bytes)),
      end: () => around(() => handler.end()),
      drain: () => around(() => handler.drain()),
      close: (error) => around(() => handler.close(error))
    })
    return {
      remoteAddress: flow.remoteAddress,
      localAddress: flow.localAddress,
      secure: flow.secure,
      attach: (handler) => flow.attach(watch(handler)),
      write: (bytes, more) => flow.write(bytes, more),
      bufferedBytes: () => flow.bufferedBytes(),
      pause: () => flow.pause(),
      resume: () => flow.resume(),
      unshift: (bytes) => flow.unshift(bytes),
      end: () => flow.end(),
      destroy: () => flow.destroy()
    }
  }
}

/** How far a program has come. */
type Stage = "before" | "open" | "claiming" | "streaming" | "closing"

const options = { pingInterval: Duration.infinity, idleTimeout: Duration.infinity, drainTimeout: "5 seconds" } as const

const drained = ({ chunks }: WebSocket.Incoming) => Stream.runDrain<string | Uint8Array, WebSocketError, never>(chunks)

/** Who asks for the second piece has sent the first. */
const inPieces = (at: (stage: Stage) => void) =>
  Stream.concat(
    Stream.make("in "),
    Stream.fromEffect(Effect.sync(() => at("streaming")).pipe(Effect.zipRight(Effect.yieldNow()), Effect.as("pieces")))
  )

/** Everything that a client does with a connection. */
const ask = (socket: WebSocket.WebSocket, at: (stage: Stage) => void) =>
  Effect.gen(function* () {
    at("open")
    yield* socket.send("one")
    yield* socket.receive
    at("claiming")
    yield* socket.sendTextStream(inPieces(at))
    at("open")
    yield* drained(yield* socket.receiveStream)
    yield* socket.ping
    yield* socket.send("two")
    yield* Stream.runHead(socket.messages)
    at("closing")
    yield* socket.close()
  })

/** And a server. */
const answer = (socket: WebSocket.WebSocket, at: (stage: Stage) => void) =>
  Effect.gen(function* () {
    at("open")
    yield* socket.send(yield* socket.receive)
    yield* drained(yield* socket.receiveStream)
    at("claiming")
    yield* socket.sendTextStream(inPieces(at))
    at("open")
    yield* socket.ping
    yield* Stream.run(socket.messages, socket.sink)
    at("closing")
  })

/** Whose end is interrupted, and whether the server decides on requests: without that there is no fiber before the connection is open. */
type Tested = "client" | "server" | "server that decides"

/** Interrupts one end after each number of steps. Tells the stages that it found it in, and what the other end was told. */
const interrupting = (tested: Tested) =>
  Effect.gen(function* () {
    const network = yield* Network
    const hand = yield* TestNetwork
    yield* hand.set({ fragmentation: 8 })
    let stage: Stage = "before"
    let interruptedAt: Stage | undefined
    let told: string | undefined
    const at = (next: Stage) => {
      stage = next
    }
    const steps = new Steps(() => {
      interruptedAt = stage
    })
    const watching = {
      ...network,
      connect: (how: ConnectOptions) => Effect.map(network.connect(how), steps.tap),
      listen: (how: ListenOptions, onFlow: (flow: Flow) => void) =>
        network.listen(how, (flow) => onFlow(steps.tap(flow)))
    }
    const watched = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.withScheduler(Effect.provideService(effect, Network, watching), steps)
    const unwatched = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Network, network)
    const [onClient, onServer] = tested === "client" ? [watched, unwatched] : [unwatched, watched]

    /** The other end tells how it ended. */
    const telling = (talk: typeof ask) => (socket: WebSocket.WebSocket) =>
      talk(socket, () => {}).pipe(
        Effect.ignore,
        Effect.zipRight(Effect.merge(socket.closed)),
        Effect.tap((error) =>
          Effect.sync(() => {
            told = inWords(error)
          })
        )
      )
    const server = yield* onServer(WebSocketServer.make(options))
    // A decision that takes a step.
    const decide = () => Effect.as(Effect.yieldNow(), { data: undefined })
    const handler = tested === "client" ? telling(answer) : (socket: WebSocket.WebSocket) => answer(socket, at)
    yield* onServer(tested === "server" ? server.serve(handler) : server.serveWith(decide, handler))
    const client = onClient(
      WebSocket.connect(server.url, options).pipe(
        Effect.flatMap(tested === "client" ? (socket) => ask(socket, at) : telling(ask)),
        Effect.scoped,
        Effect.tapError((error) =>
          Effect.sync(() => {
            if (tested !== "client") told = inWords(error)
          })
        )
      )
    )

    const seen: Array<readonly [stage: Stage | "over", told: string]> = []
    while (interruptedAt !== undefined || seen.length === 0) {
      stage = "before"
      interruptedAt = undefined
      told = undefined
      steps.interruptAfter(seen.length + 1)
      const where = `after ${seen.length + 1} steps`
      const fiber = yield* Effect.fork(client)
      yield* until(() => fiber.unsafePoll() !== null, `the client ${where}`)
      yield* until(() => Effect.runSync(server.connections) === 0, `the server ${where}`)
      expect(yield* hand.connections).toEqual([])
      expect(Exit.isInterrupted(yield* Fiber.await(fiber))).toBe(tested === "client" && interruptedAt !== undefined)
      seen.push([interruptedAt ?? "over", told ?? "nothing"])
    }
    return seen
  })

const clean = (code: number, ...how: ReadonlyArray<string>) => [`closed ${code}`, ...how, "clean"].join(", ")
const brokenOff = clean(1011, "sent 1011", "remote").replace(",", " a message was broken off,")

type Told = Readonly<Partial<Record<Stage | "over", ReadonlyArray<string>>>>

const toldByServer: Told = {
  // The client may be about to close, too.
  open: [
    clean(1001, "sent 1001", "remote"),
    clean(1001, "sent 1000", "remote"),
    clean(1001, "sent 1000", "local"),
    clean(1000, "sent 1000", "local")
  ],
  claiming: [clean(1001, "sent 1001", "remote"), brokenOff],
  streaming: [brokenOff],
  closing: [clean(1000, "sent 1000", "local")],
  over: [clean(1000, "sent 1000", "local")]
}

/** What the other end may be told, by the stage that the interruption came in. */
const tests: ReadonlyArray<readonly [Tested, Told]> = [
  [
    "client",
    {
      // The server may be done with the opening handshake before the client is, which is then just gone.
      before: [
        "nothing",
        "IoError read ECONNRESET",
        "IoError write ECONNRESET",
        "closed 1006, remote",
        clean(1001, "sent 1001", "remote")
      ],
      open: [clean(1001, "sent 1001", "remote")],
      claiming: [clean(1001, "sent 1001", "remote"), brokenOff],
      streaming: [brokenOff],
      closing: [clean(1000, "sent 1000", "remote")],
      over: [clean(1000, "sent 1000", "remote")]
    }
  ],
  ["server", toldByServer],
  [
    "server that decides",
    {
      ...toldByServer,
      before: ["HandshakeError: read", "HandshakeError: read ECONNRESET", clean(1001, "sent 1001", "remote")]
    }
  ]
]

describe("an interruption at any step", () => {
  for (const [tested, allowed] of tests) {
    testInMemory(
      `of a ${tested} is an end that the other one is told of, and leaves nothing`,
      onManualClock(() =>
        Effect.map(interrupting(tested), (seen) => {
          const told = (stage: Stage | "over") =>
            new Set(seen.flatMap(([each, what]) => (each === stage ? [what] : [])))
          for (const stage of ["before", "open", "claiming", "streaming", "closing", "over"] as const) {
            // A server that has nothing to decide has no fiber before the connection is open.
            expect(told(stage).size > 0, stage).toBe(allowed[stage] !== undefined)
            for (const what of told(stage)) expect(allowed[stage], stage).toContain(what)
          }
        })
      )
    )
  }
})
