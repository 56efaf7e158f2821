// Clients that have the web's interface: those of `ws` and `undici`.

import * as Undici from "undici"
import * as Ws from "ws"
import { counted, form, ready } from "../servers/common.js"
import { messages, plan } from "./common.js"

interface WebSocketLike {
  binaryType: string
  onopen: unknown
  onmessage: unknown
  send(message: string | Uint8Array): void
}

const open = (): WebSocketLike => {
  const url = `ws://127.0.0.1:${plan.port}/`
  return form === "undici" ? new Undici.WebSocket(url) : new Ws.WebSocket(url, { perMessageDeflate: false })
}

const connected = (): Promise<void> =>
  new Promise((resolve) => {
    const socket = open()
    socket.binaryType = "arraybuffer"
    socket.onopen = () => resolve()
    const isLast = counted(plan.each)
    socket.onmessage =
      plan.does === "sends"
        ? () => {
            for (const message of messages) socket.send(message)
          }
        : () => {
            if (isLast()) socket.send("ack")
          }
  })

for (let count = 0; count < plan.connections; count++) await connected()
ready(0)
