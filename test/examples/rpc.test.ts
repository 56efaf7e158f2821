import { describe, expect, it, vi } from "@effect/vitest"
import { Effect } from "effect"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

describe("examples/rpc", () => {
  it.scopedLive("calls and streams, client after client, and ends on SIGTERM", () =>
    Effect.gen(function* () {
      const server = yield* tsx("examples/rpc/server.ts", [], { PORT: "0" })
      const [, url = ""] = yield* server.line(/^calls are taken at (ws:\S+)$/)
      for (const name of ["Ada", "Grace"]) {
        const client = yield* tsx("examples/rpc/client.ts", [name], { URL: url })
        const { code, stdout, stderr } = yield* client.exit
        expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: [`hello ${name}`, "3", "2", "1", "0"], stderr: [] })
      }
      yield* server.kill("SIGTERM")
      const { code, stderr } = yield* server.exit
      expect({ code, stderr }).toEqual({ code: 0, stderr: [] })
    })
  )

  it.scopedLive("says why when there is no server, and exits with 1", () =>
    Effect.gen(function* () {
      const client = yield* tsx("examples/rpc/client.ts", [], { URL: "ws://127.0.0.1:1/rpc" })
      const { code, stdout, stderr } = yield* client.exit
      expect({ code, stdout }).toEqual({ code: 1, stdout: [] })
      expect(stderr.join("\n")).toContain("ECONNREFUSED")
    })
  )
})
