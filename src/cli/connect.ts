// effect-websocket connect: lines in, messages out.

import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CloseCode from "../CloseCode.js"
import * as WebSocket from "../WebSocket.js"
import type { ConnectionClosed } from "../WebSocketError.js"
import { describe, type Failure, isFailure } from "./format.js"
import * as Lines from "./lines.js"
import { BadInput, connection, connectOptions, duration, json, network, toUrl, url } from "./options.js"
import { again, once, type Talk } from "./talk.js"
import { type OutputClosed, showError, Terminal } from "./terminal.js"

const options = {
  ...connection,
  ping: duration("ping").pipe(
    Options.withDescription("How often to ping the server, which is gone after three without an answer; default 30s"),
    Options.optional
  ),
  reconnect: Options.boolean("reconnect").pipe(
    Options.withAlias("r"),
    Options.withDescription("Connect again when the connection is lost, or can't be made")
  ),
  json,
  wait: duration("wait").pipe(
    Options.withAlias("w"),
    Options.withDescription("How long to stay when the input has ended; default 0s, `forever` until the server closes"),
    Options.withDefault(Duration.zero)
  )
}

/** How long a server may be silent that is to answer. */
const patience = Duration.seconds(5)

/** Whoever pings often wants to know soon. */
const rhythm = (pingInterval: Duration.Duration) => ({
  pingInterval,
  pingTimeout: Duration.min(pingInterval, WebSocket.defaultPingTimeout)
})

/** Bytes that may come after our Close while whoever reads the output is slow: all that servers have to say by then. */
const receiveBufferSize = 1024 * 1024

/** Whether it ended as this side asked for, whatever the code. */
const isOurs = ({ clean, initiator }: ConnectionClosed): boolean => initiator === "local" && clean

export const connect = Command.make("connect", { url, ...options }, (given) =>
  Effect.gen(function* () {
    const { complain, interactive, lines, note, paint, print, watched } = yield* Terminal
    const audience = given.json ? "program" : watched ? "person" : "pipe"
    const read = given.json ? Lines.readJson : interactive ? Lines.readTyped : Lines.readText

    /** Something that happened: for programs one more line of JSON. */
    const tell = (event: { readonly type: string; readonly [key: string]: unknown }, text: string) =>
      given.json ? print(JSON.stringify(event)) : note(text)

    const opened = ({ subprotocol, url }: WebSocket.WebSocket) =>
      tell(
        { type: "open", url, subprotocol: subprotocol ?? null },
        `connected to ${url}${subprotocol === undefined ? "" : `, speaking ${subprotocol}`}${interactive && !given.json ? "; /help tells what can be typed" : ""}`
      )

    const waiting = (delay: Duration.Duration, error: Failure) =>
      tell(
        {
          type: "waiting",
          milliseconds: Math.round(Duration.toMillis(delay)),
          error: error._tag,
          message: error.message
        },
        `trying again in ${(Duration.toMillis(delay) / 1000).toFixed(1)} s: ${describe(error)}`
      )

    const perform = (talk: Talk, line: Lines.Command): Effect.Effect<void, Failure | OutputClosed> => {
      switch (line._tag) {
        case "Send":
          return Effect.asVoid(talk.send(line.message))
        case "Close":
          return Effect.asVoid(talk.close(line.code, line.reason))
        case "Ping":
          // The next line needn't wait for it; and that it was lost with its connection is told anyway.
          return talk.ping.pipe(
            Effect.flatMap((took) => note(`pong after ${Duration.toMillis(took).toFixed(3)} ms`)),
            Effect.ignore,
            Effect.fork,
            Effect.asVoid
          )
        case "Help":
          return note(Lines.typingHelp)
      }
    }

    /** Whoever types can type again; a program had better know. */
    const refuse = (problem: string, line: number) =>
      interactive ? complain(problem) : Effect.fail(new BadInput(`line ${line + 1} of the input: ${problem}`))

    const sendLines = (talk: Talk) =>
      Stream.runForEach(Stream.zipWithIndex(lines), ([line, index]) =>
        Either.match(read(line), {
          onLeft: (problem) => refuse(problem, index),
          onRight: (command) =>
            Effect.catchTag(
              perform(talk, command),
              "ProtocolError",
              (error): Effect.Effect<void, BadInput | Failure> =>
                error.side === "local" ? refuse(error.rule, index) : Effect.fail(error)
            )
        })
      )

    let shown = 0
    let isShowing = false
    const show = (messages: Iterable<WebSocket.Message>) =>
      Effect.suspend(() => {
        isShowing = true
        return print(Lines.showMessages(messages, audience, paint))
      }).pipe(
        Effect.ensuring(
          Effect.sync(() => {
            shown++
            isShowing = false
          })
        )
      )

    const quiet = Effect.suspend(() => {
      const before = shown
      return Effect.map(Effect.sleep(patience), () => shown === before && !isShowing)
    }).pipe(Effect.repeat({ until: (is) => is }))

    /**
     * Answers may be on their way when the input has ended. A pong comes behind those that the server gave at
     * once; for others there is `--wait`. Of a server that answers no pings, silence has to do.
     */
    const answered = (talk: Talk) => Effect.raceFirst(Effect.ignore(talk.ping), quiet)

    /** Lines go out until theirs end, while messages come in until the connection's end. */
    const converse = (talk: Talk) =>
      Effect.raceFirst(
        Stream.runForEachChunk(talk.messages, show),
        sendLines(talk).pipe(
          Effect.zipRight(answered(talk)),
          Effect.zipRight(Effect.sleep(given.wait)),
          Effect.zipRight(talk.close()),
          // What can't be sent any more is no news: the messages that are there come first, then the end.
          Effect.catchIf(isFailure, () => Effect.void),
          Effect.zipRight(Effect.never)
        )
      )

    const opening = Effect.tap(
      WebSocket.connect(toUrl(given.url), {
        ...(yield* connectOptions(given)),
        ...Option.getOrUndefined(Option.map(given.ping, rhythm)),
        receiveBufferSize
      }),
      opened
    )
    const talk = yield* given.reconnect ? again(opening, waiting) : once(opening)
    const ended = yield* Effect.either(converse(talk))
    const failure = Either.isLeft(ended) ? ended.left : undefined
    if (failure !== undefined && failure._tag !== "ConnectionClosed") return yield* Effect.fail(failure)
    const how = failure ?? (yield* talk.closed)
    if (how === undefined) return
    const { code, initiator, reason } = how
    const isFine = failure === undefined || isOurs(failure)
    if (isFine || given.json) {
      yield* tell(
        { type: "close", code, reason, initiator },
        `closed by ${initiator === "local" ? "this side" : "the server"} with ${CloseCode.format(code)}${reason === "" ? "" : ` "${reason}"`}`
      )
    }
    if (!isFine) yield* Effect.fail(failure)
  }).pipe(
    Effect.tapError((error) =>
      given.json && isFailure(error) && error._tag !== "ConnectionClosed" ? showError(error) : Effect.void
    ),
    // Nobody reads on, so there is nothing left to do; and no reason to tell the server that something failed.
    Effect.catchTag("OutputClosed", () => Effect.void),
    Effect.scoped,
    Effect.provide(network(given))
  )
).pipe(Command.withDescription("Connect to a server: lines that are typed are sent, messages that arrive are shown"))
