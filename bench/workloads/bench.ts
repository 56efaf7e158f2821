// What a workload is, and how servers take turns in it.

import { type Loader, type Opening, Server, type ServerKind, type Session } from "../processes.js"
import type { ServerSettings } from "../servers/common.js"

/** What is measured, and whether less of it is better. */
export interface Figure {
  readonly key: string
  readonly title: string
  readonly better: "less" | "more"
  /** From what was measured to what the title says. */
  readonly unit: number
}

export const figures = {
  cpu: { key: "cpu", title: "CPU µs per message", better: "less", unit: 1 },
  rate: { key: "rate", title: "thousands per second", better: "more", unit: 1e-3 },
  loadCpu: { key: "loadCpu", title: "load's own µs", better: "less", unit: 1 }
} as const satisfies Record<string, Figure>

/** The figures of one round. */
export type Round = Readonly<Record<string, number>>

/** For each server, the figures of each round. */
export type Rounds = Readonly<Record<string, ReadonlyArray<Round>>>

export interface Bench {
  readonly group: string
  readonly name: string
  /** The first one is what servers are compared by. */
  readonly figures: readonly [Figure, ...Array<Figure>]
  /** Connections at once, if they are so many that the system may not allow them. */
  readonly connections?: number | undefined
  /** Left out by `--quick`. */
  readonly full?: boolean | undefined
  /** Those who can take part. */
  readonly kinds: ReadonlyArray<ServerKind>
  readonly measure: (context: Context) => Promise<Rounds>
}

export interface Context {
  readonly loader: Loader
  readonly rounds: number
  readonly seconds: number
  /** Those who take part. */
  readonly kinds: ReadonlyArray<ServerKind>
  /** Where the programs are that a kind is made of. */
  readonly built: (kind: ServerKind) => string
  /** A server that runs, the same for all who ask for the same. */
  readonly server: (kind: ServerKind, settings: ServerSettings) => Promise<Server>
}

/** Starts servers as they are asked for, and keeps them. */
export class Servers {
  private readonly running = new Map<string, Promise<Server>>()

  constructor(private readonly built: (kind: ServerKind) => string) {}

  readonly get = (kind: ServerKind, settings: ServerSettings): Promise<Server> => {
    const key = JSON.stringify([kind.name, settings])
    const running = this.running.get(key) ?? Server.start(this.built(kind), kind, settings)
    this.running.set(key, running)
    return running
  }

  async stop(): Promise<void> {
    for (const starting of await Promise.allSettled(this.running.values())) {
      if (starting.status === "fulfilled") starting.value.stop()
    }
    this.running.clear()
  }
}

// Shorter than this, what goes through Effect's interpreter isn't compiled: it was seen to take twice as long. Servers run
// for days.
const leastWarmUp = 2

/**
 * Measures all in turn, again and again: what disturbs the machine disturbs all of them. `measure` is told how long a
 * round lasts.
 */
export const inTurn = async <A extends { readonly name: string }>(
  all: ReadonlyArray<A>,
  { rounds, seconds }: Pick<Context, "rounds" | "seconds">,
  measure: (each: A, seconds: number) => Promise<Round>,
  warmUps = 1
): Promise<Rounds> => {
  const measured = new Map<string, Array<Round>>(all.map(({ name }) => [name, []]))
  for (let round = -warmUps; round < rounds; round++) {
    // Who comes first pays for what the one before has left behind.
    for (const each of round % 2 === 0 ? all : [...all].reverse()) {
      const figures = await measure(each, round < 0 ? Math.max(leastWarmUp, seconds) : seconds)
      if (round >= 0) measured.get(each.name)?.push(figures)
    }
  }
  return Object.fromEntries(measured)
}

/** Starts a server of each kind, and measures them in turn, with connections that are new for each round. */
export const amongServers = async (
  context: Context,
  settings: ServerSettings,
  openingTo: (server: Server) => Opening,
  warmUps?: number
): Promise<Rounds> => {
  const servers = await Promise.all(
    context.kinds.map(async (kind) => ({ name: kind.name, server: await context.server(kind, settings) }))
  )
  const measure = async ({ server }: { readonly server: Server }, seconds: number) => {
    const session = await context.loader.open(openingTo(server))
    const round = await roundOf(server, session, seconds)
    await session.close()
    return round
  }
  return inTurn(servers, context, measure, warmUps)
}

/** Uses connections for as long as a round lasts, and tells what that took. */
export const roundOf = async (server: Server, session: Session, seconds: number): Promise<Round> => {
  const before = await server.quiet()
  const { bytes, cpu, latencies, messages, seconds: elapsed } = await session.run(seconds)
  const after = await server.usage()
  return {
    cpu: (after.cpu - before.cpu) / messages,
    rate: messages / elapsed,
    loadCpu: cpu / messages,
    memory: after.maxRss - before.rss,
    size: bytes / messages,
    ...latencies
  }
}
