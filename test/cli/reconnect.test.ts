import { HttpServerResponse } from "@effect/platform"
import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { cli, echo, run, serve } from "../fixtures/cli.js"

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

/** A server that can be taken away. */
const removable = (port = 0) =>
  Effect.gen(function* () {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const server = yield* Scope.extend(serve(echo, { port }), scope)
    const { address, url } = server
    return {
      url,
      port: address._tag === "TcpAddress" ? address.port : 0,
      remove: Scope.close(scope, Exit.void)
    }
  })

describe("connect --reconnect", () => {
  it.scopedLive("connects again when the server is back, sends what was typed meanwhile, and ends with the input", () =>
    Effect.gen(function* () {
      const first = yield* removable()
      const child = yield* cli(["connect", first.url, "--reconnect", "--json"])
      yield* child.input('{"type":"text","data":"before"}\n', "open")
      yield* child.line(/"before"/)
      yield* first.remove
      yield* child.line(/^\{"type":"waiting","milliseconds":\d+,"error":"(ConnectionClosed|ConnectError)","message":"/)
      yield* child.input('{"type":"text","data":"after"}\n', "open")
      yield* removable(first.port)
      yield* child.line(/"after"/)
      yield* child.input("")
      const { code, stdout } = yield* child.exit
      expect(code).toBe(0)
      expect(stdout.filter((line) => line.includes('"open"'))).toHaveLength(2)
      expect(stdout.at(-1)).toBe('{"type":"close","code":1000,"reason":"","initiator":"local"}')
    })
  )

  it.scopedLive("waits for a server that isn't there yet, and ends with the input all the same", () =>
    Effect.gen(function* () {
      const child = yield* cli(["connect", "ws://127.0.0.1:1/", "-r"])
      yield* child.input("never sent\n", "open")
      yield* child.note(/^trying again in \d+\.\d s: .*ECONNREFUSED/)
      yield* child.kill("SIGINT")
      expect(yield* child.exit).toMatchObject({ code: 130, stdout: [] })
      expect(yield* run(["connect", "ws://127.0.0.1:1/", "-r"])).toMatchObject({ code: 0, stdout: [] })
    })
  )

  for (const [code, exit] of [
    [1000, 0],
    [4001, 4]
  ] as const) {
    it.scopedLive(`doesn't come back after ${code}, and exits with ${exit}`, () =>
      Effect.gen(function* () {
        const { url } = yield* serve((socket) => Effect.zipRight(socket.send("bye"), socket.close(code)))
        const child = yield* cli(["connect", url, "--reconnect"])
        expect(yield* child.exit).toMatchObject({
          code: exit,
          stdout: ["bye"],
          stderr: [`connected to ${url}`, expect.stringContaining(String(code))]
        })
      })
    )
  }

  it.scopedLive("doesn't come back after a refusal, and exits with 3", () =>
    Effect.gen(function* () {
      const server = yield* serve(echo)
      yield* server.serveWith(
        () => Effect.fail(HttpServerResponse.text("no", { status: 403 })),
        () => Effect.void,
        { path: "/private" }
      )
      const child = yield* cli(["connect", `${server.url}private`, "--reconnect"])
      expect(yield* child.exit).toMatchObject({ code: 3, stderr: [expect.stringContaining("HTTP 403"), "no"] })
    })
  )
})
