// The clients of a soak: so many places, each with one connection after the other.

import { setTimeout as sleep } from "node:timers/promises"
import { Cause, Effect, Exit, Schema, Supervisor } from "effect"
import { NodeNetwork } from "effect-websocket"
import { type Behaviour, behaviours, chosen, names, type Outcome } from "./behaviours.js"
import { answering, tell } from "./child.js"
import { random } from "./random.js"
import { state } from "./state.js"
import { Order, type Tally } from "./tally.js"

const supervisor = Effect.runSync(Supervisor.track)
let open = 0

const round = async (order: Order): Promise<Tally> => {
  const connections = Object.fromEntries(names.map((name) => [name, 0]))
  const counts = { sent: 0, received: 0, lost: 0, reordered: 0, duplicated: 0, damaged: 0, broken: 0 }
  const reasons: Array<string> = []
  const ends = Date.now() + order.millis
  let count = 0

  const book = (name: Behaviour, exit: Exit.Exit<Outcome, unknown>): void => {
    open--
    if (Exit.isFailure(exit)) {
      counts.broken++
      if (reasons.length < 5) reasons.push(`${name}: ${Cause.pretty(exit.cause).slice(0, 300)}`)
      return
    }
    const { ledger, whole } = exit.value
    const faults = ledger.faults(whole)
    counts.sent += ledger.sent
    counts.received += ledger.received
    counts.lost += faults.lost
    counts.reordered += faults.reordered
    counts.duplicated += faults.duplicated
    counts.damaged += faults.damaged
  }

  const one = Effect.suspend(() => {
    const dice = random(order.seed + count++ * 65_537)
    const name = chosen(dice)
    connections[name] = (connections[name] ?? 0) + 1
    open++
    return behaviours[name]({ port: order.port, dice, life: order.life }).pipe(
      // What hangs is to be found, not waited for.
      Effect.timeout("10 minutes"),
      Effect.exit,
      Effect.map((exit) => book(name, exit))
    )
  })

  // They come one after the other, in the first part of the round, and not as one wave.
  const place = (number: number) =>
    Effect.sleep((number / order.places) * Math.min(order.life, order.millis / 2)).pipe(
      Effect.zipRight(Effect.whileLoop({ while: () => Date.now() < ends, body: () => one, step: () => {} }))
    )
  const places = Array.from({ length: order.places }, (_, number) => number)
  await Effect.runPromise(
    Effect.forEach(places, place, { concurrency: "unbounded", discard: true }).pipe(
      Effect.supervised(supervisor),
      Effect.provide(NodeNetwork.layer)
    )
  )
  return { ...counts, connections, reasons }
}

let result: Promise<Tally> | undefined

const isOrder = Schema.is(Order)

answering(async (question) => {
  if (isOrder(question)) {
    result = round(question)
    // So that it isn't unhandled before it is asked for.
    result.catch(() => {})
    return {}
  }
  if (question === "result" && result !== undefined) {
    const tally = await result
    result = undefined
    // The turn in which it was handed over ends first.
    await sleep(10)
    return tally
  }
  const fibers = Effect.runSync(supervisor.value).filter((fiber) => fiber.unsafePoll() === null)
  return state(open, fibers.length, question === "collected")
})
tell({})
