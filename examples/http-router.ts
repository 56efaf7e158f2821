// An HTTP application with a WebSocket among its routes: `npx tsx examples/http-router.ts`, then
// open the URL in two windows.
//
//   POST /login    a form with `name`; sets the cookie that /chat asks for
//   GET  /chat     the WebSocket: subprotocol chat.v1, and 401 without the cookie
//   GET  /metrics  what Prometheus reads
//   GET  /         a page that uses them
//
// Taken from the environment: PORT (8080; 0 lets the system choose one), HOST (127.0.0.1).

import { randomUUID } from "node:crypto"
import { createServer } from "node:http"
import {
  HttpMiddleware,
  HttpRouter,
  HttpServer,
  type HttpServerError,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, type ConfigError, Console, Context, Effect, Layer, Logger, PubSub, Schema, Stream } from "effect"
import { CloseCode, NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import * as Prometheus from "./prometheus.js"

// --- who is logged in

const Name = Schema.Trim.pipe(Schema.minLength(1), Schema.maxLength(32))

/** Beyond so many, the oldest session ends. */
const maxSessions = 10_000

class Sessions extends Context.Tag("Sessions")<Sessions, Map<string, string>>() {}

const login = Effect.gen(function* () {
  const { name } = yield* HttpServerRequest.schemaBodyUrlParams(Schema.Struct({ name: Name }))
  const sessions = yield* Sessions
  const token = randomUUID()
  sessions.set(token, name)
  for (const oldest of sessions.keys()) {
    if (sessions.size <= maxSessions) break
    sessions.delete(oldest)
  }
  // No script can read it, and no other site's page can make a browser send it. Add `secure: true` behind TLS.
  return yield* HttpServerResponse.empty({ status: 204 }).pipe(
    HttpServerResponse.setCookie("session", token, { httpOnly: true, sameSite: "strict", path: "/" })
  )
}).pipe(Effect.catchTag("ParseError", ({ message }) => HttpServerResponse.text(`${message}\n`, { status: 400 })))

// --- the chat

class Room extends Context.Tag("Room")<Room, PubSub.PubSub<string>>() {}

/** One person, for as long as the connection lasts. */
const converse = (socket: WebSocket.WebSocket, name: string) =>
  Effect.gen(function* () {
    const room = yield* Room
    // Both belong to the connection's scope: the end of it is the end of them.
    const lines = yield* PubSub.subscribe(room)
    yield* Effect.acquireRelease(PubSub.publish(room, `${name} came in`), () => PubSub.publish(room, `${name} left`))
    yield* Effect.logInfo("joined")
    // `send` waits while the page reads slowly, and what it misses then is gone for this page alone.
    const talk = Stream.runForEach(Stream.fromQueue(lines), socket.send)
    const listen = socket.run((message) =>
      typeof message === "string"
        ? PubSub.publish(room, `${name}: ${message}`)
        : socket.close(CloseCode.unsupportedData, "text, please")
    )
    yield* Effect.raceFirst(talk, listen)
  }).pipe(Effect.annotateLogs({ name }))

const chat = WebSocketServer.upgradeWith(
  ({ cookies }) =>
    Effect.flatMap(Sessions, (sessions) => Effect.fromNullable(sessions.get(cookies["session"] ?? ""))).pipe(
      Effect.mapBoth({
        onSuccess: (name) => ({ data: name }),
        onFailure: () => HttpServerResponse.text("log in first\n", { status: 401 })
      })
    ),
  converse,
  { subprotocols: ["chat.v1"], maxPayloadSize: 4096 }
)

// --- everything else

const metrics = Effect.map(Prometheus.metrics, (text) =>
  HttpServerResponse.text(text, { contentType: Prometheus.contentType })
)

const page = HttpServerResponse.html(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>body { font: 1rem sans-serif; margin: 2rem auto; max-width: 40rem } #lines { min-height: 10rem }</style>
<form id="login"><input name="name" placeholder="Your name" required maxlength="32"> <button>Log in</button></form>
<p id="state">Not connected</p>
<div id="lines" role="log"></div>
<form id="chat"><input id="text" placeholder="Say something" maxlength="1000"> <button>Send</button></form>
<script>
const at = (id) => document.getElementById(id)
let socket
at("login").onsubmit = async (event) => {
  event.preventDefault()
  const form = new URLSearchParams(new FormData(at("login")))
  const { ok } = await fetch("/login", { method: "POST", body: form })
  if (!ok) return (at("state").textContent = "Not a name")
  socket?.close()
  socket = new WebSocket(location.origin.replace("http", "ws") + "/chat", "chat.v1")
  socket.onopen = () => (at("state").textContent = "Connected, speaking " + socket.protocol)
  socket.onclose = ({ code }) => (at("state").textContent = "Closed with " + code)
  socket.onmessage = ({ data }) => at("lines").append(Object.assign(document.createElement("div"), { textContent: data }))
}
at("chat").onsubmit = (event) => {
  event.preventDefault()
  socket?.send(at("text").value)
  at("text").value = ""
}
</script>
</html>
`)

const router = HttpRouter.empty.pipe(
  HttpRouter.get("/", page),
  HttpRouter.post("/login", login),
  HttpRouter.get("/chat", chat),
  HttpRouter.get("/metrics", metrics)
)

const settings = Config.all({
  host: Config.nonEmptyString("HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.integer("PORT").pipe(
    Config.validate({
      message: "expected an integer between 0 and 65535",
      validation: (port) => port >= 0 && port <= 65_535
    }),
    Config.withDefault(8080)
  )
})

const Http = Layer.unwrapEffect(
  Effect.map(settings, (options) => NodeHttpServer.layer(() => NodeNetwork.prepareServer(createServer()), options))
)

const State = Layer.merge(
  Layer.sync(Sessions, () => new Map()),
  // Whoever is more than 64 lines behind misses the oldest.
  Layer.effect(Room, PubSub.sliding<string>(64))
)

const Ready = Layer.effectDiscard(HttpServer.addressFormattedWith((url) => Console.log(`chat at ${url}/`)))

// Whatever is logged goes to stderr: the line that says where the chat is stays the only one on stdout.
const Log = Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))

const Main = Layer.merge(HttpServer.serve(router, HttpMiddleware.logger), Ready).pipe(
  Layer.provide(Http),
  Layer.provide(State),
  Layer.provide(NodeNetwork.layer),
  Layer.provide(Log)
)

const explain = (error: ConfigError.ConfigError | HttpServerError.ServeError) => {
  if ("path" in error) return `${error.path.join(".")}: ${error.message}`
  if ("cause" in error && error.cause instanceof Error) return `${error.cause.message} (PORT and HOST choose another)`
  return error.message
}

Layer.launch(Main).pipe(
  Effect.tapError((error) => Console.error(explain(error))),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
