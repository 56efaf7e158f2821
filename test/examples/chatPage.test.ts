import { HttpServer } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"
import * as Chat from "../../examples/chat/server.js"
import { type Browser, launch, type Page } from "../fixtures/browser.js"

const timeout = 60_000

/** A chat that can be shut down before the test is over, and its URL. */
const start = (port: number) =>
  Effect.gen(function* () {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(Chat.layer({ host: "127.0.0.1", port }), scope)
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    return { url: HttpServer.formatAddress(address), stop: Scope.close(scope, Exit.void) }
  })

const quote = (text: string) => JSON.stringify(text)

const join = (page: Page, name: string, room: string) =>
  page
    .evaluate(
      `document.querySelector("#name").value = ${quote(name)};
      document.querySelector("#room").value = ${quote(room)};
      document.querySelector("#join button:not([type=button])").click()`
    )
    .pipe(Effect.zipRight(page.until(`document.querySelector("#state").textContent === "Connected"`)))

const enter = (browser: Browser, url: string, name: string, room = "lobby") =>
  Effect.tap(browser.open(`${url}/`), (page) => join(page, name, room))

const say = (page: Page, text: string) =>
  page.evaluate(
    `document.querySelector("#text").value = ${quote(text)};
    document.querySelector("#send").click()`
  )

/** What is in the list of messages: who said what, and the notes without who. */
const lines = (page: Page) =>
  page.evaluate(
    `[...document.querySelectorAll("#messages > li")].map((line) => line.matches(".said")
      ? [line.querySelector(".who bdi").textContent, line.querySelector(".bubble").textContent]
      : line.textContent)`
  )

const shows = (page: Page, text: string) =>
  page.until(
    `[...document.querySelectorAll("#messages > li")].some((line) => line.textContent.includes(${quote(text)}))`
  )

const people = (page: Page) =>
  page.evaluate(`[...document.querySelectorAll("#people .name")].map((name) => name.textContent)`)

describe("the page of examples/chat, in Chromium", () => {
  it.scopedLive(
    "lets two windows talk, and shows who is there",
    () =>
      Effect.gen(function* () {
        const browser = yield* launch()
        const { url } = yield* start(0)
        const ada = yield* enter(browser, url, "Ada")
        const grace = yield* enter(browser, url, "Grace")
        yield* shows(ada, "Grace came in")
        yield* say(ada, "Hello, Grace 👋")
        yield* shows(grace, "Hello, Grace")
        yield* say(grace, "Hello")
        yield* say(grace, "two\nlines")
        yield* shows(ada, "two\nlines")
        expect(yield* lines(ada)).toEqual([
          "You are in #lobby as Ada",
          "Grace came in",
          ["You", "Hello, Grace 👋"],
          ["Grace", "Hello"],
          ["Grace", "two\nlines"]
        ])
        expect(yield* lines(grace)).toEqual([
          "You are in #lobby as Grace",
          ["Ada", "Hello, Grace 👋"],
          ["You", "Hello"],
          ["You", "two\nlines"]
        ])
        expect(yield* people(ada)).toEqual(["Ada", "Grace"])
        expect(yield* people(grace)).toEqual(["Ada", "Grace"])
        yield* grace.close
        yield* shows(ada, "Grace left")
        expect(yield* people(ada)).toEqual(["Ada"])
      }),
    { timeout }
  )

  it.scopedLive(
    "keeps rooms apart, and leaves one for another",
    () =>
      Effect.gen(function* () {
        const browser = yield* launch()
        const { url } = yield* start(0)
        const ada = yield* enter(browser, url, "Ada", "one")
        const grace = yield* enter(browser, url, "Grace", "two")
        yield* say(ada, "only for one")
        yield* shows(ada, "only for one")
        yield* grace.evaluate(`document.querySelector("#leave").click()`)
        yield* join(grace, "Grace", "one")
        yield* shows(ada, "Grace came in")
        expect(yield* lines(grace)).toEqual(["You are in #one as Grace"])
      }),
    { timeout }
  )

  it.scopedLive(
    "shows markup in names and lines as text, and loads nothing from elsewhere",
    () =>
      Effect.gen(function* () {
        const browser = yield* launch()
        const { url } = yield* start(0)
        const name = `<img src=x onerror=bad()>`
        const text = `<script>bad()</script><b onclick="bad()">bold</b> &amp; "quoted"`
        const ada = yield* enter(browser, url, "Ada")
        yield* ada.evaluate(`window.bad = () => { window.injected = true }`)
        const mallory = yield* enter(browser, url, name)
        yield* say(mallory, text)
        yield* shows(ada, "quoted")
        expect(yield* lines(ada)).toEqual(["You are in #lobby as Ada", `${name} came in`, [name, text]])
        expect(yield* people(ada)).toEqual(["Ada", name])
        expect(yield* ada.evaluate(`document.querySelectorAll("#chat :is(img, script, b)").length`)).toBe(0)
        expect(yield* ada.evaluate(`window.injected === undefined`)).toBe(true)
        expect(yield* ada.evaluate(`performance.getEntriesByType("resource").map((entry) => entry.name)`)).toEqual([])
      }),
    { timeout }
  )

  it.scopedLive(
    "goes on while another reader takes nothing",
    () =>
      Effect.gen(function* () {
        const browser = yield* launch()
        const { url } = yield* start(0)
        yield* WebSocket.connect(`${url.replace("http", "ws")}/chat/lobby?name=Slow`, { receiveBufferSize: 1 }).pipe(
          Effect.provide(NodeNetwork.layer)
        )
        const ada = yield* enter(browser, url, "Ada")
        const grace = yield* enter(browser, url, "Grace")
        // 18 MB: more than all buffers on the way to the reader that takes nothing can hold.
        yield* ada.evaluate(`new Promise((resolve) => {
          let rounds = 60
          const round = () => {
            for (let line = 0; line < 50; line++) {
              socket.send(JSON.stringify({ type: "say", text: "€".repeat(1999) }))
            }
            socket.send(JSON.stringify({ type: "say", text: "round " + rounds }))
          }
          socket.addEventListener("message", ({ data }) => {
            if (JSON.parse(data).text === "round " + rounds) rounds-- === 1 ? resolve() : round()
          })
          round()
        })`)
        yield* shows(grace, "round 1")
        expect(yield* people(grace)).toEqual(["Slow", "Ada", "Grace"])
      }),
    { timeout }
  )

  it.scopedLive(
    "says that the server is gone, and comes back when it is back",
    () =>
      Effect.gen(function* () {
        const browser = yield* launch()
        const first = yield* start(0)
        const page = yield* enter(browser, first.url, "Ada")
        yield* first.stop
        yield* page.until(`document.querySelector("#state").textContent === "Disconnected"`)
        expect(yield* page.evaluate(`document.querySelector("#why").textContent`)).toBe(
          "The server went away. Trying again soon."
        )
        expect(yield* page.evaluate(`document.querySelector("#send").disabled`)).toBe(true)
        expect(yield* people(page)).toEqual([])
        yield* start(Number(new URL(first.url).port))
        yield* page.evaluate(`document.querySelector("#again").click()`)
        yield* page.until(`document.querySelector("#state").textContent === "Connected"`)
        expect(yield* page.evaluate(`document.querySelector("#banner").hidden`)).toBe(true)
        expect(yield* people(page)).toEqual(["Ada"])
        yield* say(page, "here again")
        yield* shows(page, "here again")
      }),
    { timeout }
  )

  it.scopedLive(
    "fits on a phone, in the light and in the dark",
    () =>
      Effect.gen(function* () {
        const browser = yield* launch()
        const { url } = yield* start(0)
        const page = yield* enter(browser, url, "Ada")
        yield* page.send("Emulation.setDeviceMetricsOverride", {
          ...{ width: 360, height: 640, deviceScaleFactor: 1, mobile: true }
        })
        yield* say(page, "x".repeat(1000))
        yield* shows(page, "xxx")
        expect(yield* page.evaluate(`[innerWidth, document.documentElement.scrollWidth]`)).toEqual([360, 360])
        expect(yield* page.evaluate(`document.querySelector("#send").getBoundingClientRect().bottom <= 640`)).toBe(true)
        const background = `getComputedStyle(document.querySelector("#chat")).backgroundColor`
        const seen: Array<unknown> = []
        for (const value of ["light", "dark"]) {
          yield* page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] })
          seen.push(yield* page.evaluate(background))
        }
        expect(seen).toEqual(["rgb(255, 255, 255)", "rgb(23, 26, 34)"])
      }),
    { timeout }
  )
})
