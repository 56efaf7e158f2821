import { HttpServerResponse } from "@effect/platform"
import { describe, expect, it, vi } from "@effect/vitest"
import { Deferred, Effect, Queue, Schema } from "effect"
import { Frame, type WebSocket } from "effect-websocket"
import { cli, echo, file, fileWith, run, serve } from "../fixtures/cli.js"
import { program } from "../fixtures/process.js"

// Each child process compiles its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const events = (lines: ReadonlyArray<string>) => lines.map((line) => Schema.decodeUnknownSync(Schema.parseJson())(line))

/** An echo server that tells how its connections were closed. */
const closes = Effect.gen(function* () {
  const codes = yield* Queue.unbounded<number>()
  const { url } = yield* serve((socket) =>
    Effect.zipRight(
      echo(socket),
      Effect.flatMap(socket.closed, ({ code }) => Queue.offer(codes, code))
    )
  )
  return { url, code: Queue.take(codes) }
})

/** A line of the shell, in which `$cli` is the command. */
const shell = (line: string, env: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function* () {
    const command = `${process.execPath} ${file}`
    const { exit } = yield* program("bash", ["-c", line], { env: { ...env, cli: command } })
    const { code, stderr, stdout } = yield* exit
    return { code, stderr, stdout }
  })

describe("connect, in a pipe", () => {
  it.scopedLive("sends each line, prints each answer, closes with 1000 when the input ends, and exits with 0", () =>
    Effect.gen(function* () {
      const { code, url } = yield* closes
      expect(yield* run(["connect", url], "one\n\ngrüße 👋\r\nlast")).toEqual({
        code: 0,
        stdout: ["one", "", "grüße 👋", "last"],
        stderr: [`connected to ${url}`, "closed by this side with 1000 (normal closure)"]
      })
      expect(yield* code).toBe(1000)
    })
  )

  it.scopedLive("passes 10 MB of lines through in order, and none is lost at the end", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(echo)
      const lines = Array.from({ length: 200_000 }, (_, index) => `${index} ${"x".repeat(44)}`)
      const { code, stdout } = yield* run(["connect", url], `${lines.join("\n")}\n`)
      expect(code).toBe(0)
      expect(stdout.length).toBe(lines.length)
      expect(stdout.findIndex((line, index) => line !== lines[index])).toBe(-1)
    })
  )

  it.scopedLive("loses nothing if whoever reads its output is slow", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(echo)
      const line = `seq 1 300000 | $cli connect $url | (sleep 2; cmp - <(seq 1 300000)); echo \${PIPESTATUS[1]} \${PIPESTATUS[2]}`
      expect(yield* shell(line, { url })).toMatchObject({ stdout: ["0 0"] })
    })
  )

  it.scopedLive("waits at the end of the input for the answers of a server that takes its time", () =>
    Effect.gen(function* () {
      // Longer than a closing handshake may take. For the last ones, which it has read when it answers the ping, there
      // is --wait.
      const { url } = yield* serve((socket) => socket.run((message) => Effect.delay(socket.send(message), "20 millis")))
      const lines = Array.from({ length: 500 }, (_, index) => `${index} ${"x".repeat(4000)}`)
      const { code, stdout } = yield* run(["connect", url, "--wait", "2s"], `${lines.join("\n")}\n`)
      expect({ code, count: stdout.length }).toEqual({ code: 0, count: lines.length })
    })
  )

  it.scopedLive("loses nothing of what the server says until it has closed, too", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) =>
        Effect.gen(function* () {
          // What asks for a sign of life after its last line will close next.
          while ((yield* socket.receiveFrame).opcode !== Frame.Opcode.ping) {}
          yield* socket.sendAll(Array.from({ length: 500 }, () => "x".repeat(1000)))
          yield* socket.run(() => Effect.void)
        })
      )
      const line = "$cli connect $url </dev/null | (sleep 2; wc -l)"
      expect(yield* shell(line, { url })).toMatchObject({ stdout: ["500"] })
    })
  )

  it.scopedLive("writes bytes as they are", () =>
    Effect.gen(function* () {
      const bytes = Uint8Array.of(0, 0xff, 0x0a, 0x1b, 0x5b)
      const { url } = yield* serve((socket) => Effect.zipRight(socket.send(bytes), socket.send("\u001b[2J")))
      const { code, stdout } = yield* shell("$cli connect $url | od -An -v -tx1", { url })
      expect({ code, stdout }).toEqual({ code: 0, stdout: [" 00 ff 0a 1b 5b 1b 5b 32 4a 0a"] })
    })
  )

  it.scopedLive("ends quietly with 0, and the connection with 1000, when nobody reads on", () =>
    Effect.gen(function* () {
      const { code, url } = yield* closes
      const line = `seq 1 200000 | $cli connect $url | head -1; echo \${PIPESTATUS[1]}`
      expect(yield* shell(line, { url })).toEqual({ code: 0, stdout: ["1", "0"], stderr: [`connected to ${url}`] })
      expect(yield* code).toBe(1000)
    })
  )

  it.scopedLive("closes with 1000 if its input is closed from the start", () =>
    Effect.gen(function* () {
      const { code, url } = yield* closes
      expect(yield* shell("$cli connect $url <&-", { url })).toMatchObject({ code: 0, stdout: [] })
      expect(yield* code).toBe(1000)
    })
  )

  it.scopedLive("stays after the end of the input for as long as --wait says", () =>
    Effect.gen(function* () {
      // What asks for pings asks for them after the input has ended, too.
      const { url } = yield* serve((socket) =>
        Effect.gen(function* () {
          for (let pings = 0; pings < 3; ) {
            if ((yield* socket.receiveFrame).opcode === Frame.Opcode.ping) pings++
          }
          yield* socket.send("late")
        })
      )
      const args = ["connect", url, "--ping", "500ms", "--wait", "forever"]
      expect(yield* run(args)).toMatchObject({ code: 0, stdout: ["late"] })
    })
  )

  for (const [signal, exit] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 143]
  ] as const) {
    it.scopedLive(`closes with 1001 on ${signal}, and exits with ${exit}`, () =>
      Effect.gen(function* () {
        const { code, url } = yield* closes
        const child = yield* cli(["connect", url])
        yield* child.input("one\n", "open")
        yield* child.line(/one/)
        yield* child.kill(signal)
        expect(yield* code).toBe(1001)
        expect(yield* child.exit).toMatchObject({ code: exit, stderr: [`connected to ${url}`] })
      })
    )
  }
})

describe("connect, when the server ends it", () => {
  /** A server that says something, and then closes. */
  const leaving = (code: number, reason?: string) =>
    serve((socket) =>
      Effect.gen(function* () {
        yield* socket.receive
        yield* socket.sendAll(Array.from({ length: 1000 }, (_, index) => `${index}`))
        yield* socket.close(code, reason)
      })
    )

  for (const [code, exit] of [
    [1000, 0],
    [1001, 0],
    [1011, 4],
    [4001, 4]
  ] as const) {
    it.scopedLive(`with ${code}, exits with ${exit} after the last message, though the input goes on`, () =>
      Effect.gen(function* () {
        const { url } = yield* leaving(code)
        const child = yield* cli(["connect", url])
        yield* child.input("go\n", "open")
        const ended = yield* child.exit
        expect(ended.code).toBe(exit)
        expect(ended.stdout).toEqual(Array.from({ length: 1000 }, (_, index) => `${index}`))
        expect(ended.stderr).toEqual([
          `connected to ${url}`,
          expect.stringMatching(new RegExp(`closed by the .* ${code}`))
        ])
      })
    )
  }

  it.scopedLive("loses no message while it sends itself, also if whoever reads its output is slow", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) =>
        Effect.gen(function* () {
          yield* socket.receive
          yield* socket.sendAll(Array.from({ length: 500 }, () => "x".repeat(1000)))
          yield* socket.close(4001)
        })
      )
      const line = "yes | head -c 20000000 | $cli connect $url | (sleep 3; wc -l)"
      const { stderr, stdout } = yield* shell(line, { url })
      expect({ stdout, last: stderr.at(-1) }).toEqual({ stdout: ["500"], last: expect.stringContaining("4001") })
    })
  )

  it.scopedLive("tells the reason in one line, without control characters", () =>
    Effect.gen(function* () {
      const { url } = yield* leaving(4001, "no\u001b[2J\u0007")
      const { stderr } = yield* run(["connect", url], "go\n")
      expect(stderr).toEqual([
        `connected to ${url}`,
        expect.stringMatching(/closed by the peer with 4001 "no\\x1b\[2J\\x07"/)
      ])
    })
  )
})

describe("connect --json", () => {
  it.scopedLive("takes messages and the wish to close, and prints messages and events, a line for each", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(echo, { subprotocols: ["feed.v2"] })
      const input = [
        '{"type":"text","data":"a\\nb"}',
        '{"type":"binary","base64":"AP8="}',
        '{"type":"close","code":4000}'
      ]
      const ended = yield* run(["connect", url, "--json", "-s", "feed.v2"], `${input.join("\n")}\n`)
      expect({ ...ended, stdout: events(ended.stdout) }).toEqual({
        code: 0,
        stdout: [
          { type: "open", url, subprotocol: "feed.v2" },
          { type: "text", data: "a\nb" },
          { type: "binary", base64: "AP8=" },
          { type: "close", code: 4000, reason: "", initiator: "local" }
        ],
        stderr: []
      })
    })
  )

  for (const [line, problem] of [
    ["nonsense", /^line 2 of the input: no such line: /],
    ['{"type":"close","code":1006}', /^line 2 of the input: close code 1006 must not be sent/]
  ] as const) {
    it.scopedLive(`exits with 1 at a line like ${line}, and tells which it is`, () =>
      Effect.gen(function* () {
        const { url } = yield* serve(echo)
        const ended = yield* run(["connect", url, "--json"], `{"type":"text","data":"a"}\n${line}\n`)
        expect(ended).toMatchObject({ code: 1, stderr: [expect.stringMatching(problem)] })
      })
    )
  }

  it.scopedLive("prints how the server closed, and failures, beside the line on stderr", () =>
    Effect.gen(function* () {
      const { url } = yield* serve((socket) => socket.close(4001, "enough"))
      const closed = yield* run(["connect", url, "--json"])
      expect(closed).toMatchObject({ code: 4, stderr: [expect.stringContaining("4001")] })
      expect(events(closed.stdout).at(-1)).toEqual({ type: "close", code: 4001, reason: "enough", initiator: "remote" })
      const failed = yield* run(["connect", "ws://127.0.0.1:1/", "--json"])
      expect(failed).toMatchObject({ code: 2, stderr: [expect.stringContaining("ECONNREFUSED")] })
      expect(events(failed.stdout)).toEqual([
        { type: "error", error: "ConnectError", message: expect.stringContaining("ECONNREFUSED") }
      ])
    })
  )
})

describe("connect, asking", () => {
  /** A server that tells what it was asked with. */
  const asked = Effect.gen(function* () {
    const request = yield* Deferred.make<Readonly<Record<string, string>>>()
    const { url } = yield* serve(
      (socket: WebSocket.WebSocket) => Effect.zipRight(Deferred.succeed(request, socket.headers), echo(socket)),
      { origin: { _tag: "AllowAll" }, deflate: true, subprotocols: ["b"] }
    )
    return { url, headers: Deferred.await(request) }
  })

  it.scopedLive("says what the options tell it to, before or after the URL", () =>
    Effect.gen(function* () {
      const { headers, url } = yield* asked
      const secrets = yield* fileWith("authorization: Bearer s3cret\r\n\ncookie: a=b; c=d\n")
      const before = ["-H", "x-one: 1:2", "--origin", "https://app.example", "--deflate"]
      const after = ["--header", `@${secrets}`, "-s", "a", "--subprotocol", "b"]
      const { code, stderr } = yield* run(["connect", ...before, url, ...after])
      expect({ code, stderr: stderr[0] }).toEqual({ code: 0, stderr: `connected to ${url}, speaking b` })
      expect(yield* headers).toMatchObject({
        "x-one": "1:2",
        origin: "https://app.example",
        authorization: "Bearer s3cret",
        cookie: "a=b; c=d",
        "sec-websocket-protocol": "a, b",
        "sec-websocket-extensions": expect.stringContaining("permessage-deflate")
      })
    })
  )

  it.scopedLive("sends the credentials of the URL, and shows them nowhere", () =>
    Effect.gen(function* () {
      const { headers, url } = yield* asked
      const { code, stderr, stdout } = yield* run(["connect", "--json", url.replace("://", "://ann:s3cret@")])
      expect(code).toBe(0)
      expect(`${stdout}${stderr}`).not.toMatch(/ann|s3cret/)
      expect((yield* headers)["authorization"]).toBe(`Basic ${btoa("ann:s3cret")}`)
    })
  )
})

describe("connect, refused", () => {
  it.scopedLive("exits with 3, and tells what the server said, without control characters", () =>
    Effect.gen(function* () {
      const server = yield* serve(echo)
      yield* server.serveWith(
        () => Effect.fail(HttpServerResponse.text("no session\u001b[2J\n", { status: 401 })),
        () => Effect.void,
        { path: "/private" }
      )
      expect(yield* run(["connect", `${server.url}private`])).toEqual({
        code: 3,
        stdout: [],
        stderr: [expect.stringMatching(/^opening handshake with .* failed with HTTP 401/), "no session\\x1b[2J"]
      })
    })
  )

  for (const [what, url, code, line] of [
    [
      "nobody listens",
      "ws://ann:s3cret@127.0.0.1:1/",
      2,
      /^connecting to .*127\.0\.0\.1:1.* failed \(tcp\): .*ECONNREFUSED/
    ],
    ["there is no such host", "ws://nowhere.invalid/", 2, /^connecting to nowhere\.invalid.* failed \(dns\): /],
    ["the URL is none", "ftp://ann:s3cret@127.0.0.1/", 1, /^connecting to .* failed \(url\): /]
  ] as const) {
    it.scopedLive(`exits with ${code} and says in one line that ${what}`, () =>
      Effect.gen(function* () {
        const ended = yield* run(["connect", url])
        expect(ended).toEqual({ code, stdout: [], stderr: [expect.stringMatching(line)] })
        expect(ended.stderr.join()).not.toMatch(/ann|s3cret/)
      })
    )
  }
})
