// Clients: what it costs them to receive and to send, in rounds of messages over 100 connections.

import { Server, type ServerKind, type Session } from "../processes.js"
import type { ClientSettings } from "../servers/common.js"
import { type Bench, figures, inTurn, roundOf } from "./bench.js"

const kinds: ReadonlyArray<ServerKind> = [
  { name: "run", file: "clients/ours.js", form: "run" },
  { name: "loop", file: "clients/ours.js", form: "loop" },
  { name: "batch", file: "clients/ours.js", form: "batch" },
  { name: "ws", file: "clients/web.js", form: "ws", env: { WS_NO_BUFFER_UTIL: "1" } },
  { name: "ws+native", file: "clients/web.js", form: "ws" },
  { name: "undici", file: "clients/web.js", form: "undici" },
  { name: "platform", file: "clients/platform.js" }
]

const connections = 100
const each = 32

const client = (does: ClientSettings["does"], size: number, text: boolean): Bench => ({
  group: "client",
  name: `client ${does} ${size === 16 ? "16 B" : "1 KiB"}${text ? " text" : ""}:${connections}:${each}`,
  figures: [figures.cpu, figures.rate, figures.loadCpu],
  full: text,
  kinds,
  measure: async (context) => {
    const measured: Array<{ readonly name: string; readonly session: Session; readonly client: Server }> = []
    for (const kind of context.kinds) {
      const settings = { size, text, messages: each, client: does }
      const session = await context.loader.open({ kind: "peer", settings })
      const plan = { port: session.port, connections, each, does, size, text }
      const client = await Server.start(context.built(kind), kind, { client: plan })
      measured.push({ name: kind.name, session, client })
    }
    try {
      return await inTurn(measured, context, ({ client, session }, seconds) => roundOf(client, session, seconds))
    } finally {
      for (const { client, session } of measured) {
        client.stop()
        await session.close()
      }
    }
  }
})

export const clients: ReadonlyArray<Bench> = [
  client("receives", 16, false),
  client("receives", 1024, true),
  client("sends", 16, false),
  client("sends", 1024, true)
]
