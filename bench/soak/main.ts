// `npm run soak`: connections come and go for a while, and nothing may be left of them. Taken from the environment:
//
//   SECONDS_       how long (60)
//   CONNECTIONS    how many at once (2000)
//   LIFE           about how long each stays, in milliseconds (4000)
//   SEED           where to start (the time)
//   CHART          where the chart goes (none)
//
// `npm run soak -- held` holds 10,000 connections instead: see held.ts.

import { writeFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { Schema } from "effect"
import { type Line, svg } from "./chart.js"
import { Child, number, Port } from "./child.js"
import { growth, State } from "./state.js"
import { type Order, Tally } from "./tally.js"

const mebibytes = (bytes: number) => bytes / 2 ** 20

interface Sample {
  readonly time: number
  readonly server: State
  readonly clients: State
}

const soak = async (): Promise<boolean> => {
  const seconds = number("SECONDS_", 60)
  const places = number("CONNECTIONS", 2000)
  const life = number("LIFE", 4000)
  const seed = number("SEED", Date.now() % 2 ** 31)
  console.log(`${places} connections at once for ${seconds} s, seed ${seed}`)

  const server = await Child.start("./server.ts", [], Port)
  const clients = await Child.start("./clients.ts", [], Schema.Struct({})).catch((error: unknown) => {
    server.stop()
    throw error
  })
  const began = performance.now()
  const samples: Array<Sample> = []
  const look = async (how: "now" | "collected") => ({
    time: (performance.now() - began) / 1000,
    server: await server.ask(how, State),
    clients: await clients.ask(how, State)
  })

  const round = async (order: Order) => {
    const ends = performance.now() + order.millis
    await clients.ask(order, Schema.Struct({}))
    while (performance.now() < ends) {
      samples.push(await look("now"))
      await sleep(Math.min(1000, order.millis / 10))
    }
    const tally = await clients.ask("result", Tally)
    samples.push(await look("now"))
    return tally
  }

  /** Looks until `good` holds, as what is closed needs some time to be gone; not for ever. */
  const settled = async (good: (sample: Sample) => boolean) => {
    for (let left = 30; ; left--) {
      await sleep(500)
      const sample = await look("collected")
      if (good(sample) || left === 0) {
        samples.push(sample)
        return sample
      }
    }
  }

  try {
    const order = { port: server.first.port, places, life, seed }
    const warmUp = await round({ ...order, millis: Math.max(1000, Math.min(30_000, seconds * 200)) })
    const before = await settled((sample) => sample.server.connections === 0)
    const tally = await round({ ...order, seed: seed + 1, millis: seconds * 1000 })
    const grown = (sample: Sample) => [
      ...growth(before.server, sample.server).map((each) => `server: ${each}`),
      ...growth(before.clients, sample.clients).map((each) => `clients: ${each}`)
    ]
    const after = await settled((sample) => grown(sample).length === 0)
    return report({ samples, before, after, grown: grown(after), tallies: [warmUp, tally] })
  } finally {
    clients.stop()
    server.stop()
  }
}

interface Report {
  readonly samples: ReadonlyArray<Sample>
  readonly before: Sample
  readonly after: Sample
  readonly grown: ReadonlyArray<string>
  readonly tallies: ReadonlyArray<Tally>
}

const report = ({ after, before, grown, samples, tallies }: Report): boolean => {
  const sum = (value: (tally: Tally) => number) => tallies.reduce((total, tally) => total + value(tally), 0)
  const row = (name: string, ...cells: ReadonlyArray<number>) =>
    console.log(name.padEnd(22), ...cells.map((cell) => String(cell).padStart(10)))

  console.log("\nconnections")
  for (const name of Object.keys(tallies[0]?.connections ?? {}))
    row(
      name,
      sum((tally) => tally.connections[name] ?? 0)
    )
  row("most fibers: server", Math.max(...samples.map(({ server }) => server.fibers)))
  row("most fibers: clients", Math.max(...samples.map(({ clients }) => clients.fibers)))
  row("most at once", Math.max(...samples.map(({ server }) => server.connections)))
  row(
    "ended as they mustn't",
    sum(({ broken }) => broken)
  )
  console.log("\nmessages")
  row(
    "sent",
    sum(({ sent }) => sent)
  )
  row(
    "came back",
    sum(({ received }) => received)
  )
  for (const fault of faults)
    row(
      fault,
      sum((tally) => tally[fault])
    )

  console.log(`\n${"".padEnd(22)} ${"before".padStart(10)} ${"after".padStart(10)}`)
  for (const side of ["server", "clients"] as const) {
    const [was, is] = [before[side], after[side]]
    row(`${side}: heap, MiB`, ...[was, is].map(({ heap }) => Number(mebibytes(heap).toFixed(1))))
    row(`${side}: RSS, MiB`, ...[was, is].map(({ rss }) => Number(mebibytes(rss).toFixed(1))))
    row(`${side}: descriptors`, was.descriptors, is.descriptors)
    row(`${side}: fibers`, was.fibers, is.fibers)
    row(`${side}: timers`, was.resources["Timeout"] ?? 0, is.resources["Timeout"] ?? 0)
    row(`${side}: resources`, ...[was, is].map(({ resources }) => Object.values(resources).reduce((a, b) => a + b, 0)))
  }

  draw(samples, before, after)
  const reasons = tallies.flatMap((tally) => tally.reasons)
  const wrong = [
    ...grown,
    ...faults.flatMap((fault) => (sum((tally) => tally[fault]) > 0 ? [`messages ${fault}`] : [])),
    ...(sum(({ broken }) => broken) > 0 ? ["connections ended as they mustn't:", ...reasons] : []),
    ...(sum(({ received }) => received) === 0 ? ["nothing came back at all"] : [])
  ]
  console.log(wrong.length === 0 ? "\nAll is back to where it was." : `\nWRONG\n${wrong.join("\n")}`)
  return wrong.length === 0
}

const faults = ["lost", "reordered", "duplicated", "damaged"] as const

const draw = (samples: ReadonlyArray<Sample>, before: Sample, after: Sample): void => {
  const file = process.env["CHART"]
  if (file === undefined || file === "") return
  const line = (label: string, colour: string, value: (sample: Sample) => number): Line => ({
    label,
    colour,
    points: samples.map((sample) => [sample.time, value(sample)])
  })
  const [blue, orange] = ["#4c8dd6", "#c77b30"]
  const panels = [
    { title: "Connections", lines: [line("server", blue, ({ server }) => server.connections)] },
    {
      title: "Heap and buffers, MiB",
      lines: [
        line("server", blue, ({ server }) => mebibytes(server.heap)),
        line("clients", orange, ({ clients }) => mebibytes(clients.heap))
      ]
    },
    {
      title: "RSS, MiB",
      lines: [
        line("server", blue, ({ server }) => mebibytes(server.rss)),
        line("clients", orange, ({ clients }) => mebibytes(clients.rss))
      ]
    }
  ]
  const marks: ReadonlyArray<readonly [number, string]> = [
    [before.time, "before"],
    [after.time, "after"]
  ]
  writeFileSync(file, svg("Heap, RSS and connections over a soak", panels, marks))
}

if (process.argv[2] === "held") {
  const { held } = await import("./held.js")
  await held()
} else {
  process.exitCode = (await soak()) ? 0 : 1
}
