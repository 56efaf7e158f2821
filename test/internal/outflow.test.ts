import { inflateRawSync } from "node:zlib"
import { describe, it } from "@effect/vitest"
import { Either, Option } from "effect"
import * as Frame from "effect-websocket/Frame"
import { Engine, type EngineOptions } from "effect-websocket/internal/engine"
import { expect } from "vitest"
import { Prepared } from "../../src/protocol/prepared.js"
import { retained } from "../fixtures/bytes.js"
import { codecs, jsonText, tail } from "../fixtures/deflating.js"
import { unmetered } from "../fixtures/meter.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

// The way out, with a socket that takes what the test says.

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

const started = (options: Partial<EngineOptions> = {}) => {
  const flow = new ScriptedFlow()
  const counts = { messages: 0, bytes: 0, waiting: 0, peak: 0 }
  const engine = new Engine(
    flow,
    {
      role: "server",
      maxMessageSize: 1_000_000,
      maxFrameSize: 1_000_000,
      maxFragments: 1000,
      receiveBufferSize: 1000,
      sendBufferSize: 1000,
      fragmentSize: Number.POSITIVE_INFINITY,
      slowConsumer: "suspend",
      nextKey: () => 0,
      extension: undefined,
      meter: {
        ...unmetered,
        sent: (messages, bytes) => {
          counts.messages += messages
          counts.bytes += bytes
        },
        queued: (change) => {
          counts.waiting += change
        },
        caughtUp: (peak) => {
          counts.peak = peak
        }
      },
      ...options
    },
    () => {},
    () => {}
  )
  engine.start(new Uint8Array(0))
  const arrives = (...frames: ReadonlyArray<Frame.Frame>) =>
    flow.handler.data(Buffer.concat(frames.map((frame) => Either.getOrThrow(Frame.encode(frame, "client")))))
  return {
    flow,
    engine,
    out: engine.out,
    counts,
    arrives,
    frames: () => framesOf(flow.written),
    /** Makes the socket full. */
    stall: async () => {
      flow.takes = false
      engine.out.send("!")
      await turn()
    },
    /** The socket takes all. */
    release: async () => {
      flow.takes = true
      flow.drain()
      await turn()
    }
  }
}

const framesOf = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<Frame.Frame> => {
  const frames: Array<Frame.Frame> = []
  for (let rest = new Uint8Array(Buffer.concat(chunks)); ; ) {
    const decoded = Either.getOrThrow(Frame.decode(rest))
    if (Option.isNone(decoded)) {
      expect(rest.length).toBe(0)
      return frames
    }
    frames.push(decoded.value.frame)
    rest = rest.subarray(decoded.value.size)
  }
}

/** Frames in words: text by its content, the rest by its length. */
const words = (frames: ReadonlyArray<Frame.Frame>) =>
  frames.map(({ opcode, payload }) =>
    opcode === Frame.Opcode.close
      ? `close ${Buffer.from(payload).readUInt16BE(0)}`
      : payload.length < 30
        ? `${opcode} ${Buffer.from(payload)}`
        : `${opcode} ${payload.length}`
  )

describe("messages that wait", () => {
  it("leave in order when the socket takes more, in as few writes as that allows, and are counted", async () => {
    const { counts, flow, frames, out, release, stall } = started({ sendBufferSize: 1_000_000 })
    await stall()
    for (let index = 0; index < 100; index++) out.send(`${index}`)
    await turn()
    expect(flow.written.length).toBe(1)
    // Each counts with what it costs beside its content.
    expect(out.buffered).toBeGreaterThan(100 * 64)
    expect(counts.waiting).toBe(out.buffered)
    await release()
    expect(words(frames())).toEqual(["1 !", ...Array.from({ length: 100 }, (_, index) => `1 ${index}`)])
    expect(flow.written.length).toBe(2)
    expect(counts).toMatchObject({ messages: 101, waiting: 0 })
    expect(counts.peak).toBeGreaterThan(100 * 64)
    expect(counts.bytes).toBe(flow.written.reduce((sum, { length }) => sum + length, 0))
    expect(out.buffered).toBe(0)
  })

  it("become bytes only as far as the socket takes them", async () => {
    const { engine, flow, out, stall } = started({ sendBufferSize: 100_000_000 })
    await stall()
    for (let index = 0; index < 1000; index++) out.send(new Uint8Array(10_000))
    for (let drain = 0; drain < 5; drain++) {
      flow.drain()
      expect(engine.out.buffered).toBeGreaterThan(9_000_000)
      // A burst, and the message that completed it.
      expect(flow.bufferedBytes()).toBeLessThan(64 * 1024 + 10_100)
      expect(flow.bufferedBytes()).toBeGreaterThanOrEqual(64 * 1024)
    }
  })

  it("are let go of as they leave, though the queue never empties", async () => {
    const { flow, out, stall } = started({ sendBufferSize: 100_000_000 })
    await stall()
    for (let index = 0; index < 3; index++) out.send(new Uint8Array(100_000))
    for (let index = 0; index < 500; index++) {
      out.send(new Uint8Array(100_000))
      flow.drain()
      flow.written = []
    }
    flow.buffered = []
    expect(retained(out).bytes).toBeLessThan(10 * 100_000)
  })

  it("of one huge message go to the socket in parts, so that progress shows", async () => {
    const { flow, out } = started({ sendBufferSize: 1000 })
    flow.takes = false
    const message = new Uint8Array(1_000_000).map((_, index) => index % 251)
    out.send(message)
    await turn()
    expect(flow.bufferedBytes()).toBe(128 * 1024)
    expect(out.buffered).toBe(1_000_010)
    let drains = 0
    for (let before = out.progress; out.buffered > 0; before = out.progress, drains++) {
      flow.drain()
      expect(out.progress).toBeGreaterThan(before)
      expect(flow.bufferedBytes()).toBeLessThanOrEqual(128 * 1024)
    }
    expect(drains).toBe(8)
    const [frame] = framesOf(flow.written)
    expect(Buffer.compare(frame?.payload ?? new Uint8Array(0), message)).toBe(0)
  })

  it("leave before a FIN that was asked for meanwhile, part after part", async () => {
    const { arrives, flow, frames, out } = started()
    flow.takes = false
    out.send(new Uint8Array(500_000))
    await turn()
    arrives(Frame.close(1000))
    for (let drain = 0; drain < 3; drain++) {
      expect(flow.ended).toBe(false)
      flow.drain()
    }
    expect(flow.ended).toBe(true)
    expect(words(frames())).toEqual(["2 500000", "close 1000"])
  })

  it("are forgotten when the flow is gone", async () => {
    const { counts, engine, flow, out, stall } = started({ fragmentSize: 1000, sendBufferSize: 1_000_000 })
    await stall()
    out.send(new Uint8Array(100_000))
    out.send("x")
    flow.close()
    flow.buffered = []
    expect(out.buffered).toBe(0)
    expect(counts.waiting).toBe(0)
    engine.sendClose(1000, "")
    await turn()
    expect(flow.written.length).toBe(1)
  })
})

describe("control frames", () => {
  it("overtake messages that wait, in order among each other", async () => {
    const { arrives, engine, frames, out, release, stall } = started()
    await stall()
    out.send("waits")
    engine.sendFrame(Frame.ping("a"))
    arrives(Frame.ping("b"))
    engine.sendFrame(Frame.pong("c"))
    await release()
    expect(words(frames())).toEqual(["1 !", "9 a", "10 c", "10 b", "1 waits"])
  })

  it("count towards a bound of their own while the socket takes nothing", async () => {
    const { engine, out, release, stall } = started({ sendBufferSize: 1000 })
    expect(out.flooded).toBe(false)
    await stall()
    for (let index = 0; !out.flooded; index++) {
      expect(index).toBeLessThan(100)
      engine.sendFrame(Frame.ping("x"))
    }
    expect(out.buffered).toBeLessThan(1000)
    let woken = 0
    out.whenWritable(() => woken++)
    // There is no room for messages when the socket takes something, but for pings there is.
    out.send(new Uint8Array(5000))
    engine.flow.write(new Uint8Array(0), false)
    await release()
    expect(out.flooded).toBe(false)
    expect(woken).toBe(1)
  })

  it("that wait for room are woken by the socket's progress, though messages still have none", async () => {
    const { engine, flow, out, stall } = started({ sendBufferSize: 1000 })
    await stall()
    out.send(new Uint8Array(500_000))
    while (!out.flooded) engine.sendFrame(Frame.ping("x"))
    let woken = 0
    out.whenWritable(() => woken++)
    flow.drain()
    expect([out.full, out.flooded, woken]).toEqual([true, false, 1])
  })

  it("don't keep the large slab from other connections", async () => {
    const stalled = started()
    await stalled.stall()
    stalled.engine.sendFrame(Frame.ping("waits for long"))
    await turn()
    const free = started()
    free.out.send("small")
    await turn()
    const [written] = free.flow.written
    expect(written?.buffer.byteLength).toBe(64 * 1024)
  })
})

describe("a message that may be dropped", () => {
  const full = async (options: Partial<EngineOptions>) => {
    const all = started(options)
    await all.stall()
    return all
  }
  const offer = ({ out }: ReturnType<typeof started>, message: string, droppable = true) => {
    const fate = out.busy ? out.decide(droppable) : "send"
    if (fate === "send") out.send(message, undefined, droppable)
    return fate
  }
  const big = (index: number, size = 200) => `${index}`.padEnd(size, ".")
  const numbers = (frames: ReadonlyArray<Frame.Frame>) =>
    frames.slice(1).map(({ payload }) => Number.parseInt(String(Buffer.from(payload)), 10))

  it("is the newest, or has to wait, by the policy", async () => {
    for (const [slowConsumer, droppable, fate] of [
      ["suspend", true, "wait"],
      ["close", true, "wait"],
      ["dropNewest", true, "drop"],
      ["dropNewest", false, "wait"],
      ["dropOldest", false, "wait"]
    ] as const) {
      const all = await full({ slowConsumer })
      for (let index = 0; !all.out.full; index++) all.out.send(big(index))
      expect(all.out.decide(droppable)).toBe(fate)
      expect(all.out.dropped).toBe(fate === "drop" ? 1 : 0)
    }
  })

  it("is the oldest that may be; those that may not be survive, and the order is kept", async () => {
    const all = await full({ slowConsumer: "dropOldest", sendBufferSize: 2000 })
    let index = 0
    for (; !all.out.full; index++) expect(offer(all, big(index), index % 3 !== 0)).toBe("send")
    const filled = index
    for (; index < 50; index++) expect(offer(all, big(index))).toBe("send")
    await all.release()
    const left = numbers(all.frames())
    const kept = Array.from({ length: filled }, (_, at) => at).filter((at) => at % 3 === 0)
    expect(left.slice(0, kept.length)).toEqual(kept)
    expect(left.slice(kept.length)).toEqual(
      Array.from({ length: left.length - kept.length }, (_, at) => 50 - left.length + kept.length + at)
    )
    expect(all.out.dropped).toBe(50 - left.length)
  })

  it("makes room: as many old ones go as it takes, so that what waits stays bounded", async () => {
    const all = await full({ slowConsumer: "dropOldest", sendBufferSize: 2000 })
    for (let index = 0; index < 100; index++) offer(all, "tiny")
    expect(all.out.buffered).toBeLessThan(2100)
    const dropped = all.out.dropped
    expect(dropped).toBeGreaterThan(50)
    for (let index = 0; index < 100; index++) offer(all, big(index, 1500))
    // No more than the mark and one message.
    expect(all.out.buffered).toBeLessThan(2000 + 1600)
    await all.release()
    expect(numbers(all.frames())).toEqual([98, 99])
  })

  it("takes the place of an older one, though what may not be dropped fills the buffer", async () => {
    const all = await full({ slowConsumer: "dropOldest", sendBufferSize: 1000 })
    offer(all, big(0, 100))
    offer(all, big(1, 5000), false)
    expect(offer(all, big(2))).toBe("send")
    expect(offer(all, big(3))).toBe("send")
    expect(all.out.dropped).toBe(2)
    await all.release()
    expect(numbers(all.frames())).toEqual([1, 3])
  })

  it("is dropped itself if nothing else may be", async () => {
    const all = await full({ slowConsumer: "dropOldest", sendBufferSize: 1000 })
    offer(all, big(0, 5000), false)
    expect(offer(all, big(1))).toBe("drop")
    expect(all.out.dropped).toBe(1)
    await all.release()
    expect(numbers(all.frames())).toEqual([0])
  })

  it("isn't a fragment that was sent as a frame", async () => {
    const all = await full({ slowConsumer: "dropOldest", sendBufferSize: 200 })
    all.engine.sendFrame(Frame.make({ fin: false, payload: "0".padEnd(200, ".") }))
    all.engine.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, payload: "1" }))
    expect(offer(all, "2")).toBe("drop")
    await all.release()
    expect(numbers(all.frames())).toEqual([0, 1])
  })

  it("isn't one that is half cut into fragments: those that come behind it are", async () => {
    const all = await full({ slowConsumer: "dropOldest", sendBufferSize: 1000, fragmentSize: 100_000 })
    offer(all, big(0, 300_000))
    // The first fragments leave, and there is room for one more message.
    all.flow.drain()
    expect(all.out.buffered).toBeGreaterThan(150_000)
    for (let index = 1; index < 20; index++) expect(offer(all, big(index, 900))).toBe("send")
    await all.release()
    const data = all.frames().slice(1)
    expect(data.map(({ fin, payload }) => [fin, payload.length])).toEqual([
      [false, 100_000],
      [false, 100_000],
      [true, 100_000],
      [true, 900],
      [true, 900]
    ])
    expect(all.out.dropped).toBe(17)
  })
})

describe("fragments", () => {
  it("of a compressed message carry the bit on the first one only", async () => {
    const { frames, out } = started({ extension: codecs({ threshold: 0 }).server, fragmentSize: 1000 })
    const content = jsonText(20_000)
    out.send(content)
    out.send("tiny")
    await turn()
    const all = frames()
    expect(all.map(({ rsv }) => rsv)).toEqual([4, ...Array.from({ length: all.length - 2 }, () => 0), 4])
    expect(all.slice(0, -1).map(({ fin }) => fin)).toEqual(all.slice(0, -1).map((_, at) => at === all.length - 2))
    expect(all.slice(1, -1).every(({ opcode }) => opcode === Frame.Opcode.continuation)).toBe(true)
    const joined = Buffer.concat([...all.slice(0, -1).map(({ payload }) => payload), tail])
    expect(inflateRawSync(joined, { finishFlush: 2 }).toString()).toBe(content)
  })

  it("carry none where compression wasn't wanted", async () => {
    const { frames, out } = started({ extension: codecs({ threshold: 0 }).server, fragmentSize: 1000 })
    out.send("x".repeat(2500), false)
    await turn()
    expect(frames().map(({ rsv, payload }) => [rsv, payload.length])).toEqual([
      [0, 1000],
      [0, 1000],
      [0, 500]
    ])
  })

  it("are made of a prepared message, too", async () => {
    const { frames, out } = started({ fragmentSize: 1000 })
    out.send(new Prepared(new Uint8Array(1001)))
    await turn()
    expect(frames().map(({ opcode, payload }) => [opcode, payload.length])).toEqual([
      [2, 1000],
      [0, 1]
    ])
  })

  it("that haven't left yet leave as one before a Close, and not at all after a violation", async () => {
    for (const violated of [false, true]) {
      const { arrives, engine, flow, frames, out, release, stall } = started({ fragmentSize: 70_000 })
      await stall()
      out.send(new Uint8Array(210_000))
      out.send(new Uint8Array(150_000))
      flow.drain()
      out.send("behind")
      if (violated) arrives({ ...Frame.text("x"), rsv: 1 })
      else engine.sendClose(1000, "")
      await release()
      const data = violated ? [] : ["0 140000", "2 150000", "1 behind"]
      expect(words(frames())).toEqual(["1 !", "2 70000", ...data, violated ? "close 1002" : "close 1000"])
    }
  })
})

describe("giving up", () => {
  it("sends a Close that waits for nothing but what the socket has", async () => {
    const { engine, frames, out, release, stall } = started({ fragmentSize: 70_000 })
    await stall()
    out.send(new Uint8Array(210_000))
    engine.sendFrame(Frame.ping("p"))
    engine.giveUp(1013, "too slow")
    await release()
    expect(words(frames())).toEqual(["1 !", "9 p", "close 1013"])
    expect(out.buffered).toBe(0)
  })
})
