import { createHash } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import * as Upload from "../../examples/upload/server.js"
import { launch } from "../fixtures/browser.js"
import { tsx } from "../fixtures/process.js"
import { pty } from "../fixtures/pty.js"

// A child process compiles all of its TypeScript first, and so does a browser start.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const start = Effect.map(
  Effect.flatMap(Layer.build(Upload.layer({ host: "127.0.0.1", port: 0 })), (context) =>
    Effect.provide(WebSocketServer.WebSocketServer, context)
  ),
  ({ url }) => ({ page: url.replace(/^ws/, "http"), url: `${url}upload` })
)

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const bytes = new Uint8Array(5_000_000).map((_, index) => index * 31)

/** The path of a file with those. */
const large = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-websocket-upload-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  ),
  (directory) => {
    const path = join(directory, "large.bin")
    writeFileSync(path, bytes)
    return path
  }
)

describe("examples/upload", () => {
  it.scopedLive("takes a file from the terminal as one message, and shows how far it is", () =>
    Effect.gen(function* () {
      const { url } = yield* start
      const client = yield* tsx("examples/upload/client.ts", [yield* large], { URL: url })
      const { code, stderr, stdout } = yield* client.exit
      expect({ code, stderr }).toEqual({ code: 0, stderr: [] })
      const bars = stdout.filter((line) => line.startsWith("["))
      expect(bars.length).toBeGreaterThan(2)
      expect(bars.at(-1)).toBe(`[${"#".repeat(40)}] 100 %  5.0 of 5.0 MB`)
      expect(stdout.at(-1)).toBe(`sha256 ${sha256(bytes)}`)
    })
  )

  it.scopedLive("shows one bar on a terminal, which fills in its place", () =>
    Effect.gen(function* () {
      const { url } = yield* start
      const terminal = yield* pty([process.execPath, "--import", "tsx", "examples/upload/client.ts", yield* large], {
        env: { URL: url }
      })
      const { code, lines } = yield* terminal.exit
      expect(code).toBe(0)
      const full = `[${"#".repeat(40)}] 100 %  5.0 of 5.0 MB`
      expect(lines.filter((line) => line !== "" && !line.startsWith("left:"))).toEqual([
        full,
        `sha256 ${sha256(bytes)}`
      ])
      // What was there before.
      const shares = [...(yield* terminal.written).matchAll(/(\d+) %/g)].map(([, share]) => Number(share))
      expect(shares.length).toBeGreaterThan(3)
      expect(shares).toEqual([...shares].sort((a, b) => a - b))
      expect(shares.some((share) => share > 0 && share < 100)).toBe(true)
    })
  )

  it.scopedLive("takes files from a page, and its bar fills", () =>
    Effect.gen(function* () {
      const { page: url } = yield* start
      const browser = yield* launch()
      const page = yield* browser.open(url)
      yield* page.evaluate(`{
        upload(new File([new Uint8Array(3_000_000).map((_, index) => index * 7)], "from a page.bin"))
        globalThis.seen = []
        const bar = document.querySelector("progress")
        new MutationObserver(() => seen.push(bar.value)).observe(bar, { attributes: true })
        document.querySelector("#list").childElementCount
      }`)
      yield* page.until(`document.querySelector("#list code")?.textContent.length === 64`)
      expect(yield* page.evaluate(`document.querySelector("#list code").textContent`)).toBe(
        sha256(new Uint8Array(3_000_000).map((_, index) => index * 7))
      )
      expect(yield* page.evaluate(`document.querySelector("progress").value`)).toBe(1)
      // It was told more than once on the way, and never went back.
      expect(yield* page.evaluate(`seen.filter((value) => value > 0 && value < 1).length > 2`)).toBe(true)
      expect(yield* page.evaluate(`seen.every((value, index) => index === 0 || value >= seen[index - 1])`)).toBe(true)
      expect(yield* page.evaluate(`document.querySelector(".state").textContent`)).toBe("done, 3.0 MB")
    })
  )

  it.scopedLive("says what it expects", () =>
    Effect.gen(function* () {
      const { url } = yield* start
      for (const [first, second, code] of [
        ["no JSON", "", 1007],
        [`{"name":"a","size":1}`, "no bytes", 1003]
      ] as const) {
        const socket = yield* WebSocket.connect(url)
        yield* socket.send(first)
        if (second !== "") yield* socket.send(second)
        expect(yield* socket.closed).toMatchObject({ code })
      }
    }).pipe(Effect.provide(NodeNetwork.layer))
  )
})
