// A connection as an application gets it: its facts, and its operations as members that need no `this`.
//
// A server holds very many of them, and each is used in one or two ways. So members are made when they
// are asked for, and are accessors: some forty closures and effects would be ten kilobytes. They are the object's
// own, and not its class's, so that whoever extends a socket can copy it: `{ ...socket, send }`.

import type * as Headers from "@effect/platform/Headers"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import * as CloseCode from "../CloseCode.js"
import type * as Flow from "../Flow.js"
import type { Message } from "../protocol/connection.js"
import type { Role } from "../protocol/frame.js"
import * as Wire from "../protocol/frame.js"
import type { Prepared } from "../protocol/prepared.js"
import type { WebSocketError } from "../WebSocketError.js"
import { openDoor } from "./broadcastDoor.js"
import { headersIn } from "./headers.js"
import { meters } from "./meters.js"
import type { Operations } from "./operations.js"
import type { SendOptions } from "./sending.js"
import { receiver, sender } from "./streaming.js"

/** What the opening handshake led to. */
export interface Established {
  readonly role: Role
  readonly url: string
  /** Of a request the text of its head will do: most connections never ask for their headers. */
  readonly headers: Headers.Headers | string
  readonly subprotocol: string | undefined
  /** The peer's own address, which proxies in between may have told. */
  readonly remoteAddress: Flow.Address
  /** Whether the client connected by TLS, which proxies in between may have told. */
  readonly secure: boolean
}

/** Who knows how long the last pong took. */
interface Pulse {
  readonly latency: number | undefined
}

type Send = (message: Message | Prepared, options?: SendOptions) => ReturnType<Operations["send"]>
type Run = <E, R>(
  handler: (message: Message) => Effect.Effect<unknown, E, R>
) => Effect.Effect<void, WebSocketError | E, R>

class Members {
  readonly #operations: Operations
  readonly #pulse: Pulse
  readonly #role: Role
  #headers: Headers.Headers | string
  // What loops ask for each time.
  #send: Send | undefined = undefined
  #offer: Send | undefined = undefined
  #run: Run | undefined = undefined
  #receive: Effect.Effect<Message, WebSocketError> | undefined = undefined
  #receiveAll: Effect.Effect<Array<Message>, WebSocketError> | undefined = undefined
  #receiveFrame: Effect.Effect<Wire.Frame, WebSocketError> | undefined = undefined

  constructor(operations: Operations, pulse: Pulse, role: Role, headers: Headers.Headers | string) {
    this.#operations = operations
    this.#pulse = pulse
    this.#role = role
    this.#headers = headers
  }

  get headers(): Headers.Headers {
    const headers = this.#headers
    if (typeof headers !== "string") return headers
    const read = headersIn(headers)
    this.#headers = read
    return read
  }

  get latency() {
    const pulse = this.#pulse
    return Effect.sync(() => Option.map(Option.fromNullable(pulse.latency), Duration.millis))
  }

  get isOpen() {
    const { engine } = this.#operations
    return Effect.sync(() => engine.isOpen)
  }

  get bufferedBytes() {
    const { engine } = this.#operations
    return Effect.sync(() => engine.out.buffered)
  }

  get dropped() {
    const { engine } = this.#operations
    return Effect.sync(() => engine.out.dropped)
  }

  get receive(): Effect.Effect<Message, WebSocketError> {
    const operations = this.#operations
    this.#receive ??= operations.receiving(() => operations.engine.take())
    return this.#receive
  }

  get receiveAll(): Effect.Effect<Array<Message>, WebSocketError> {
    this.#receiveAll ??= this.#operations.receiveAll()
    return this.#receiveAll
  }

  get receiveFrame(): Effect.Effect<Wire.Frame, WebSocketError> {
    const operations = this.#operations
    this.#receiveFrame ??= operations.receiving(() => operations.engine.takeFrame())
    return this.#receiveFrame
  }

  get receiveStream() {
    const operations = this.#operations
    return Effect.suspend(() => receiver(operations.lent))
  }

  get messages() {
    return this.#operations.messages
  }

  get run(): Run {
    const operations = this.#operations
    this.#run ??= (handler) => operations.run(handler)
    return this.#run
  }

  get send(): Send {
    const operations = this.#operations
    this.#send ??= (message, options) => operations.send(message, options)
    return this.#send
  }

  get offer(): Send {
    if (this.#offer !== undefined) return this.#offer
    const operations = this.#operations
    const offer: Send = (message, options) => operations.offer(message, options)
    openDoor(offer, operations.driven)
    this.#offer = offer
    return offer
  }

  get sendText() {
    const operations = this.#operations
    return (text: string) => operations.send(text)
  }

  get sendBinary() {
    const operations = this.#operations
    return (bytes: Uint8Array) => operations.send(bytes)
  }

  get sendAll() {
    const operations = this.#operations
    return (messages: Iterable<Message | Prepared>) => operations.sendAll(messages)
  }

  get sendTextStream() {
    const operations = this.#operations
    return <E, R>(pieces: Stream.Stream<string, E, R>) => sender(operations.lent)(Wire.text, pieces)
  }

  get sendBinaryStream() {
    const operations = this.#operations
    return <E, R>(pieces: Stream.Stream<Uint8Array, E, R>) => sender(operations.lent)(Wire.binary, pieces)
  }

  get ping() {
    const role = this.#role
    return Effect.tap(this.#operations.ping, (elapsed) =>
      Effect.sync(() => meters[role].latency(Duration.toMillis(elapsed)))
    )
  }

  get sendPing() {
    const operations = this.#operations
    return (payload?: string | Uint8Array) => operations.control(Wire.ping, payload)
  }

  get sendPong() {
    const operations = this.#operations
    return (payload?: string | Uint8Array) => operations.control(Wire.pong, payload)
  }

  get sendFrame() {
    const operations = this.#operations
    return (frame: Wire.Frame) => operations.sendFrame(frame)
  }

  get sink() {
    const operations = this.#operations
    return Sink.suspend(() => Sink.forEachChunk((messages: Iterable<Message>) => operations.sendAll(messages)))
  }

  get close() {
    const operations = this.#operations
    return (code: number = CloseCode.normal, reason = "") => operations.close(code, reason)
  }

  get closed() {
    return this.#operations.closed
  }
}

/**
 * One by one, and without a `set` that says nothing, for V8 takes a longer way otherwise: 6 us for each socket in place
 * of 15. All sockets share one hidden class, so that accessors take no room in them.
 */
const { constructor: _, ...members } = Object.getOwnPropertyDescriptors(Members.prototype)
const accessors = Object.entries(members).map(([name, { get }]) => {
  const descriptor: PropertyDescriptor = { enumerable: true, configurable: true }
  if (get !== undefined) descriptor.get = get
  return { name, descriptor }
})

/** A connection's socket. */
export class Socket extends Members {
  readonly role: Role
  readonly url: string
  readonly subprotocol: string | undefined
  readonly remoteAddress: Flow.Address
  readonly localAddress: Flow.Address
  readonly secure: boolean
  readonly span: Tracer.Span | undefined

  constructor(
    { headers, remoteAddress, role, secure, subprotocol, url }: Established,
    operations: Operations,
    pulse: Pulse,
    span: Tracer.Span | undefined
  ) {
    super(operations, pulse, role, headers)
    this.role = role
    this.url = url
    this.subprotocol = subprotocol
    this.remoteAddress = remoteAddress
    this.localAddress = operations.engine.flow.localAddress
    this.secure = secure
    this.span = span
    for (const { name, descriptor } of accessors) Object.defineProperty(this, name, descriptor)
  }
}
