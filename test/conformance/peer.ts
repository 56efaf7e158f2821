// The other end of a connection, which writes literal bytes and reads what comes.

import { connect, createServer, type Server, type Socket } from "node:net"
import { Context, Effect, Layer, Queue, type Scope } from "effect"
import type { Flow } from "effect-websocket/Flow"
import { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"

/** How what a peer sends is cut. */
export type Cut = "whole" | "byte by byte"

interface Transport {
  readonly write: (bytes: Uint8Array) => void
  readonly end: () => void
  readonly reset: Effect.Effect<void>
  readonly destroy: () => void
}

/** Lets everything that is ready happen, several rounds of the event loop. */
export const settle: Effect.Effect<void> = Effect.async<void>((resume) => {
  let rounds = 8
  const next = () => (rounds-- === 0 ? resume(Effect.void) : setImmediate(next))
  next()
})

// A watchdog of the machine's clock, whatever clock the test runs on: it names what is missing
// where a test would otherwise hang.
const patience = 8000

// Of a long frame only the header and the end are sent byte by byte.
const slowBytes = 160

export class Peer {
  private readonly chunks: Array<Uint8Array> = []
  private readonly watchers = new Set<() => void>()
  size = 0
  ended = false
  closed = false

  constructor(private readonly transport: Transport) {}

  readonly onData = (bytes: Uint8Array): void => {
    this.chunks.push(Uint8Array.from(bytes))
    this.size += bytes.length
    this.look()
  }
  readonly onEnd = (): void => {
    this.ended = true
    this.look()
  }
  readonly onClose = (): void => {
    this.closed = true
    this.look()
  }

  /** All that came. */
  received(): Buffer {
    return Buffer.concat(this.chunks)
  }

  /** Waits until the condition holds; fails if it can't any more, or takes too long. */
  until(condition: () => boolean, what: string): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      const settled = (result: Effect.Effect<void>) => {
        clearTimeout(timer)
        this.watchers.delete(look)
        resume(result)
      }
      const look = () => {
        if (condition()) settled(Effect.void)
        else if (this.closed) settled(this.missing(what, "TCP is closed"))
      }
      const timer = setTimeout(() => settled(this.missing(what, "nothing more comes")), patience)
      this.watchers.add(look)
      look()
      return Effect.sync(() => clearTimeout(timer))
    })
  }

  private missing(what: string, why: string): Effect.Effect<never> {
    const { ended, size } = this
    const end = this.received().subarray(-200)
    return Effect.dieMessage(
      `${why}, and there was no ${what}; ${size} bytes came${ended ? " and FIN" : ""}: ${end.toString("hex")} ${end.toString("latin1")}`
    )
  }

  /** Sends bytes; `beforeLast` runs when all but the last are sent, if they are sent one by one. */
  send(bytes: Uint8Array, cut: Cut, beforeLast: Effect.Effect<void> = Effect.void): Effect.Effect<void> {
    if (bytes.length === 0) return Effect.void
    if (cut === "whole") return Effect.sync(() => this.transport.write(bytes.slice()))
    const { length } = bytes
    const first = Math.min(slowBytes, length)
    const last = Math.max(first, length - slowBytes)
    const middle = bytes.slice(first, last)
    const pieces = [
      ...slowly(bytes.subarray(0, first)),
      ...(middle.length > 0 ? [middle] : []),
      ...slowly(bytes.subarray(last))
    ]
    const end = pieces.length - 1
    return Effect.zipRight(this.inTurns(pieces.slice(0, end)), beforeLast).pipe(
      Effect.zipRight(this.inTurns(pieces.slice(end)))
    )
  }

  /** Writes each piece in a turn of the event loop of its own. */
  private inTurns(pieces: ReadonlyArray<Uint8Array>): Effect.Effect<void> {
    return Effect.async((resume) => {
      let index = 0
      const next = () => {
        const piece = pieces[index++]
        if (piece === undefined) return resume(Effect.void)
        this.transport.write(piece)
        setImmediate(next)
      }
      next()
    })
  }

  readonly end = Effect.sync(() => this.transport.end())
  readonly reset = Effect.suspend(() => this.transport.reset)
  readonly destroy = Effect.sync(() => this.transport.destroy())

  private look(): void {
    for (const watcher of [...this.watchers]) watcher()
  }
}

const slowly = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => Array.from(bytes, (byte) => Uint8Array.of(byte))

/** Raw peers, on the network that the library runs on. */
export class RawNetwork extends Context.Tag("test/RawNetwork")<
  RawNetwork,
  {
    /** Connects to a port of 127.0.0.1. */
    readonly dial: (port: number) => Effect.Effect<Peer, never, Scope.Scope>
    /** Listens on a port of 127.0.0.1; `next` is the next connection. */
    readonly listen: Effect.Effect<
      { readonly port: number; readonly next: Effect.Effect<Peer, never, Scope.Scope> },
      never,
      Scope.Scope
    >
  }
>() {}

const released = <E>(peer: Effect.Effect<Peer, E>) =>
  Effect.acquireRelease(Effect.orDie(peer), ({ destroy }) => Effect.zipRight(destroy, settle))

const overFlow = (flow: Flow, reset: Effect.Effect<void>): Peer => {
  const peer = new Peer({
    write: (bytes) => void flow.write(bytes, false),
    end: () => flow.end(),
    reset,
    destroy: () => flow.destroy()
  })
  flow.attach({ data: peer.onData, end: peer.onEnd, drain() {}, close: peer.onClose })
  flow.resume()
  return peer
}

const flowPeers = Layer.effect(
  RawNetwork,
  Effect.gen(function* () {
    const { connect, listen } = yield* Network
    const { reset } = yield* TestNetwork.TestNetwork
    const address = (port: number) => ({ _tag: "TcpAddress", hostname: "127.0.0.1", port }) as const
    return {
      dial: (port) =>
        connect({ address: address(port) }).pipe(
          Effect.map((flow) => overFlow(flow, reset)),
          Effect.tap(({ destroy }) => Effect.addFinalizer(() => Effect.zipRight(destroy, settle))),
          Effect.orDie
        ),
      listen: Effect.gen(function* () {
        const flows = yield* Queue.unbounded<Flow>()
        const listener = yield* Effect.orDie(
          listen({ address: address(0) }, (flow) => void Queue.unsafeOffer(flows, flow))
        )
        return {
          port: listener.address._tag === "TcpAddress" ? listener.address.port : 0,
          next: released(Effect.map(Queue.take(flows), (flow) => overFlow(flow, reset)))
        }
      })
    }
  })
)

const overSocket = (socket: Socket): Peer => {
  socket.setNoDelay(true)
  const peer = new Peer({
    write: (bytes) => void socket.write(bytes),
    end: () => void socket.end(),
    reset: Effect.sync(() => void socket.resetAndDestroy()),
    destroy: () => void socket.destroy()
  })
  // An error is followed by a close, which is all that counts here.
  socket
    .on("data", peer.onData)
    .on("end", peer.onEnd)
    .on("close", peer.onClose)
    .on("error", () => {})
  return peer
}

// Sockets of the platform itself, so that no adapter of ours stands on both ends.
const socketPeers = Layer.succeed(RawNetwork, {
  dial: (port) =>
    released(
      Effect.async<Peer>((resume) => {
        const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () =>
          resume(Effect.sync(() => overSocket(socket)))
        )
      })
    ),
  listen: Effect.gen(function* () {
    const sockets = yield* Queue.unbounded<Socket>()
    const server = yield* Effect.acquireRelease(
      Effect.async<Server>((resume) => {
        const listening = createServer({ allowHalfOpen: true }, (socket) => void Queue.unsafeOffer(sockets, socket))
        listening.listen(0, "127.0.0.1", () => resume(Effect.succeed(listening)))
      }),
      (listening) => Effect.sync(() => listening.close())
    )
    const address = server.address()
    return {
      port: typeof address === "object" && address !== null ? address.port : 0,
      next: released(Effect.map(Queue.take(sockets), overSocket))
    }
  })
})

/** A network that the suite runs on. */
export interface Net {
  readonly name: string
  readonly layer: Layer.Layer<Network | RawNetwork>
}

export const inMemory: Net = {
  name: "in memory",
  layer: Layer.provideMerge(flowPeers, TestNetwork.layer)
}

export const overTcp: Net = {
  name: "over TCP",
  layer: Layer.merge(socketPeers, NodeNetwork.layer)
}
