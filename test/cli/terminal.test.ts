import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Queue } from "effect"
import type { WebSocket } from "effect-websocket"
import { file, serve } from "../fixtures/cli.js"
import { type Pty, pty } from "../fixtures/pty.js"

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const command = (args: ReadonlyArray<string>, options?: Parameters<typeof pty>[1]) =>
  pty([process.execPath, file, ...args], options)

/** The command in a terminal, connected to an echo server, and the server's end of the connection. */
const connected = (args: ReadonlyArray<string> = [], env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const sockets = yield* Queue.unbounded<WebSocket.WebSocket>()
    const { url } = yield* serve((socket) =>
      Effect.zipRight(
        Queue.offer(sockets, socket),
        socket.run((message) => socket.send(message))
      )
    )
    const terminal = yield* command(["connect", url, ...args], { env })
    const socket = yield* Queue.take(sockets)
    yield* terminal.until((lines) => lines.at(-1) === ">")
    return { terminal, socket, url }
  })

const shows = (terminal: Pty, ...last: ReadonlyArray<string>) =>
  terminal.until((lines) => last.every((line, index) => lines.at(index - last.length) === line))

/** What the shell says of a terminal in which lines are edited by the terminal itself, and seen. */
const sane = "left: icanon echo"

describe("connect, in a terminal", () => {
  it.scopedLive("prompts for lines, shows the answers below, and ends with Ctrl-D", () =>
    Effect.gen(function* () {
      const { socket, terminal, url } = yield* connected()
      yield* terminal.type("hello\r")
      yield* shows(terminal, "> hello", "< hello", ">")
      yield* terminal.type("\u0004")
      const { code, lines } = yield* terminal.exit
      expect({ code, lines }).toEqual({
        code: 0,
        lines: [
          `connected to ${url}; /help tells what can be typed`,
          "> hello",
          "< hello",
          "closed by this side with 1000 (normal closure)",
          sane,
          ""
        ]
      })
      expect(yield* socket.closed).toMatchObject({ code: 1000, initiator: "remote" })
    })
  )

  it.scopedLive("keeps what is typed when a message arrives, also over several rows, and with the cursor inside", () =>
    Effect.gen(function* () {
      const { socket, terminal } = yield* connected()
      yield* terminal.type("half a li")
      yield* shows(terminal, "> half a li")
      yield* socket.send("one")
      yield* shows(terminal, "< one", "> half a li")
      yield* terminal.type(`ne${"x".repeat(149)}`)
      const rows = [`> half a line${"x".repeat(67)}`, "x".repeat(80), "xx"]
      yield* shows(terminal, ...rows)
      yield* socket.send("two")
      const pasted = yield* shows(terminal, "< two", ...rows)
      expect(pasted.slice(1)).toEqual(["< one", "< two", ...rows])
      // To the beginning of the line; one character tells that it is there.
      yield* terminal.type("\u0001#")
      const edited = [`> #half a line${"x".repeat(66)}`, "x".repeat(80), "xxx"]
      yield* shows(terminal, ...edited)
      yield* socket.send("three")
      const lines = yield* shows(terminal, "< three", ...edited)
      expect(lines.slice(1)).toEqual(["< one", "< two", "< three", ...edited])
      yield* terminal.type("\r")
      yield* terminal.until((lines) => lines.at(-1) === ">" && lines.includes(`< #half a line${"x".repeat(66)}`))
    })
  )

  it.scopedLive("shows bytes in hexadecimal, and no control characters, with colours", () =>
    Effect.gen(function* () {
      const { socket, terminal } = yield* connected()
      yield* socket.sendAll([Uint8Array.of(0x48, 0x69, 0x00), "\u001b[2Jgone\r\u0007", "a\n< b"])
      yield* shows(
        ...[terminal, "< 3 bytes", "00000000  48 69 00                                         Hi."],
        ...["< \\x1b[2Jgone\\x0d\\x07", "< a", "  < b", ">"]
      )
      const written = yield* terminal.written
      expect(written).toContain("\u001b[32m<\u001b[0m \\x1b[2Jgone")
      expect(written).toContain("\u001b[36m00000000")
    })
  )

  it.scopedLive("has no colours with NO_COLOR", () =>
    Effect.gen(function* () {
      const { terminal } = yield* connected([], { NO_COLOR: "1" })
      yield* terminal.type("hello\r/nonsense\r")
      yield* terminal.until((lines) => lines.includes("< hello") && lines.some((line) => /^no command/.test(line)))
      const written = yield* terminal.written
      for (const code of [0, 2, 31, 32, 36]) expect(written).not.toContain(`\u001b[${code}m`)
    })
  )

  it.scopedLive("knows commands, and says what is wrong with them without ending", () =>
    Effect.gen(function* () {
      const { socket, terminal } = yield* connected()
      yield* terminal.type("/help\r")
      yield* terminal.until((lines) => lines.includes("Ctrl-D closes, Ctrl-C goes away."))
      yield* terminal.type("/join\r/close 1006\r")
      yield* terminal.until((lines) => lines.some((line) => /^close code 1006 must not be sent/.test(line)))
      yield* terminal.type("/ping\r")
      yield* terminal.until((lines) => lines.some((line) => /^pong after [\d.]+ ms$/.test(line)))
      yield* terminal.type("//join\r/binary 48 69\r")
      yield* terminal.until((lines) => lines.includes("< /join") && lines.includes("< 2 bytes"))
      yield* terminal.type("/close 4000 see you\r")
      const { code, lines } = yield* terminal.exit
      expect(code).toBe(0)
      expect(lines).toContainEqual(expect.stringMatching(/^no command is called \/join; /))
      expect(lines.slice(-3)).toEqual(["closed by this side with 4000", sane, ""])
      expect(yield* socket.closed).toMatchObject({ code: 4000, reason: "see you" })
    })
  )

  it.scopedLive("goes away with 1001 on Ctrl-C, exits with 130, and leaves the terminal as it was", () =>
    Effect.gen(function* () {
      const { socket, terminal } = yield* connected()
      yield* terminal.type("half a line")
      yield* shows(terminal, "> half a line")
      yield* terminal.type("\u0003")
      const { code, lines } = yield* terminal.exit
      expect({ code, last: lines.slice(1) }).toEqual({ code: 130, last: [sane, ""] })
      expect(yield* socket.closed).toMatchObject({ code: 1001 })
    })
  )

  it.scopedLive("leaves the terminal as it was when the server closes while somebody types", () =>
    Effect.gen(function* () {
      const { socket, terminal } = yield* connected()
      yield* terminal.type("half a line")
      yield* shows(terminal, "> half a line")
      yield* socket.close(4001, "enough")
      const { code, lines } = yield* terminal.exit
      expect({ code, last: lines.slice(-2) }).toEqual({ code: 4, last: [sane, ""] })
      expect(lines.slice(1, -2).join("")).toMatch(/^connection to .* closed by the peer with 4001 "enough"/)
    })
  )

  it.scopedLive("takes lines of JSON with --json, and goes on after one that is none", () =>
    Effect.gen(function* () {
      const { terminal } = yield* connected(["--json"])
      yield* terminal.type('/help\r{"type":"text","data":"a"}\r')
      const lines = yield* terminal.until(
        (lines) => lines.at(-2) === '{"type":"text","data":"a"}' && lines.at(-1) === ">"
      )
      expect(lines).toContainEqual(expect.stringMatching(/^no such line: /))
    })
  )
})

describe("ping, in a terminal", () => {
  it.scopedLive("writes one line anew for each pong, and its figures at the end", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) => socket.run(() => Effect.void))
      const terminal = yield* command(["ping", url, "--interval", "10ms"])
      const one = /^ *[\d.]+ ms {2}(\d+)\/\d+ pongs; min [\d.]+, mean [\d.]+, max [\d.]+, ±[\d.]+ ms$/
      const lines = yield* terminal.until((lines) => Number(one.exec(lines.at(-1) ?? "")?.[1]) >= 3)
      expect(lines).toEqual([`pinging ${url}`, expect.stringMatching(one)])
      yield* terminal.type("\u0003")
      const ended = yield* terminal.exit
      expect(ended.code).toBe(130)
      expect(ended.lines[1]).toMatch(/^\d+ pings, \d+ pongs; ms: min/)
    })
  )

  it.scopedLive("keeps to one row of a narrow terminal, also beside the ^C", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) => socket.run(() => Effect.void))
      const terminal = yield* command(["ping", url, "--interval", "10ms"], { columns: 40 })
      const cut = /^ *[\d.]+ ms {2}(\d+)\/\d+ pongs; min .*$/
      const lines = yield* terminal.until((lines) => lines.some((line) => Number(cut.exec(line)?.[1]) >= 5))
      expect(lines).toEqual([`pinging ${url}`, expect.stringMatching(cut)])
      yield* terminal.type("\u0003")
      const ended = yield* terminal.exit
      expect(ended.lines[1]).toMatch(/^\d+ pings, \d+ pongs; ms: min/)
    })
  )
})
