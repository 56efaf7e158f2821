/**
 * One message to many connections: publishers, topics, and the sockets that are subscribed to them.
 *
 * A message is made ready once, whatever the number of subscribers: its frame is built once, and compressed once
 * for each way in which connections compress. To publish is one synchronous step, a plain loop over the
 * subscribers. It waits for nobody, so that a slow one delays neither the publisher nor the others, and
 * all subscribers of a topic see its messages in the same order, whoever published them.
 *
 * It is a hub inside one process. To span several, publish what comes from outside, too: it is
 * `Stream.runForEach(feed, (message) => hub.publish(topic, message))`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as MutableHashMap from "effect/MutableHashMap"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { type Door, doorOf, type Patience } from "./internal/broadcastDoor.js"
import * as WebSocket from "./WebSocket.js"

/**
 * What happens to a subscriber's messages where there is no room for them: where more than the
 * connection's `sendBufferSize` waits for its peer.
 *
 * - `"suspend"`: they wait, for this subscriber alone, up to `maxBacklog`. If that isn't enough, the connection
 *   is closed with 1013, for it would miss something. What waits is shared among all it waits for.
 * - `"dropNewest"`: the message is dropped.
 * - `"dropOldest"`: the oldest broadcasts that still wait are dropped in favour of this one.
 *
 * @since 0.1.0
 * @category models
 */
export type SlowSubscriber = Exclude<WebSocket.SlowConsumer, "close">

/**
 * @since 0.1.0
 * @category models
 */
export interface SubscribeOptions {
  /**
   * Default: the `slowConsumer` of the connection, where `"close"` is as `"suspend"`, and also closes
   * after `progressTimeout` without progress.
   */
  readonly slowConsumer?: SlowSubscriber | undefined
  /**
   * Bytes that may wait for the peer of what isn't dropped; more close its connection with 1013. It is looked at where
   * more than `sendBufferSize` waits. Whoever publishes as much in one go leaves no time for anybody's to shrink, so
   * give it room for the largest burst. Default {@link defaultMaxBacklog}, 1 MiB.
   */
  readonly maxBacklog?: number | undefined
}

/**
 * How long a subscriber's backlog may grow: 1 MiB, a thousand messages of 1 KiB. The messages
 * are in memory only once, whoever they wait for.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxBacklog = 1024 * 1024

/**
 * How a message is published. With `droppable: false` it isn't dropped: where there is no room it waits, as with `"suspend"`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PublishOptions extends WebSocket.SendOptions {
  /** Who doesn't get it, if subscribed: the sender, in most cases. */
  readonly except?: WebSocket.WebSocket | undefined
}

/**
 * What became of a message: how many open connections it was handed to, and for how many it was dropped.
 *
 * @since 0.1.0
 * @category models
 */
export interface Published {
  readonly sent: number
  readonly dropped: number
}

/**
 * A hub. Topics need not be declared; they are compared with `Equal`, so that strings will do, and so will `Data`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Broadcast<in out Topic = string> {
  /**
   * Subscribes a connection to a topic until the scope closes, the connection ends, or the effect that this
   * answers with is run. What is published after that it gets, and nothing from before.
   *
   * Subscribed more than once, it gets each message once, as the first subscription has it, until all of
   * them are over. A connection that is over already is not subscribed.
   *
   * Subscribe to several topics with `Effect.forEach`.
   */
  readonly subscribe: (
    socket: WebSocket.WebSocket,
    topic: Topic,
    options?: SubscribeOptions
  ) => Effect.Effect<Effect.Effect<void>, never, Scope.Scope>
  /**
   * Hands a message to all subscribers of a topic, without waiting for any. Bytes must not
   * change afterwards.
   *
   * Each connection costs some microseconds of this step, and a write of its socket right behind it.
   */
  readonly publish: (
    topic: Topic,
    message: WebSocket.Message | WebSocket.Prepared,
    options?: PublishOptions
  ) => Effect.Effect<Published>
  /** How many connections are subscribed to a topic. One that is closing is until it is released. */
  readonly subscribers: (topic: Topic) => Effect.Effect<number>
  /** The topics that somebody is subscribed to. */
  readonly topics: Effect.Effect<ReadonlyArray<Topic>>
}

/** Connections, with their subscriptions to one topic. */
type Audience = Map<Door, Seat>

interface Seat extends Patience {
  /** How many subscriptions hold it. */
  holders: number
}

/**
 * Makes a hub. It holds nothing but its subscriptions, and needs no scope.
 *
 * @example
 * ```ts
 * import { Context, Effect, Layer, Schedule } from "effect"
 * import { Broadcast, WebSocketServer } from "effect-websocket"
 *
 * class Prices extends Context.Tag("Prices")<Prices, Broadcast.Broadcast<"EURUSD" | "EURCHF">>() {}
 *
 * // who connects is a subscriber, for as long as the connection lasts
 * const Feed = WebSocketServer.serve((socket) =>
 *   Effect.gen(function*() {
 *     const prices = yield* Prices
 *     yield* prices.subscribe(socket, "EURUSD", { slowConsumer: "dropOldest" })
 *     yield* socket.run(() => Effect.void)
 *   })
 * )
 *
 * const Source = Layer.scopedDiscard(
 *   Effect.gen(function*() {
 *     const prices = yield* Prices
 *     yield* prices.publish("EURUSD", "1.0842").pipe(Effect.repeat(Schedule.spaced("1 second")), Effect.forkScoped)
 *   })
 * )
 *
 * const Main = Layer.merge(Feed, Source).pipe(Layer.provide(Layer.effect(Prices, Broadcast.make())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Topic = string>(): Effect.Effect<Broadcast<Topic>> =>
  Effect.sync(() => {
    const audiences = MutableHashMap.empty<Topic, Audience>()
    /** Whether something was published in this turn. */
    let published = false
    const audienceOf = (topic: Topic) => Option.getOrUndefined(MutableHashMap.get(audiences, topic))

    /** Answers how to leave. */
    const enter = (socket: WebSocket.WebSocket, topic: Topic, options: SubscribeOptions): (() => void) => {
      const door = doorOf(socket)
      const audience: Audience = audienceOf(topic) ?? new Map()
      if (audience.size === 0) MutableHashMap.set(audiences, topic, audience)
      const seat = audience.get(door) ?? seated(options)
      audience.set(door, seat)
      seat.holders++
      let left = false
      let forget = () => {}
      const leave = () => {
        if (left) return
        left = true
        forget()
        if (--seat.holders > 0) return
        audience.delete(door)
        if (audience.size === 0) MutableHashMap.remove(audiences, topic)
      }
      forget = door.onOver(leave)
      return leave
    }

    const subscribe = (socket: WebSocket.WebSocket, topic: Topic, options: SubscribeOptions = {}) =>
      Effect.uninterruptible(
        Effect.gen(function* () {
          // A scope of its own, so that who leaves early leaves no finalizer behind.
          const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
          const leave = enter(socket, topic, options)
          yield* Scope.addFinalizer(scope, Effect.sync(leave))
          return Scope.close(scope, Exit.void)
        })
      )

    const publish = (
      topic: Topic,
      message: WebSocket.Message | WebSocket.Prepared,
      options: PublishOptions = {}
    ): Effect.Effect<Published> =>
      Effect.sync(() => {
        const fates = { sent: 0, dropped: 0 }
        const audience = audienceOf(topic)
        if (audience === undefined) return fates
        const prepared =
          typeof message === "string" || message instanceof Uint8Array ? WebSocket.prepare(message) : message
        const except = options.except === undefined ? undefined : doorOf(options.except)
        // The first message of a turn is written as it goes along, the others in one write for each connection.
        const atOnce = !published
        published = true
        if (atOnce) {
          Promise.resolve().then(() => {
            published = false
          })
        }
        for (const [door, seat] of audience) {
          if (door !== except && door.isOpen) fates[door.send(prepared, options, seat, atOnce)]++
        }
        return fates
      })

    return {
      subscribe,
      publish,
      subscribers: (topic) => Effect.sync(() => audienceOf(topic)?.size ?? 0),
      topics: Effect.sync(() => Array.from(MutableHashMap.keys(audiences)))
    }
  })

const seated = ({ maxBacklog = defaultMaxBacklog, slowConsumer }: SubscribeOptions): Seat => ({
  slowConsumer,
  maxBacklog,
  holders: 0
})
