import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, Option } from "effect"
import * as Frame from "effect-websocket/Frame"
import { Engine, type EngineOptions } from "effect-websocket/internal/engine"
import { type Rhythm, watch } from "effect-websocket/internal/heartbeat"
import { settle } from "../fixtures/heard.js"
import { ManualClock } from "../fixtures/manualClock.js"
import { unmetered } from "../fixtures/meter.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

const never = Number.POSITIVE_INFINITY

/** A server's connection under watch, with time and its peer in the hands of the test. */
const watched = (rhythm: Partial<Rhythm>, options: Partial<EngineOptions> = {}) =>
  Effect.gen(function* () {
    const clock = new ManualClock()
    const flow = new ScriptedFlow()
    const engine = new Engine(
      flow,
      {
        role: "server",
        maxMessageSize: 1e6,
        maxFrameSize: 1e6,
        maxFragments: 1000,
        receiveBufferSize: 1000,
        sendBufferSize: 1000,
        fragmentSize: Number.POSITIVE_INFINITY,
        slowConsumer: "suspend",
        nextKey: () => 0,
        extension: undefined,
        meter: unmetered,
        ...options
      },
      () => {},
      () => {}
    )
    engine.start(new Uint8Array(0))
    const latencies: Array<number> = []
    const watching = watch(
      engine,
      {
        pingInterval: never,
        pingTimeout: 10_000,
        maxMissedPongs: 2,
        idleTimeout: never,
        progressTimeout: never,
        ...rhythm
      },
      clock,
      { onLatency: (milliseconds) => void latencies.push(milliseconds) }
    )
    const stop = () => {
      for (const timer of watching) timer.stop()
    }
    yield* settle
    const sent = () => {
      const frames: Array<Frame.Frame> = []
      for (let rest = new Uint8Array(Buffer.concat(flow.written)); ; ) {
        const decoded = Either.getOrThrow(Frame.decode(rest))
        if (Option.isNone(decoded)) return frames
        frames.push(decoded.value.frame)
        rest = rest.subarray(decoded.value.size)
      }
    }
    const pings = () => sent().filter(({ opcode }) => opcode === Frame.Opcode.ping)
    const arrives = (...frames: ReadonlyArray<Frame.Frame>) =>
      flow.handler.data(Buffer.concat(frames.map((frame) => Either.getOrThrow(Frame.encode(frame, "client")))))
    return {
      clock,
      engine,
      flow,
      latencies,
      stop,
      sent,
      pings,
      arrives,
      /** The peer answers the last ping. */
      answer: () => arrives(Frame.pong(pings().at(-1)?.payload)),
      pass: (milliseconds: number) =>
        Effect.zipRight(
          Effect.sync(() => clock.advance(milliseconds)),
          settle
        ),
      /** Passes in small steps. */
      wait: (milliseconds: number, step = 1000) =>
        Effect.gen(function* () {
          for (let passed = 0; passed < milliseconds; passed += step) {
            clock.advance(step)
            yield* settle
          }
        })
    }
  })

describe("the heartbeat", () => {
  it.effect("pings after each interval, and tells how long the pongs took", () =>
    Effect.gen(function* () {
      const { answer, latencies, pass, pings, stop } = yield* watched({ pingInterval: 30_000 })
      yield* pass(20_000)
      for (let beat = 1; beat <= 3; beat++) {
        // What is left of the interval, and not a whole one more.
        yield* pass(9_999)
        expect(pings()).toHaveLength(beat - 1)
        yield* pass(1)
        expect(pings()).toHaveLength(beat)
        yield* pass(beat * 7)
        answer()
        yield* pass(10_000 - beat * 7)
        yield* pass(10_000)
      }
      expect(latencies).toEqual([7, 14, 21])
      stop()
    })
  )

  it.effect("ends a connection that is silent after more pings than may be missed, and says so", () =>
    Effect.gen(function* () {
      const { clock, engine, flow, pings, pass } = yield* watched({ pingInterval: 30_000, maxMissedPongs: 2 })
      yield* pass(30_000)
      yield* pass(10_000)
      yield* pass(10_000)
      expect(pings()).toHaveLength(3)
      expect([engine.ending, flow.destroyed]).toEqual([undefined, false])
      yield* pass(10_000)
      expect(engine.ending).toMatchObject({ _tag: "IoError", code: "ETIMEDOUT", operation: "read" })
      expect(String(Reflect.get(engine.ending ?? {}, "cause"))).toContain("nothing arrived after 3 pings")
      expect(flow.destroyed).toBe(true)
      expect(clock.asleep).toBe(0)
    })
  )

  it.effect("ends it after the first ping if none may be missed", () =>
    Effect.gen(function* () {
      const { engine, pass, pings } = yield* watched({ pingInterval: 5000, pingTimeout: 1000, maxMissedPongs: 0 })
      yield* pass(5000)
      yield* pass(1000)
      expect(pings()).toHaveLength(1)
      expect(engine.ending).toMatchObject({ _tag: "IoError" })
    })
  )

  it.effect("counts only misses in a row", () =>
    Effect.gen(function* () {
      const { arrives, engine, pass, stop } = yield* watched({ pingInterval: 10_000, maxMissedPongs: 1 })
      for (let round = 0; round < 10; round++) {
        yield* pass(10_000)
        yield* pass(10_000)
        arrives(Frame.text("x"))
        engine.takeAll()
      }
      expect(engine.ending).toBeUndefined()
      stop()
    })
  )

  it.effect("counts one miss when the clock jumps, however far: the machine has slept, and not the peer", () =>
    Effect.gen(function* () {
      const { engine, latencies, pass, answer, pings, stop } = yield* watched({
        pingInterval: 30_000,
        maxMissedPongs: 1
      })
      yield* pass(30_000)
      expect(pings()).toHaveLength(1)
      yield* pass(24 * 3_600_000)
      expect(engine.ending).toBeUndefined()
      expect(pings()).toHaveLength(2)
      yield* pass(50)
      answer()
      yield* pass(9950)
      expect(engine.ending).toBeUndefined()
      // The first ping had no answer, so no day of latency comes of it.
      expect(latencies).toEqual([50])
      stop()
    })
  )

  it.effect("tells one latency for each pong, also of a peer that answers once in a thousand pings", () =>
    Effect.gen(function* () {
      const { answer, arrives, engine, latencies, pass, stop } = yield* watched({ pingInterval: 30_000 })
      for (let beat = 0; beat < 1000; beat++) {
        yield* Effect.zipRight(pass(30_000), pass(0))
        arrives(Frame.text("alive"))
        engine.takeAll()
      }
      yield* pass(1)
      answer()
      expect(latencies).toHaveLength(1)
      stop()
    })
  )

  it.effect("takes anything that arrives for a sign of life, half a frame too", () =>
    Effect.gen(function* () {
      const { engine, flow, pass, stop } = yield* watched({ pingInterval: 10_000, maxMissedPongs: 0 })
      const frame = Either.getOrThrow(Frame.encode(Frame.text("x".repeat(100)), "client"))
      for (let at = 0; at < 100; at++) {
        yield* pass(10_000)
        flow.handler.data(new Uint8Array(frame.subarray(at, at + 1)))
      }
      expect(engine.ending).toBeUndefined()
      stop()
    })
  )

  it.effect("takes it for a sign of life that the peer takes what waited for it, if it says nothing", () =>
    Effect.gen(function* () {
      const { engine, flow, pass, pings } = yield* watched({ pingInterval: 10_000, maxMissedPongs: 0 })
      flow.takes = false
      for (let index = 0; index < 20; index++) engine.out.send("x".repeat(100))
      yield* settle
      flow.buffered = Array.from({ length: 50 }, () => new Uint8Array(40))
      for (let beat = 0; beat < 49; beat++) {
        yield* pass(10_000)
        flow.buffered.pop()
      }
      expect(engine.ending).toBeUndefined()
      // The pings wait behind the rest, so none of them could have been answered.
      expect(pings()).toEqual([])
      yield* pass(10_000)
      expect(engine.ending).toBeUndefined()
      yield* pass(10_000)
      expect(engine.ending).toMatchObject({ _tag: "IoError" })
    })
  )

  it.effect("doesn't take it for a sign of life that the operating system takes what nobody reads", () =>
    Effect.gen(function* () {
      const { engine, pass } = yield* watched({ pingInterval: 10_000, maxMissedPongs: 1 })
      yield* pass(10_000)
      for (let beat = 0; beat < 2; beat++) {
        engine.out.send("x".repeat(1000))
        yield* pass(10_000)
      }
      expect(engine.ending).toMatchObject({ _tag: "IoError" })
    })
  )

  it.effect("can't hear a peer that isn't read from, and lets it be", () =>
    Effect.gen(function* () {
      const { arrives, engine, flow, pass } = yield* watched({ pingInterval: 10_000, maxMissedPongs: 0 })
      arrives(Frame.text("x".repeat(1000)))
      expect(flow.resumed).toBe(false)
      for (let beat = 0; beat < 20; beat++) yield* pass(10_000)
      expect(engine.ending).toBeUndefined()
      engine.takeAll()
      yield* pass(10_000)
      yield* pass(10_000)
      expect(engine.ending).toMatchObject({ _tag: "IoError" })
    })
  )

  it.effect("pings at each timeout where that is longer than the interval", () =>
    Effect.gen(function* () {
      const { arrives, pass, pings, stop } = yield* watched({ pingInterval: 1000, pingTimeout: 5000 })
      yield* pass(1000)
      for (let beat = 1; beat <= 5; beat++) {
        expect(pings()).toHaveLength(beat)
        arrives(Frame.pong())
        yield* pass(5000)
      }
      stop()
    })
  )

  it.effect("stops with the connection, and leaves no timer", () =>
    Effect.gen(function* () {
      for (const end of ["stop", "close", "sendClose"] as const) {
        const { clock, engine, flow, pass, pings, stop } = yield* watched({ pingInterval: 10_000, idleTimeout: 50_000 })
        if (end === "close") flow.close()
        if (end === "sendClose") engine.sendClose(1000, "")
        if (end === "stop") {
          stop()
          yield* settle
          expect(clock.asleep).toBe(0)
        }
        for (let beat = 0; beat < 10; beat++) yield* pass(10_000)
        expect(pings()).toEqual([])
        expect(clock.asleep).toBe(0)
      }
    })
  )

  it.effect("of nothing but infinity needs no timer", () =>
    Effect.gen(function* () {
      const { clock, engine, pass, sent } = yield* watched({})
      yield* pass(1e9)
      expect([clock.sleeps, engine.isOpen, sent()]).toEqual([0, true, []])
    })
  )
})

describe("the idle timeout", () => {
  const idleTimeout = 100_000
  const closeOf = (frames: ReadonlyArray<Frame.Frame>) =>
    frames
      .filter(({ opcode }) => opcode === Frame.Opcode.close)
      .map(({ payload }) => `${Buffer.from(payload).readUInt16BE(0)} ${Buffer.from(payload.subarray(2))}`)

  it.effect("closes with 1001 after that long without a message, a fourth more at the most", () =>
    Effect.gen(function* () {
      const { clock, engine, sent, wait } = yield* watched({ idleTimeout })
      yield* wait(99_000)
      expect(engine.isOpen).toBe(true)
      yield* wait(28_000)
      expect(closeOf(sent())).toEqual(["1001 no message for too long"])
      expect(clock.asleep).toBe(0)
    })
  )

  for (const [what, keeps] of [
    ["a message that comes", true],
    ["a message that is sent", true],
    ["a fragmented message that comes", true],
    ["messages that wait to be taken", true],
    ["a ping that comes", false],
    ["a pong that comes", false],
    ["a ping that is sent", false]
  ] as const) {
    it.effect(`is ${keeps ? "" : "not "}put off by ${what}`, () =>
      Effect.gen(function* () {
        const { arrives, engine, sent, stop, wait } = yield* watched({ idleTimeout })
        if (what === "messages that wait to be taken") arrives(Frame.text("x"))
        for (let round = 0; round < 5; round++) {
          yield* wait(50_000)
          if (what === "a message that comes") arrives(Frame.text("x"))
          if (what === "a message that is sent" && engine.isOpen) engine.out.send("x")
          if (what === "a fragmented message that comes") {
            arrives(Frame.make({ opcode: Frame.Opcode.text, fin: false, payload: "x" }))
            arrives(Frame.make({ opcode: Frame.Opcode.continuation, payload: "x" }))
          }
          if (what === "a ping that comes") arrives(Frame.ping())
          if (what === "a pong that comes") arrives(Frame.pong())
          if (what === "a ping that is sent") engine.ping(() => {})
          if (what !== "messages that wait to be taken") engine.takeAll()
        }
        expect(closeOf(sent())).toEqual(keeps ? [] : ["1001 no message for too long"])
        stop()
      })
    )
  }

  it.effect("counts frames that are read as such", () =>
    Effect.gen(function* () {
      const { arrives, engine, stop, wait } = yield* watched({ idleTimeout })
      engine.takeFrame()
      for (let round = 0; round < 5; round++) {
        yield* wait(50_000)
        arrives(Frame.binary(Uint8Array.of(1)))
        engine.takeFrame()
      }
      expect(engine.isOpen).toBe(true)
      stop()
    })
  )

  it.effect("begins anew when the last message is taken", () =>
    Effect.gen(function* () {
      const { arrives, engine, sent, wait } = yield* watched({ idleTimeout })
      arrives(Frame.text("x"))
      yield* wait(300_000)
      engine.takeAll()
      yield* wait(75_000)
      expect(closeOf(sent())).toEqual([])
      yield* wait(77_000)
      expect(closeOf(sent())).toHaveLength(1)
    })
  )

  it.effect("isn't shortened or prolonged by a wall clock that is set", () =>
    Effect.gen(function* () {
      for (const offset of [-1e9, 1e9]) {
        const { clock, engine, wait } = yield* watched({ idleTimeout })
        yield* wait(30_000)
        clock.offset = offset
        yield* wait(65_000)
        expect(engine.isOpen).toBe(true)
        yield* wait(32_000)
        expect(engine.isOpen).toBe(false)
      }
    })
  )
})
