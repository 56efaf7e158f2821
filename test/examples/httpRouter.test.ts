import { describe, expect, it, vi } from "@effect/vitest"
import { Effect } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"
import { launch } from "../fixtures/browser.js"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first, and a browser starts.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const file = "examples/http-router.ts"

const start = Effect.gen(function* () {
  const server = yield* tsx(file, [], { PORT: "0" })
  const [, url = ""] = yield* server.line(/^chat at (http:\/\/127\.0\.0\.1:\d+)\/$/)
  return { server, url }
})

const login = (url: string, name: string) =>
  Effect.promise(async () => {
    const { headers, status } = await fetch(`${url}/login`, { method: "POST", body: new URLSearchParams({ name }) })
    return { status, cookie: headers.get("set-cookie") ?? "" }
  })

const connect = (url: string, cookie?: string) =>
  WebSocket.connect(`${url.replace("http", "ws")}/chat`, {
    subprotocols: ["chat.v1"],
    ...(cookie === undefined ? undefined : { headers: { cookie } })
  }).pipe(Effect.provide(NodeNetwork.layer))

const enter = (url: string, name: string) =>
  Effect.flatMap(login(url, name), ({ cookie }) => connect(url, cookie.split(";", 1).join()))

describe("examples/http-router.ts", () => {
  it.scopedLive("lets those who logged in talk to each other, and counts them", () =>
    Effect.gen(function* () {
      const { server, url } = yield* start
      const { cookie, status } = yield* login(url, " Ada ")
      expect(status).toBe(204)
      expect(cookie).toMatch(/^session=[\da-f-]{36}; Path=\/; HttpOnly; SameSite=Strict$/i)
      const ada = yield* connect(url, cookie.split(";", 1).join())
      expect([ada.subprotocol, yield* ada.receive]).toEqual(["chat.v1", "Ada came in"])
      const grace = yield* enter(url, "Grace")
      expect([yield* ada.receive, yield* grace.receive]).toEqual(["Grace came in", "Grace came in"])
      yield* grace.send("hello")
      expect([yield* ada.receive, yield* grace.receive]).toEqual(["Grace: hello", "Grace: hello"])
      yield* ada.send(new Uint8Array([1]))
      expect(yield* ada.closed).toMatchObject({ code: 1003, reason: "text, please" })
      expect(yield* grace.receive).toBe("Ada left")

      for (const wrong of [undefined, "session=", "session=guessed", "other=1"]) {
        const refused = yield* Effect.flip(connect(url, wrong))
        expect(refused).toMatchObject({ _tag: "HandshakeError", status: 401, body: "log in first\n" })
      }
      expect(yield* login(url, "  ")).toMatchObject({ status: 400, cookie: "" })

      const response = yield* Effect.promise(() => fetch(`${url}/metrics`))
      expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4")
      const metrics = (yield* Effect.promise(() => response.text())).split("\n")
      expect(metrics).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/^# HELP websocket_connections_open .+/),
          "# TYPE websocket_connections_open gauge",
          `websocket_connections_open{role="server"} 1`,
          "# TYPE websocket_connections_opened_total counter",
          `websocket_connections_opened_total{role="server"} 2`,
          `websocket_connections_closed_total{role="server",code="1003"} 1`,
          `websocket_messages_received_total{role="server"} 2`,
          `websocket_handshakes_refused_total{role="server",status="401"} 4`
        ])
      )

      yield* server.kill("SIGTERM")
      expect(yield* grace.closed).toMatchObject({ code: 1001, clean: true })
      const { code, stderr, stdout } = yield* server.exit
      expect({ code, stdout }).toEqual({ code: 0, stdout: [`chat at ${url}/`] })
      expect(stderr).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/message=joined .*name=Ada/),
          expect.stringMatching(/http\.status=101/)
        ])
      )
    })
  )

  it.scopedLive("has a page that logs in and talks, in Chromium", () =>
    Effect.gen(function* () {
      const { server, url } = yield* start
      const page = yield* (yield* launch()).open(`${url}/`)
      yield* page.evaluate(
        `document.querySelector("[name=name]").value = "Ada"; document.querySelector("#login button").click()`
      )
      yield* page.until(`document.querySelector("#state").textContent === "Connected, speaking chat.v1"`)
      const grace = yield* enter(url, "Grace")
      yield* grace.send("hello")
      yield* page.until(`document.querySelector("#lines").lastChild.textContent === "Grace: hello"`)
      yield* page.evaluate(
        `document.querySelector("#text").value = "<b>hi</b>"; document.querySelector("#chat button").click()`
      )
      expect([yield* grace.receive, yield* grace.receive, yield* grace.receive]).toEqual([
        "Grace came in",
        "Grace: hello",
        "Ada: <b>hi</b>"
      ])
      // The browser keeps connections open that it may need later.
      yield* server.kill("SIGINT")
      yield* page.until(`document.querySelector("#state").textContent === "Closed with 1001"`)
      expect(yield* server.exit).toMatchObject({ code: 0 })
    })
  )
})
