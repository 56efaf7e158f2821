// Opens one connection after the other, some at once, and keeps them until it is told to close.

import type { Socket } from "node:net"
import { dial } from "../load.js"
import type { Session } from "./session.js"

export interface HandshakeSettings {
  readonly port: number
  readonly tls?: boolean | undefined
  /** Handshakes under way at once. */
  readonly concurrency: number
}

export const openHandshakes = async ({ concurrency, port, tls }: HandshakeSettings): Promise<Session> => {
  const opened: Array<Socket> = []
  return {
    run: async (seconds) => {
      const start = performance.now()
      const until = start + seconds * 1000
      let messages = 0
      const open = async () => {
        while (performance.now() < until) {
          const { socket } = await dial({ port, tls, browser: true, onBytes: () => {} })
          opened.push(socket)
          messages++
        }
      }
      await Promise.all(Array.from({ length: concurrency }, open))
      return { messages, seconds: (performance.now() - start) / 1000 }
    },
    close: () => {
      for (const socket of opened) socket.destroy()
    }
  }
}
