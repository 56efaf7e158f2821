// effect-websocket connect: lines in, messages out.

import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CloseCode from "../CloseCode.js"
import * as ReconnectingWebSocket from "../ReconnectingWebSocket.js"
import * as WebSocket from "../WebSocket.js"
import type { ConnectionClosed } from "../WebSocketError.js"
import { describe, type Failure, isFailure } from "./format.js"
import { type Command as Line, readLine, showEvent, showMessage } from "./lines.js"
import { connection, connectOptions, duration, network, toUrl, url } from "./options.js"
import { type OutputClosed, Terminal } from "./terminal.js"

/** A line that can't be sent, from a program that had better know. */
export class BadLine {
  readonly _tag = "BadLine"
  constructor(readonly message: string) {}
}

const options = {
  ...connection,
  ping: duration("ping").pipe(Options.withDescription("How often to ping the server (30s)"), Options.optional),
  reconnect: Options.boolean("reconnect").pipe(
    Options.withAlias("r"),
    Options.withDescription("Connect again when the connection is lost")
  ),
  json: Options.boolean("json").pipe(
    Options.withAlias("j"),
    Options.withDescription('One line of JSON for each message, in and out: {"type":"text","data":"..."}')
  ),
  wait: duration("wait").pipe(
    Options.withAlias("w"),
    Options.withDescription(
      "How long to go on after the input ended; without it, until the server has answered the Close"
    ),
    Options.optional
  )
}

/** What the lines go to: a connection, or one that is made again. */
interface Talk {
  readonly send: (message: WebSocket.Message) => Effect.Effect<unknown, Failure>
  readonly close: (code?: number, reason?: string) => Effect.Effect<unknown, Failure>
  readonly run: (
    handler: (message: WebSocket.Message) => Effect.Effect<void, OutputClosed>
  ) => Effect.Effect<void, Failure | OutputClosed>
}

export const connect = Command.make("connect", { url, ...options }, (given) =>
  Effect.gen(function* () {
    const terminal = yield* Terminal
    const { json } = given
    const tell = (event: { readonly type: string; readonly [key: string]: unknown }, text: string) =>
      json ? terminal.print(showEvent(event, text, json, terminal.paint)) : terminal.note(terminal.paint.dim(text))

    const wanted = yield* connectOptions(given)
    const opening = WebSocket.connect(toUrl(given.url), { ...wanted, pingInterval: Option.getOrUndefined(given.ping) })

    const opened = (socket: WebSocket.WebSocket) =>
      tell(
        { type: "open", url: socket.url, subprotocol: socket.subprotocol },
        `connected to ${socket.url}${socket.subprotocol === undefined ? "" : `, speaking ${socket.subprotocol}`}`
      )

    const closed = ({ code, reason, initiator }: ConnectionClosed) =>
      tell(
        { type: "close", code, reason, initiator },
        `closed by ${initiator === "local" ? "this side" : "the server"} with ${CloseCode.format(code)}${reason === "" ? "" : ` "${reason}"`}`
      )

    const perform = (talk: Talk, line: Line): Effect.Effect<void, Failure> =>
      line._tag === "Send" ? Effect.asVoid(talk.send(line.message)) : Effect.asVoid(talk.close(line.code, line.reason))

    const sendLines = (talk: Talk) =>
      terminal.lines.pipe(
        Stream.runForEach(
          (line): Effect.Effect<void, Failure | BadLine> =>
            Either.match(readLine(line, json), {
              onLeft: (problem) =>
                terminal.interactive ? terminal.note(terminal.paint.red(problem)) : Effect.fail(new BadLine(problem)),
              onRight: (command) => perform(talk, command)
            })
        ),
        Effect.zipRight(Effect.sleep(Option.getOrElse(given.wait, () => Duration.zero)))
      )

    /** Takes messages until the end, and lines until theirs; whichever is first. */
    const converse = (talk: Talk, afterInput: Effect.Effect<unknown, Failure>) =>
      Effect.gen(function* () {
        const receiving = yield* Effect.fork(
          talk.run((message) => terminal.print(showMessage(message, json, terminal.paint)))
        )
        const sending = Effect.zipRight(sendLines(talk), Effect.zipRight(afterInput, Effect.never))
        yield* Effect.raceFirst(receiving, sending)
      })

    if (given.reconnect) {
      const socket = yield* ReconnectingWebSocket.make(Effect.tap(opening, (socket) => Effect.ignore(opened(socket))))
      yield* Effect.forkScoped(
        Stream.runForEach(socket.state.changes, (state) =>
          state._tag === "Waiting"
            ? tell(
                { type: "waiting", milliseconds: Duration.toMillis(state.delay) },
                `trying again in ${Duration.format(state.delay)}: ${isFailure(state.error) ? describe(state.error) : ""}`
              )
            : Effect.void
        )
      )
      const talk = {
        send: socket.send,
        close: (code?: number, reason?: string) => Effect.flatMap(socket.connection, (now) => now.close(code, reason)),
        run: socket.run
      }
      return yield* converse(talk, talk.close())
    }
    const socket = yield* opening
    yield* opened(socket)
    const ended = yield* Effect.exit(converse(socket, socket.close()))
    if (Exit.isFailure(ended) && !Cause.isFailure(ended.cause)) return yield* ended
    // What was closed from here, with whatever code, is no failure.
    const how = yield* Effect.tap(socket.closed, closed)
    if (how.initiator === "remote" || !how.clean) yield* ended
  }).pipe(Effect.scoped, Effect.provide(network(given)))
).pipe(Command.withDescription("Connect to a server: lines that are typed are sent, messages that arrive are shown"))
