// The clients of connections that are held: they trickle, and some of them measure.

import { setTimeout as sleep } from "node:timers/promises"
import { Schema } from "effect"
import { answering, tell } from "./child.js"
import { RawClient } from "./heldRaw.js"
import { HeldOrder } from "./heldTally.js"

const clients: Array<RawClient> = []
const payload = Buffer.alloc(32, 0x61)

const open = async (port: number, connections: number) => {
  // A few hundred at once: a listener's backlog is no longer than that.
  const opener = async () => {
    while (begun < connections) {
      begun++
      clients.push(await RawClient.open(port))
    }
  }
  let begun = 0
  await Promise.all(Array.from({ length: 200 }, opener))
  return {}
}

/** Each connection sends a message every `every` milliseconds; they take turns. */
const hold = async (millis: number, every: number) => {
  const before = clients.map(({ pings }) => pings)
  const echoesBefore = clients.reduce((sum, { echoes }) => sum + echoes, 0)
  const ends = performance.now() + millis
  const began = performance.now()
  let sent = 0
  while (performance.now() < ends) {
    const due = Math.floor(((performance.now() - began) / every) * clients.length)
    for (; sent < due; sent++) clients[sent % clients.length]?.send(payload)
    await sleep(10)
  }
  await sleep(1000)
  const pings = clients.map((client, at) => client.pings - (before[at] ?? 0))
  return {
    sent,
    echoes: clients.reduce((sum, { echoes }) => sum + echoes, 0) - echoesBefore,
    lost: clients.filter(({ over }) => over).length,
    leastPings: pings.reduce((least, count) => Math.min(least, count), Number.POSITIVE_INFINITY),
    pings: pings.reduce((sum, count) => sum + count, 0)
  }
}

/** Some quiet connections say something now and then, and wait for the echo: from when it was to be said, were it late. */
const probe = async (millis: number, probes: number, every: number) => {
  const latencies: Array<number> = []
  const ends = performance.now() + millis
  const one = async (client: RawClient) => {
    let due = performance.now() + Math.random() * every
    while (due < ends && !client.over) {
      // A timer of less than a whole millisecond comes too early.
      await sleep(Math.ceil(due - performance.now()))
      await new Promise<void>((resolve) => {
        client.heard = resolve
        client.send(payload)
      })
      latencies.push(performance.now() - due)
      due += every
    }
  }
  const step = Math.max(1, Math.floor(clients.length / probes))
  await Promise.all(
    clients
      .filter((_, at) => at % step === 0)
      .slice(0, probes)
      .map(one)
  )
  return { latencies }
}

const isOrder = Schema.is(HeldOrder)

answering((order) => {
  if (!isOrder(order)) throw new Error("not an order")
  switch (order.step) {
    case "open":
      return open(order.port, order.connections)
    case "hold":
      return hold(order.millis, order.every)
    case "probe":
      return probe(order.millis, order.probes, order.every)
  }
})
tell({})
