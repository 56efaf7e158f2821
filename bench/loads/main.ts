// The load generator, a process of its own: told to open connections, to use them, or to close them, it does so and
// tells what came of it.

import { openDeflate } from "./deflate.js"
import { openEcho } from "./echo.js"
import { openHandshakes } from "./handshakes.js"
import { openPeer } from "./peer.js"
import type { Session } from "./session.js"
import { openStreamed } from "./streamed.js"

/** A kind of session, and what it needs to know. */
export type Opening =
  | { readonly kind: "echo"; readonly settings: Parameters<typeof openEcho>[0] }
  | { readonly kind: "deflate"; readonly settings: Parameters<typeof openDeflate>[0] }
  | { readonly kind: "handshakes"; readonly settings: Parameters<typeof openHandshakes>[0] }
  | { readonly kind: "peer"; readonly settings: Parameters<typeof openPeer>[0] }
  | { readonly kind: "streamed"; readonly settings: Parameters<typeof openStreamed>[0] }

export type Order =
  | { readonly step: "open"; readonly opening: Opening }
  | { readonly step: "run"; readonly session: number; readonly seconds: number }
  | { readonly step: "close"; readonly session: number }

const open = (opening: Opening): Promise<Session> => {
  switch (opening.kind) {
    case "echo":
      return openEcho(opening.settings)
    case "deflate":
      return openDeflate(opening.settings)
    case "handshakes":
      return openHandshakes(opening.settings)
    case "peer":
      return openPeer(opening.settings)
    case "streamed":
      return openStreamed(opening.settings)
  }
}

const sessions = new Map<number, Session>()
let opened = 0

const obey = async (order: Order): Promise<unknown> => {
  if (order.step === "open") {
    const session = await open(order.opening)
    sessions.set(++opened, session)
    return { session: opened, port: session.port ?? 0 }
  }
  const session = sessions.get(order.session)
  if (session === undefined) throw new Error("no such session")
  if (order.step === "close") {
    session.close()
    sessions.delete(order.session)
    return {}
  }
  const before = process.cpuUsage()
  const ran = await session.run(order.seconds)
  const { user, system } = process.cpuUsage(before)
  return { ...ran, cpu: user + system }
}

process.on("message", (order: Order) => {
  obey(order).then(
    (answer) => process.send?.(answer),
    (error) => process.send?.({ error: String(error) })
  )
})
process.on("disconnect", () => process.exit())
