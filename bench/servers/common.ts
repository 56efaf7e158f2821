// What all servers, and all clients, of the bench have in common: they tell their port, and when asked, their CPU time and memory.

import type { Server } from "node:net"

/** What a server is started with: as JSON behind the name of its form. */
export interface ServerSettings {
  readonly deflate?: "alone" | "takeover" | undefined
  readonly tls?: { readonly key: string; readonly cert: string } | undefined
  /** What is done with messages; echo if nothing else is said. */
  readonly task?: "echo" | "streamed" | { readonly ackEach: number } | undefined
  /** For clients: where to connect to, and what the peer expects. */
  readonly client?: ClientSettings | undefined
  /** Whether quiet connections are pinged; where the server can do that by itself. */
  readonly heartbeat?: boolean | undefined
}

export interface ClientSettings {
  readonly port: number
  readonly connections: number
  /** Messages of a round: the client answers so many with one, or sends so many for one. */
  readonly each: number
  readonly does: "receives" | "sends"
  readonly size: number
  readonly text: boolean
}

export const form = process.argv[2] ?? ""
export const settings: ServerSettings = JSON.parse(process.argv[3] ?? "{}")

/** Above all messages of the bench. */
export const maxPayloadSize = 64 * 1024 * 1024

export const ready = (port: number): void => {
  process.on("message", (question) => {
    if (question === "collect") globalThis.gc?.()
    const { arrayBuffers, external, heapUsed, rss } = process.memoryUsage()
    process.send?.({
      cpu: process.cpuUsage(),
      rss,
      // Array buffers are a part of what is external.
      heap: heapUsed + Math.max(external, arrayBuffers),
      // Kilobytes; since the process began.
      maxRss: process.resourceUsage().maxRSS * 1024
    })
  })
  process.on("disconnect", () => process.exit())
  process.send?.({ port })
}

/** Tells of each so many calls the last one. */
export const counted = (each: number): (() => boolean) => {
  let count = 0
  return () => {
    if (++count < each) return false
    count = 0
    return true
  }
}

/** Tells the port of a server of Node's, once it listens. */
export const listen = (server: Server): void => {
  server.listen(0, "127.0.0.1", 4096, () => {
    const address = server.address()
    if (typeof address === "object" && address !== null) ready(address.port)
  })
}
