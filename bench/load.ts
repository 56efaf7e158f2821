// The other side: raw sockets that send frames encoded ahead, and count what comes back.

import * as Net from "node:net"
import { Either } from "effect"
import { Frame } from "effect-websocket"

export interface Workload {
  readonly name: string
  readonly size: number
  readonly connections: number
  /** Messages under way on each connection. */
  readonly inFlight: number
  readonly text?: boolean | undefined
}

const request =
  "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/** A socket whose opening handshake is done. */
export const connect = (port: number): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
    socket.once("error", reject)
    socket.write(request)
    let head = ""
    const onData = (bytes: Buffer) => {
      head += bytes.toString("latin1")
      if (!head.includes("\r\n\r\n")) return
      socket.off("data", onData)
      resolve(socket)
    }
    socket.on("data", onData)
  })

const payloadOf = ({ size, text }: Workload): Uint8Array =>
  text === true
    ? new TextEncoder().encode("abcdefghij".repeat(Math.ceil(size / 10)).slice(0, size))
    : new Uint8Array(size).fill(0x5a)

/** Keeps a server busy; answers how many messages came back per second. `raw` echoes the masked frames as they are. */
export const load = async (port: number, workload: Workload, seconds: number, raw: boolean) => {
  const frame = Frame.make({ opcode: workload.text === true ? 1 : 2, payload: payloadOf(workload) })
  const masked = Either.getOrThrow(Frame.encode(frame, "client"))
  const echoed = raw ? masked : Either.getOrThrow(Frame.encode(frame, "server"))
  const batch = Buffer.concat(Array.from({ length: workload.inFlight }, () => masked))
  const round = echoed.length * workload.inFlight
  const sockets = await Promise.all(Array.from({ length: workload.connections }, () => connect(port)))
  let messages = 0
  let running = true
  const finished = sockets.map(
    (socket) =>
      new Promise<void>((resolve, reject) => {
        let received = 0
        socket.on("error", reject)
        socket.on("data", (bytes) => {
          // A sample of the content: each echo begins with the header we expect.
          if (received === 0 && bytes[0] !== echoed[0]) reject(new Error("not the echo that was due"))
          received += bytes.length
          if (received < round) return
          received -= round
          messages += workload.inFlight
          if (running) socket.write(batch)
          else resolve()
        })
      })
  )
  const start = performance.now()
  for (const socket of sockets) socket.write(batch)
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  running = false
  const count = messages
  const elapsed = (performance.now() - start) / 1000
  await Promise.all(finished)
  for (const socket of sockets) socket.destroy()
  return { perSecond: count / elapsed, messages }
}
