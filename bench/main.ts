// `npm run bench`: echo servers beside each other in one run, interleaved, medians of the rounds.
// BENCH_ROUNDS (default 5) and BENCH_SECONDS (default 1) for each measurement; names as arguments select workloads.

import { type ChildProcess, fork } from "node:child_process"
import { load, type Workload } from "./load.js"

const workloads: ReadonlyArray<Workload> = [
  { name: "16 B:1:1", size: 16, connections: 1, inFlight: 1 },
  { name: "16 B:100:1", size: 16, connections: 100, inFlight: 1 },
  { name: "16 B:100:32", size: 16, connections: 100, inFlight: 32 },
  { name: "1 KiB text:100:32", size: 1024, connections: 100, inFlight: 32, text: true },
  { name: "64 KiB:100:1", size: 65_536, connections: 100, inFlight: 1 },
  { name: "1 MiB:1:4", size: 1_048_576, connections: 1, inFlight: 4 }
]

const kinds = ["run", "loop", "batch", "stream", "ws", "raw"]

const rounds = Number(process.env["BENCH_ROUNDS"] ?? 5)
const seconds = Number(process.env["BENCH_SECONDS"] ?? 1)
const selected = process.argv.slice(2)

interface Server {
  readonly kind: string
  readonly port: number
  readonly process: ChildProcess
}

const answer = <A>(child: ChildProcess, read: (message: unknown) => A | undefined): Promise<A> =>
  new Promise((resolve, reject) => {
    const onExit = () => reject(new Error("a server ended"))
    child.once("exit", onExit)
    child.once("message", (message) => {
      child.off("exit", onExit)
      const value = read(message)
      if (value === undefined) reject(new Error("an answer that wasn't expected"))
      else resolve(value)
    })
  })

const field = (message: unknown, name: string): unknown =>
  typeof message === "object" && message !== null
    ? Object.entries(message).find(([key]) => key === name)?.[1]
    : undefined

const start = async (kind: string): Promise<Server> => {
  const child = fork(new URL("./server.ts", import.meta.url), [kind], { execArgv: ["--import", "tsx"] })
  const port = await answer(child, (message) => Number(field(message, "port")))
  return { kind, port, process: child }
}

/** CPU time in microseconds that a server has used since it began. */
const cpu = (server: Server): Promise<number> => {
  const time = answer(server.process, (message) => {
    const used = field(message, "cpu")
    return Number(field(used, "user")) + Number(field(used, "system"))
  })
  server.process.send("cpu")
  return time
}

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const servers = await Promise.all(kinds.map(start))
try {
  console.log("size:connections:in flight | server CPU us per message (times faster than ws) and thousands per second")
  for (const workload of workloads.filter(({ name }) => selected.length === 0 || selected.includes(name))) {
    const perMessage = new Map<string, Array<number>>(kinds.map((kind) => [kind, []]))
    const rates = new Map<string, Array<number>>(kinds.map((kind) => [kind, []]))
    // The first round warms up and doesn't count.
    for (let round = 0; round <= rounds; round++) {
      for (const server of servers) {
        const before = await cpu(server)
        const { messages, perSecond } = await load(
          server.port,
          workload,
          round === 0 ? 0.5 : seconds,
          server.kind === "raw"
        )
        const used = (await cpu(server)) - before
        if (round === 0) continue
        perMessage.get(server.kind)?.push(used / messages)
        rates.get(server.kind)?.push(perSecond)
      }
    }
    const reference = median(perMessage.get("ws") ?? [])
    console.log(
      workload.name.padEnd(18),
      ...kinds.map((kind) => {
        const cost = median(perMessage.get(kind) ?? [])
        const rate = median(rates.get(kind) ?? [])
        return `| ${kind} ${cost.toFixed(2)} (${(reference / cost).toFixed(2)}) ${(rate / 1000).toFixed(1)}k `
      })
    )
  }
} finally {
  for (const server of servers) server.process.kill()
}
