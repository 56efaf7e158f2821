import { describe } from "@effect/vitest"
import { Deferred, Effect, Either, Exit, Fiber, type Layer, Stream } from "effect"
import * as Frame from "effect-websocket/Frame"
import { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { counting, largestRead, oneStep } from "../fixtures/counting.js"
import { settle } from "../fixtures/heard.js"
import { testsOn } from "../fixtures/leaks.js"
import { type RawPeer, rawClient, upgradeRequest } from "../fixtures/rawPeer.js"

/** Backpressure in both directions: what is held is bounded, nothing is lost, and all goes on when there is room. */
export const flowControlSuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)

  /** A listener whose first flow is counted. */
  const listening = Effect.gen(function* () {
    const first = yield* Deferred.make<ReturnType<typeof counting>>()
    const { listen } = yield* Network
    const { address } = yield* listen(
      { address: { _tag: "TcpAddress", hostname: "127.0.0.1", port: 0 } },
      (flow) => void Deferred.unsafeDone(first, Exit.succeed(counting(flow)))
    )
    return { address, first: Deferred.await(first) }
  })

  /** A server's end on a counted flow, and a test as its client. */
  const accepted = (options: WebSocket.AcceptOptions) =>
    Effect.gen(function* () {
      const { address, first } = yield* listening
      const peer = yield* rawClient(address)
      yield* peer.send(upgradeRequest())
      const { counters, flow } = yield* first
      const socket = yield* WebSocket.accept(flow, options)
      yield* peer.head
      return { peer, socket, counters, flow }
    })

  /** Ends a connection in which the peer did its part. */
  const finish = (peer: RawPeer, socket: WebSocket.WebSocket) =>
    Effect.gen(function* () {
      yield* peer.sendFrames(Frame.close(1000))
      yield* peer.ended
      yield* peer.end
      yield* socket.closed
    })

  describe(`${name}: receiving`, () => {
    test(
      "pauses above receiveBufferSize, resumes below it, and loses nothing",
      Effect.gen(function* () {
        const receiveBufferSize = 16 * 1024
        const size = 8 * 1024
        const count = 1000
        const { counters, peer, socket } = yield* accepted({ receiveBufferSize })
        const bound = receiveBufferSize + largestRead
        for (let index = 0; index < count; index++) {
          yield* peer.sendFrames(Frame.text(`${index}`.padEnd(size, ".")))
        }
        while (!counters.paused) yield* settle
        const before = counters.delivered
        expect(before).toBeLessThan(bound)
        // The rest stays with the sender.
        expect(peer.flow.bufferedBytes()).toBeGreaterThan(0)
        yield* settle
        expect(counters.delivered).toBe(before)
        for (let index = 0; index < count; index++) {
          const message = yield* socket.receive
          expect(message.length).toBe(size)
          expect(String(message).startsWith(`${index}.`)).toBe(true)
          expect(counters.delivered - index * size).toBeLessThan(bound + size)
        }
        expect(counters.paused).toBe(false)
        yield* finish(peer, socket)
      })
    )

    test(
      "pauses for many small messages, too",
      Effect.gen(function* () {
        const { counters, peer, socket } = yield* accepted({})
        const frame = Either.getOrThrow(Frame.encode(Frame.text(""), "client"))
        const batch = Buffer.concat(Array.from({ length: 10_000 }, () => frame))
        for (let index = 0; index < 50; index++) yield* peer.send(batch)
        while (!counters.paused) yield* settle
        expect(counters.delivered).toBeLessThan(WebSocket.defaultReceiveBufferSize + largestRead)
        let count = 0
        while (count < 500_000) count += (yield* socket.receiveAll).length
        expect(count).toBe(500_000)
        yield* finish(peer, socket)
      })
    )
  })

  describe(`${name}: sending`, () => {
    /** Sends until that has to wait. Answers how many were sent, and the one that waits. */
    const sendUntilFull = (socket: WebSocket.WebSocket, message: (index: number) => WebSocket.Message) =>
      Effect.gen(function* () {
        for (let sent = 0; ; sent++) {
          const sending = yield* Effect.fork(socket.send(message(sent)))
          yield* settle
          if (sending.unsafePoll() === null) return { sent, sending }
        }
      })

    test(
      "waits at sendBufferSize while the peer reads nothing, and goes on in order when it reads",
      Effect.gen(function* () {
        const size = 20_000
        const sendBufferSize = 100_000
        const { counters, flow, peer, socket } = yield* accepted({ sendBufferSize })
        peer.flow.pause()
        const message = (index: number) => `${index}`.padEnd(size, ".")
        const { sending, sent } = yield* sendUntilFull(socket, message)
        const waiting = [sending]
        for (let more = 1; more <= 10; more++) waiting.push(yield* Effect.fork(socket.send(message(sent + more))))
        yield* settle
        expect(waiting.every((fiber) => fiber.unsafePoll() === null)).toBe(true)
        expect(flow.bufferedBytes()).toBeGreaterThan(0)
        expect(counters.mostBuffered).toBeLessThan(sendBufferSize + oneStep + 2 * size)
        peer.flow.resume()
        for (const fiber of waiting) yield* Fiber.join(fiber)
        yield* socket.send("last")
        const isLast = ({ payload }: Frame.Frame) => payload.length === 4
        yield* peer.frame(isLast)
        const numbers = peer.frames().map(({ payload }) => Number.parseInt(String(Buffer.from(payload)), 10))
        expect(numbers.slice(0, -1)).toEqual(Array.from({ length: sent + 11 }, (_, index) => index))
        yield* finish(peer, socket)
      })
    )

    test(
      "that waits ends when the peer closes",
      Effect.gen(function* () {
        const { peer, socket } = yield* accepted({})
        peer.flow.pause()
        const { sending } = yield* sendUntilFull(socket, () => new Uint8Array(100_000))
        yield* peer.sendFrames(Frame.close(4000, "enough"))
        expect(yield* Effect.flip(Fiber.join(sending))).toMatchObject({ _tag: "ConnectionClosed", code: 4000 })
        peer.flow.resume()
        yield* peer.ended
        yield* peer.end
        yield* socket.closed
      })
    )

    test(
      "of 64 MiB to a slow reader holds a bounded number of bytes at either end",
      Effect.gen(function* () {
        const size = 64 * 1024
        const count = 1024
        const server = yield* listening
        const { connect } = yield* Network
        let outgoing: ReturnType<typeof counting> | undefined
        const counted = Network.of({
          ...(yield* Network),
          connect: (options) =>
            Effect.map(connect(options), (flow) => {
              outgoing = counting(flow)
              return outgoing.flow
            })
        })
        const address = server.address
        const connecting = yield* WebSocket.connect("ws://127.0.0.1/", { address }).pipe(
          Effect.provideService(Network, counted),
          Effect.fork
        )
        const incoming = yield* server.first
        const receiver = yield* WebSocket.accept(incoming.flow)
        const sender = yield* Fiber.join(connecting)
        const sending = yield* Stream.range(0, count - 1).pipe(
          Stream.map((index) => new Uint8Array(size).fill(index)),
          Stream.run(sender.sink),
          Effect.fork
        )
        let held = 0
        for (let index = 0; index < count; index++) {
          const message = yield* receiver.receive
          if (message.length !== size || message[0] !== index % 256) expect.fail(`message ${index} is another one`)
          held = Math.max(held, incoming.counters.delivered - (index + 1) * size)
          if (index % 32 === 0) yield* settle
        }
        yield* Fiber.join(sending)
        expect(held).toBeLessThan(WebSocket.defaultReceiveBufferSize + largestRead + size)
        expect(outgoing?.counters.mostBuffered).toBeGreaterThan(0)
        // A chunk of the stream, with the default size of 16 elements of this size, isn't taken in one step.
        expect(outgoing?.counters.mostBuffered).toBeLessThan(WebSocket.defaultSendBufferSize + oneStep + 2 * size)
      })
    )

    test(
      "of pongs to a peer that floods with pings and reads nothing is bounded, and answers the last",
      Effect.gen(function* () {
        const { counters, peer, socket } = yield* accepted({})
        peer.flow.pause()
        const ping = (content: string) => Either.getOrThrow(Frame.encode(Frame.ping(content), "client"))
        const batch = Buffer.concat(Array.from({ length: 1000 }, () => ping("x".repeat(125))))
        for (let index = 0; index < 100; index++) {
          yield* peer.send(batch)
          yield* settle
        }
        // All of it was read: answering had to wait, reading had not.
        while (counters.delivered < 100 * batch.length) yield* settle
        expect(counters.mostBuffered).toBeGreaterThan(0)
        expect(counters.mostBuffered).toBeLessThan(3 * oneStep)
        yield* peer.send(ping("the last one"))
        peer.flow.resume()
        const answers = ({ payload }: Frame.Frame) => String(Buffer.from(payload)) === "the last one"
        yield* peer.frame(answers)
        expect(peer.frames().length).toBeLessThan(100_000)
        expect(yield* socket.isOpen).toBe(true)
        yield* finish(peer, socket)
      })
    )
  })
}
