import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { node } from "../fixtures/process.js"

const sources = ["src", "examples", "scripts", "package.json"]
const settings = ["tsconfig.json", "tsconfig.build.json", "tsconfig.examples.json"]

/** A copy of the project, built as `npm run build` does it. */
const built = Effect.gen(function* () {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-websocket-build-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  )
  for (const name of [...sources, ...settings]) cpSync(name, join(directory, name), { recursive: true })
  symlinkSync(resolve("node_modules"), join(directory, "node_modules"))
  const build = yield* node(["--import", "tsx", join(directory, "scripts/build.ts")])
  const { code, stdout, stderr } = yield* build.exit
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: [], stderr: [] })
  return join(directory, "dist/examples")
})

describe("the built examples", () => {
  it.scopedLive(
    "run as plain JavaScript",
    () =>
      Effect.gen(function* () {
        const examples = yield* built

        const server = yield* node([join(examples, "echo-server.js")], { PORT: "0" })
        const [, url = ""] = yield* server.line(/^listening on (ws:\S+)$/)
        const client = yield* node([join(examples, "echo-client.js"), "hello"], { URL: url })
        expect(yield* client.exit).toEqual({ code: 0, signal: null, stdout: ["hello"], stderr: [] })
        yield* server.kill("SIGTERM")
        expect(yield* server.exit).toMatchObject({ code: 0, stderr: [] })

        const chat = yield* node([join(examples, "chat/main.js")], { PORT: "0" })
        const [, page = ""] = yield* chat.line(/^chat at (http:\S+)$/)
        const response = yield* Effect.promise(() => fetch(page))
        expect([response.status, yield* Effect.promise(() => response.text())]).toEqual([
          200,
          expect.stringContaining("<title>Chat</title>")
        ])
        yield* chat.kill("SIGTERM")
        expect(yield* chat.exit).toMatchObject({ code: 0, stderr: [] })
      }),
    { timeout: 120_000 }
  )
})
