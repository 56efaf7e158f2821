// effect-websocket ping: how long a round trip takes.

import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as WebSocket from "../WebSocket.js"
import { connection, connectOptions, duration, network, toUrl, url } from "./options.js"
import { Terminal } from "./terminal.js"

/** Some pings brought no pong. */
export class Unanswered {
  readonly _tag = "Unanswered"
}

const options = {
  ...connection,
  count: Options.integer("count").pipe(
    Options.withAlias("c"),
    Options.withDescription("Pings to send; without it, until Ctrl-C"),
    Options.optional
  ),
  interval: duration("interval").pipe(
    Options.withAlias("i"),
    Options.withDescription("From ping to ping (1s)"),
    Options.withDefault(Duration.seconds(1))
  ),
  json: Options.boolean("json").pipe(Options.withAlias("j"), Options.withDescription("One line of JSON for each ping"))
}

/** How long a pong may take. */
const patience = Duration.seconds(10)

/** Round trips, in milliseconds, without keeping them all. */
class Statistics {
  sent = 0
  answered = 0
  private min = Number.POSITIVE_INFINITY
  private max = 0
  private sum = 0
  private squares = 0

  add(milliseconds: number): void {
    this.answered++
    this.min = Math.min(this.min, milliseconds)
    this.max = Math.max(this.max, milliseconds)
    this.sum += milliseconds
    this.squares += milliseconds * milliseconds
  }

  get figures() {
    const mean = this.sum / this.answered
    const deviation = Math.sqrt(Math.max(0, this.squares / this.answered - mean * mean))
    return { min: round(this.min), mean: round(mean), max: round(this.max), deviation: round(deviation) }
  }

  toString(): string {
    const counted = `${this.sent} pings, ${this.answered} pongs`
    if (this.answered === 0) return counted
    const { min, mean, max, deviation } = this.figures
    return `${counted}; ms: min ${min}, mean ${mean}, max ${max}, deviation ${deviation}`
  }
}

const round = (milliseconds: number): number => Math.round(milliseconds * 1000) / 1000

export const ping = Command.make("ping", { url, ...options }, (given) =>
  Effect.gen(function* () {
    const terminal = yield* Terminal
    const { dim, green, red } = terminal.paint
    const wanted = yield* connectOptions(given)
    const socket = yield* WebSocket.connect(toUrl(given.url), { ...wanted, pingInterval: Duration.infinity })
    if (!given.json) yield* terminal.note(dim(`pinging ${socket.url}`))
    const statistics = new Statistics()

    const once = Effect.gen(function* () {
      statistics.sent++
      const took = Option.map(yield* Effect.timeoutOption(socket.ping, patience), Duration.toMillis)
      if (Option.isSome(took)) statistics.add(took.value)
      if (given.json) {
        const milliseconds = Option.getOrNull(Option.map(took, round))
        return yield* terminal.print(JSON.stringify({ type: "pong", ping: statistics.sent, milliseconds }))
      }
      const line = Option.match(took, {
        onNone: () => red("no pong"),
        onSome: (milliseconds) => green(`${round(milliseconds)} ms`)
      })
      yield* terminal.watched
        ? terminal.live(`${line} ${dim(String(statistics))}`)
        : terminal.print(`${statistics.sent}: ${line}`)
    })
    const report = Effect.suspend(() =>
      given.json
        ? terminal.print(
            JSON.stringify({
              type: "statistics",
              pings: statistics.sent,
              pongs: statistics.answered,
              ...(statistics.answered === 0 ? undefined : statistics.figures)
            })
          )
        : terminal.print(`${terminal.watched ? "\r\u001b[K" : ""}${statistics}`)
    )
    // A server that never reads would have its pings count, but its messages pile up here unread.
    yield* Effect.forkScoped(Effect.ignore(socket.run(() => Effect.void)))
    yield* once.pipe(
      Effect.zipRight(
        Effect.suspend(() => (isLast(statistics.sent, given.count) ? Effect.void : Effect.sleep(given.interval)))
      ),
      Effect.repeat({ until: () => isLast(statistics.sent, given.count) }),
      Effect.ensuring(Effect.ignore(report))
    )
    if (statistics.answered < statistics.sent) yield* Effect.fail(new Unanswered())
  }).pipe(Effect.scoped, Effect.provide(network(given)))
).pipe(Command.withDescription("Ping a server, and tell how long its pongs take"))

const isLast = (sent: number, count: Option.Option<number>): boolean => Option.exists(count, (wanted) => sent >= wanted)
