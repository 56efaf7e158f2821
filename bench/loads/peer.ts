// The server of clients that are measured: it sends rounds of messages, or a word that asks for them, and counts what
// comes back.

import { createHash } from "node:crypto"
import * as Net from "node:net"
import { frame, frameCounter, opcodes } from "../load.js"
import { Rounds, type Session } from "./session.js"

export interface PeerSettings {
  readonly size: number
  readonly text: boolean
  /** Messages of a round. */
  readonly messages: number
  /** Whether the client receives them, and answers with one, or is asked for them. */
  readonly client: "receives" | "sends"
}

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

const responseTo = (request: string): string => {
  const key = /^sec-websocket-key: *(\S+)/im.exec(request)?.[1] ?? ""
  const accept = createHash("sha1")
    .update(key + guid)
    .digest("base64")
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
}

export const openPeer = async ({ client, messages, size, text }: PeerSettings): Promise<Session> => {
  const content = Buffer.alloc(size, "quick brown foxes, ")
  const round =
    client === "sends"
      ? frame(opcodes.text, Buffer.from("go"), "server")
      : Buffer.concat(
          Array.from({ length: messages }, () => frame(text ? opcodes.text : opcodes.binary, content, "server"))
        )
  const due = client === "sends" ? messages : 1
  const rounds = new Rounds()
  const senders: Array<() => void> = []
  const sockets: Array<Net.Socket> = []

  const server = Net.createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {})
    socket.on("close", () => rounds.fail("a client has gone"))
    sockets.push(socket)
    socket.once("data", (request) => {
      socket.write(responseTo(request.toString("latin1")))
      let frames = 0
      const send = () => socket.write(round)
      const count = frameCounter(() => {
        frames = (frames + 1) % due
        if (frames === 0) rounds.back(messages, send)
      })
      socket.on("data", count)
      senders.push(send)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", 4096, resolve))
  const address = server.address()
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    run: (seconds) => rounds.run(seconds, senders),
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
  }
}
