import { describe } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Layer, Scope } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { pattern, settle } from "../fixtures/heard.js"
import { serverWith } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"
import { type RawPeer, rawServer, upgradedClient, upgradedServer } from "../fixtures/rawPeer.js"
import { finish, numbered, numbersOf, type WithPeer, withPeerOn } from "../fixtures/withPeer.js"

const mebibyte = 1024 * 1024
const size = 256 * 1024

/** What leaves before what: control frames before messages that wait, and a Close behind them. */
export const prioritySuite = (name: string, network: Layer.Layer<Network>): void => {
  const test = testsOn(network)
  const withPeer = withPeerOn(network)
  const roomy = { sendBufferSize: 64 * mebibyte }

  /** Sends messages that nobody reads, until more than so many bytes wait; answers how many it were. */
  const pile = (socket: WebSocket.WebSocket, bytes: number) =>
    Effect.gen(function* () {
      let count = 0
      while ((yield* socket.bufferedBytes) < bytes) {
        yield* socket.send(numbered(count++, size))
        yield* settle
      }
      return count
    })

  /** How many of the frames that hold data came behind the first one of this kind. */
  const dataBehind = (peer: RawPeer, opcode: number): number => {
    const frames = peer.frames()
    const at = frames.findIndex((frame) => frame.opcode === opcode)
    return frames.slice(at).filter((frame) => frame.opcode < Frame.Opcode.close).length
  }

  /** Of what waited, no more than a burst and a message had become bytes already. */
  const most = (10 * mebibyte) / size - 3

  describe(`${name}: control frames overtake 10 MiB that wait`, () => {
    withPeer(roomy)("a pong, which answers the latest ping", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const count = yield* pile(socket, 10 * mebibyte)
        yield* peer.sendFrames(Frame.ping("first"), Frame.ping("last"))
        yield* settle
        peer.flow.resume()
        const isPong = ({ opcode }: Frame.Frame) => opcode === Frame.Opcode.pong
        expect(String(Buffer.from((yield* peer.frame(isPong)).payload))).toBe("last")
        yield* peer.frame(({ payload }) => String(Buffer.from(payload.subarray(0, 9))).startsWith(`${count - 1}.`))
        expect(dataBehind(peer, Frame.Opcode.pong)).toBeGreaterThan(most)
        expect(numbersOf(peer)).toEqual(Array.from({ length: count }, (_, index) => index))
        yield* finish({ peer, socket })
      })
    )

    for (const [what, ping] of [
      ["ping", (socket: WebSocket.WebSocket) => socket.ping],
      ["sendPing", (socket: WebSocket.WebSocket) => socket.sendPing("now")]
    ] as const) {
      // Also where there is no room left.
      for (const options of [roomy, { sendBufferSize: 10 * mebibyte }]) {
        withPeer(options)(`${what}, with a buffer of ${options.sendBufferSize}`, ({ peer, socket }) =>
          Effect.gen(function* () {
            peer.flow.pause()
            yield* pile(socket, 10 * mebibyte)
            const pinging = yield* Effect.fork(Effect.asVoid(ping(socket)))
            yield* settle
            peer.flow.resume()
            const { payload } = yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.ping)
            yield* peer.sendFrames(Frame.pong(payload))
            yield* Fiber.join(pinging)
            yield* finish({ peer, socket })
            expect(dataBehind(peer, Frame.Opcode.ping)).toBeGreaterThan(most)
          })
        )
      }
    }

    withPeer({ sendBufferSize: 64 * 1024 })("but not without bound", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const filling = yield* Effect.fork(socket.send(new Uint8Array(12 * mebibyte)))
        yield* settle
        yield* Fiber.join(filling)
        const before = yield* socket.bufferedBytes
        const pings = yield* Effect.fork(Effect.forEach(Array.from({ length: 5000 }, String), socket.sendPing))
        yield* settle
        expect(pings.unsafePoll()).toBeNull()
        expect((yield* socket.bufferedBytes) - before).toBeLessThan(64 * 1024)
        peer.flow.resume()
        yield* Fiber.join(pings)
        yield* finish({ peer, socket })
        const sent = peer
          .frames()
          .flatMap(({ opcode, payload }) => (opcode === 9 ? [String(Buffer.from(payload))] : []))
        expect(sent).toEqual(Array.from({ length: 5000 }, String))
      })
    )
  })

  describe(`${name}: fragmentSize`, () => {
    const fragmentSize = 64 * 1024
    const content = (bytes: number) => new Uint8Array(pattern(bytes))

    withPeer({ fragmentSize })("cuts larger messages, and no smaller ones", ({ peer, socket }) =>
      Effect.gen(function* () {
        for (const bytes of [0, 1, fragmentSize, fragmentSize + 1, 2 * fragmentSize, 2 * fragmentSize + 1]) {
          yield* socket.send(content(bytes))
        }
        yield* socket.send("end")
        yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.text)
        const shapes = peer.frames().map(({ fin, opcode, payload }) => `${opcode}${fin ? "." : ""} ${payload.length}`)
        const [whole, begin, middle, last] = ["2.", "2", "0", "0."]
        expect(shapes).toEqual([
          `${whole} 0`,
          `${whole} 1`,
          `${whole} ${fragmentSize}`,
          `${begin} ${fragmentSize}`,
          `${last} 1`,
          `${begin} ${fragmentSize}`,
          `${last} ${fragmentSize}`,
          `${begin} ${fragmentSize}`,
          `${middle} ${fragmentSize}`,
          `${last} 1`,
          "1. 3"
        ])
        yield* finish({ peer, socket })
      })
    )

    withPeer({ fragmentSize })("lets a pong go between the fragments of one", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const large = content(24 * mebibyte)
        yield* socket.send(large)
        yield* settle
        // What isn't cut yet counts as well.
        expect(yield* socket.bufferedBytes).toBeGreaterThan(8 * mebibyte)
        const next = yield* Effect.fork(socket.send("next"))
        yield* peer.sendFrames(Frame.ping("hurry"))
        yield* settle
        expect(next.unsafePoll()).toBeNull()
        peer.flow.resume()
        yield* Fiber.join(next)
        yield* peer.frame(({ opcode }) => opcode === Frame.Opcode.text)
        expect(dataBehind(peer, Frame.Opcode.pong)).toBeGreaterThan(100)
        const data = peer.frames().filter(({ opcode }) => opcode < Frame.Opcode.close)
        expect(data.findIndex(({ fin }) => fin)).toBe(data.length - 2)
        const joined = Buffer.concat(data.slice(0, -1).map(({ payload }) => payload))
        expect(joined.equals(large)).toBe(true)
        yield* finish({ peer, socket })
      })
    )

    withPeer({ fragmentSize: 10 })("may cut text inside of a code point", ({ peer, socket }) =>
      Effect.gen(function* () {
        const text = "a€😀é".repeat(7)
        yield* socket.send(text)
        const isLast = ({ fin }: Frame.Frame) => fin
        yield* peer.frame(isLast)
        expect(peer.frames().length).toBe(7)
        expect(Buffer.concat(peer.frames().map(({ payload }) => payload)).toString()).toBe(text)
        yield* finish({ peer, socket })
      })
    )
  })

  describe(`${name}: a Close comes behind all that was accepted`, () => {
    /** The peer reads on, and gets all of it, then the Close. */
    const getsAll = (peer: RawPeer, count: number, code: number | undefined) =>
      Effect.gen(function* () {
        peer.flow.resume()
        if (code === undefined) yield* peer.ended
        else expect(yield* peer.closeCode).toBe(code)
        expect(numbersOf(peer)).toEqual(Array.from({ length: count }, (_, index) => index))
        expect(peer.frames().at(-1)?.opcode).toBe(code === undefined ? Frame.Opcode.text : Frame.Opcode.close)
      })

    for (const [what, code, close] of [
      ["close", 4000, ({ socket }: Joined) => socket.close(4000)],
      ["a Close as a frame", 4000, ({ socket }: Joined) => socket.sendFrame(Frame.close(4000))],
      ["the answer to the peer's", 4001, ({ peer }: Joined) => peer.sendFrames(Frame.close(4001))],
      ["the peer's FIN", undefined, ({ peer }: Joined) => peer.end]
    ] as const) {
      withPeer(roomy)(`for ${what}`, ({ peer, socket }) =>
        Effect.gen(function* () {
          peer.flow.pause()
          const count = yield* pile(socket, 2 * mebibyte)
          const closing = yield* Effect.fork(close({ peer, socket }))
          yield* settle
          yield* getsAll(peer, count, code)
          if (code === 4000) yield* peer.sendFrames(Frame.close(4000))
          yield* peer.end
          yield* Fiber.join(closing)
          yield* Effect.exit(socket.closed)
        })
      )
    }

    test(
      "at the end of a client's scope",
      Effect.gen(function* () {
        const server = yield* rawServer()
        const scope = yield* Scope.make()
        const connecting = yield* Effect.fork(Scope.extend(WebSocket.connect(server.url, roomy), scope))
        const peer = yield* upgradedServer(server)
        const socket = yield* Fiber.join(connecting)
        peer.flow.pause()
        const count = yield* pile(socket, 2 * mebibyte)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* settle
        yield* getsAll(peer, count, 1000)
        yield* peer.sendFrames(Frame.close(1000))
        yield* peer.end
        yield* Fiber.join(closing)
      })
    )

    for (const [what, code] of [
      ["a handler", 1000],
      ["a server", 1001]
    ] as const) {
      test(
        `at the end of ${what}`,
        Effect.gen(function* () {
          const { end, server, shutdown, socket: accepted } = yield* serverWith({ ...roomy, drainTimeout: "1 minute" })
          const peer = yield* upgradedClient(server.address)
          const socket = yield* accepted
          peer.flow.pause()
          const count = yield* pile(socket, 2 * mebibyte)
          const closing = yield* Effect.fork(code === 1000 ? end(Exit.void) : shutdown)
          yield* settle
          yield* getsAll(peer, count, code)
          yield* peer.sendFrames(Frame.close(code))
          yield* peer.end
          yield* socket.closed
          yield* end(Exit.void)
          yield* Fiber.join(closing)
        })
      )
    }

    withPeer(roomy)("but not for a violation, which drops it", ({ peer, socket }) =>
      Effect.gen(function* () {
        peer.flow.pause()
        const count = yield* pile(socket, 4 * mebibyte)
        const failing = yield* Deferred.make<void>()
        yield* Effect.fork(Effect.ensuring(socket.receive, Deferred.succeed(failing, undefined)))
        yield* peer.sendFrames({ ...Frame.text("a bit of nobody's"), rsv: 2 })
        yield* Deferred.await(failing)
        peer.flow.resume()
        expect(yield* peer.closeCode).toBe(1002)
        const numbers = numbersOf(peer)
        expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => index))
        expect(numbers.length).toBeLessThanOrEqual(count - (4 * mebibyte) / size + 2)
        yield* peer.end
        expect(yield* Effect.flip(socket.closed)).toMatchObject({ _tag: "ProtocolError", closeCode: 1002 })
      })
    )
  })
}

type Joined = Omit<WithPeer, "reads">
