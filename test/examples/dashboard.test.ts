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

/** All of it is to be seen. */
const widen = (page: Page) =>
  page.send("Emulation.setDeviceMetricsOverride", { width: 1200, height: 800, deviceScaleFactor: 1, mobile: false })

/** How many pixels of a picture of the page have the colour of a card's curve, in its plot, beside the dot at the end. */
const inkOf = (page: Page, card: string) =>
  Effect.flatMap(page.screenshot, (png) =>
    page.evaluate(`(async () => {
      const png = Uint8Array.from(atob("${Buffer.from(png).toString("base64")}"), (byte) => byte.charCodeAt(0))
      const picture = await createImageBitmap(new Blob([png]))
      const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d")
      canvas.drawImage(picture, 0, 0)
      const { x, y, width, height } = document.querySelector("#${card} .plot").getBoundingClientRect()
      const { data } = canvas.getImageData(x, y - 2, width - 10, height + 4)
      const hue = getComputedStyle(document.querySelector("#${card} .curve")).stroke.match(/\\d+/g).map(Number)
      let ink = 0
      for (let at = 0; at < data.length; at += 4) {
        if (hue.every((part, index) => Math.abs(part - data[at + index]) < 8)) ink++
      }
      return ink
    })()`)
  )

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
      // What the paths say is to be seen: a line, and the longer the more.
      yield* first.until(`samples.length > 10`)
      yield* first.send("Page.bringToFront")
      yield* widen(first)
      for (const name of ["cpu", "memory", "delay", "windows"]) {
        expect(yield* inkOf(first, name)).toBeGreaterThan(15)
      }
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

  it.scopedLive("tells the values where the pointer is, fits on a phone, and is light or dark as wanted", () =>
    Effect.gen(function* () {
      const browser = yield* launch()
      const server = yield* start(0)
      const page = yield* open(browser, server.page)
      yield* page.until(`samples.length > 5`)
      yield* widen(page)
      // Three samples from the right edge.
      const spot = yield* page.evaluate(`(() => {
        const { bottom, left, top, width } = document.querySelector("#memory .plot").getBoundingClientRect()
        return { x: left + width * (1 - 3 / (kept - 1)), y: (top + bottom) / 2 }
      })()`)
      yield* page.send("Input.dispatchMouseEvent", { type: "mouseMoved", ...(spot instanceof Object ? spot : {}) })
      yield* page.until(
        `pointed !== undefined && [...document.querySelectorAll(".cross")].every(({ hidden }) => !hidden)`
      )
      for (const name of ["cpu", "memory", "delay"]) {
        expect(
          yield* page.evaluate(
            `document.querySelector("#${name} output").textContent === samples.at(-4)["${name}"].toFixed(1)`
          )
        ).toBe(true)
      }
      expect(yield* page.evaluate(`new Date(samples.at(-4).at).toLocaleTimeString() === $("when").textContent`)).toBe(
        true
      )
      yield* page.send("Input.dispatchMouseEvent", { type: "mouseMoved", x: 1, y: 1 })
      yield* page.until(`[...document.querySelectorAll(".cross")].every(({ hidden }) => hidden)`)
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
