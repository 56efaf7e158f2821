// `npx tsx bench/observability.ts`: what metrics and spans cost. All in one process, over the
// network in memory; with and without take turns, and medians of CPU time are told.

import { Effect, Tracer } from "effect"
import { Frame, TestNetwork, WebSocket } from "effect-websocket"
import { meters } from "../src/internal/meters.js"

const rounds = Number(process.env["BENCH_ROUNDS"] ?? 101)

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

/** CPU nanoseconds for each of so many. */
const cost = async (count: number, run: () => Promise<unknown>): Promise<number> => {
  const before = process.cpuUsage()
  await run()
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / count
}

/** Runs all in turn, again and again; the first tenth warms up. Tells the medians, and those of what each adds to the first. */
const compare = async (title: string, count: number, kinds: Readonly<Record<string, () => Promise<unknown>>>) => {
  const costs = new Map<string, Array<number>>(Object.keys(kinds).map((kind) => [kind, []]))
  for (let round = -Math.ceil(rounds / 10); round < rounds; round++) {
    const all = Object.entries(kinds)
    // Who comes first pays for what the one before has left behind.
    for (const [kind, run] of round % 2 === 0 ? all : all.reverse()) {
      const spent = await cost(count, run)
      if (round >= 0) costs.get(kind)?.push(spent)
    }
  }
  console.log(title)
  const [base = []] = costs.values()
  for (const [kind, spent] of costs) {
    const added = median(spent.map((each, round) => each - (base[round] ?? Number.NaN)))
    const share = ((100 * added) / median(base)).toFixed(1)
    console.log(
      `  ${kind.padEnd(36)} ${median(spent).toFixed(0)} ns${spent === base ? "" : `, ${added.toFixed(0)} more (${share} %)`}`
    )
  }
}

// ------------------------------------------------------------------- metrics

const metered = { ...meters.server }
const unmetered = { received() {}, sent() {}, queued() {}, caughtUp() {} }

const upgrade = new TextEncoder().encode(
  "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
const request = Effect.runSync(Frame.encode(Frame.make({ opcode: 2, payload: new Uint8Array(16) }), "client"))

/** One message in flight, so that each is a read and a write of its own: where counting costs the most. */
const echo = (messages: number) =>
  Effect.gen(function* () {
    const { client, server } = yield* TestNetwork.pair()
    let left = messages
    client.attach({
      data: (bytes) => {
        // The first read is the 101.
        if (bytes[0] === 0x82) left--
        client.write(left > 0 ? request : Uint8Array.of(0x88, 0x80, 0, 0, 0, 0), false)
      },
      end: () => client.end(),
      drain() {},
      close() {}
    })
    client.resume()
    client.write(upgrade, false)
    const socket = yield* WebSocket.accept(server)
    yield* socket.run((message) => socket.send(message))
  }).pipe(Effect.scoped, Effect.runPromise)

const messages = 5_000
const echoWith = (meter: object) => () => {
  Object.assign(meters.server, meter)
  return echo(messages)
}

await compare("a message of 16 bytes, echoed", messages, {
  "without metrics": echoWith(unmetered),
  "with metrics": echoWith(metered)
})
Object.assign(meters.server, metered)

const counts = 1_000_000
await compare("counting alone: one read and one write", counts, {
  "empty functions": async () => {
    for (let count = 0; count < counts; count++) {
      unmetered.received()
      unmetered.sent()
    }
  },
  metrics: async () => {
    for (let count = 0; count < counts; count++) {
      metered.received(1, 22)
      metered.sent(1, 18)
    }
  }
})

// --------------------------------------------------------------------- spans

/** Makes spans that go nowhere, so that what is measured is the making. */
const tracer = Tracer.make({
  span: (name, parent, context, links, startTime, kind) => ({
    _tag: "Span",
    name,
    parent,
    context,
    links,
    kind,
    status: { _tag: "Started", startTime },
    sampled: true,
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    attributes: new Map(),
    attribute() {},
    event() {},
    addLinks() {},
    end() {}
  }),
  context: (run) => run()
})

const connections = 100
const visits = Effect.gen(function* () {
  const { client, server } = yield* TestNetwork.pair()
  yield* Effect.all([WebSocket.connectOver(client, "ws://bench.example/chat?room=1"), WebSocket.accept(server)], {
    concurrency: 2
  })
}).pipe(Effect.scoped, Effect.repeatN(connections - 1))

await compare("a connection, opened and closed at both ends", connections, {
  "without tracer": () => Effect.runPromise(visits),
  "with a tracer": () => Effect.runPromise(Effect.withTracer(visits, tracer))
})

const work = 5_000
const worked = (step: (socket: WebSocket.WebSocket) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const { client, server } = yield* TestNetwork.pair()
    const [socket] = yield* Effect.all(
      [WebSocket.connectOver(client, "ws://bench.example/"), WebSocket.accept(server)],
      {
        concurrency: 2
      }
    )
    for (let count = 0; count < work; count++) yield* step(socket)
  }).pipe(Effect.scoped)
const nothing = Effect.sync(() => {})
const marked = worked((socket) => WebSocket.withMessageSpan(nothing, socket, "message"))

await compare("withMessageSpan, around nothing", work, {
  "without it": () => Effect.runPromise(worked(() => nothing)),
  "without tracer": () => Effect.runPromise(marked),
  "with a tracer": () => Effect.runPromise(Effect.withTracer(marked, tracer))
})
