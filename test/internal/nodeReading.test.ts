import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { NodeFlow } from "effect-websocket/internal/nodeFlow"
import { shareAccepted } from "effect-websocket/internal/nodeReading"
import { bytes, closed, heard, reading } from "../fixtures/heard.js"
import { event, rawClient, rawServer } from "../fixtures/node.js"

/** A server's end of a connection, as Node accepts it. */
const accepted = Effect.gen(function* () {
  const server = Net.createServer({ pauseOnConnect: true })
  const sockets: Array<Net.Socket> = []
  server.on("connection", (socket) => sockets.push(socket))
  const connecting = yield* Effect.fork(event(server, "connection"))
  yield* Effect.yieldNow()
  const client = yield* rawClient(yield* rawServer(server))
  yield* connecting
  const [socket = client] = sockets
  return { client, server, socket }
})

describe("an accepted socket that reads into shared memory", () => {
  it.live("hands each read to who borrows it in the same memory, twice as large as a read", () =>
    Effect.gen(function* () {
      const { client, socket } = yield* accepted
      const { reading: shared, socket: own } = shareAccepted(socket)
      const flow = new NodeFlow(own, {}, shared)
      const memories = new Set<ArrayBufferLike>()
      const handler = heard()
      flow.attach({
        ...handler,
        borrows: true,
        data(chunk) {
          memories.add(chunk.buffer)
          handler.data(new Uint8Array(chunk))
        }
      })
      flow.resume()
      for (const [index, text] of ["one", "two", "six"].entries()) {
        client.write(text)
        yield* handler.until(({ size }) => size() === 3 * (index + 1))
      }
      expect(handler.text()).toBe("onetwosix")
      const [memory] = memories
      expect([memories.size, (memory?.byteLength ?? 0) > 2 * 64 * 1024]).toEqual([1, true])
      client.end()
      yield* handler.until(({ events }) => events.includes("end"))
      flow.end()
      yield* closed(handler)
    }).pipe(Effect.scoped)
  )

  it.live("leaves its server nothing to wait for", () =>
    Effect.gen(function* () {
      const { client, server, socket } = yield* accepted
      const { socket: own } = shareAccepted(socket)
      expect([socket.destroyed, own.destroyed, own.remotePort]).toEqual([true, false, client.localPort])
      const over = yield* Effect.fork(event(server, "close"))
      yield* Effect.yieldNow()
      own.destroy()
      server.close()
      yield* over
    }).pipe(Effect.scoped)
  )

  it.live("is read as a stream where Node has nothing of its own under it", () =>
    Effect.gen(function* () {
      for (const without of [{}, { _handle: null }, { _handle: {} }]) {
        const { client, socket } = yield* accepted
        // What is asked for, and no more.
        const disguised = new Proxy(socket, {
          has: (target, name) => (name === "_handle" ? name in without : name in target),
          get: (target, name) => {
            const value = name === "_handle" ? Reflect.get(without, name) : Reflect.get(target, name)
            return typeof value === "function" ? value.bind(target) : value
          }
        })
        const shared = shareAccepted(disguised)
        expect([shared.socket === disguised, shared.reading]).toEqual([true, undefined])
        const flow = new NodeFlow(socket, {}, shared.reading)
        const handler = reading(flow)
        client.write(bytes("as ever"))
        yield* handler.until(({ text }) => text() === "as ever")
        flow.destroy()
        yield* closed(handler)
      }
    }).pipe(Effect.scoped)
  )
})
