// `npm run soak -- held`: many open connections with heartbeats and a trickle of messages, and what those that are
// quiet feel when one floods; beside `ws`, in turns. Nothing is asserted about times. Taken from the environment:
//
//   CONNECTIONS    how many (10000)
//   SECONDS_       how long they are held (25)
//   PING_SECONDS   from heartbeat to heartbeat (5)
//   ROUNDS         of the flood (3)

import { setTimeout as sleep } from "node:timers/promises"
import { Schema } from "effect"
import { Child, number, Port } from "./child.js"
import { Flooded, Held, type HeldOrder, Probed, Usage } from "./heldTally.js"

const kinds = ["effect-websocket", "ws"] as const

const floods = [
  { name: "32 B messages", size: 32 },
  { name: "64 KiB messages", size: 65_536 }
]

const probes = 100
const probeEvery = 100
/** From message to message of one held connection, in milliseconds. */
const trickle = 10_000

const Empty = Schema.Struct({})

const start = async (kind: (typeof kinds)[number], pingSeconds: number, connections: number) => {
  const server = await Child.start("./heldServer.ts", [kind, String(pingSeconds * 1000)], Port)
  const clients = await Child.start("./heldClients.ts", [], Empty)
  const flood = await Child.start("./heldFlood.ts", [], Empty)
  const order = <A>(order: HeldOrder, schema: Schema.Schema<A>) => clients.ask(order, schema)
  const empty = await server.ask("collected", Usage)
  await order({ step: "open", port: server.first.port, connections }, Empty)
  const stop = () => {
    for (const child of [flood, clients, server]) child.stop()
  }
  return { kind, server, flood, order, empty, stop }
}

type Side = Awaited<ReturnType<typeof start>>

const row = (...cells: ReadonlyArray<string | number>) =>
  console.log(cells.map((cell, at) => (at === 0 ? String(cell).padEnd(34) : String(cell).padStart(18))).join(" "))

const holdAll = async (sides: ReadonlyArray<Side>, millis: number, pingSeconds: number) => {
  const results = await Promise.all(
    sides.map(async ({ empty, order, server }) => {
      const before = await server.ask("usage", Usage)
      const began = performance.now()
      const held = await order({ step: "hold", millis, every: trickle }, Held)
      const elapsed = performance.now() - began
      const busy = await server.ask("usage", Usage)
      const after = await server.ask("collected", Usage)
      return { held, share: (busy.cpu - before.cpu) / 1000 / elapsed, grown: after.rss - empty.rss, rss: after.rss }
    })
  )
  const due = Math.floor(millis / 1000 / pingSeconds)
  row("", ...sides.map(({ kind }) => kind))
  const each = (name: string, value: (result: (typeof results)[number]) => string | number) =>
    row(name, ...results.map(value))
  each("CPU of one core", ({ share }) => `${(share * 100).toFixed(1)} %`)
  each("RSS, MiB", ({ rss }) => (rss / 2 ** 20).toFixed(0))
  each("RSS for them, MiB", ({ grown }) => (grown / 2 ** 20).toFixed(0))
  each("messages echoed", ({ held }) => `${held.echoes} of ${held.sent}`)
  each("pings answered", ({ held }) => held.pings)
  each(`least of a connection (due: ${due})`, ({ held }) => held.leastPings)
  each("connections lost", ({ held }) => held.lost)
}

const percentile = (values: ReadonlyArray<number>, share: number): string =>
  ([...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN).toFixed(2)

/** By server and flood: what each probe waited, in milliseconds, and what each round got echoed, in MiB a second. */
class Felt {
  readonly latencies = new Map<string, Array<number>>()
  readonly rates = new Map<string, Array<number>>()

  static add(to: Map<string, Array<number>>, kind: string, name: string, values: ReadonlyArray<number>): void {
    to.set(`${kind} ${name}`, [...(to.get(`${kind} ${name}`) ?? []), ...values])
  }
}

/**
 * A whole period of heartbeats for each measurement: where all pings leave at once, a shorter one has them or hasn't.
 * One server at a time holds its connections, for the pings of another would take the processors.
 */
const floodOne = async ({ flood, kind, order, server }: Side, felt: Felt, pingSeconds: number) => {
  const probe = { step: "probe", millis: pingSeconds * 1000, probes, every: probeEvery } as const
  const measure = async (name: string) => {
    const { latencies } = await order(probe, Probed)
    Felt.add(felt.latencies, kind, name, latencies)
  }
  await measure("nobody")
  for (const { name, size } of floods) {
    await flood.ask({ port: server.first.port, size }, Empty)
    // It is in full flood before it is measured.
    await sleep(500)
    const began = performance.now()
    await measure(name)
    const { received } = await flood.ask("stop", Flooded)
    Felt.add(felt.rates, kind, name, [received / 2 ** 20 / ((performance.now() - began + 500) / 1000)])
    await sleep(500)
  }
}

const floodAll = async (rounds: number, pingSeconds: number, connections: number) => {
  const felt = new Felt()
  for (let round = 0; round < rounds; round++) {
    for (const kind of kinds) {
      const side = await start(kind, pingSeconds, connections)
      try {
        await floodOne(side, felt, pingSeconds)
      } finally {
        side.stop()
      }
    }
  }
  console.log("\nHow long a quiet connection waits for its echo, ms (and what the flood got echoed, MiB/s)")
  row("who floods", ...kinds.flatMap((kind) => [`${kind} p50`, "p99", "flood"]))
  for (const name of ["nobody", ...floods.map(({ name }) => name)]) {
    row(
      name,
      ...kinds.flatMap((kind) => {
        const values = felt.latencies.get(`${kind} ${name}`) ?? []
        const rate = felt.rates.get(`${kind} ${name}`)
        return [
          percentile(values, 0.5),
          percentile(values, 0.99),
          rate === undefined ? "" : (rate.reduce((sum, each) => sum + each, 0) / rate.length).toFixed(1)
        ]
      })
    )
  }
}

export const held = async (): Promise<void> => {
  const connections = number("CONNECTIONS", 10_000)
  const seconds = number("SECONDS_", 25)
  const pingSeconds = number("PING_SECONDS", 5)
  console.log(`${connections} connections, a ping every ${pingSeconds} s, a message every ${trickle / 1000} s\n`)
  const sides: Array<Side> = []
  try {
    for (const kind of kinds) sides.push(await start(kind, pingSeconds, connections))
    await holdAll(sides, seconds * 1000, pingSeconds)
  } finally {
    for (const { stop } of sides) stop()
  }
  await floodAll(number("ROUNDS", 3), pingSeconds, connections)
}
