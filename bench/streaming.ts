// `npx tsx bench/streaming.ts`: one message, much larger than memory, from a server to a client of ours over TCP, in two
// processes; prints how fast it went, and the most memory that each of them had. GIB (default 10) is its size.

import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Deferred, Effect, Stream } from "effect"
import * as NodeNetwork from "../src/NodeNetwork.js"
import * as WebSocket from "../src/WebSocket.js"
import * as WebSocketServer from "../src/WebSocketServer.js"

const gibibytes = Number(process.env["GIB"] ?? 10)
const pieceSize = 1024 * 1024
const count = gibibytes * 1024

const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`

/** Runs an effect, and tells the most memory that the process had meanwhile. */
const withMemory = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) => {
  const before = process.memoryUsage.rss()
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss())
  }, 50)
  return Effect.ensuring(
    effect,
    Effect.sync(() => {
      clearInterval(timer)
      console.log(`${name}: ${mebibytes(before)} before, ${mebibytes(most)} at the most`)
    })
  )
}

const send = Effect.gen(function* () {
  const over = yield* Deferred.make<void>()
  const { serve, url } = yield* WebSocketServer.make({ port: 0 })
  yield* serve((socket) => {
    const pieces = Stream.map(Stream.range(0, count - 1, 1), (index) => new Uint8Array(pieceSize).fill(index))
    const sending = withMemory("sender", Effect.orDie(socket.sendBinaryStream(pieces)))
    return Effect.zipRight(sending, Effect.orDie(Effect.exit(socket.closed))).pipe(
      Effect.zipRight(Deferred.succeed(over, undefined))
    )
  })
  process.send?.(url)
  yield* Deferred.await(over)
})

const receive = (url: string) =>
  Effect.gen(function* () {
    const socket = yield* WebSocket.connect(url, {
      maxPayloadSize: Number.MAX_SAFE_INTEGER,
      maxFragments: Number.MAX_SAFE_INTEGER
    })
    const { chunks } = yield* socket.receiveStream
    const all: Stream.Stream<string | Uint8Array, unknown> = chunks
    const began = performance.now()
    let received = 0
    yield* Stream.runForEach(all, (chunk) =>
      Effect.sync(() => {
        if (chunk[0] !== Math.floor(received / pieceSize) % 256) throw new Error(`byte ${received} is another one`)
        received += chunk.length
      })
    )
    const seconds = (performance.now() - began) / 1000
    if (received !== count * pieceSize) throw new Error(`${received} bytes arrived`)
    console.log(`${gibibytes} GiB as one message: ${mebibytes(received / seconds)} in a second`)
  })

const run = <E>(effect: Effect.Effect<unknown, E, NodeNetworkScope>) =>
  Effect.runPromise(effect.pipe(Effect.scoped, Effect.provide(NodeNetwork.layer)))
type NodeNetworkScope = Effect.Effect.Context<typeof send>

if (process.send === undefined) {
  const sender = fork(fileURLToPath(import.meta.url), { execArgv: ["--import", "tsx"] })
  const url = await new Promise<string>((resolve) => sender.once("message", (message) => resolve(String(message))))
  await run(withMemory("receiver", receive(url)))
} else {
  await run(send)
  process.disconnect?.()
}
