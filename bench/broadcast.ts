// `npx tsx bench/broadcast.ts [CONNECTIONS] [BYTES]`: one message to many connections, 10,000 and 1 KiB if not told
// otherwise, beside `ws` and its loop of `send`, interleaved, medians of BENCH_ROUNDS (default 15) rounds. Each server and the
// subscribers of each are a process of their own. 10,000 need `ulimit -n 11000`.

import { Either } from "effect"
import { Frame } from "effect-websocket"
import { answer, type Child, field, median, spawn } from "./processes.js"

const connections = Number(process.argv[2] ?? 10_000)
const size = Number(process.argv[3] ?? 1024)
const rounds = Number(process.env["BENCH_ROUNDS"] ?? 15)

const kinds = ["broadcast", "offer", "ws"]
/** Messages published in one turn. */
const bursts = [1, 10]

const frameSize = Either.getOrThrow(
  Frame.encode(Frame.make({ opcode: 1, payload: new Uint8Array(size) }), "server")
).length

interface Pair {
  readonly kind: string
  readonly server: Child
  readonly clients: Child
}

const start = async (kind: string): Promise<Pair> => {
  const server = spawn("broadcastServer.ts", [kind])
  const port = await answer(server, (message) => field(message, "port"))
  const clients = spawn("broadcastClients.ts", [String(port), String(connections)])
  await answer(clients, (message) => field(message, "connected"))
  return { kind, server, clients }
}

/** CPU time in microseconds that the server has used since it began, after it has sent so many messages. */
const publish = (server: Child, messages: number): Promise<number> => {
  const used = answer(server, (message) => {
    const cpu = field(message, "cpu")
    return Number(field(cpu, "user")) + Number(field(cpu, "system"))
  })
  server.send({ messages, size })
  return used
}

const measure = async ({ clients, server }: Pair, burst: number) => {
  const before = await publish(server, 0)
  const all = answer(clients, (message) => field(message, "received"))
  clients.send(frameSize * burst)
  const began = performance.now()
  await publish(server, burst)
  const received = await all
  const elapsed = performance.now() - began
  if (received !== frameSize * burst * connections) throw new Error(`${String(received)} bytes came`)
  const used = (await publish(server, 0)) - before
  return { cost: used / (burst * connections), elapsed }
}

const pairs: Array<Pair> = []
try {
  for (const kind of kinds) pairs.push(await start(kind))
  console.log(
    `${size} bytes to ${connections} connections: server CPU us per delivered message (ws/this), ms until all had it`
  )
  for (const burst of bursts) {
    const results = new Map(kinds.map((kind) => [kind, { costs: [0], times: [0] }]))
    for (const result of results.values()) {
      result.costs.pop()
      result.times.pop()
    }
    // The first rounds warm up and don't count.
    for (let round = -3; round < rounds; round++) {
      for (const pair of pairs) {
        const { cost, elapsed } = await measure(pair, burst)
        if (round < 0) continue
        results.get(pair.kind)?.costs.push(cost)
        results.get(pair.kind)?.times.push(elapsed)
      }
    }
    const reference = median(results.get("ws")?.costs ?? [])
    console.log(
      `${burst} in a turn`.padEnd(12),
      ...Array.from(results, ([kind, { costs, times }]) => {
        const cost = median(costs)
        return `| ${kind} ${cost.toFixed(2)} (${(reference / cost).toFixed(2)}) ${median(times).toFixed(0)} ms `
      })
    )
  }
} finally {
  for (const { clients, server } of pairs) {
    clients.kill()
    server.kill()
  }
}
