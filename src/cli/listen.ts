// effect-websocket listen: a server to try clients on.

import * as CliArgs from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CloseCode from "../CloseCode.js"
import * as Flow from "../Flow.js"
import * as NodeNetwork from "../NodeNetwork.js"
import * as OriginPolicy from "../OriginPolicy.js"
import type * as WebSocket from "../WebSocket.js"
import * as WebSocketServer from "../WebSocketServer.js"
import { showMessages } from "./lines.js"
import { BadInput, connection, json, keyPair, maxPayload } from "./options.js"
import { Terminal } from "./terminal.js"

const options = {
  port: CliArgs.integer({ name: "port" }).pipe(
    CliArgs.withDescription("The port to listen on; 0 for any that is free")
  ),
  host: Options.text("host").pipe(
    Options.withPseudoName("address"),
    Options.withDescription("Default 127.0.0.1; 0.0.0.0 or :: to be reached from other machines"),
    Options.withDefault("127.0.0.1")
  ),
  broadcast: Options.boolean("broadcast").pipe(
    Options.withAlias("b"),
    Options.withDescription("Send each message to all others, instead of back")
  ),
  subprotocol: Options.text("subprotocol").pipe(
    Options.withPseudoName("name"),
    Options.withAlias("s"),
    Options.withDescription("A subprotocol to speak, the preferred one first. Repeatable"),
    Options.repeated
  ),
  cert: connection.cert,
  key: connection.key,
  deflate: Options.boolean("deflate").pipe(Options.withDescription("Compress, if the client does")),
  anyOrigin: Options.boolean("any-origin").pipe(
    Options.withDescription("Let pages of every site connect, not just those of this address")
  ),
  maxPayload,
  json
}

/** Bytes that may wait for a slow client in a broadcast; then messages pass it by. */
const slow = 1024 * 1024

export const listen = Command.make("listen", options, (given) =>
  Effect.gen(function* () {
    const { complain, note, paint, print, watched } = yield* Terminal
    if (given.port < 0 || given.port > 65_535) yield* Effect.fail(new BadInput(`there is no port ${given.port}`))
    const audience = given.json ? "program" : watched ? "person" : "pipe"
    const server = yield* WebSocketServer.make({
      port: given.port,
      host: given.host,
      tls: yield* keyPair(given),
      subprotocols: given.subprotocol,
      deflate: given.deflate,
      maxPayloadSize: Option.getOrUndefined(given.maxPayload),
      // One slow client must not hold up a broadcast; what may wait for it is bounded below.
      sendBufferSize: given.broadcast ? Number.MAX_SAFE_INTEGER : undefined,
      origin: given.anyOrigin ? OriginPolicy.allowAll : OriginPolicy.sameOrigin
    })
    const nobodyReads = yield* Deferred.make<void>()
    const show = (content: string | Uint8Array) =>
      Effect.catchTag(print(content), "OutputClosed", () => Deferred.succeed(nobodyReads, undefined))
    const tell = (event: { readonly type: string; readonly [key: string]: unknown }, text: string) =>
      given.json ? show(JSON.stringify(event)) : note(text)

    const sockets = new Set<WebSocket.WebSocket>()
    const sendTo = (messages: Iterable<WebSocket.Message>) => (socket: WebSocket.WebSocket) =>
      Effect.flatMap(socket.bufferedBytes, (waiting) =>
        // Whoever has gone meanwhile is told of elsewhere.
        given.broadcast && waiting > slow ? Effect.void : Effect.ignore(socket.sendAll(messages))
      )
    const pass = (messages: Iterable<WebSocket.Message>, from: WebSocket.WebSocket) => {
      const to = given.broadcast ? [...sockets].filter((socket) => socket !== from) : [from]
      return Effect.forEach(to, sendTo(messages), { discard: true })
    }

    yield* server.serve((socket) =>
      Effect.gen(function* () {
        const from = Flow.formatAddress(socket.remoteAddress)
        yield* Effect.acquireRelease(
          Effect.sync(() => sockets.add(socket)),
          () => Effect.sync(() => sockets.delete(socket))
        )
        const { subprotocol, url } = socket
        yield* tell(
          { type: "open", from, url, subprotocol: subprotocol ?? null },
          `${from} connected to ${url}${subprotocol === undefined ? "" : `, speaking ${subprotocol}`}`
        )
        yield* Stream.runForEachChunk(socket.messages, (messages) =>
          Effect.zipRight(show(showMessages(messages, audience, paint, from)), pass(messages, socket))
        ).pipe(Effect.ignore)
        yield* Effect.matchEffect(socket.closed, {
          onSuccess: ({ code, reason }) =>
            tell(
              { type: "close", from, code, reason },
              `${from} closed with ${CloseCode.format(code)}${reason === "" ? "" : ` "${reason}"`}`
            ),
          onFailure: (failure) =>
            given.json
              ? show(JSON.stringify({ type: "error", from, error: failure._tag, message: failure.message }))
              : complain(failure.message)
        })
      })
    )
    yield* tell(
      { type: "listening", url: server.url },
      `listening on ${server.url}, ${given.broadcast ? "broadcasting" : "echoing"}; Ctrl-C ends it`
    )
    yield* Deferred.await(nobodyReads)
  }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
).pipe(Command.withDescription("Listen for clients: each message is sent back, or to all others"))
