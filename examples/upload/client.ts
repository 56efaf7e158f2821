// Uploads a file as one message that is streamed from the disk, with a progress bar:
//
//   npx tsx examples/upload/client.ts photo.jpg
//
// URL names the server (ws://127.0.0.1:8090/upload).

import { basename } from "node:path"
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Schema } from "effect"
import { NodeNetwork, WebSocket } from "effect-websocket"
import { Offer, Progress } from "./protocol.js"

const [, , path] = process.argv

const width = 40

/** `[########------------------------]  25 %  1.2 of 4.8 MB` */
const bar = (received: number, size: number): string => {
  const share = size === 0 ? 1 : Math.min(1, received / size)
  const done = Math.round(share * width)
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1)
  const percent = `${Math.round(share * 100)}`.padStart(3)
  return `[${"#".repeat(done)}${"-".repeat(width - done)}] ${percent} %  ${megabytes(received)} of ${megabytes(size)} MB`
}

/** In place of the last one on a terminal, one per line elsewhere. */
const show = (text: string) =>
  Effect.sync(() => process.stdout.write(process.stdout.isTTY ? `\r\u001b[K${text}` : `${text}\n`))

const upload = (file: string | undefined) =>
  Effect.gen(function* () {
    if (file === undefined) return yield* Effect.fail(new Error("which file?"))
    const files = yield* FileSystem.FileSystem
    const size = Number((yield* files.stat(file)).size)
    const socket = yield* WebSocket.connect(
      yield* Config.string("URL").pipe(Config.withDefault("ws://127.0.0.1:8090/upload"))
    )

    const follow = Effect.gen(function* () {
      while (true) {
        const progress = yield* Schema.decodeUnknown(Schema.parseJson(Progress))(yield* socket.receive)
        yield* show(bar(progress.received, size))
        if (progress.sha256 !== undefined) return yield* Console.log(`\nsha256 ${progress.sha256}`)
      }
    })

    yield* socket.send(yield* Schema.encode(Schema.parseJson(Offer))({ name: basename(file), size }))
    // Reading the disk pauses while the network is behind.
    yield* Effect.all([socket.sendBinaryStream(files.stream(file)), follow], { concurrency: 2, discard: true })
  })

upload(path).pipe(
  Effect.scoped,
  Effect.tapError((error) => Console.error(error.message)),
  Effect.provide(Layer.merge(NodeNetwork.layer, NodeContext.layer)),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
