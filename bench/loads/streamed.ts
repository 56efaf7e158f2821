// One large message, to or from a server: bytes are counted, and a sample of them is looked at.

import { behindHeader, dial, frame, opcodes } from "../load.js"
import type { Session } from "./session.js"

export interface StreamedSettings {
  readonly port: number
  /** The size of the message in bytes. */
  readonly size: number
  readonly server: "sends" | "receives"
}

const pieceSize = 256 * 1024

export const openStreamed = async ({ port, server, size }: StreamedSettings): Promise<Session> => {
  let onBytes = (_: Buffer) => {}
  const { socket } = await dial({ port, onBytes: (bytes) => onBytes(bytes) })

  /** Asks for the message, and reads until all of it is there, in whatever frames. */
  const receive = async () => {
    let left = size
    let inFrame = 0
    let header: Array<number> = []
    const over = new Promise<void>((resolve, reject) => {
      onBytes = (bytes) => {
        let at = 0
        while (at < bytes.length) {
          if (inFrame > 0) {
            const taken = Math.min(inFrame, bytes.length - at)
            if (bytes[at] !== 0x5a || bytes[at + taken - 1] !== 0x5a) reject(new Error("not the bytes that were due"))
            inFrame -= taken
            left -= taken
            at += taken
          } else {
            header.push(bytes[at++] ?? 0)
            const length = behindHeader(header)
            if (length < 0) continue
            inFrame = length
            header = []
          }
        }
        if (left === 0 && inFrame === 0) resolve()
      }
    })
    socket.write(frame(opcodes.text, Buffer.from(String(size)), "client"))
    await over
  }

  /** Sends it in frames, no faster than the server reads, and waits for its answer. */
  const send = async () => {
    const content = Buffer.alloc(pieceSize, 0x5a)
    const first = frame(opcodes.binary, content, "client")
    first[0] = opcodes.binary
    const middle = Buffer.from(first)
    middle[0] = 0
    const last = Buffer.from(first)
    last[0] = 0x80
    const over = new Promise<void>((resolve) => {
      onBytes = () => resolve()
    })
    for (let sent = 0; sent < size; sent += pieceSize) {
      const piece = sent === 0 ? first : sent + pieceSize >= size ? last : middle
      if (!socket.write(piece)) await new Promise((resolve) => socket.once("drain", resolve))
    }
    await over
  }

  return {
    // One message, however long it takes.
    run: async () => {
      const start = performance.now()
      await (server === "sends" ? receive() : send())
      return { messages: size / 1024 / 1024, seconds: (performance.now() - start) / 1000 }
    },
    close: () => socket.destroy()
  }
}
