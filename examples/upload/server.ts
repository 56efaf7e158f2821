// Takes files, and tells how far they are. The page at `/`, uploads at `/upload`.
//
// A client sends `{"name": …, "size": …}` as text, then the bytes: in one binary message or in many, as it
// likes. It hears `{"received": …}` now and then, and `{"received": …, "sha256": …}` at the end.

import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { Effect, Layer, Schema, Stream } from "effect"
import { CloseCode, NodeNetwork, type WebSocket, WebSocketServer } from "effect-websocket"
import { Offer, Progress } from "./protocol.js"

const tell = Schema.encodeSync(Schema.parseJson(Progress))

/** Told no more often than for so many bytes. */
const step = 256 * 1024

const receive = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    const { name, size } = yield* Schema.decodeUnknown(Schema.parseJson(Offer))(yield* socket.receive)
    const hash = createHash("sha256")
    let received = 0
    let told = 0
    while (received < size) {
      // The pieces come while the message is still on its way, however large it is.
      const message = yield* socket.receiveStream
      if (message._tag === "Text") return yield* socket.close(CloseCode.unsupportedData, "bytes are expected")
      yield* Stream.runForEach(message.chunks, (bytes) => {
        hash.update(bytes)
        received += bytes.length
        if (received - told < step) return Effect.void
        told = received
        // Nobody needs each of them: a client that is behind misses some.
        return socket.offer(tell({ received }))
      })
    }
    yield* Effect.log(`received ${name}, ${received} bytes`)
    yield* socket.send(tell({ received, sha256: hash.digest("hex") }))
    // The client closes when it has read that.
    yield* socket.closed
  }).pipe(
    Effect.catchTag("ParseError", () => socket.close(CloseCode.invalidPayload, "a name and a size are expected first"))
  )

const page = HttpServerResponse.html(readFileSync(new URL("page.html", import.meta.url), "utf8"))

/** The largest file taken. */
const maxSize = 16 * 1024 ** 3

export const layer = (options: { readonly port: number; readonly host: string }) =>
  Layer.mergeAll(
    WebSocketServer.serve(receive, { path: "/upload" }),
    WebSocketServer.serveHttp(HttpRouter.empty.pipe(HttpRouter.get("/", page)))
  ).pipe(
    Layer.provideMerge(
      WebSocketServer.layer({
        ...options,
        // It may be one message; no more of it is held than `receiveBufferSize`.
        maxPayloadSize: maxSize,
        maxFragments: Number.POSITIVE_INFINITY
      })
    ),
    Layer.provide(NodeNetwork.layer)
  )
