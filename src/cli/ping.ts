// effect-websocket ping: how long a round trip takes.

import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as WebSocket from "../WebSocket.js"
import { isFailure } from "./format.js"
import { connection, connectOptions, duration, json, network, toUrl, url, whole } from "./options.js"
import { type OutputClosed, showError, Terminal } from "./terminal.js"

/** Some pings brought no pong. */
export class Unanswered {
  readonly _tag = "Unanswered"
  readonly message: string
  constructor({ answered, sent }: Statistics) {
    this.message = `${sent - answered} of ${sent} pings brought no pong`
  }
}

const options = {
  ...connection,
  count: whole("count", 1).pipe(
    Options.withPseudoName("number"),
    Options.withAlias("c"),
    Options.withDescription("Pings to send; default: until Ctrl-C"),
    Options.optional
  ),
  interval: duration("interval").pipe(
    Options.withAlias("i"),
    Options.withDescription("From ping to ping, if the pong has come; default 1s"),
    Options.withDefault(Duration.seconds(1))
  ),
  json
}

/** How long a pong may take. */
const patience = Duration.seconds(5)

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

  toJSON() {
    const counted = { pings: this.sent, pongs: this.answered }
    return this.answered === 0 ? counted : { ...counted, ...this.figures }
  }

  /** In one row of a terminal. */
  get short(): string {
    const { deviation, max, mean, min } = this.figures
    const counted = `${this.answered}/${this.sent} pongs`
    return this.answered === 0 ? counted : `${counted}; min ${min}, mean ${mean}, max ${max}, ±${deviation} ms`
  }

  toString(): string {
    const counted = `${this.sent} pings, ${this.answered} pongs`
    if (this.answered === 0) return counted
    const { deviation, max, mean, min } = this.figures
    return `${counted}; ms: min ${min}, mean ${mean}, max ${max}, deviation ${deviation}`
  }
}

const round = (milliseconds: number): number => Math.round(milliseconds * 1000) / 1000

export const ping = Command.make("ping", { url, ...options }, (given) =>
  Effect.gen(function* () {
    const { live, note, paint, print, rewrites } = yield* Terminal
    const socket = yield* WebSocket.connect(toUrl(given.url), {
      ...(yield* connectOptions(given)),
      // Its own pings are those that are asked for.
      pingInterval: Duration.infinity
    })
    if (!given.json) yield* note(`pinging ${socket.url}`)
    const statistics = new Statistics()
    const isLast = () => Option.exists(given.count, (count) => statistics.sent >= count)

    const show = (took: number | null): Effect.Effect<void, OutputClosed> => {
      if (given.json) return print(JSON.stringify({ type: "pong", ping: statistics.sent, milliseconds: took }))
      const result = took === null ? "no pong" : `${took.toFixed(3)} ms`
      return rewrites
        ? live(`${result.padStart(11)}  ${statistics.short}`)
        : print(`${statistics.sent}: ${took === null ? paint.red(result) : result}`)
    }
    const once = Effect.gen(function* () {
      statistics.sent++
      const took = Option.map(yield* Effect.timeoutOption(socket.ping, patience), Duration.toMillis)
      if (Option.isSome(took)) statistics.add(took.value)
      yield* show(Option.getOrNull(Option.map(took, round)))
    })
    const report = Effect.suspend(() =>
      print(given.json ? JSON.stringify({ type: "statistics", ...statistics.toJSON() }) : `${statistics}`)
    )
    // A server may send what it likes; unread it would hold up its pongs.
    yield* Effect.forkScoped(Effect.ignore(socket.run(() => Effect.void)))
    yield* once.pipe(
      Effect.repeat({ schedule: Schedule.fixed(given.interval), until: isLast }),
      Effect.ensuring(Effect.ignore(report))
    )
    if (statistics.answered < statistics.sent) yield* Effect.fail(new Unanswered(statistics))
  }).pipe(
    Effect.tapError((error) => (given.json && isFailure(error) ? showError(error) : Effect.void)),
    Effect.catchTag("OutputClosed", () => Effect.void),
    Effect.scoped,
    Effect.provide(network(given))
  )
).pipe(Command.withDescription("Ping a server, and tell how long its pongs take"))
