import { describe } from "@effect/vitest"
import { Deferred, Effect, Either, Fiber, type Layer, Option, Stream } from "effect"
import * as Frame from "effect-websocket/Frame"
import { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { type Counters, counting, largestRead, oneStep } from "../fixtures/counting.js"
import { inUse } from "../fixtures/heap.js"
import { settle } from "../fixtures/heard.js"
import { joined } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { finish, numbered, numbersOf, withPeer } from "../fixtures/withPeer.js"

const mebibyte = 1024 * 1024
const size = 64 * 1024

/** What a header of a frame takes, at most. */
const header = 14

/** What the runtime needs for itself may grow by so much meanwhile; a bound that doesn't hold costs hundreds of it. */
const noise = 3 * mebibyte + 8 * (largestRead - oneStep)

/** A test that fails must not wait for a closing handshake that an end with full buffers doesn't hear of. */
const drainingAtLast = (socket: WebSocket.WebSocket) =>
  Effect.addFinalizer(() => Effect.forkDaemon(Effect.ignore(socket.run(() => Effect.void))))

/** The network, with the first flow that connects and the first that is accepted counted. */
const counted = Effect.gen(function* () {
  const network = yield* Network
  const all: { client?: Counters; server?: Counters } = {}
  const service = Network.of({
    ...network,
    connect: (options) =>
      Effect.map(network.connect(options), (flow) => {
        const both = counting(flow)
        all.client ??= both.counters
        return both.flow
      }),
    listen: (options, onFlow) =>
      network.listen(options, (flow) => {
        const both = counting(flow)
        all.server ??= both.counters
        onFlow(both.flow)
      })
  })
  const of = (role: Frame.Role) => Effect.orDie(Effect.fromNullable(all[role]))
  return { of, service }
})

/** What is held of a fast producer's bytes while its consumer is slow, at both ends. */
export const backpressureSuite = (
  name: string,
  network: Layer.Layer<Network>,
  /** How much passes in the end, in bytes. */
  { offer, stream }: { readonly offer: number; readonly stream: number }
): void => {
  const test = testsOn(network)

  describe(`${name}: a fast producer`, () => {
    for (const role of ["client", "server"] as const) {
      for (const [what, options] of [
        ["the default buffers", {}],
        ["buffers of its own", { sendBufferSize: 300_000, receiveBufferSize: 500_000 }]
      ] as const) {
        test(
          `that offers 1 GiB makes no more of it than fits in ${what}, until it is taken, in order (${role})`,
          Effect.gen(function* () {
            const { receiveBufferSize, sendBufferSize } = {
              sendBufferSize: WebSocket.defaultSendBufferSize,
              receiveBufferSize: WebSocket.defaultReceiveBufferSize,
              ...options
            }
            const { of, service } = yield* counted
            const both = yield* Effect.provideService(joined({ client: options, server: options }), Network, service)
            const [from, to] = role === "client" ? [both.client, both.server] : [both.server, both.client]
            yield* drainingAtLast(to)
            const [outgoing, incoming] = [yield* of(from.role), yield* of(to.role)]
            let total = (1024 * mebibyte) / size
            let made = 0
            const producer = Stream.repeatEffectOption(
              Effect.suspend(() =>
                made === total ? Effect.fail(Option.none()) : Effect.succeed(new Uint8Array(size).fill(made++))
              )
            )
            const before = inUse()
            const handshake = incoming.delivered
            /** Of what was sent: as yet untaken at one end, and read but not yet taken at the other. */
            const held = (index: number) =>
              Effect.map(from.bufferedBytes, (waiting) => ({
                waiting,
                read: incoming.delivered - handshake - index * (size + header)
              }))

            const producing = yield* Effect.fork(Stream.run(producer, from.sink))
            for (let seen = -1; seen !== made; yield* settle) seen = made
            expect(producing.unsafePoll()).toBeNull()
            expect(incoming.paused).toBe(true)
            // Full, but for what the network took of the last write; and not by more than one message, or one read.
            const { read, waiting } = yield* held(0)
            expect(waiting).toBeGreaterThan(Math.max(0, sendBufferSize - 2 * size))
            expect(waiting).toBeLessThan(sendBufferSize + size + 100)
            expect(read).toBeGreaterThan(receiveBufferSize - size)
            expect(read).toBeLessThan(receiveBufferSize + size + largestRead)
            // All that there is of it is those, one message that waits, and what is between the two: the operating system's own,
            // or the window of the network in memory.
            expect(inUse() - before).toBeLessThan(sendBufferSize + receiveBufferSize + 3 * size + noise)

            // All of it once; it takes some seconds.
            total = (role === "server" && what === "the default buffers" ? offer : 64 * mebibyte) / size
            let most = 0
            for (let index = 0; index < total; index++) {
              const message = yield* to.receive
              if (message.length !== size || message[0] !== index % 256 || message[size - 1] !== index % 256) {
                expect.fail(`message ${index} is another one`)
              }
              if (index % 64 === 0) {
                const { read, waiting } = yield* held(index + 1)
                expect(waiting).toBeLessThan(sendBufferSize + size + 100)
                expect(read).toBeLessThan(receiveBufferSize + size + largestRead)
              }
              if (index % 2048 === 0) most = Math.max(most, inUse() - before)
            }
            yield* Fiber.join(producing)
            expect(made).toBe(total)
            expect(most).toBeLessThan(2 * (sendBufferSize + receiveBufferSize) + noise)
            expect(outgoing.mostBuffered).toBeLessThan(sendBufferSize + size + oneStep)
          })
        )
      }
    }

    test(
      `of one message of ${stream / mebibyte} MiB passes it through a small heap, in order`,
      Effect.gen(function* () {
        const count = stream / size
        const unlimited = { maxPayloadSize: 2 ** 30, maxFragments: 1_000_000 }
        const { client, server } = yield* joined({ server: unlimited, client: unlimited })
        const pieces = Stream.map(Stream.rechunk(Stream.range(0, count - 1), 1), (index) =>
          new Uint8Array(size).fill(index)
        )
        yield* drainingAtLast(server)
        const before = inUse()
        const sending = yield* Effect.fork(client.sendBinaryStream(pieces))
        const incoming = yield* server.receiveStream
        if (incoming._tag === "Text") return expect.fail("it is text")
        let received = 0
        let most = 0
        let measured = mebibyte
        yield* Stream.runForEach(incoming.chunks, (chunk) =>
          Effect.sync(() => {
            for (let at = 0; at < chunk.length; at += 997) {
              if (chunk[at] !== Math.floor((received + at) / size) % 256) {
                expect.fail(`byte ${received + at} is another one`)
              }
            }
            received += chunk.length
            if (received < measured) return
            measured += 16 * mebibyte
            most = Math.max(most, inUse() - before)
          })
        )
        yield* Fiber.join(sending)
        expect(received).toBe(count * size)
        expect(most).toBeLessThan(noise)
      })
    )
  })

  describe(`${name}: a slow handler`, () => {
    for (const role of ["client", "server"] as const) {
      test(
        `leaves most with the sender, while each ping is answered whose bytes were read, and gets all in the end (${role})`,
        Effect.gen(function* () {
          const receiveBufferSize = 50_000
          const { of, service } = yield* counted
          const { peer, socket } = yield* Effect.provideService(withPeer(role, { receiveBufferSize }), Network, service)
          yield* Effect.addFinalizer(() => peer.destroy)
          const counters = yield* of(role)
          const handshake = counters.delivered
          const gate = yield* Deferred.make<void>()
          const handled: Array<number> = []
          const running = yield* socket
            .run((message) => {
              handled.push(Number.parseInt(String(message).slice(0, 6), 10))
              return Deferred.await(gate)
            })
            .pipe(Effect.fork)
          // Much more than all buffers between the two hold: a ping behind each message.
          const count = 4000
          const pair = (index: number) =>
            [Frame.text(numbered(index, 10_000)), Frame.ping(`${index}`.padStart(6))] as const
          const bytesOf = (frames: ReadonlyArray<Frame.Frame>) =>
            Buffer.concat(frames.map((frame) => Either.getOrThrow(Frame.encode(frame, peer.role))))
          const pairSize = bytesOf(pair(0)).length
          for (let index = 0; index < count; index++) yield* peer.sendFrames(...pair(index))
          for (let seen = -1; seen !== counters.delivered; yield* settle) seen = counters.delivered

          const read = counters.delivered - handshake
          expect(counters.paused).toBe(true)
          expect(peer.flow.bufferedBytes()).toBeGreaterThan(mebibyte)
          expect(read).toBeGreaterThan(receiveBufferSize - pairSize)
          expect(read).toBeLessThan(receiveBufferSize + pairSize + largestRead)
          const pongs = () =>
            peer
              .frames()
              .flatMap(({ opcode, payload }) =>
                opcode === Frame.Opcode.pong ? [Number.parseInt(String(Buffer.from(payload)), 10)] : []
              )
          const isPong = (index: number) => (frame: Frame.Frame) =>
            frame.opcode === Frame.Opcode.pong && Number.parseInt(String(Buffer.from(frame.payload)), 10) === index
          const upTo = (end: number) => Array.from({ length: end }, (_, index) => index)
          expect(pongs()).toEqual(upTo(Math.floor(read / pairSize)))
          expect(pongs().length).toBeGreaterThan(3)
          expect(handled).toEqual([0])

          yield* Deferred.succeed(gate, undefined)
          while (handled.length < count) {
            expect(counters.delivered - handshake - handled.length * pairSize).toBeLessThan(
              receiveBufferSize + pairSize + largestRead
            )
            yield* settle
          }
          expect(handled).toEqual(upTo(count))
          yield* peer.frame(isPong(count - 1))
          expect(pongs()).toEqual(upTo(count))
          expect(numbersOf(peer)).toEqual([])
          yield* finish({ peer, socket })
          yield* Fiber.join(running)
        })
      )
    }
  })
}
