import { describe } from "@effect/vitest"
import { Chunk, Deferred, Effect, Exit, Fiber, type Layer, Option, Queue, Scope, Stream } from "effect"
import type { Network } from "effect-websocket/Network"
import * as NodeDuplex from "effect-websocket/NodeDuplex"
import type * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketShapes from "effect-websocket/WebSocketShapes"
import { expect } from "vitest"
import { settle } from "../fixtures/heard.js"
import { joined } from "../fixtures/joined.js"
import { testsOn } from "../fixtures/leaks.js"

/** A connection in one of its shapes, as the laws see it. */
interface Open {
  /** Completes when the shape lets its producer go on. */
  readonly send: (message: WebSocket.Message) => Effect.Effect<void, unknown>
  /** The next message; undefined at the end. */
  readonly take: Effect.Effect<WebSocket.Message | undefined, unknown>
  /** The producer has no more. */
  readonly end: Effect.Effect<unknown, unknown>
  /** The producer fails. */
  readonly fail: (error: Error) => Effect.Effect<unknown, unknown>
  /** The consumer takes no more. */
  readonly leave: Effect.Effect<unknown, unknown>
}

interface Shape {
  readonly name: string
  readonly open: (socket: WebSocket.WebSocket) => Effect.Effect<Open, never, Scope.Scope>
  /** The code that the connection is closed with, if it is. */
  readonly closes: {
    readonly end?: number
    readonly fail?: number
    readonly leave?: number
  }
  /** Its sends can't fail: what ends the connection is told to the consumer alone. */
  readonly tellsConsumer?: boolean
}

/** Takes elements of a stream one by one. The first pull is made at once, for a channel does nothing before. */
const taking = <E>(stream: Stream.Stream<WebSocket.Message, E>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(yield* Effect.scope, { _tag: "Sequential" })
    const pull = yield* Scope.extend(Stream.toPull(stream), scope)
    let ahead: Fiber.Fiber<Chunk.Chunk<WebSocket.Message>, Option.Option<E>> | undefined = yield* Effect.forkIn(
      pull,
      scope
    )
    let held: ReadonlyArray<WebSocket.Message> = []
    const take: Effect.Effect<WebSocket.Message | undefined, E> = Effect.suspend(() => {
      const [first, ...rest] = held
      held = rest
      if (first !== undefined) return Effect.succeed(first)
      const pulling = ahead === undefined ? pull : Fiber.join(ahead)
      ahead = undefined
      return Effect.matchEffect(pulling, {
        onFailure: Option.match({ onNone: () => Effect.succeed(undefined), onSome: Effect.fail }),
        onSuccess: (chunk) => {
          held = Chunk.toReadonlyArray(chunk)
          return take
        }
      })
    })
    return { take, leave: Scope.close(scope, Exit.void) }
  })

interface Fed {
  readonly message: Exit.Exit<WebSocket.Message, Option.Option<Error>>
  readonly accepted: Deferred.Deferred<void>
}

/** A stream whose elements the test gives: each is accepted when the next one is pulled. */
const feeding = Effect.gen(function* () {
  const queue = yield* Queue.unbounded<Fed>()
  let last: Deferred.Deferred<void> | undefined
  const stream = Stream.repeatEffectOption(
    Effect.suspend(() => {
      if (last !== undefined) Deferred.unsafeDone(last, Exit.void)
      return Effect.flatMap(Queue.take(queue), ({ accepted, message }) => {
        last = accepted
        return message
      })
    })
  )
  const offer = (message: Fed["message"]) =>
    Effect.tap(Deferred.make<void>(), (accepted) => Queue.offer(queue, { message, accepted }))
  return {
    stream,
    send: (message: WebSocket.Message) => Effect.flatMap(offer(Exit.succeed(message)), Deferred.await),
    end: offer(Exit.fail(Option.none())),
    fail: (error: Error) => offer(Exit.fail(Option.some(error)))
  }
})

const receiveLoop: Shape = {
  name: "send and receive",
  closes: {},
  open: (socket) =>
    Effect.succeed({
      send: (message) => Effect.asVoid(socket.send(message)),
      take: Effect.catchIf(
        socket.receive,
        (error) => error._tag === "ConnectionClosed" && [1000, 1001, 1005].includes(error.code),
        () => Effect.succeed(undefined)
      ),
      end: Effect.void,
      fail: () => Effect.void,
      leave: Effect.void
    })
}

const run: Shape = {
  name: "run",
  closes: {},
  open: (socket) =>
    Effect.gen(function* () {
      const asked = yield* Queue.unbounded<Deferred.Deferred<WebSocket.Message | undefined, unknown>>()
      const running = yield* Effect.forkScoped(
        Effect.exit(
          socket.run((message) =>
            Effect.flatMap(Queue.take(asked), (answer) => Effect.asVoid(Deferred.succeed(answer, message)))
          )
        )
      )
      return {
        send: (message) => Effect.asVoid(socket.send(message)),
        take: Effect.flatMap(Deferred.make<WebSocket.Message | undefined, unknown>(), (answer) =>
          Effect.zipRight(
            Queue.offer(asked, answer),
            Effect.raceFirst(
              Deferred.await(answer),
              Effect.flatMap(Fiber.join(running), (exit) => Effect.as(exit, undefined))
            )
          )
        ),
        end: Effect.void,
        fail: () => Effect.void,
        leave: Fiber.interrupt(running)
      }
    })
}

const streamAndSink: Shape = {
  name: "messages and sink",
  closes: {},
  open: (socket) =>
    Effect.gen(function* () {
      const feed = yield* feeding
      const running = yield* Effect.forkScoped(Effect.exit(Stream.run(feed.stream, socket.sink)))
      return {
        ...feed,
        ...(yield* taking(socket.messages)),
        send: (message) =>
          Effect.raceFirst(
            feed.send(message),
            Effect.flatMap(Fiber.join(running), (exit) => exit)
          )
      }
    })
}

const channel: Shape = {
  name: "toChannel",
  closes: { fail: 1011 },
  tellsConsumer: true,
  open: (socket) =>
    Effect.gen(function* () {
      const feed = yield* feeding
      const output = Stream.pipeThroughChannel(feed.stream, WebSocketShapes.toChannel<Error>(socket))
      return { ...feed, ...(yield* taking(output)) }
    })
}

const attempt = <A>(promise: () => PromiseLike<A>): Effect.Effect<A, unknown> =>
  Effect.tryPromise({ try: promise, catch: (error) => error })

const web: Shape = {
  name: "toWebStreams",
  closes: { end: 1000, fail: 1011, leave: 1000 },
  open: (socket) =>
    Effect.map(WebSocketShapes.toWebStreams(socket), ({ readable, writable }) => {
      const reader = readable.getReader()
      const writer = writable.getWriter()
      return {
        send: (message) => attempt(() => writer.ready.then(() => writer.write(message))),
        take: Effect.map(
          attempt(() => reader.read()),
          ({ value }) => value
        ),
        end: attempt(() => writer.close()),
        fail: (error) => attempt(() => writer.abort(error)),
        leave: attempt(() => reader.cancel())
      }
    })
}

const duplex: Shape = {
  name: "a Node Duplex of messages",
  closes: { end: 1000, fail: 1011, leave: 1000 },
  open: (socket) =>
    Effect.map(NodeDuplex.fromWebSocket(socket, { objectMode: true }), (stream) => {
      const iterator: AsyncIterator<WebSocket.Message> = stream[Symbol.asyncIterator]()
      const closed = Effect.async<void>((resume) => {
        stream.once("close", () => resume(Effect.void))
      })
      return {
        send: (message) =>
          Effect.async<void, unknown>((resume) => {
            stream.write(message, (error) => resume(error ? Effect.fail(error) : Effect.void))
          }),
        take: Effect.map(
          attempt(() => iterator.next()),
          ({ done, value }) => (done === true ? undefined : value)
        ),
        end: Effect.async<void>((resume) => {
          stream.end(() => resume(Effect.void))
        }),
        fail: (error) =>
          Effect.zipRight(
            Effect.sync(() => stream.destroy(error)),
            closed
          ),
        leave: Effect.zipRight(
          Effect.sync(() => stream.destroy()),
          closed
        )
      }
    })
}

/** All shapes but those that keep no messages apart. */
const shapes: ReadonlyArray<Shape> = [receiveLoop, run, streamAndSink, channel, web, duplex]

const size = 1024 * 1024

const large = (index: number) => Buffer.alloc(size, index)

/** Waits until a number has not grown for some turns. */
const still = (count: () => number) =>
  Effect.gen(function* () {
    for (let before = -1, rounds = 0; rounds < 20; rounds++) {
      if (count() !== before) rounds = 0
      before = count()
      yield* settle
    }
  })

/**
 * What holds for each shape of a connection. `many` messages of 1 MiB are sent to somebody who takes
 * none, and fewer than `held` may leave.
 */
export const shapesSuite = (
  name: string,
  network: Layer.Layer<Network>,
  side: "client" | "server",
  { held, many }: { readonly held: number; readonly many: number }
): void => {
  const test = testsOn(network)

  for (const shape of shapes) {
    const opened = (options: { readonly maxPayloadSize?: number } = {}) =>
      Effect.gen(function* () {
        const both = yield* joined({ [side]: options })
        const [socket, peer] = side === "client" ? [both.client, both.server] : [both.server, both.client]
        return { socket, peer, ...(yield* shape.open(socket)) }
      })

    const takeAll = ({ take }: Open) =>
      Effect.gen(function* () {
        const all: Array<WebSocket.Message> = []
        for (let next = yield* take; next !== undefined; next = yield* take) all.push(next)
        return all
      })

    describe(`${name}: ${shape.name}`, () => {
      test(
        "carries messages both ways, in order, text as text and bytes as bytes",
        Effect.gen(function* () {
          const { peer, send, take } = yield* opened()
          const sent = Array.from({ length: 300 }, (_, index) => (index % 3 === 0 ? Buffer.from([index]) : `${index}`))
          sent.push("", "last")
          const sending = yield* Effect.fork(Effect.forEach(sent, (message) => send(message)))
          const theirs = yield* Effect.fork(Effect.forEach(sent, (message) => peer.send(message)))
          const alike = (message: WebSocket.Message | undefined, index: number) => {
            const expected = sent[index]
            expect(typeof message).toBe(typeof expected)
            expect(Buffer.from(message ?? "missing")).toEqual(Buffer.from(expected ?? "missing"))
          }
          for (const index of sent.keys()) alike(yield* peer.receive, index)
          for (const index of sent.keys()) alike(yield* take, index)
          yield* Fiber.join(sending)
          yield* Fiber.join(theirs)
        })
      )

      test(
        "holds its producer back while the peer takes nothing, and lets it go on when the peer does",
        Effect.gen(function* () {
          const { peer, send } = yield* opened()
          let accepted = 0
          const sending = yield* Effect.fork(
            Effect.forEach(
              Array.from({ length: many }, (_, index) => index),
              (index) => Effect.tap(send(large(index)), () => void accepted++)
            )
          )
          yield* still(() => accepted)
          expect(sending.unsafePoll()).toBeNull()
          expect(accepted).toBeLessThan(held)
          for (let index = 0; index < many; index++) expect((yield* peer.receive)[0]).toBe(index)
          yield* Fiber.join(sending)
        })
      )

      test(
        "holds the peer back while nobody takes any more, and loses nothing",
        Effect.gen(function* () {
          const { peer, take } = yield* opened()
          yield* peer.send("taken")
          expect(yield* take).toBe("taken")
          let accepted = 0
          const sending = yield* Effect.fork(
            Effect.forEach(
              Array.from({ length: many }, (_, index) => index),
              (index) => Effect.tap(peer.send(large(index)), () => void accepted++)
            )
          )
          yield* still(() => accepted)
          expect(sending.unsafePoll()).toBeNull()
          expect(accepted).toBeLessThan(held)
          for (let index = 0; index < many; index++) expect((yield* take)?.[0]).toBe(index)
          yield* Fiber.join(sending)
        })
      )

      for (const code of [1000, 1001, 1005]) {
        test(
          `ends when the peer closes with ${code}, behind what it sent`,
          Effect.gen(function* () {
            const open = yield* opened()
            yield* open.peer.sendAll(["1", "2", "3"])
            yield* code === 1005
              ? open.peer.sendFrame({ opcode: 8, rsv: 0, fin: true, payload: new Uint8Array(0) })
              : open.peer.close(code)
            expect(yield* takeAll(open)).toEqual(["1", "2", "3"])
          })
        )
      }

      test(
        "fails with the typed error when the connection ends otherwise, behind what was received",
        Effect.gen(function* () {
          const { peer, take } = yield* opened()
          yield* peer.sendAll(["1", "2"])
          yield* peer.close(4000, "enough")
          expect([yield* take, yield* take]).toEqual(["1", "2"])
          const failure = { _tag: "ConnectionClosed", code: 4000, reason: "enough" }
          expect(yield* Effect.flip(take)).toMatchObject(failure)
          const other = yield* opened({ maxPayloadSize: 10 })
          yield* other.peer.sendAll(["small", "larger than that"])
          expect(yield* other.take).toBe("small")
          expect(yield* Effect.flip(other.take)).toMatchObject({ _tag: "PayloadTooLarge", limit: 10, size: 16 })
        })
      )

      test(
        "tells whoever waits of the end, be it to send or to take",
        Effect.gen(function* () {
          const sender = yield* opened()
          const sending = yield* Effect.fork(Effect.forever(sender.send(large(1))))
          yield* Effect.repeat(Effect.zipRight(settle, sender.socket.bufferedBytes), { until: (bytes) => bytes > 0 })
          const closing = yield* Effect.fork(sender.peer.close(4000))
          const told = shape.tellsConsumer === true ? sender.take : Fiber.join(sending)
          expect(yield* Effect.flip(told)).toMatchObject({ _tag: "ConnectionClosed", code: 4000 })
          yield* Fiber.interrupt(sending)
          yield* Fiber.join(closing)
          const taker = yield* opened()
          const taking = yield* Effect.fork(taker.take)
          yield* settle
          yield* taker.peer.close(4001)
          expect(yield* Effect.flip(Fiber.join(taking))).toMatchObject({ _tag: "ConnectionClosed", code: 4001 })
        })
      )

      const leavesOpen = ({ peer, take }: Open & { readonly peer: WebSocket.WebSocket }) =>
        Effect.gen(function* () {
          yield* peer.send("still there")
          expect(yield* take).toBe("still there")
          expect(yield* peer.isOpen).toBe(true)
        })

      const closesWith = ({ peer }: { readonly peer: WebSocket.WebSocket }, code: number) =>
        Effect.gen(function* () {
          expect(yield* peer.closed).toMatchObject({ code, initiator: "remote", clean: true })
        })

      const { end, fail, leave } = shape.closes

      test(
        end === undefined ? "closes nothing when its producer ends" : `closes with ${end} when its producer ends`,
        Effect.gen(function* () {
          const open = yield* opened()
          yield* open.send("before")
          // What was sent leaves before the end.
          const ending = yield* Effect.fork(open.end)
          expect(yield* open.peer.receive).toBe("before")
          if (end === undefined) yield* leavesOpen(open)
          else {
            yield* closesWith(open, end)
            expect(yield* takeAll(open)).toEqual([])
          }
          yield* Fiber.join(ending)
        })
      )

      test(
        fail === undefined ? "closes nothing when its producer fails" : `closes with ${fail} when its producer fails`,
        Effect.gen(function* () {
          const open = yield* opened()
          yield* open.send("before")
          const failing = yield* Effect.fork(open.fail(new Error("lost")))
          expect(yield* open.peer.receive).toBe("before")
          yield* fail === undefined ? leavesOpen(open) : closesWith(open, fail)
          yield* Fiber.join(failing)
        })
      )

      test(
        leave === undefined
          ? "leaves the connection to others when its consumer leaves"
          : `closes with ${leave} when its consumer leaves`,
        Effect.gen(function* () {
          const open = yield* opened()
          yield* open.peer.send("taken")
          expect(yield* open.take).toBe("taken")
          const leaving = yield* Effect.fork(open.leave)
          if (leave === undefined) {
            yield* Fiber.join(leaving)
            yield* leavesOpen({ ...open, take: open.socket.receive })
          } else {
            yield* closesWith(open, leave)
            yield* Fiber.join(leaving)
          }
        })
      )
    })
  }
}
