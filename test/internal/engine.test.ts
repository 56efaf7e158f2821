import { describe, it } from "@effect/vitest"
import { Either, Option } from "effect"
import * as Frame from "effect-websocket/Frame"
import { Engine, type EngineOptions } from "effect-websocket/internal/engine"
import { IoError } from "effect-websocket/WebSocketError"
import { expect } from "vitest"
import { unmetered } from "../fixtures/meter.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

// The orderings that no network produces on demand.

const started = (options: Partial<EngineOptions> = {}, flow = new ScriptedFlow()) => {
  const told: Array<string> = []
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
      meter: unmetered,
      ...options
    },
    () => told.push("closing"),
    () => told.push("done")
  )
  engine.start(new Uint8Array(0))
  const peer: Frame.Role = (options.role ?? "server") === "server" ? "client" : "server"
  return {
    flow,
    engine,
    told,
    arrives: (...frames: ReadonlyArray<Frame.Frame>) =>
      flow.handler.data(Buffer.concat(frames.map((frame) => Either.getOrThrow(Frame.encode(frame, peer))))),
    sent: () => framesOf(flow.written)
  }
}

const reader = { unsafePoll: () => null }

/** An engine whose reader answers each message at once. A Close is shown without its reason. */
const answering = () => {
  const all = started()
  const read = () => {
    for (const message of all.engine.takeAll()) all.engine.out.send(`echo of ${message}`)
    if (all.engine.ending === undefined) all.engine.whenReadable(reader, read)
  }
  all.engine.whenReadable(reader, read)
  return { ...all, closes: () => all.sent().map((frame) => (frame.startsWith("8") ? frame.slice(0, 6) : frame)) }
}

const framesOf = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<string> => {
  const frames: Array<string> = []
  for (let rest = new Uint8Array(Buffer.concat(chunks)); ; ) {
    const decoded = Either.getOrThrow(Frame.decode(rest))
    if (Option.isNone(decoded)) return frames
    const { opcode, payload } = decoded.value.frame
    const content =
      opcode === Frame.Opcode.close ? `${Buffer.from(payload).readUInt16BE(0)}` : String(Buffer.from(payload))
    frames.push(`${opcode} ${content}`)
    rest = rest.subarray(decoded.value.size)
  }
}

/** Does something until reading pauses, which must not take for ever. */
const fill = (flow: ScriptedFlow, step: () => void) => {
  for (let count = 0; count < 1000 && flow.resumed; count++) step()
  expect(flow.resumed).toBe(false)
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe("the end of sending", () => {
  it("follows what waited for a socket that was full, though it is full again at once", async () => {
    const { arrives, engine, flow, sent } = started()
    flow.takes = false
    engine.out.send("waits in the socket")
    await turn()
    arrives(Frame.close(1000))
    expect(flow.ended).toBe(false)
    flow.drain()
    expect(sent()).toEqual(["1 waits in the socket", "8 1000"])
    // The Close has to leave first, but the socket sees to that.
    expect(flow.ended).toBe(true)
  })

  it("follows a Close that the socket takes at once", () => {
    const { arrives, flow, sent } = started()
    arrives(Frame.close(1000))
    expect(sent()).toEqual(["8 1000"])
    expect(flow.ended).toBe(true)
  })

  it("comes once, and nothing is written behind it", async () => {
    const { arrives, engine, flow, sent } = started()
    arrives(Frame.close(1000))
    flow.handler.end()
    engine.sendClose(1001, "")
    await turn()
    expect(sent()).toEqual(["8 1000"])
  })
})

describe("pongs", () => {
  it("beyond what may wait are superseded by the latest, which is sent as soon as there is room", () => {
    const { arrives, flow, sent } = started({ role: "client" })
    const pings = Array.from({ length: 2000 }, (_, index) => Frame.ping(`${index}`.padStart(100, "x")))
    arrives(...pings)
    // The socket never was full, so no drain comes.
    expect(flow.buffered).toEqual([])
    expect(sent().length).toBeLessThan(pings.length)
    expect(sent().at(-1)).toMatch(/^10 x+1999$/)
  })

  it("wait while the socket is full, the latest only", async () => {
    const { arrives, engine, flow, sent } = started()
    flow.takes = false
    engine.out.send("fills it")
    await turn()
    for (let index = 0; index < 1000; index++) arrives(Frame.ping(`${index}`))
    expect(sent()).toEqual(["1 fills it"])
    expect(engine.out.buffered).toBeLessThan(20)
    flow.takes = true
    flow.drain()
    expect(sent()).toEqual(["1 fills it", "10 999"])
  })
})

describe("whoever waits to send", () => {
  it("is woken when there is room, and not before", async () => {
    const { engine, flow } = started()
    flow.takes = false
    engine.out.send("x".repeat(2000))
    await turn()
    expect(engine.out.full).toBe(true)
    const woken: Array<string> = []
    engine.out.whenWritable(() => woken.push("first"))
    engine.out.whenWritable(() => woken.push("second"))
    // This waits in our own buffer, and fills the socket again as soon as it has room.
    engine.out.send("y".repeat(2000))
    await turn()
    flow.drain()
    expect(woken).toEqual([])
    flow.drain()
    expect(woken).toEqual(["first", "second"])
    expect(engine.out.full).toBe(false)
  })

  for (const [what, happens] of [
    ["a Close of ours", ({ engine }: ReturnType<typeof started>) => void engine.sendClose(1000, "")],
    ["a Close as a frame", ({ engine }: ReturnType<typeof started>) => void engine.sendFrame(Frame.close(1000))],
    ["a Close of the peer's", ({ arrives }: ReturnType<typeof started>) => arrives(Frame.close(1000))],
    ["a violation", ({ flow }: ReturnType<typeof started>) => flow.handler.data(Uint8Array.of(0xff, 0xff))],
    ["the end", ({ flow }: ReturnType<typeof started>) => flow.handler.end()],
    ["a reset", ({ flow }: ReturnType<typeof started>) => flow.close(broken)],
    ["a clean close", ({ flow }: ReturnType<typeof started>) => flow.close()]
  ] as const) {
    it(`is woken by ${what}, and told before that closing has begun`, async () => {
      const all = started()
      const { engine, flow, told } = all
      flow.takes = false
      engine.out.send("x".repeat(2000))
      await turn()
      const woken: Array<ReadonlyArray<string>> = []
      engine.out.whenWritable(() => woken.push([...told]))
      happens(all)
      expect(woken).toEqual([["closing"]])
      expect(engine.isOpen).toBe(false)
      expect(told.filter((each) => each === "closing")).toEqual(["closing"])
    })
  }
})

const broken = new IoError({
  operation: "read",
  code: "ECONNRESET",
  address: "peer.example:1",
  cause: new Error("reset")
})

describe("whoever waits to receive", () => {
  it("is woken once for all that one read brought", () => {
    const { arrives, engine } = started()
    let woken = 0
    engine.whenReadable(reader, () => woken++)
    arrives(Frame.text("a"), Frame.text("b"))
    expect(woken).toBe(1)
    expect(engine.takeAll()).toEqual(["a", "b"])
    arrives(Frame.text("c"))
    expect(woken).toBe(1)
  })

  it("isn't woken for half a message or for a ping", () => {
    const { arrives, engine } = started()
    let woken = 0
    engine.whenReadable(reader, () => woken++)
    arrives(Frame.make({ fin: false, payload: "half" }), Frame.ping())
    expect(woken).toBe(0)
  })

  for (const [what, happens] of [
    ["a Close", ({ arrives }: ReturnType<typeof started>) => arrives(Frame.close(1000))],
    ["a violation", ({ flow }: ReturnType<typeof started>) => flow.handler.data(Uint8Array.of(0xff, 0xff))],
    ["the end", ({ flow }: ReturnType<typeof started>) => flow.handler.end()],
    ["a reset", ({ flow }: ReturnType<typeof started>) => flow.close(broken)],
    ["a clean close", ({ flow }: ReturnType<typeof started>) => flow.close()]
  ] as const) {
    it(`is woken by ${what}`, () => {
      const all = started()
      let woken = 0
      all.engine.whenReadable(reader, () => woken++)
      happens(all)
      expect(woken).toBe(1)
      expect(all.engine.ending).toBeDefined()
    })
  }

  it("gets what arrived before the end", () => {
    const { arrives, engine, flow } = started()
    arrives(Frame.text("a"), Frame.text("b"), Frame.close(1000), Frame.text("c"))
    flow.close()
    expect(engine.take()).toBe("a")
    expect(engine.takeAll()).toEqual(["b"])
    expect(engine.readable).toBe(true)
    expect(engine.take()).toBeUndefined()
  })
})

describe("reading", () => {
  it("pauses at the receive buffer's size, and resumes below half of it", () => {
    const { arrives, engine, flow } = started()
    fill(flow, () => arrives(Frame.text("x".repeat(68))))
    // Each weighs 100 with its overhead.
    expect(engine.weight).toBe(1000)
    while (engine.weight > 500) engine.take()
    expect(flow.resumed).toBe(false)
    engine.take()
    expect(flow.resumed).toBe(true)
  })

  it("pauses at empty messages, too", () => {
    const { arrives, engine, flow } = started()
    fill(flow, () => arrives(Frame.text("")))
    expect(flow.resumed).toBe(false)
    engine.takeAll()
    expect(flow.resumed).toBe(true)
  })

  it("pauses and resumes for frames as for messages", () => {
    const { arrives, engine, flow } = started()
    engine.takeFrame()
    fill(flow, () => arrives(Frame.ping()))
    expect(flow.resumed).toBe(false)
    while (engine.weight > 0) engine.takeFrame()
    expect(flow.resumed).toBe(true)
  })

  it("is never stuck, however small the buffer", () => {
    for (const receiveBufferSize of [0, 1, -1]) {
      const { arrives, engine, flow } = started({ receiveBufferSize })
      arrives(Frame.ping())
      expect(flow.resumed).toBe(true)
      arrives(Frame.text("a"))
      expect(engine.takeAll()).toEqual(["a"])
      expect(flow.resumed).toBe(true)
    }
  })

  it("goes on when nobody is left to take anything", () => {
    const { arrives, engine, flow } = started()
    fill(flow, () => arrives(Frame.text("x".repeat(100))))
    engine.discard()
    expect(flow.resumed).toBe(true)
    arrives(Frame.text("x".repeat(10_000)))
    expect(flow.resumed).toBe(true)
    expect(engine.weight).toBe(0)
  })

  it("goes on after the Close, so that the end is seen", async () => {
    const { arrives, engine, flow } = started({ role: "client" })
    arrives(Frame.text("x".repeat(2000)), Frame.close(1000))
    await turn()
    expect(flow.resumed).toBe(true)
    expect(engine.take()).toHaveLength(2000)
  })

  it("goes on after our own Close, and drops from the first message that finds no room", async () => {
    const { arrives, engine, flow } = started({ receiveBufferSize: 1000 })
    arrives(Frame.text("a".repeat(2000)))
    expect(flow.resumed).toBe(false)
    engine.sendClose(1000, "")
    expect(flow.resumed).toBe(true)
    arrives(Frame.text("b".repeat(2000)), Frame.text("c"))
    expect(flow.resumed).toBe(true)
    expect(engine.takeAll()).toEqual(["a".repeat(2000)])
    arrives(Frame.text("d"), Frame.close(1000))
    await turn()
    expect(engine.takeAll()).toEqual([])
    expect(engine.ending).toMatchObject({ _tag: "Closed", code: 1000, initiator: "local", clean: true })
  })

  it("after our own Close still delivers what there is room for", async () => {
    const { arrives, engine } = started({ receiveBufferSize: 1000 })
    engine.sendClose(1000, "")
    arrives(Frame.text("a"), Frame.text("b"), Frame.close(1000))
    await turn()
    expect(engine.takeAll()).toEqual(["a", "b"])
  })

  for (const [what, end, answer] of [
    ["Close", Frame.close(4000), "8 4000"],
    ["violation", Frame.make({ rsv: 2, payload: "two" }), "8 1002"]
  ] as const) {
    it(`lets what answers a message leave before the Close, if a ${what} came right behind it`, async () => {
      const { arrives, engine, told, closes } = answering()
      arrives(Frame.text("one"), end, Frame.ping("late"))
      expect({ open: engine.isOpen, told }).toEqual({ open: true, told: [] })
      await turn()
      expect(closes()).toEqual(["1 echo of one", answer])
      expect({ open: engine.isOpen, told }).toEqual({ open: false, told: ["closing"] })
    })

    it(`answers a ${what} at once if no message came before it, or none was left`, () => {
      const alone = answering()
      alone.arrives(end)
      expect(alone.closes()).toEqual([answer])
      const taken = answering()
      taken.arrives(Frame.text("one"))
      taken.arrives(end)
      expect(taken.closes().at(-1)).toBe(answer)
    })

    it(`that brought a ${what} behind a message is concluded by the end of the stream, too`, async () => {
      const { arrives, engine, flow, sent } = started()
      arrives(Frame.text("one"), end)
      flow.handler.end()
      expect(sent()).toEqual([expect.stringContaining(answer)])
      flow.close()
      await turn()
      expect(sent()).toHaveLength(1)
      expect(engine.take()).toBe("one")
    })
  }
})

describe("reading what may be larger than it looks", () => {
  /** An extension that leaves everything as it is. */
  const extension: EngineOptions["extension"] = {
    rsv: 4,
    applies: () => false,
    encode: (payload) => payload,
    decode: (payload) => payload,
    bound: (size) => size
  }
  const text = (size: number) => Frame.text("x".repeat(size))

  it("takes no more of a read than there is room for, and the rest later", () => {
    const { arrives, engine, flow } = started({ role: "client", extension })
    arrives(text(900), text(900), text(900), text(900))
    expect(flow.resumed).toBe(false)
    expect(engine.weight).toBeLessThan(2000)
    const taken: Array<number> = []
    while (taken.length < 4) {
      for (const message of engine.takeAll()) taken.push(message.length)
      expect(flow.resumed).toBe(true)
      flow.deliver()
    }
    expect(taken).toEqual([900, 900, 900, 900])
  })

  for (const [what, last] of [
    ["a Close", Frame.close(1000)],
    ["a violation", { ...Frame.ping(), rsv: 1 }]
  ] as const) {
    it(`isn't stuck behind ${what} in a full buffer`, async () => {
      const { arrives, engine, flow } = started({ role: "client", extension })
      arrives(text(1000), last, text(5000))
      await turn()
      expect(flow.resumed).toBe(true)
      flow.deliver()
      await turn()
      expect(engine.ending).toBeDefined()
      // What follows counts for nothing, but the end behind it has to be seen.
      expect(flow.resumed).toBe(true)
      arrives(text(5000))
      expect(flow.resumed).toBe(true)
      expect(engine.takeAll()).toHaveLength(1)
    })
  }
})

describe("taking one by one", () => {
  it("keeps the order, however many were there", () => {
    const { arrives, engine } = started({ receiveBufferSize: 1_000_000 })
    const texts = Array.from({ length: 5000 }, (_, index) => `${index}`)
    const taken: Array<unknown> = []
    for (const text of texts) {
      arrives(Frame.text(text))
      if (taken.length % 3 !== 2) taken.push(engine.take())
    }
    for (let next = engine.take(); next !== undefined; next = engine.take()) taken.push(next)
    expect(taken.filter((each) => each !== undefined)).toEqual(texts)
    expect(engine.weight).toBe(0)
  })
})

describe("the heart", () => {
  it("hears whatever arrives, and doesn't count while reading is paused", () => {
    const { arrives, engine, flow } = started()
    expect(engine.isAlive()).toBe(false)
    arrives(Frame.pong())
    expect(engine.isAlive()).toBe(true)
    expect(engine.isAlive()).toBe(false)
    fill(flow, () => arrives(Frame.text("x".repeat(100))))
    expect(engine.isAlive()).toBe(true)
    expect(engine.isAlive()).toBe(true)
    engine.takeAll()
    expect(engine.isAlive()).toBe(false)
  })
})

describe("after the end", () => {
  it("nothing is kept, nothing is sent and nobody is told twice", async () => {
    const { arrives, engine, flow, told } = started()
    flow.close(broken)
    flow.close()
    arrives(Frame.text("late"))
    engine.sendClose(1000, "")
    engine.ping((answered) => told.push(`answered ${answered}`))
    engine.abort(broken)
    await turn()
    expect(flow.written).toEqual([])
    expect(engine.ending).toBe(broken)
    expect(engine.take()).toBeUndefined()
    expect(told).toEqual(["closing", "done", "answered false"])
  })

  it("a reset doesn't hide how the connection was closed", () => {
    const { arrives, engine, flow } = started()
    arrives(Frame.close(1000, "done"))
    flow.close(broken)
    expect(engine.ending).toMatchObject({ _tag: "Closed", code: 1000, reason: "done" })
  })
})
describe("a connection that has had its share of a turn", () => {
  const flood = { maxMessageSize: 1_000_000, receiveBufferSize: 1_000_000 }

  it("rests until the next one, though its reader has taken all", async () => {
    const { arrives, engine, flow } = started(flood)
    arrives(Frame.binary(new Uint8Array(300_000)))
    expect(flow.resumed).toBe(false)
    expect(engine.takeAll().length).toBe(1)
    expect(flow.resumed).toBe(false)
    await turn()
    expect(flow.resumed).toBe(true)
  })

  it("stays paused where its reader has taken nothing, or reading is over", async () => {
    const crowded = started({ ...flood, receiveBufferSize: 1000 })
    crowded.arrives(Frame.binary(new Uint8Array(300_000)))
    const over = started(flood)
    over.arrives(Frame.binary(new Uint8Array(300_000)))
    over.flow.close()
    await turn()
    expect([crowded.flow.resumed, over.flow.resumed]).toEqual([false, false])
    expect(crowded.engine.takeAll().length).toBe(1)
    expect(crowded.flow.resumed).toBe(true)
  })
})
