/**
 * A network in memory, for tests: the same `Network`, without ports, without
 * waiting, and with faults on command.
 *
 * Bytes travel through microtasks, in an order that is the same in each run.
 * Latency passes on Effect's `Clock`, so that `TestClock.adjust` moves it, and
 * nothing else waits. Flow control is TCP's: each direction holds a bounded
 * number of bytes in flight, and a sender whose peer doesn't read sees `write`
 * answer `false`.
 *
 * @example
 * ```ts
 * import { it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Network, TestNetwork } from "effect-websocket"
 *
 * it.scoped("survives a reset", () =>
 *   Effect.gen(function*() {
 *     const { connect, listen } = yield* Network.Network
 *     const address = { _tag: "TcpAddress", hostname: "chat.example", port: 80 } as const
 *     yield* listen({ address }, (flow) => flow.write(new TextEncoder().encode("hello"), false))
 *     const flow = yield* connect({ address })
 *     const network = yield* TestNetwork.TestNetwork
 *     yield* network.reset // `flow` now hears `close` with an IoError
 *     flow.destroy()
 *   }).pipe(Effect.provide(TestNetwork.layer))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type Address, type Flow, formatAddress, withSecure } from "./Flow.js"
import * as memory from "./internal/memoryFlow.js"
import { type ConnectOptions, type Listener, type ListenOptions, Network } from "./Network.js"
import { ConnectError, HandshakeError, ListenError } from "./WebSocketError.js"

/**
 * How many bytes are in flight in one direction before the sender has to wait:
 * 64 KiB, the size of TCP's window without scaling. A real path holds more;
 * a test of backpressure wants it reached soon.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultCapacity = 65_536

/**
 * One direction of a connection.
 *
 * @since 0.1.0
 * @category models
 */
export type Direction = "toServer" | "toClient"

/**
 * How bytes that have arrived are cut into calls of `data`:
 *
 * - `"write"`: one call for each `write` of the sender (the default)
 * - `"coalesce"`: all that has arrived in one call
 * - a number: as many bytes at a time, the last time fewer
 * - a function: told how many bytes have arrived, it says how many the next call
 *   gets; see {@link randomSizes}
 *
 * A `write` larger than the room in flight is cut in any case.
 *
 * @since 0.1.0
 * @category models
 */
export type Fragmentation = memory.Fragmentation

/**
 * What a network does to the bytes it carries.
 *
 * @since 0.1.0
 * @category models
 */
export interface Conditions {
  /** How long bytes travel, one way, on Effect's `Clock`. `connect` takes twice as long. Default 0. */
  readonly latency?: Duration.DurationInput | undefined
  /** Default `"write"`. */
  readonly fragmentation?: Fragmentation | undefined
  /** Bytes in flight in each direction, at least 1. Default {@link defaultCapacity}. */
  readonly capacity?: number | undefined
}

/**
 * What a test can do to a connection, or to all connections of a network.
 *
 * @since 0.1.0
 * @category models
 */
export interface Controls {
  /** Changes the conditions that are given, and leaves the others. Bytes in flight arrive when they would have. */
  readonly set: (conditions: Conditions) => Effect.Effect<void>
  /** From now on nothing arrives in this direction, until `unstall`. The sender isn't told. */
  readonly stall: (direction: Direction) => Effect.Effect<void>
  /** Ends a `stall`: what was sent in the meantime arrives. */
  readonly unstall: (direction: Direction) => Effect.Effect<void>
  /** Breaks the connection: both flows close with `IoError` (`ECONNRESET`), and what was in flight is lost. */
  readonly reset: Effect.Effect<void>
  /** Sends the FIN in this direction, as if the sender had called `end`. */
  readonly halfClose: (direction: Direction) => Effect.Effect<void>
}

/**
 * A connection in memory, with both of its ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connection extends Controls {
  readonly client: Flow
  readonly server: Flow
  /** Which of the flows aren't closed yet. */
  readonly open: Effect.Effect<ReadonlyArray<"client" | "server">>
}

/**
 * The hand of the test on its network.
 *
 * The inherited {@link Controls} act on all open connections; `set`, `stall` and
 * `unstall` act also on those opened later.
 *
 * @since 0.1.0
 * @category tags
 */
export class TestNetwork extends Context.Tag("effect-websocket/TestNetwork")<
  TestNetwork,
  Controls & {
    /** The connections with at least one open flow, oldest first. Empty at the end of a test that leaks nothing. */
    readonly connections: Effect.Effect<ReadonlyArray<Connection>>
    /** Who listens. */
    readonly listeners: Effect.Effect<ReadonlyArray<Listener>>
  }
>() {}

/**
 * A network in memory, and the test's hand on it. Each build of the layer is a
 * network of its own; when its scope closes, what is open is destroyed.
 *
 * - Addresses are names: nothing is resolved. A listener on `0.0.0.0` or `::` is
 *   reached under every host name, any other one under its own. Port 0 chooses.
 * - Listening on a taken address fails with `ListenError` (`EADDRINUSE`), connecting
 *   where nobody listens with `ConnectError` (`tcp`, `ECONNREFUSED`).
 * - TLS options make flows `secure`, without cryptography. TLS to a listener without
 *   fails (`ConnectError`, `tls`); the reverse is hung up on. TLS `over` a flow is that
 *   flow, marked `secure`: whoever forwards it connects with TLS options, too.
 * - Destroying a flow with unread bytes resets the peer, and so does a peer's write
 *   to a destroyed flow, as with TCP.
 * - `upgrade` fails with `HandshakeError`: there is no HTTP server in memory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Network | TestNetwork> = Layer.scopedContext(
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Memory()),
      (network) => Effect.sync(() => network.shutdown())
    ),
    (network) =>
      Context.make(Network, {
        connect: network.connect,
        listen: network.listen,
        upgrade: () =>
          Effect.fail(new HandshakeError({ rule: "there is no HTTP server in a TestNetwork", address: "memory" }))
      }).pipe(
        Context.add(TestNetwork, {
          ...controls(() => network.wires, network.conditions),
          connections: Effect.sync(() => Array.from(network.wires, connection)),
          listeners: Effect.sync(() => Array.from(network.listening.values(), ({ listener }) => listener))
        })
      )
  )
)

/**
 * Two flows joined to each other, without a network; destroyed when the scope
 * closes. For tests of one connection.
 *
 * @since 0.1.0
 * @category constructors
 */
export const pair = (conditions: Conditions = {}): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Effect.clock, (clock) => unsafePair(conditions, clock)),
    ({ client, server }) =>
      Effect.sync(() => {
        client.destroy()
        server.destroy()
      })
  )

/**
 * The same as {@link pair} for tests without Effect: destroy both flows yourself.
 * Latency, if any, passes on `clock`, by default the real one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unsafePair = (conditions: Conditions = {}, clock: Clock.Clock = Clock.make()): Connection =>
  connection(
    new memory.Wire(
      clock,
      merge(calm, conditions),
      { client: { ...loopback, port: firstPort }, server: { ...loopback, port: 80 }, secure: false },
      () => {}
    )
  )

/**
 * Sizes for {@link Conditions.fragmentation} that look random and are the same
 * in each run with the same seed: mostly a few bytes, sometimes many.
 *
 * @since 0.1.0
 * @category constructors
 */
export const randomSizes = (seed: number): ((available: number) => number) => {
  let state = seed >>> 0
  return (available) => {
    // Mulberry32: 32 bits of state are enough to cut bytes at varied places.
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    const fraction = ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
    // The cube favours small pieces, where the decoder's edges are.
    return 1 + Math.floor(available * fraction ** 3)
  }
}

// --- the network

interface Listening {
  readonly listener: Listener
  readonly onFlow: (flow: Flow) => void
}

/** The conditions of a network: what its future wires begin with. */
interface Climate extends memory.Behaviour {
  stalled: Set<Direction>
}

const loopback = { _tag: "TcpAddress", hostname: "127.0.0.1" } as const

/** The first of the dynamic ports (RFC 6335 section 6). */
const firstPort = 49_152

const calm: memory.Behaviour = { latency: 0, fragmentation: "write", capacity: defaultCapacity }

const merge = (behaviour: memory.Behaviour, { capacity, fragmentation, latency }: Conditions): memory.Behaviour => ({
  latency: latency === undefined ? behaviour.latency : Duration.toMillis(latency),
  fragmentation: fragmentation ?? behaviour.fragmentation,
  capacity: capacity === undefined ? behaviour.capacity : Math.max(1, capacity)
})

class Memory {
  readonly listening = new Map<string, Listening>()
  readonly wires = new Set<memory.Wire>()
  readonly conditions: Climate = { ...calm, stalled: new Set() }
  private nextPort = firstPort

  readonly connect = (options: ConnectOptions): Effect.Effect<Flow, ConnectError, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.clock.pipe(
        Effect.flatMap((clock) => restore(this.dial(options, clock))),
        Effect.tap((flow) => Effect.addFinalizer(() => Effect.sync(() => flow.destroy())))
      )
    )

  readonly listen = (
    options: ListenOptions,
    onFlow: (flow: Flow) => void
  ): Effect.Effect<Listener, ListenError, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.suspend(() => {
        const address = this.named(options.address)
        const key = formatAddress(address)
        if (this.listening.has(key)) {
          const detail = "the address is taken by another listener of this TestNetwork (EADDRINUSE)"
          return Effect.fail(new ListenError({ address: key, detail, code: "EADDRINUSE" }))
        }
        const listener: Listener = { address, secure: options.tls !== undefined }
        this.listening.set(key, { listener, onFlow })
        return Effect.succeed(listener)
      }),
      ({ address }) => Effect.sync(() => this.listening.delete(formatAddress(address)))
    )

  shutdown(): void {
    this.listening.clear()
    for (const { client, server } of [...this.wires]) {
      client.destroy()
      server.destroy()
    }
  }

  /** One round trip, then a turn of its own, from which the listener hears of its flow. */
  private dial(options: ConnectOptions, clock: Clock.Clock): Effect.Effect<Flow, ConnectError> {
    const { over } = options
    if (over !== undefined) return Effect.sync(() => (options.tls === undefined ? over : withSecure(over, true)))
    const dialled = Effect.async<Flow, ConnectError>((resume) => {
      let interrupted = false
      let client: Flow | undefined
      queueMicrotask(() => {
        if (interrupted) return
        const listening = this.find(options.address)
        if (listening === undefined || (options.tls !== undefined && !listening.listener.secure)) {
          return resume(Effect.fail(refusal(options, listening)))
        }
        const wire = this.join(options, listening.listener, clock)
        client = wire.client
        // A TLS server that gets no TLS hangs up.
        if (listening.listener.secure && options.tls === undefined) wire.server.destroy()
        else listening.onFlow(wire.server)
        resume(Effect.succeed(wire.client))
      })
      return Effect.sync(() => {
        interrupted = true
        client?.destroy()
      })
    })
    return Effect.suspend(() =>
      this.conditions.latency > 0
        ? Effect.zipRight(clock.sleep(Duration.millis(2 * this.conditions.latency)), dialled)
        : dialled
    )
  }

  private join({ address, localAddress, tls }: ConnectOptions, listener: Listener, clock: Clock.Clock): memory.Wire {
    const ends = {
      client:
        address._tag === "UnixAddress"
          ? address
          : { ...loopback, hostname: localAddress ?? loopback.hostname, port: this.nextPort++ },
      server: listener.address,
      secure: tls !== undefined
    }
    const { capacity, fragmentation, latency, stalled } = this.conditions
    const wire = new memory.Wire(clock, { capacity, fragmentation, latency }, ends, () => this.wires.delete(wire))
    for (const direction of stalled) wire[direction].stall()
    this.wires.add(wire)
    return wire
  }

  private find(address: Address): Listening | undefined {
    const exact = this.listening.get(formatAddress(address))
    if (exact !== undefined || address._tag === "UnixAddress") return exact
    return this.listening.get(`0.0.0.0:${address.port}`) ?? this.listening.get(`[::]:${address.port}`)
  }

  private named(address: Address): Address {
    return address._tag === "TcpAddress" && address.port === 0 ? { ...address, port: this.nextPort++ } : address
  }
}

const refusal = (options: ConnectOptions, listening: Listening | undefined): ConnectError => {
  const address = formatAddress(options.address)
  return listening === undefined
    ? new ConnectError({
        reason: "tcp",
        address,
        detail: "nobody listens there in this TestNetwork (ECONNREFUSED)",
        code: "ECONNREFUSED"
      })
    : new ConnectError({
        reason: "tls",
        address,
        detail: "what listens there doesn't speak TLS (ERR_SSL_WRONG_VERSION_NUMBER)",
        code: "ERR_SSL_WRONG_VERSION_NUMBER"
      })
}

/** The controls of some wires, and of the climate in which later ones begin. */
const controls = (wires: () => Iterable<memory.Wire>, climate?: Climate): Controls => {
  const each = (act: (wire: memory.Wire) => void) => {
    // A copy, because a reset removes wires from the network's set.
    for (const wire of [...wires()]) act(wire)
  }
  return {
    set: (conditions) =>
      Effect.sync(() => {
        if (climate !== undefined) Object.assign(climate, merge(climate, conditions))
        each((wire) => {
          Object.assign(wire.behaviour, merge(wire.behaviour, conditions))
          wire.toServer.fill()
          wire.toClient.fill()
        })
      }),
    stall: (direction) =>
      Effect.sync(() => {
        climate?.stalled.add(direction)
        each((wire) => wire[direction].stall())
      }),
    unstall: (direction) =>
      Effect.sync(() => {
        climate?.stalled.delete(direction)
        each((wire) => wire[direction].unstall())
      }),
    reset: Effect.sync(() => each((wire) => wire.reset())),
    halfClose: (direction) =>
      Effect.sync(() => each((wire) => (direction === "toServer" ? wire.client : wire.server).end()))
  }
}

const connection = (wire: memory.Wire): Connection => ({
  ...controls(() => [wire]),
  client: wire.client,
  server: wire.server,
  open: Effect.sync(() => (["client", "server"] as const).filter((side) => wire[side].isOpen))
})
