// The whole server over a socket. The first byte of an input says what stands before the others and how it ends:
// 1 a valid request first, 2 one that offers compression, 4 a reset at the end instead of a FIN, 8 two pieces.

import * as Net from "node:net"
import { Effect, Exit, Layer, Logger, LogLevel, Scope } from "effect"
import { NodeNetwork, WebSocketServer } from "effect-websocket"
import type { Target } from "./guide.js"
import { latin1 } from "./observe.js"
import { bytesOf, request } from "./targets.js"
import { walk } from "./walk.js"

const patience = 5000

const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

/** Sends an input, and gathers what comes until the connection is closed on both sides. */
const converse = (port: number, input: Uint8Array): Promise<Uint8Array | string> =>
  new Promise((resolve) => {
    const [flags = 0] = input
    const opening = (flags & 3) === 0 ? "" : `${request}${(flags & 2) === 0 ? "" : offer}\r\n`
    const bytes = Buffer.concat([bytesOf(opening), input.subarray(1)])
    const got: Array<Buffer> = []
    const socket = Net.connect({ host: "127.0.0.1", port, allowHalfOpen: true })
    // Longer than anything the server may wait for.
    const timer = setTimeout(() => {
      socket.destroy()
      resolve(`the connection is still open after ${patience} ms: ${latin1(Buffer.concat(got)).slice(0, 200)}`)
    }, patience)
    socket.on("data", (chunk) => got.push(chunk))
    socket.on("error", () => {})
    socket.on("close", () => {
      clearTimeout(timer)
      resolve(new Uint8Array(Buffer.concat(got)))
    })
    const finish = () => {
      if ((flags & 4) === 0) socket.end()
      else setImmediate(() => socket.resetAndDestroy())
    }
    socket.on("connect", () => {
      const half = (flags & 8) === 0 ? bytes.length : bytes.length >> 1
      socket.write(bytes.subarray(0, half))
      if (half === bytes.length) return finish()
      setImmediate(() => {
        socket.write(bytes.subarray(half))
        finish()
      })
    })
  })

/** What a server must not send. Its answer may be cut anywhere: a reset may have overtaken it. */
const brokenIn = (answer: Uint8Array): string | undefined => {
  const text = latin1(answer)
  const end = text.indexOf("\r\n\r\n")
  if (answer.length === 0 || end < 0) return undefined
  if (!/^HTTP\/1\.1 (101|[45]\d\d) /.test(text)) return `no answer: ${text.slice(0, 200)}`
  const rest = answer.slice(end + 4)
  if (!text.startsWith("HTTP/1.1 101 ")) {
    return /HTTP\/1\.1 \d{3} /.test(latin1(rest)) ? `two answers: ${text.slice(0, 400)}` : undefined
  }
  const { frames } = walk(rest)
  if (frames.some(({ masked }) => masked)) return "a masked frame"
  const close = frames.findIndex(({ opcode }) => opcode === 8)
  return close >= 0 && close < frames.length - 1 ? "a frame behind the Close" : undefined
}

export interface ServerTarget extends Target {
  /** What is wrong with the server at the end of a run. Ends it. */
  readonly stop: () => Promise<string | undefined>
}

/** A server that echoes, on a port of its own, and the target that it is. */
export const serverTarget = async (): Promise<ServerTarget> => {
  const uncaught: Array<unknown> = []
  const note = (error: unknown) => void uncaught.push(error)
  process.on("uncaughtException", note).on("unhandledRejection", note)
  const scope = Effect.runSync(Scope.make())
  const server = await Effect.gen(function* () {
    const made = yield* WebSocketServer.make({
      closeTimeout: "1 second",
      handshakeTimeout: "1 second",
      maxPayloadSize: 10_000,
      maxFragments: 100,
      deflate: { threshold: 0 }
    })
    yield* made.serve((socket) => socket.run((message) => socket.send(message)))
    return made
  }).pipe(
    Scope.extend(scope),
    Effect.provide(Layer.merge(NodeNetwork.layer, Logger.minimumLogLevel(LogLevel.None))),
    Effect.runPromise
  )
  const port = server.address._tag === "TcpAddress" ? server.address.port : 0
  const judge = async (input: Uint8Array) => {
    const answer = await converse(port, input)
    const wrong = typeof answer === "string" ? answer : brokenIn(answer)
    return uncaught.length > 0 ? `not caught: ${uncaught.splice(0).join(", ")}` : wrong
  }
  const frames = ["81 85 00000000 48656c6c6f", "89 80 00000000", "88 82 00000000 03e8"].map((text) =>
    Buffer.from(text.replaceAll(" ", ""), "hex")
  )
  return {
    name: "server",
    seeds: [
      bytesOf(`0${request}\r\n`),
      new Uint8Array(Buffer.concat([Buffer.from([1]), ...frames])),
      new Uint8Array(Buffer.concat([Buffer.from([2]), Buffer.from("c18700000000f248cdc9c90700", "hex"), ...frames])),
      new Uint8Array(Buffer.concat([Buffer.from([5]), ...frames.slice(0, 1)]))
    ],
    words: [
      ...frames,
      ...["01 80 00000000", "80 80 00000000", "fe 0080", "ff 0000000000010000"].map((text) =>
        Buffer.from(text.replaceAll(" ", ""), "hex")
      ),
      ...["\r\n", "\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked", "Origin: null", "POST", "X:"].map(
        bytesOf
      )
    ],
    maxSize: 1500,
    parallel: true,
    judge,
    stop: async () => {
      // It serves on, and has nobody else inside.
      const last = await judge(new Uint8Array(Buffer.concat([Buffer.from([1]), ...frames])))
      for (let turn = 0; turn < 1000 && (await Effect.runPromise(server.connections)) > 0; turn++) {
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      const left = await Effect.runPromise(server.connections)
      await Effect.runPromise(Scope.close(scope, Exit.void))
      process.off("uncaughtException", note).off("unhandledRejection", note)
      if (last !== undefined) return last
      return left > 0 ? `${left} connections are left` : undefined
    }
  }
}
