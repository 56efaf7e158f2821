import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import * as Dashboard from "../../examples/dashboard/server.js"
import { type Browser, launch, type Page } from "../fixtures/browser.js"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first, and so does a browser start.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

/** A dashboard that can be shut down before the test is over. */
const start = (port: number) =>
  Effect.gen(function* () {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(
      Dashboard.layer({ host: "127.0.0.1", port, every: "100 millis" }),
      scope
    )
    const { url } = yield* Effect.provide(WebSocketServer.WebSocketServer, context)
    return { url, page: url.replace(/^ws/, "http"), stop: Scope.close(scope, Exit.void) }
  })

/** How many points a curve has, for each of them. */
const points = `[...document.querySelectorAll(".curve")].map((curve) => curve.getAttribute("d")?.split("L").length ?? 0)`

const state = (page: Page, text: string) =>
  page.until(`document.querySelector("#state").textContent === ${JSON.stringify(text)}`)

const open = (browser: Browser, url: string) => Effect.tap(browser.open(url), (page) => state(page, "Live"))

const windowsAre = (page: Page, count: number) =>
  page.until(`document.querySelector("#windows output").textContent === "${count}"`)

describe("examples/dashboard, in Chromium", () => {
  it.scopedLive("shows the same in two windows, and draws it", () =>
    Effect.gen(function* () {
      const browser = yield* launch()
      const server = yield* start(0)
      const first = yield* open(browser, server.page)
      yield* windowsAre(first, 1)
      const second = yield* open(browser, server.page)
      yield* windowsAre(first, 2)
      yield* windowsAre(second, 2)
      for (const page of [first, second]) yield* page.until(`${points}.every((count) => count > 3)`)
      // The samples of both at the times that both know of.
      const before = yield* first.evaluate(`samples`)
      yield* second.until(`samples.at(-1).at > ${yield* first.evaluate(`samples.at(-1).at`)}`)
      const after = yield* second.evaluate(`samples`)
      expect(Array.isArray(before) && before.length).toBeGreaterThan(3)
      expect(after).toEqual(expect.arrayContaining(Array.isArray(before) ? before : []))
      for (const name of ["cpu", "memory", "delay"]) {
        expect(yield* first.evaluate(`Number(document.querySelector("#${name} output").textContent) >= 0`)).toBe(true)
      }
      expect(yield* first.evaluate(`samples.at(-1).memory > 20`)).toBe(true)
      yield* second.close
      yield* windowsAre(first, 1)
    })
  )

  it.scopedLive("comes back when its server does", () =>
    Effect.gen(function* () {
      const browser = yield* launch()
      const server = yield* start(0)
      const page = yield* open(browser, server.page)
      yield* page.until(`samples.length > 3`)
      yield* server.stop
      yield* state(page, "Reconnecting")
      const old = yield* page.evaluate(`samples.at(-1).at`)
      yield* start(Number(new URL(server.page).port))
      yield* state(page, "Live")
      // The new one's history, and no gap in the curve.
      yield* page.until(`samples.length > 3 && samples[0].at > ${old}`)
      yield* page.until(`${points}.every((count) => count === samples.length)`)
    })
  )

  it.scopedLive("tells the values at a point, fits on a phone, and is light or dark as wanted", () =>
    Effect.gen(function* () {
      const browser = yield* launch()
      const server = yield* start(0)
      const page = yield* open(browser, server.page)
      yield* page.until(`samples.length > 5`)
      const pointed = yield* page.evaluate(`(() => {
        pointed = 1 - 3 / (kept - 1)
        draw()
        return [document.querySelector("#memory output").textContent, samples.at(-4).memory.toFixed(1)]
      })()`)
      expect(Array.isArray(pointed) && pointed[0]).toBe(Array.isArray(pointed) && pointed[1])
      yield* page.send("Emulation.setDeviceMetricsOverride", {
        ...{ width: 360, height: 640, deviceScaleFactor: 1, mobile: true }
      })
      expect(yield* page.evaluate(`[innerWidth, document.documentElement.scrollWidth]`)).toEqual([360, 360])
      const seen: Array<unknown> = []
      for (const value of ["light", "dark"]) {
        yield* page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] })
        seen.push(yield* page.evaluate(`getComputedStyle(document.body).backgroundColor`))
      }
      expect(seen).toEqual(["rgb(243, 244, 247)", "rgb(13, 15, 21)"])
      expect(yield* page.evaluate(`performance.getEntriesByType("resource").map((entry) => entry.name)`)).toEqual([])
    })
  )
})

describe("examples/dashboard", () => {
  it.scopedLive("runs from the command line, and shows nothing to other origins", () =>
    Effect.gen(function* () {
      const server = yield* tsx("examples/dashboard/main.ts", [], { PORT: "0" })
      const [, page = ""] = yield* server.line(/^dashboard at (http:\S+)$/)
      const response = yield* Effect.promise(() => fetch(page))
      expect([response.status, response.headers.get("content-type")]).toEqual([
        200,
        expect.stringContaining("text/html")
      ])
      const live = `${page.replace(/^http/, "ws")}live`
      const socket = yield* WebSocket.connect(live)
      expect(yield* socket.receive).toMatch(/^\{"type":"history","samples":\[/)
      expect(yield* socket.receive).toMatch(/^\{"type":"sample","sample":\{"at":/)
      const refused = yield* Effect.flip(WebSocket.connect(live, { headers: { origin: "https://elsewhere.example" } }))
      expect(refused).toMatchObject({ _tag: "HandshakeError", status: 403 })
      yield* server.kill("SIGTERM")
      expect(yield* server.exit).toMatchObject({ code: 0, stderr: [] })
    }).pipe(Effect.provide(NodeNetwork.layer))
  )
})
