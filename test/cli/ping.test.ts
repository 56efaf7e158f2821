import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Frame, NodeNetwork } from "effect-websocket"
import { cli, echo, run, serve } from "../fixtures/cli.js"
import { rawServer, upgradedServer } from "../fixtures/rawPeer.js"

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const events = (lines: ReadonlyArray<string>) => lines.map((line) => Schema.decodeUnknownSync(Schema.parseJson())(line))
const figures = /^3 pings, 3 pongs; ms: min [\d.]+, mean [\d.]+, max [\d.]+, deviation [\d.]+$/

describe("ping", () => {
  it.scopedLive("sends as many as it is told to, tells how long each took, and what that comes to", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(echo)
      const { code, stderr, stdout } = yield* run(["ping", url, "--count", "3", "--interval", "10ms"])
      expect({ code, stderr }).toEqual({ code: 0, stderr: [`pinging ${url}`] })
      const each = ["1", "2", "3"].map((number) => expect.stringMatching(new RegExp(`^${number}: [\\d.]+ ms$`)))
      expect(stdout).toEqual([...each, expect.stringMatching(figures)])
    })
  )

  it.scopedLive("does so in JSON, and its figures fit together", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(echo)
      const { code, stderr, stdout } = yield* run(["ping", url, "-c", "2", "-i", "10ms", "--json"])
      expect({ code, stderr }).toEqual({ code: 0, stderr: [] })
      const Pong = Schema.Struct({ type: Schema.Literal("pong"), ping: Schema.Int, milliseconds: Schema.Positive })
      const [one, two, statistics] = events(stdout)
      const took = [one, two].map((event) => Schema.decodeUnknownSync(Pong)(event).milliseconds)
      const [a = 0, b = 0] = took
      const near = (value: number) => expect.closeTo(value, 2)
      expect(statistics).toEqual({
        type: "statistics",
        pings: 2,
        pongs: 2,
        min: Math.min(a, b),
        mean: near((a + b) / 2),
        max: Math.max(a, b),
        deviation: near(Math.abs(a - b) / 2)
      })
    })
  )

  it.scopedLive("goes on until Ctrl-C, and tells its figures then", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(echo)
      const child = yield* cli(["ping", url, "--interval", "10ms"])
      yield* child.line(/^3: /)
      yield* child.kill("SIGINT")
      const { code, stdout } = yield* child.exit
      expect({ code, last: stdout.at(-1) }).toEqual({
        code: 130,
        last: expect.stringMatching(/^\d+ pings, \d+ pongs; ms: /)
      })
    })
  )

  it.scopedLive("takes what the server sends meanwhile out of the way", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) => Effect.forever(socket.send("x".repeat(10_000))))
      const { code, stdout } = yield* run(["ping", url, "--count", "3", "--interval", "10ms"])
      expect({ code, last: stdout.at(-1) }).toEqual({ code: 0, last: expect.stringMatching(figures) })
    })
  )

  it.scopedLive("exits with 4 if the server closes before the last one, with the figures so far", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) => Effect.zipRight(socket.receiveFrame, socket.close(1001)))
      const { code, stderr, stdout } = yield* run(["ping", url, "--interval", "10ms"])
      expect({ code, last: stdout.at(-1) }).toEqual({ code: 4, last: expect.stringMatching(/^\d+ pings, \d pong/) })
      expect(stderr.at(-1)).toMatch(/closed by the peer with 1001/)
    })
  )

  it.scopedLive("exits with 6 if a pong is missing", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(NodeNetwork.layer)
      const server = yield* Effect.provide(rawServer(), context)
      const child = yield* cli(["ping", server.url, "--count", "2", "--interval", "10ms"])
      const peer = yield* upgradedServer(server)
      yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.ping)
      const close = Effect.zipRight(peer.closeCode, peer.sendFrames(Frame.close(1000)))
      yield* Effect.forkScoped(Effect.zipRight(close, peer.destroy))
      expect(yield* child.exit).toMatchObject({
        code: 6,
        stdout: ["1: no pong", "2: no pong", "2 pings, 0 pongs"],
        stderr: [`pinging ${server.url}`, "2 of 2 pings brought no pong"]
      })
    })
  )
})
