// Sends rounds of messages over many connections, and compares what comes back with what is due.

import { dial, frame, many, opcodes } from "../load.js"
import { percentiles, Rounds, type Session } from "./session.js"

export interface EchoSettings {
  readonly port: number
  readonly size: number
  readonly connections: number
  /** Messages under way on each connection: they are sent at once, and the next ones when all have come back. */
  readonly inFlight: number
  readonly text?: boolean | undefined
  readonly tls?: boolean | undefined
  readonly latency?: boolean | undefined
  /** What comes back: each message, the bytes just as they are (masked, then), or one message for all of a round. */
  readonly back?: "echo" | "bytes" | "ack" | undefined
}

/** Each message of a round is another one. Text is ASCII, as most JSON is. */
const contentsOf = ({ inFlight, size, text }: EchoSettings): ReadonlyArray<Buffer> =>
  Array.from({ length: inFlight }, (_, index) =>
    text === true
      ? Buffer.alloc(size, `${index} quick brown foxes, `)
      : Buffer.from(Array.from({ length: size }, (_, at) => (at * 7 + (at >> 8) + index) & 0xff))
  )

export const openEcho = async (settings: EchoSettings): Promise<Session> => {
  const { back = "echo", connections, inFlight, latency = false, port, text, tls } = settings
  const opcode = text === true ? opcodes.text : opcodes.binary
  const contents = contentsOf(settings)
  const batch = Buffer.concat(contents.map((content) => frame(opcode, content, "client")))
  const due = {
    echo: Buffer.concat(contents.map((content) => frame(opcode, content, "server"))),
    bytes: batch,
    ack: frame(opcodes.text, Buffer.from("ack"), "server")
  }[back]
  const rounds = new Rounds()
  let times: Array<number> = []

  const opened = await many(connections, async (index) => {
    let received = 0
    let sentAt = 0
    let round = 0
    const send = () => {
      if (latency) sentAt = performance.now()
      socket.write(batch)
    }
    const isDue = (bytes: Buffer, end: number): boolean =>
      end <= due.length &&
      bytes[0] === due[received] &&
      bytes[bytes.length - 1] === due[end - 1] &&
      // The first round of each connection is compared byte by byte, then one in 64.
      (round % 64 !== 0 || bytes.compare(due, received, end) === 0)
    const { socket } = await dial({
      port,
      tls,
      onBytes: (bytes) => {
        const end = received + bytes.length
        if (!isDue(bytes, end)) return rounds.fail(`connection ${index}: not the echo that was due`)
        received = end
        if (received < due.length) return
        received = 0
        round++
        if (latency) times.push(performance.now() - sentAt)
        rounds.back(inFlight, send)
      }
    })
    socket.on("close", () => rounds.fail(`connection ${index} was closed`))
    return { socket, send }
  })

  return {
    run: async (seconds) => {
      times = []
      const ran = await rounds.run(
        seconds,
        opened.map(({ send }) => send)
      )
      return latency ? { ...ran, latencies: percentiles(times) } : ran
    },
    close: () => {
      for (const { socket } of opened) socket.destroy()
    }
  }
}
