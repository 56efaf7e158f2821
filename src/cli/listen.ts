// effect-websocket listen: a server to try clients on.

import * as CliArgs from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Flow from "../Flow.js"
import * as NodeNetwork from "../NodeNetwork.js"
import * as OriginPolicy from "../OriginPolicy.js"
import type * as WebSocket from "../WebSocket.js"
import * as WebSocketServer from "../WebSocketServer.js"
import { isFailure } from "./format.js"
import { showMessage } from "./lines.js"
import { Terminal } from "./terminal.js"

const options = {
  port: CliArgs.integer({ name: "port" }).pipe(
    CliArgs.withDescription("The port to listen on; 0 for any that is free")
  ),
  host: Options.text("host").pipe(
    Options.withDescription("The address to listen on; 0.0.0.0 or :: to be reached from other machines"),
    Options.withDefault("127.0.0.1")
  ),
  broadcast: Options.boolean("broadcast").pipe(
    Options.withAlias("b"),
    Options.withDescription("Send each message to all others, instead of back")
  ),
  subprotocol: Options.text("subprotocol").pipe(
    Options.withAlias("s"),
    Options.withDescription("A subprotocol to speak, the preferred one first; may be given several times"),
    Options.repeated
  ),
  cert: Options.file("cert", { exists: "yes" }).pipe(
    Options.withDescription("Speak TLS with this certificate (PEM); needs --key"),
    Options.optional
  ),
  key: Options.file("key", { exists: "yes" }).pipe(
    Options.withDescription("The key (PEM) of --cert"),
    Options.optional
  ),
  deflate: Options.boolean("deflate").pipe(Options.withDescription("Compress, if the client does")),
  anyOrigin: Options.boolean("any-origin").pipe(Options.withDescription("Let pages of every site connect")),
  json: Options.boolean("json").pipe(Options.withAlias("j"), Options.withDescription("Show messages as lines of JSON"))
}

/** More than this may wait for a slow client; then messages pass it by, so that it holds up nobody. */
const slow = 1024 * 1024

export const listen = Command.make("listen", options, (given) =>
  Effect.gen(function* () {
    const terminal = yield* Terminal
    const { dim } = terminal.paint
    const files = yield* FileSystem.FileSystem
    const pems = Option.all([given.cert, given.key])
    const tls = Option.isNone(pems)
      ? undefined
      : {
          cert: yield* files.readFileString(pems.value[0]),
          key: Redacted.make(yield* files.readFileString(pems.value[1]))
        }
    const server = yield* WebSocketServer.make({
      port: given.port,
      host: given.host,
      tls,
      subprotocols: given.subprotocol,
      deflate: given.deflate,
      origin: given.anyOrigin ? OriginPolicy.allowAll : OriginPolicy.sameOrigin
    })
    const sockets = new Set<WebSocket.WebSocket>()
    const pass = (message: WebSocket.Message, from: WebSocket.WebSocket) =>
      Effect.forEach(
        given.broadcast ? [...sockets].filter((socket) => socket !== from) : [from],
        (to) =>
          Effect.flatMap(to.bufferedBytes, (waiting) =>
            given.broadcast && waiting > slow ? Effect.void : Effect.catchAll(to.send(message), () => Effect.void)
          ),
        { discard: true }
      )
    yield* server.serve((socket) =>
      Effect.gen(function* () {
        const who = Flow.formatAddress(socket.remoteAddress)
        yield* Effect.acquireRelease(
          Effect.sync(() => sockets.add(socket)),
          () => Effect.sync(() => sockets.delete(socket))
        )
        yield* terminal.note(dim(`${who} connected`))
        yield* socket
          .run((message) =>
            Effect.zipRight(terminal.print(showMessage(message, given.json, terminal.paint)), pass(message, socket))
          )
          .pipe(
            Effect.catchAll((failure) =>
              isFailure(failure) ? terminal.note(terminal.paint.red(failure.message)) : Effect.void
            ),
            Effect.ensuring(terminal.note(dim(`${who} gone`)))
          )
      })
    )
    yield* terminal.note(
      dim(`listening on ${server.url}, ${given.broadcast ? "broadcasting" : "echoing"}; Ctrl-C ends it`)
    )
    yield* Effect.never
  }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))
).pipe(Command.withDescription("Listen for clients: each message is sent back, or to all others"))
