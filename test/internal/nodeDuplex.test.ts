import { once } from "node:events"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestNetwork } from "effect-websocket"
import { FlowDuplex } from "../../src/internal/nodeDuplex.js"
import { closed, ended, pattern, reading, settle } from "../fixtures/heard.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

/** A stream over one end of a connection in memory, and the other end. */
const joined = (conditions?: TestNetwork.Conditions) =>
  Effect.map(TestNetwork.pair(conditions), (connection) => ({
    ...connection,
    stream: new FlowDuplex(connection.client)
  }))

const happened = (stream: FlowDuplex, event: string) =>
  Effect.promise(async (): Promise<unknown> => once(stream, event))

describe("a stream over a flow", () => {
  it.scopedLive("carries bytes both ways, whatever their pieces, with an end on each side", () =>
    Effect.gen(function* () {
      const { server, stream } = yield* joined({ capacity: 1000, fragmentation: TestNetwork.randomSizes(1) })
      const bytes = pattern(100_000)
      const atServer = reading(server, { data: (chunk) => void server.write(chunk, false), end: () => server.end() })
      stream.end(Buffer.from(bytes))
      const echoed: Array<Buffer> = []
      stream.on("data", (chunk: Buffer) => echoed.push(chunk))
      yield* happened(stream, "close")
      expect(Buffer.concat(echoed).equals(bytes)).toBe(true)
      expect(atServer.size()).toBe(bytes.length)
      expect(stream.errored).toBeNull()
      yield* closed(atServer)
    })
  )

  it.scopedLive("doesn't read what nobody takes, and goes on when somebody does", () =>
    Effect.gen(function* () {
      const { server, stream } = yield* joined({ capacity: 1000 })
      server.write(pattern(200_000), false)
      yield* happened(stream, "readable")
      yield* settle
      // What the stream holds, and what is in flight.
      expect(server.bufferedBytes()).toBeGreaterThan(100_000)
      stream.resume()
      const atServer = reading(server)
      yield* atServer.until(() => server.bufferedBytes() === 0)
    })
  )

  it("has written when the flow is empty again, and not before", () => {
    const flow = new ScriptedFlow()
    const stream = new FlowDuplex(flow)
    const written: Array<string> = []
    flow.takes = false
    stream.write("a", () => written.push("a"))
    stream.write("b", () => written.push("b"))
    expect(flow.written).toHaveLength(1)
    flow.drain()
    expect(flow.written).toHaveLength(2)
    flow.takes = true
    flow.drain()
    stream.write("c")
    expect(flow.written.map((bytes) => Buffer.from(bytes).toString())).toEqual(["a", "b", "c"])
  })

  it.scopedLive("hears of an end and can still write", () =>
    Effect.gen(function* () {
      const { server, stream } = yield* joined()
      server.end()
      stream.resume()
      yield* happened(stream, "end")
      const atServer = reading(server)
      stream.end("still")
      yield* ended(atServer)
      expect(atServer.text()).toBe("still")
    })
  )

  it.scopedLive("breaks with the flow, and with the flow's error", () =>
    Effect.gen(function* () {
      const { reset, stream } = yield* joined()
      stream.resume()
      const failed = happened(stream, "error")
      yield* reset
      expect(yield* failed).toMatchObject([{ _tag: "IoError", code: "ECONNRESET" }])
      expect(stream.destroyed).toBe(true)
    })
  )

  it.scopedLive("that is destroyed destroys the flow", () =>
    Effect.gen(function* () {
      const { open, server, stream } = yield* joined()
      const atServer = reading(server)
      stream.destroy()
      yield* ended(atServer)
      expect(yield* open).not.toContain("client")
    })
  )
})
