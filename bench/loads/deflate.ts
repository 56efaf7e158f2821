// Sends compressed messages, and counts the frames that come back: their size is the server's business.

import { constants, deflateRawSync, inflateRawSync } from "node:zlib"
import { dial, frame, frameCounter, many, opcodes } from "../load.js"
import { Rounds, type Session } from "./session.js"

export interface DeflateSettings {
  readonly port: number
  readonly connections: number
  readonly inFlight: number
  readonly takeover: boolean
}

const documents = 64
const window = 32 * 1024
// What a message ends with before its sender removes it (RFC 7692 7.2.1).
const tail = Buffer.from([0x00, 0x00, 0xff, 0xff])

/** Some 1 KiB of JSON as feeds have it: the same names, other values. */
const documentOf = (index: number): Buffer => {
  const random = (bound: number, salt: number) => (Math.imul(index * 31 + salt, 2_654_435_761) >>> 8) % bound
  const orders = Array.from({ length: 9 }, (_, at) => ({
    id: `${random(1_000_000, at)}-${random(1_000_000, at + 50)}`,
    symbol: ["EURUSD", "EURCHF", "GBPUSD", "USDJPY"][random(4, at + 100)],
    price: random(1_000_000, at + 150) / 10_000,
    quantity: random(10_000, at + 200),
    side: random(2, at + 250) === 0 ? "buy" : "sell"
  }))
  return Buffer.from(JSON.stringify({ channel: "orders", sequence: index, at: 1_700_000_000_000 + index, orders }))
}

const compressed = (document: Buffer, before: Buffer): Buffer => {
  const flush = constants.Z_SYNC_FLUSH
  const bytes = deflateRawSync(document, {
    level: 6,
    finishFlush: flush,
    ...(before.length > 0 ? { dictionary: before } : {})
  })
  return bytes.subarray(0, bytes.length - tail.length)
}

/**
 * All documents as frames, in order. With context takeover each refers to those before it; the first ones to nothing
 * the first time, and to the last ones from then on, which is the same each time.
 */
const framesOf = (contents: ReadonlyArray<Buffer>, takeover: boolean, again: boolean): ReadonlyArray<Buffer> => {
  let before = again ? Buffer.concat(contents).subarray(-window) : Buffer.alloc(0)
  return contents.map((content) => {
    const bytes = compressed(content, takeover ? before : Buffer.alloc(0))
    before = Buffer.concat([before, content]).subarray(-window)
    return frame(opcodes.text, bytes, "client", true)
  })
}

/** The content of the first message, which has to be a compressed one. */
const contentOf = (bytes: Buffer): string => {
  if (((bytes[0] ?? 0) & 0x40) === 0) return "not compressed"
  const short = (bytes[1] ?? 0) & 0x7f
  const [start, length] = short === 126 ? [4, bytes.readUInt16BE(2)] : [2, short]
  const payload = Buffer.concat([bytes.subarray(start, start + length), tail])
  return inflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH }).toString()
}

export const openDeflate = async ({ port, connections, inFlight, takeover }: DeflateSettings): Promise<Session> => {
  const contents = Array.from({ length: documents }, (_, index) => documentOf(index))
  const batches = (again: boolean) => {
    const frames = framesOf(contents, takeover, again)
    return Array.from({ length: documents / inFlight }, (_, index) =>
      Buffer.concat(frames.slice(index * inFlight, (index + 1) * inFlight))
    )
  }
  const [first, later] = [batches(false), batches(true)]
  const rounds = new Rounds()
  let bytesBack = 0

  const opened = await many(connections, async () => {
    let sent = 0
    let due = 0
    // What came until the first message was complete.
    let start: Buffer | undefined = Buffer.alloc(0)
    const send = () => {
      const batch = (sent < first.length ? first : later)[sent % first.length]
      if (batch === undefined) throw new Error("no such batch")
      due = inFlight
      sent++
      socket.write(batch)
    }
    const count = frameCounter(() => {
      if (start !== undefined && contentOf(start) !== String(contents[0])) rounds.fail("not the echo that was due")
      start = undefined
      if (--due === 0) rounds.back(inFlight, send)
    })
    const { head, socket } = await dial({
      port,
      extensions: takeover
        ? "permessage-deflate"
        : "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
      onBytes: (bytes) => {
        bytesBack += bytes.length
        if (start !== undefined) start = Buffer.concat([start, bytes])
        count(bytes)
      }
    })
    if (!/^sec-websocket-extensions: *permessage-deflate/im.test(head)) throw new Error("the server doesn't compress")
    socket.on("close", () => rounds.fail("a connection was closed"))
    return { socket, send }
  })

  return {
    run: async (seconds) => {
      bytesBack = 0
      const ran = await rounds.run(
        seconds,
        opened.map(({ send }) => send)
      )
      return { ...ran, bytes: bytesBack }
    },
    close: () => {
      for (const { socket } of opened) socket.destroy()
    }
  }
}
