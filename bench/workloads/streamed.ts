// One message of 1 GiB that is never there as a whole.

import { kindsNamed } from "../kinds.js"
import { Server } from "../processes.js"
import { type Bench, figures, inTurn, roundOf } from "./bench.js"

const mebibyte = 1024 * 1024

/** Messages before the one that is measured: the code for the first is still being compiled, which takes half of its time. */
const warmUps = 2

const streamed = (server: "sends" | "receives", kinds: Bench["kinds"]): Bench => ({
  group: "streamed",
  name: `streamed 1 GiB ${server === "sends" ? "sent" : "received"}`,
  figures: [
    { ...figures.cpu, title: "CPU µs per MiB" },
    { ...figures.rate, title: "MiB per second", unit: 1 },
    { key: "memory", title: "MiB of memory more than before", better: "less", unit: 1 / mebibyte },
    figures.loadCpu
  ],
  kinds,
  measure: (context) =>
    inTurn(
      context.kinds,
      { ...context, rounds: Math.min(3, context.rounds) },
      async (kind) => {
        // A new process, for the most memory that it ever had is what is asked for.
        const subject = await Server.start(context.built(kind), kind, { task: "streamed" })
        try {
          const session = await context.loader.open({
            kind: "streamed",
            settings: { port: subject.port, size: 1024 * mebibyte, server }
          })
          const fresh = await subject.quiet()
          for (let warmUp = 0; warmUp < warmUps; warmUp++) await session.run(0)
          const round = await roundOf(subject, session, 0)
          await session.close()
          return { ...round, memory: (await subject.usage()).maxRss - fresh.rss }
        } finally {
          subject.stop()
        }
      },
      0
    )
})

// `ws` can't receive a message but as a whole.
export const streaming: ReadonlyArray<Bench> = [
  streamed("sends", kindsNamed("run", "ws")),
  streamed("receives", kindsNamed("loop"))
]
