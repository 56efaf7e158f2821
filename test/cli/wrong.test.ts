import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Frame, NodeNetwork } from "effect-websocket"
import { cli, fileWith, run } from "../fixtures/cli.js"
import { type RawPeer, rawServer, upgradedServer } from "../fixtures/rawPeer.js"

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const url = "ws://127.0.0.1:1/"

describe("a command line that is wrong", () => {
  for (const [what, args, line] of [
    ["without a URL", ["connect"], /Missing argument <url>/],
    ["with too much", ["connect", url, "more"], /unknown argument: 'more'/],
    ["with an option that isn't there", ["connect", url, "--bogus"], /--bogus/],
    ["with an option in capitals", ["connect", url, "--JSON"], /--JSON/],
    ["with a command that isn't there", ["serve"], /'connect', 'listen', 'ping'/],
    ["with a duration that is none", ["connect", url, "--timeout", "3x"], /--timeout takes a duration: 30s/],
    ["with a header that is none", ["connect", url, "-H", "nonsense"], /--header takes "name: value".*"nonsense"/],
    ["with a header's file that isn't there", ["connect", url, "-H", "@/nowhere"], /can't read \/nowhere/],
    ["with a certificate's file that isn't there", ["connect", url, "--ca", "/nowhere"], /\/nowhere/],
    [
      "with a certificate without its key",
      ["connect", url, "--cert", "package.json"],
      /--cert and --key belong together/
    ],
    ["with a limit that is none", ["connect", url, "--max-payload", "0"], /--max-payload must be at least 1, not 0/],
    ["with no pings to send", ["ping", url, "--count", "0"], /--count must be at least 1, not 0/],
    ["with a port that isn't there", ["listen", "70000"], /no port 70000/]
  ] as const) {
    it.scopedLive(`${what} exits with 1, and says so on stderr`, () =>
      Effect.gen(function* () {
        const { code, stderr, stdout } = yield* run(args)
        expect({ code, stdout }).toEqual({ code: 1, stdout: [] })
        expect(stderr.filter((line) => line !== "")).toEqual([expect.stringMatching(line)])
      })
    )
  }

  it.scopedLive("doesn't show what a file of headers holds", () =>
    Effect.gen(function* () {
      const path = yield* fileWith("authorization: Bearer s3cret\ns3cret\n")
      const { code, stderr } = yield* run(["connect", url, "-H", `@${path}`])
      expect(code).toBe(1)
      expect(stderr.join()).toContain(path)
      expect(stderr.join()).not.toContain("s3cret")
    })
  )
})

describe("help", () => {
  for (const [args, line] of [
    [[], /^Usage: effect-websocket <command>/],
    [["--help"], /^Usage: effect-websocket <command>/],
    [["connect", "-h"], /^Usage: effect-websocket connect \[options\] <url>/],
    [["listen", "0", "--help"], /^Usage: effect-websocket listen \[options\] <port>/],
    [["--version"], /^\d+\.\d+\.\d+$/]
  ] as const) {
    it.scopedLive(`comes on stdout for ${JSON.stringify(args)}, with 0`, () =>
      Effect.gen(function* () {
        const { code, stderr, stdout } = yield* run(args)
        expect({ code, stderr, first: stdout[0] }).toEqual({ code: 0, stderr: [], first: expect.stringMatching(line) })
      })
    )
  }
})

describe("connect, with a server that is wrong", () => {
  /** What happens with a server that does this on its first connection. */
  const against = (peer: (peer: RawPeer) => Effect.Effect<unknown>, args: ReadonlyArray<string> = [], input?: string) =>
    Effect.gen(function* () {
      const context = yield* Layer.build(NodeNetwork.layer)
      const server = yield* Effect.provide(rawServer(), context)
      const child = yield* cli(["connect", server.url, ...args])
      if (input !== undefined) yield* child.input(input)
      yield* Effect.flatMap(upgradedServer(server), peer).pipe(Effect.zipRight(Effect.never), Effect.forkScoped)
      const { code, stderr, stdout } = yield* child.exit
      return { code, stdout, error: stderr.at(-1) }
    })

  it.scopedLive("exits with 4 if it goes away without a Close", () =>
    Effect.gen(function* () {
      const ended = yield* against((peer) => Effect.zipRight(peer.sendFrames(Frame.text("bye")), peer.destroy))
      expect(ended).toEqual({ code: 4, stdout: ["bye"], error: expect.stringMatching(/without a Close frame|failed/) })
    })
  )

  it.scopedLive("exits with 5 if it breaks the protocol", () =>
    Effect.gen(function* () {
      const ended = yield* against((peer) => peer.send(Uint8Array.of(0xff, 0x00)))
      expect(ended).toEqual({ code: 5, stdout: [], error: expect.stringMatching(/broke the protocol/) })
    })
  )

  it.scopedLive("exits with 5 if it sends more than --max-payload", () =>
    Effect.gen(function* () {
      const ended = yield* against((peer) => peer.sendFrames(Frame.text("12345678901")), ["--max-payload", "10"])
      expect(ended).toEqual({ code: 5, stdout: [], error: expect.stringMatching(/sent too much/) })
    })
  )

  it.scopedLive("exits with 6 if it answers no pings", () =>
    Effect.gen(function* () {
      const ended = yield* against(() => Effect.void, ["--ping", "100ms"])
      expect(ended).toEqual({ code: 6, stdout: [], error: expect.stringMatching(/ETIMEDOUT/) })
    })
  )

  it.scopedLive("waits no longer for its answers than it is silent, if it answers no pings, and closes then", () =>
    Effect.gen(function* () {
      const ended = yield* against(
        (peer) =>
          Effect.gen(function* () {
            expect(yield* peer.closeCode).toBe(1000)
            yield* peer.sendFrames(Frame.close(1000))
            yield* peer.destroy
          }),
        [],
        "hello\n"
      )
      expect(ended).toEqual({ code: 0, stdout: [], error: "closed by this side with 1000 (normal closure)" })
    })
  )
})
