// The chat as a layer: the page at `/`, a room's WebSocket at `/chat/<room>?name=<name>`.

import { createServer } from "node:http"
import { fileURLToPath } from "node:url"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Schema, Stream } from "effect"
import { CloseCode, NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import { maxTextLength, Name, Reply, Request, RoomName } from "./protocol.js"
import * as Rooms from "./rooms.js"

const page = HttpServerResponse.file(fileURLToPath(new URL("page.html", import.meta.url)), {
  headers: {
    "cache-control": "no-cache",
    "content-security-policy":
      "default-src 'none'; connect-src 'self'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff"
  }
})

const encode = Schema.encodeSync(Reply)
const decode = Schema.decodeUnknown(Request)

/** One person in one room, for as long as the connection lasts. */
const converse = (socket: WebSocket.WebSocket, room: string, name: string) =>
  Effect.gen(function* () {
    const rooms = yield* Rooms.Rooms
    const seat = yield* rooms.join(room, name)
    // `send` waits while the page reads slowly, and what it misses then is gone for this page alone.
    const talk = Stream.runForEach(seat.replies, (reply) => socket.send(encode(reply)))
    const listen = socket.run((message) => Effect.flatMap(decode(message), ({ text }) => seat.say(text)))
    yield* Effect.raceFirst(talk, listen)
  }).pipe(
    Effect.catchTags({
      Full: ({ message }) => socket.close(CloseCode.tryAgainLater, message),
      ParseError: () => socket.close(CloseCode.policyViolation, "not a message of this chat")
    })
  )

const Path = Schema.Struct({ room: RoomName })
const Query = Schema.Struct({ name: Name })

const join = Effect.gen(function* () {
  const { room } = yield* HttpRouter.schemaPathParams(Path)
  const { name } = yield* HttpServerRequest.schemaSearchParams(Query)
  return yield* WebSocketServer.upgrade((socket) => converse(socket, room, name), {
    maxPayloadSize: 8 * maxTextLength,
    pingInterval: "30 seconds"
  })
}).pipe(
  Effect.catchTag("ParseError", ({ message }) =>
    HttpServerResponse.text(`${message}\n`, { status: 400, headers: { connection: "close" } })
  )
)

const router = HttpRouter.empty.pipe(HttpRouter.get("/", page), HttpRouter.get("/chat/:room", join))

export const layer = (options: { readonly port: number; readonly host: string }) =>
  router.pipe(
    HttpServer.serve(),
    Layer.provideMerge(NodeHttpServer.layer(() => NodeNetwork.prepareServer(createServer()), options)),
    Layer.provideMerge(Rooms.layer),
    Layer.provide(NodeNetwork.layer)
  )
