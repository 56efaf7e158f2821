import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Either, Exit, Fiber, LogLevel, Option, TestClock } from "effect"
import * as Frame from "effect-websocket/Frame"
import { type Driven, drive } from "effect-websocket/internal/driver"
import { driverOptions } from "effect-websocket/internal/options"
import { drain, inVisit, runHandler, Visit } from "effect-websocket/internal/serving"
import { Rng } from "effect-websocket/Rng"
import { IoError } from "effect-websocket/WebSocketError"
import { settle } from "../fixtures/heard.js"
import { recording } from "../fixtures/logs.js"
import { withManualClock } from "../fixtures/manualClock.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

const patience = { drainTimeout: Duration.seconds(5), closeTimeout: Duration.seconds(3) }

/** A server's connection whose flow is released as soon as it is let go of. */
const connection = (visit: Visit, flow = new ScriptedFlow()) =>
  Effect.gen(function* () {
    const options = driverOptions("server", yield* Rng, undefined, { closeTimeout: patience.closeTimeout })
    const driven = yield* drive(flow, new Uint8Array(0), options)
    visit.opened(driven)
    yield* settle
    return { ...peerOf(driven), flow, driven }
  })

const peerOf = ({ engine }: Driven) => ({
  role: "server" as const,
  isOpen: Effect.sync(() => engine.isOpen),
  url: "ws://self.example/room?token=secret",
  remoteAddress: engine.flow.remoteAddress,
  span: undefined
})

/** Lets the flow of a connection go, as the operating system does when it was destroyed. */
const releasing = (flow: ScriptedFlow) =>
  Effect.forkScoped(
    Effect.gen(function* () {
      while (!flow.destroyed) yield* settle
      flow.close()
    })
  )

/** The codes of the Close frames that were sent. */
const closes = (flow: ScriptedFlow): ReadonlyArray<number> => {
  const decoded = Either.getOrThrow(Frame.decode(new Uint8Array(Buffer.concat(flow.written))))
  return Option.match(decoded, {
    onNone: () => [],
    onSome: ({ frame }) => (frame.opcode === Frame.Opcode.close ? [Buffer.from(frame.payload).readUInt16BE(0)] : [])
  })
}

describe("a visit", () => {
  it.scoped("that is asked to leave before it has a connection closes the one that comes, with 1001", () =>
    Effect.gen(function* () {
      const visit = new Visit()
      expect(visit.leave()).toBe(false)
      const { flow } = yield* connection(visit)
      yield* settle
      expect(closes(flow)).toEqual([1001])
      expect(visit.leave()).toBe(true)
      flow.close()
    })
  )

  it("is worth waiting for once it has begun, though it has no connection", () => {
    const visit = new Visit()
    visit.begin()
    expect(visit.leave()).toBe(true)
  })

  it.scoped("that is abandoned loses its flow, with a connection and without one", () =>
    Effect.gen(function* () {
      const flow = new ScriptedFlow()
      const early = new Visit(flow)
      early.abandon()
      expect([flow.destroyed, early.abandoned]).toEqual([true, true])
      const late = new Visit()
      const made = yield* connection(late)
      late.abandon()
      expect(made.flow.destroyed).toBe(true)
      made.flow.close()
    })
  )

  it("without a connection is over for nobody", () => {
    new Visit().onOver(() => expect.fail("it isn't over"))
  })
})

describe("draining", () => {
  it.effect("nobody takes no time", () => drain(new Map(), patience))

  it.effect("interrupts at once who has nothing to finish", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Effect.never)
      yield* drain(new Map([[fiber, new Visit()]]), patience)
      expect(Exit.isInterrupted(yield* Fiber.await(fiber))).toBe(true)
    })
  )

  it.effect("waits once for those who don't end, and leaves them alone from then on", () =>
    Effect.gen(function* () {
      const { from, record } = recording()
      const release = yield* Deferred.make<void>()
      const deaf = yield* Effect.fork(Effect.uninterruptible(Deferred.await(release)))
      const visits = new Map([[deaf, new Visit()]])
      const draining = yield* Effect.fork(record(drain(visits, patience)))
      yield* TestClock.adjust("7999 millis")
      expect(draining.unsafePoll()).toBeNull()
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(draining)
      yield* record(drain(visits, patience))
      expect(from(LogLevel.Warning)).toEqual([expect.stringContaining("left 1 ")])
      yield* Deferred.succeed(release, undefined)
    })
  )

  it.effect("may be interrupted itself where it may be", () =>
    Effect.gen(function* () {
      const visit = new Visit()
      visit.begin()
      const fiber = yield* Effect.fork(Effect.never)
      const draining = yield* Effect.fork(drain(new Map([[fiber, visit]]), patience))
      yield* settle
      yield* Fiber.interrupt(draining)
      expect(fiber.unsafePoll()).toBeNull()
      yield* Fiber.interrupt(fiber)
    })
  )
})

describe("a handler", () => {
  const run = (handler: Effect.Effect<unknown, unknown>) =>
    Effect.gen(function* () {
      const { entries, record } = recording()
      const visit = new Visit()
      const flow = new ScriptedFlow()
      yield* releasing(flow)
      const running = yield* Effect.fork(record(runHandler(connection(visit, flow), () => handler, visit, patience)))
      // The connection settles first.
      yield* Effect.zipRight(settle, settle)
      return { entries, flow, running, visit }
    })

  for (const [what, handler, code] of [
    ["ends", Effect.void, 1000],
    ["fails", Effect.fail("no"), 1011],
    ["dies", Effect.dieMessage("a bug"), 1011],
    ["interrupts itself", Effect.interrupt, 1001]
  ] as const) {
    it.scoped(`that ${what} closes its connection with ${code}, and nothing of it gets out`, () =>
      Effect.gen(function* () {
        const { entries, flow, running } = yield* run(handler)
        expect(closes(flow)).toEqual([code])
        yield* TestClock.adjust("3 seconds")
        const exit = yield* Fiber.await(running)
        expect(code === 1001 ? Exit.isInterrupted(exit) : Exit.isSuccess(exit)).toBe(true)
        const failures = entries.filter(({ message }) => message.startsWith("WebSocket handler failed"))
        expect(failures.map(({ level }) => level)).toEqual(code === 1011 ? ["ERROR"] : [])
        // A query may hold a token.
        for (const { annotations } of failures) expect(JSON.stringify(annotations)).not.toContain("secret")
      })
    )
  }

  it.scoped("that fails after its connection broke isn't an error of its own", () =>
    Effect.gen(function* () {
      const broken = new IoError({ operation: "read", code: "ECONNRESET", address: "peer.example:1" })
      const gate = yield* Deferred.make<void>()
      const { entries, flow, running } = yield* run(Effect.zipRight(Deferred.await(gate), Effect.fail(broken)))
      flow.close(broken)
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(running)
      expect(entries.filter(({ message }) => message.includes("failed")).map(({ level }) => level)).toEqual(["DEBUG"])
    })
  )

  it.scoped("may outlive its connection for drainTimeout, and ends on its own then: nobody wakes up for it later", () =>
    withManualClock((clock) =>
      Effect.gen(function* () {
        const { flow, running } = yield* run(Effect.sleep("4 seconds"))
        flow.close()
        yield* settle
        // The handler, and the one that would end it.
        expect(clock.asleep).toBe(2)
        clock.advance(4000)
        expect(Exit.isSuccess(yield* Fiber.await(running))).toBe(true)
        yield* settle
        expect(clock.asleep).toBe(0)
      })
    )
  )

  it.scoped("that never had a connection fails as the connection did", () =>
    Effect.gen(function* () {
      const refused = runHandler(Effect.fail("refused"), () => Effect.die("not run"), new Visit(), patience)
      expect(yield* Effect.flip(refused)).toBe("refused")
    })
  )
})

describe("a visit inside of a request", () => {
  it.scoped("ends as its handler does", () =>
    Effect.gen(function* () {
      expect(yield* inVisit(Effect.void, new Visit(), patience)).toBeUndefined()
      expect(yield* Effect.flip(inVisit(Effect.fail("no"), new Visit(), patience))).toBe("no")
      // One that was interrupted for its own reasons isn't the request's interruption.
      yield* inVisit(Effect.interrupt, new Visit(), patience)
    })
  )

  it.scoped("is asked to leave when the request is interrupted, and has its time", () =>
    Effect.gen(function* () {
      const visit = new Visit()
      const flow = new ScriptedFlow()
      yield* releasing(flow)
      const finished: Array<string> = []
      const handler = Effect.zipRight(
        Effect.sleep("4 seconds"),
        Effect.sync(() => finished.push("done"))
      )
      const request = yield* Effect.fork(
        inVisit(
          runHandler(connection(visit, flow), () => handler, visit, patience),
          visit,
          patience
        )
      )
      yield* Effect.zipRight(settle, settle)
      const interrupting = yield* Effect.fork(Fiber.interrupt(request))
      yield* settle
      expect(closes(flow)).toEqual([1001])
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(interrupting)
      expect(finished).toEqual(["done"])
    })
  )
})
