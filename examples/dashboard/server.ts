// A dashboard that many windows look at: the page at `/`, what it shows at `/live`.
//
// A page hears `{"type": "history", "samples": […]}` at first, and then `{"type": "sample", "sample": …}` again and again.
// It says nothing.

import { readFileSync } from "node:fs"
import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { type Duration, Effect, Layer, Schedule } from "effect"
import { Broadcast, NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import * as Gauges from "./gauges.js"

const page = HttpServerResponse.html(readFileSync(new URL("page.html", import.meta.url), "utf8")).pipe(
  HttpServerResponse.setHeaders({
    "cache-control": "no-cache",
    "content-security-policy":
      "default-src 'none'; connect-src 'self'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff"
  })
)

/** So many samples are kept for who comes later. */
const kept = 120

const topic = "samples"

const Live = (every: Duration.DurationInput) =>
  Layer.unwrapScoped(
    Effect.gen(function* () {
      const hub = yield* Broadcast.make()
      const read = yield* Gauges.make
      const history: Array<Gauges.Sample> = []

      const measure = Effect.gen(function* () {
        const sample = read(yield* hub.subscribers(topic))
        history.push(sample)
        if (history.length > kept) history.shift()
        // Made into bytes once, however many windows there are; and a slow one delays no other.
        yield* hub.publish(topic, JSON.stringify({ type: "sample", sample }))
      })
      // Not at once: what it costs to start would be the largest value for minutes.
      yield* Effect.forkScoped(Effect.schedule(measure, Schedule.fixed(every)))

      const show = (socket: WebSocket.WebSocket) =>
        Effect.gen(function* () {
          // First this, so that nothing is missing between the history and what follows it.
          yield* hub.subscribe(socket, topic, { slowConsumer: "dropOldest" })
          yield* socket.send(JSON.stringify({ type: "history", samples: history }))
          yield* socket.run(() => Effect.void)
        })
      return WebSocketServer.serve(show, { path: "/live" })
    })
  )

export interface Options {
  readonly port: number
  readonly host: string
  /** How often there is a sample. Default: every second. */
  readonly every?: Duration.DurationInput | undefined
}

export const layer = ({ every = "1 second", host, port }: Options) =>
  Layer.merge(Live(every), WebSocketServer.serveHttp(HttpRouter.empty.pipe(HttpRouter.get("/", page)))).pipe(
    Layer.provideMerge(WebSocketServer.layer({ host, port, maxPayloadSize: 1024 })),
    Layer.provide(NodeNetwork.layer)
  )
