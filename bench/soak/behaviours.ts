// How the connections of a soak behave, each by the dice of its own.

import { connect as connectTcp } from "node:net"
import { Data, Effect } from "effect"
import { Network, WebSocket } from "effect-websocket"
import { Ledger } from "./ledger.js"
import type { Random } from "./random.js"

/** What a connection came to: `whole` if all that was sent had to come back. */
export interface Outcome {
  readonly ledger: Ledger
  readonly whole: boolean
}

export interface Setting {
  readonly port: number
  readonly dice: Random
  /** About how long a connection stays, in milliseconds. */
  readonly life: number
}

/** Without any progress. Long, since nobody judges here how fast a busy machine is. */
const patience = "60 seconds"

export class Stuck extends Data.TaggedError("Stuck")<{ readonly sent: number; readonly received: number }> {
  override get message(): string {
    return `${this.received} of ${this.sent} messages are back, and nothing went on for ${patience}`
  }
}

const patient = { handshakeTimeout: patience } as const

const urlOf = (port: number, path = "/") => `ws://127.0.0.1:${port}${path}`

const pause = ({ dice }: Setting, least: number, most: number) => Effect.sleep(dice.between(least, most))

/** Sizes that depend on the number alone. */
const sizes = (dice: Random, least: number, most: number) => {
  const salt = dice.below(2 ** 20)
  return (number: number) => least + ((Math.imul(number + salt, 2654435761) >>> 8) % (most - least + 1))
}

interface Talk {
  readonly ledger: Ledger
  readonly bursts: number
  readonly perBurst: number
  /** Between bursts, and before each taking of what came: milliseconds. */
  readonly between: number
  readonly readAfter: number
}

/** Sends in bursts, and reads beside it until all is back. */
const talk = (
  setting: Setting,
  socket: WebSocket.WebSocket,
  { between, bursts, ledger, perBurst, readAfter }: Talk
) => {
  const sending = Effect.gen(function* () {
    for (let burst = 0; burst < bursts; burst++) {
      for (let left = setting.dice.between(1, perBurst); left > 0; left--) yield* socket.send(ledger.next())
      yield* pause(setting, 1, between)
    }
  })
  let done = false
  const reading = Effect.gen(function* () {
    while (!done || ledger.received < ledger.sent) {
      if (readAfter > 0) yield* pause(setting, 1, readAfter)
      for (const message of yield* socket.receiveAll) ledger.receive(message)
    }
  })
  // One more message when all bursts are through, so that the reader has something to end with.
  const all = Effect.zipRight(
    sending,
    Effect.suspend(() => {
      done = true
      return socket.send(ledger.next())
    })
  )
  const stuck = Effect.gen(function* () {
    for (let before = -1; ; ) {
      yield* Effect.sleep(patience)
      const { received, sent } = ledger
      if (sent + received === before) return yield* new Stuck({ sent, received })
      before = sent + received
    }
  })
  return Effect.raceFirst(Effect.all([all, reading], { concurrency: 2, discard: true }), stuck)
}

/** Connects, talks, closes and waits for the end of that. */
const polite = (setting: Setting, options: WebSocket.ConnectOptions, how: Talk) =>
  Effect.gen(function* () {
    const socket = yield* WebSocket.connect(urlOf(setting.port), { ...patient, ...options })
    yield* talk(setting, socket, how)
    yield* socket.close()
    return { ledger: how.ledger, whole: true }
  }).pipe(Effect.scoped)

const chatty = (setting: Setting) =>
  polite(
    setting,
    {},
    {
      ledger: new Ledger(sizes(setting.dice, 0, 300)),
      bursts: setting.dice.between(2, 20),
      perBurst: 10,
      between: Math.ceil(setting.life / 10),
      readAfter: 0
    }
  )

const compressed = (setting: Setting) =>
  polite(
    setting,
    { deflate: { threshold: 64 } },
    {
      ledger: new Ledger(sizes(setting.dice, 0, 4000)),
      bursts: setting.dice.between(2, 10),
      perBurst: 5,
      between: Math.ceil(setting.life / 5),
      readAfter: 0
    }
  )

const huge = (setting: Setting) =>
  polite(
    setting,
    {},
    {
      ledger: new Ledger(sizes(setting.dice, 200_000, 1_000_000)),
      bursts: setting.dice.between(1, 3),
      perBurst: 1,
      between: setting.life,
      readAfter: 0
    }
  )

/** Takes so late that what it sends backs up, on both sides. */
const slow = (setting: Setting) =>
  polite(
    setting,
    { receiveBufferSize: 16 * 1024, sendBufferSize: 16 * 1024 },
    {
      ledger: new Ledger(sizes(setting.dice, 4000, 30_000)),
      bursts: 2,
      perBurst: 15,
      between: 10,
      readAfter: Math.ceil(setting.life / 20)
    }
  )

/** Says one thing, when it goes. */
const mute = (setting: Setting) =>
  Effect.gen(function* () {
    const ledger = new Ledger(sizes(setting.dice, 0, 100))
    const socket = yield* WebSocket.connect(urlOf(setting.port), {
      ...patient,
      pingInterval: "2 seconds",
      pingTimeout: "30 seconds"
    })
    yield* pause(setting, 1, 2 * setting.life)
    yield* socket.send(ledger.next())
    ledger.receive(yield* socket.receive)
    // Its scope closes it.
    return { ledger, whole: true }
  }).pipe(Effect.scoped)

/** Talks until the server leaves (1000) or its handler fails (1011). */
const left = (path: string, code: number) => (setting: Setting) =>
  Effect.gen(function* () {
    const ledger = new Ledger(sizes(setting.dice, 0, 300))
    const socket = yield* WebSocket.connect(urlOf(setting.port, path), patient)
    const sending = Effect.zipRight(
      Effect.suspend(() => socket.send(ledger.next())),
      pause(setting, 1, Math.ceil(setting.life / 5))
    )
    const reading = Effect.map(socket.receive, (message) => ledger.receive(message))
    yield* Effect.all([Effect.forever(sending), Effect.forever(reading)], { concurrency: 2, discard: true }).pipe(
      Effect.catchIf(
        (error) => error._tag === "ConnectionClosed" && error.code === code,
        () => Effect.void
      )
    )
    return { ledger, whole: false }
  }).pipe(Effect.scoped)

/** Our client, whose network goes away in the middle of what it sends. */
const cut = (setting: Setting) =>
  Effect.gen(function* () {
    const ledger = new Ledger(sizes(setting.dice, 0, 30_000))
    const network = yield* Network.Network
    const flow = yield* network.connect({
      address: { _tag: "TcpAddress", hostname: "127.0.0.1", port: setting.port }
    })
    const socket = yield* WebSocket.connectOver(flow, urlOf(setting.port), patient)
    const talking = Effect.forever(
      Effect.zipRight(
        Effect.suspend(() => socket.send(ledger.next())),
        pause(setting, 0, Math.ceil(setting.life / 10))
      )
    )
    const reading = Effect.forever(Effect.map(socket.receive, (message) => ledger.receive(message)))
    const cutting = Effect.zipRight(
      pause(setting, 1, setting.life),
      Effect.sync(() => flow.destroy())
    )
    yield* Effect.all([talking, reading, cutting], { concurrency: 3, discard: true }).pipe(
      Effect.catchIf(
        // It broke, and there was no Close: 1006.
        (error) => error._tag === "IoError" || (error._tag === "ConnectionClosed" && error.code === 1006),
        () => Effect.void
      )
    )
    return { ledger, whole: false }
  }).pipe(Effect.scoped)

const request =
  "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/** A stranger who resets in the middle of the request, or of a frame. */
const rude = (setting: Setting) => {
  const inRequest = setting.dice.below(3) === 0
  const size = setting.dice.between(1, request.length - 1)
  const after = setting.dice.between(1, setting.life)
  return Effect.async<Outcome>((resume) => {
    const socket = connectTcp(setting.port, "127.0.0.1", () => {
      // A frame of 100 masked bytes, of which some come.
      const frame = Buffer.concat([Buffer.from([0x82, 0x80 | 100, 0, 0, 0, 0]), Buffer.alloc(size % 100)])
      if (inRequest) socket.write(request.slice(0, size))
      else socket.write(Buffer.concat([Buffer.from(request), frame]))
    })
    const timer = setTimeout(() => socket.resetAndDestroy(), after)
    socket.on("error", () => {})
    socket.resume()
    socket.once("close", () => {
      clearTimeout(timer)
      resume(Effect.succeed({ ledger: new Ledger(() => 0), whole: false }))
    })
    return Effect.sync(() => socket.destroy())
  })
}

export const behaviours = {
  chatty,
  compressed,
  huge,
  slow,
  mute,
  dismissed: left("/leave", 1000),
  failed: left("/fail", 1011),
  cut,
  rude
}

/** How often each comes, of a hundred. */
const shares: Readonly<Record<keyof typeof behaviours, number>> = {
  chatty: 25,
  mute: 25,
  compressed: 12,
  slow: 8,
  huge: 2,
  dismissed: 7,
  failed: 7,
  cut: 7,
  rude: 7
}

export type Behaviour = keyof typeof behaviours

export const chosen = (dice: Random): Behaviour => {
  let rest = dice.below(100)
  for (const name of names) {
    rest -= shares[name]
    if (rest < 0) return name
  }
  return "chatty"
}

export const names: ReadonlyArray<Behaviour> = [
  "chatty",
  "mute",
  "compressed",
  "slow",
  "huge",
  "dismissed",
  "failed",
  "cut",
  "rude"
]
