// From a callback of a socket to a fiber that handles messages: what a wake-up costs, and what each message beside.

import { Chunk, Effect, Mailbox, Queue, Stream } from "effect"
import type { Part, Work } from "./compare.js"

const batches = [1, 32]

/** Handles a message, synchronously, and knows when all of a batch have been. */
class Counter {
  private left = 0
  private done = () => {}

  expect(messages: number): Promise<void> {
    this.left = messages
    return new Promise((resolve) => {
      this.done = resolve
    })
  }

  readonly handle = (): void => {
    if (--this.left === 0) this.done()
  }
}

/** What a consumer is: how to give it a batch. */
type Consumer = (counter: Counter) => Promise<(batch: ReadonlyArray<number>) => void>

const fed = (consumer: Consumer): ReadonlyArray<Work> =>
  batches.map((size) => {
    const batch = Array.from({ length: size }, (_, index) => index)
    const counter = new Counter()
    const started = consumer(counter)
    return async (times) => {
      const deliver = await started
      for (let sent = 0; sent < times; sent += size) {
        const all = counter.expect(size)
        deliver(batch)
        await all
      }
    }
  })

/** Messages, and who waits for them: what a connection's inbox is. */
class Inbox {
  private messages: Array<number> = []
  private wake: (() => void) | undefined

  readonly deliver = (batch: ReadonlyArray<number>): void => {
    this.messages.push(...batch)
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  take(): number | undefined {
    return this.messages.shift()
  }

  takeAll(): ReadonlyArray<number> | undefined {
    if (this.messages.length === 0) return undefined
    const all = this.messages
    this.messages = []
    return all
  }

  readonly readable: Effect.Effect<void> = Effect.async((resume) => {
    this.wake = () => resume(Effect.void)
  })

  readonly receive: Effect.Effect<number> = Effect.suspend(() => {
    const message = this.take()
    return message === undefined ? Effect.zipRight(this.readable, this.receive) : Effect.succeed(message)
  })

  readonly receiveAll: Effect.Effect<ReadonlyArray<number>> = Effect.suspend(() => {
    const all = this.takeAll()
    return all === undefined ? Effect.zipRight(this.readable, this.receiveAll) : Effect.succeed(all)
  })

  readonly chunks: Stream.Stream<number> = Stream.repeatEffectChunk(Effect.map(this.receiveAll, Chunk.unsafeFromArray))
}

/** A fiber that lives as long as the process. */
const living = (run: (inbox: Inbox, counter: Counter) => Effect.Effect<unknown>): Consumer => {
  return async (counter) => {
    const inbox = new Inbox()
    Effect.runFork(run(inbox, counter))
    await Effect.runPromise(Effect.yieldNow())
    return inbox.deliver
  }
}

const handled = (counter: Counter): Effect.Effect<void> => Effect.sync(counter.handle)

export const hops: ReadonlyArray<Part> = [
  {
    title: "from a callback to a handler, for each message",
    why: "one wake-up for a read, not for a message; what comes with it is handled in the same run of the fiber. A promise of the bench is in all of them",
    columns: batches.map((size) => `${size} in a read`),
    alternatives: {
      "plain callback": fed(async (counter) => (batch) => {
        for (let index = 0; index < batch.length; index++) counter.handle()
      }),
      "fiber that waits, whileLoop *": fed(
        living((inbox, counter) => {
          const handle = handled(counter)
          return Effect.whileLoop({
            while: () => true,
            body: (): Effect.Effect<void> => (inbox.take() === undefined ? inbox.readable : handle),
            step: () => {}
          })
        })
      ),
      "Effect.gen, receive in a loop": fed(
        living((inbox, counter) =>
          Effect.gen(function* () {
            while (true) {
              yield* inbox.receive
              yield* handled(counter)
            }
          })
        )
      ),
      "Effect.gen, an array for a read": fed(
        living((inbox, counter) =>
          Effect.gen(function* () {
            while (true) for (const _ of yield* inbox.receiveAll) counter.handle()
          })
        )
      ),
      "Effect.forever, which yields": fed(
        living((inbox, counter) => Effect.forever(Effect.map(inbox.receiveAll, (all) => all.forEach(counter.handle))))
      ),
      "Stream of chunks": fed(
        living((inbox, counter) =>
          Stream.runForEachChunk(inbox.chunks, (chunk) => Effect.sync(() => Chunk.forEach(chunk, counter.handle)))
        )
      ),
      "Stream of elements": fed(living((inbox, counter) => Stream.runForEach(inbox.chunks, () => handled(counter)))),
      "new fiber for a read, started at once": fed(async (counter) => {
        const handle = handled(counter)
        return (batch) => {
          let index = 0
          const loop = Effect.whileLoop({ while: () => index++ < batch.length, body: () => handle, step: () => {} })
          Effect.runFork(loop, { immediate: true })
        }
      }),
      "new fiber for each message": fed(async (counter) => {
        const handle = handled(counter)
        return (batch) => {
          for (let index = 0; index < batch.length; index++) Effect.runFork(handle)
        }
      }),
      "Queue.unbounded": fed(async (counter) => {
        const queue = await Effect.runPromise(Queue.unbounded<number>())
        Effect.runFork(Effect.forever(Effect.zipRight(Queue.take(queue), handled(counter))))
        return (batch) => {
          for (const message of batch) queue.unsafeOffer(message)
        }
      }),
      "Mailbox, takeAll": fed(async (counter) => {
        const mailbox = await Effect.runPromise(Mailbox.make<number>())
        const consume = Effect.map(mailbox.takeAll, ([all]) => Chunk.forEach(all, counter.handle))
        Effect.runFork(Effect.forever(consume))
        return (batch) => void mailbox.unsafeOfferAll(batch)
      })
    }
  }
]
