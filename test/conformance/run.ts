// Runs a case: our server before a raw client, or our client before a raw server.

import { Deferred, Effect, Fiber, type Scope, TestClock } from "effect"
import type { Role } from "effect-websocket/Frame"
import * as Handshake from "effect-websocket/Handshake"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import type { WebSocketError } from "effect-websocket/WebSocketError"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { dissect } from "./bytes.js"
import type { ConnectionCase, Ending, Step } from "./model.js"
import { key } from "./opening.js"
import { type Cut, type Peer, RawNetwork, settle } from "./peer.js"

type Needs = Network | RawNetwork | Scope.Scope

/** What the application was told: its messages, and the end. */
interface Told {
  readonly messages: ReadonlyArray<WebSocket.Message>
  readonly ending: Ending
}

/** One of our connections, with the raw peer on its other end. */
interface Subject {
  readonly socket: WebSocket.WebSocket
  readonly peer: Peer
  readonly told: Effect.Effect<Told>
}

const endingOf = (error: WebSocketError): Ending => {
  switch (error._tag) {
    case "ConnectionClosed": {
      const { _tag, code, reason, sentCode, initiator, clean } = error
      return { _tag, code, reason, sentCode, initiator, clean }
    }
    case "ProtocolError": {
      const { _tag, side, rule, closeCode } = error
      return { _tag, side, rule, closeCode }
    }
    case "PayloadTooLarge": {
      const { _tag, which, limit, size } = error
      return { _tag, which, limit, size }
    }
    case "IoError":
      return { _tag: error._tag, code: error.code }
  }
}

export const listen = (socket: WebSocket.WebSocket): Effect.Effect<Told> => {
  const messages: Array<WebSocket.Message> = []
  return socket.receive.pipe(
    Effect.tap((message) => messages.push(message)),
    Effect.forever,
    Effect.catchAll((error) => Effect.succeed({ messages, ending: endingOf(error) }))
  )
}

export const emptyLine = "\r\n\r\n"

/** Our server, with a handler that takes what comes. */
export const ourServer = (options: WebSocketServer.ServerOptions, begin: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function* () {
    const accepted = yield* Deferred.make<WebSocket.WebSocket>()
    const told = yield* Deferred.make<Told>()
    const server = yield* WebSocketServer.make(options)
    yield* server.serve((socket) =>
      Effect.zipRight(
        Deferred.succeed(accepted, socket),
        Deferred.complete(told, Effect.zipRight(begin, listen(socket)))
      )
    )
    return {
      port: server.address._tag === "TcpAddress" ? server.address.port : 0,
      accepted: Deferred.await(accepted),
      told: Deferred.await(told)
    }
  })

const asServer = (
  options: WebSocket.ConnectionOptions,
  begin: Effect.Effect<void>
): Effect.Effect<Subject, never, Needs> =>
  Effect.gen(function* () {
    const server = yield* Effect.orDie(ourServer(options, begin))
    const { dial } = yield* RawNetwork
    const peer = yield* dial(server.port)
    const request = [
      "GET / HTTP/1.1",
      "Host: 127.0.0.1",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Key: ${key}`,
      "Sec-WebSocket-Version: 13"
    ]
    yield* peer.send(Buffer.from(`${request.join("\r\n")}${emptyLine}`), "whole")
    yield* peer.until(() => peer.received().includes(emptyLine), "101")
    return { socket: yield* server.accepted, peer, told: server.told }
  })

/** The value that the key of a request leads to. */
export const acceptFor = (request: string): string =>
  Handshake.computeAcceptKey(/sec-websocket-key: (.*)\r\n/i.exec(request)?.[1] ?? "")

const asClient = (
  options: WebSocket.ConnectionOptions,
  begin: Effect.Effect<void>
): Effect.Effect<Subject, never, Needs> =>
  Effect.gen(function* () {
    const { listen: listening } = yield* RawNetwork
    const server = yield* listening
    const connecting = yield* Effect.fork(WebSocket.connect(`ws://127.0.0.1:${server.port}/`, options))
    const peer = yield* server.next
    yield* peer.until(() => peer.received().includes(emptyLine), "request")
    const response = [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${acceptFor(peer.received().toString("latin1"))}`
    ]
    yield* peer.send(Buffer.from(`${response.join("\r\n")}${emptyLine}`), "whole")
    const socket = yield* Effect.orDie(Fiber.join(connecting))
    const told = yield* Effect.forkScoped(Effect.zipRight(begin, listen(socket)))
    return { socket, peer, told: Fiber.join(told) }
  })

/** Runs a case, and checks everything that it says. */
export const runConnection = (
  { steps, messages, ending, options = {}, receivesLate }: ConnectionCase,
  role: Role,
  cut: Cut
): Effect.Effect<void, never, Needs> =>
  Effect.gen(function* () {
    const over = yield* Deferred.make<void>()
    const begin = receivesLate === true ? Deferred.await(over) : Effect.void
    const { socket, peer, told } = yield* role === "server" ? asServer(options, begin) : asClient(options, begin)
    const frames = new Frames(peer, role)
    for (const step of steps) yield* perform(step, role, cut, { socket, peer, frames })
    frames.check()
    yield* Deferred.succeed(over, undefined)
    const { messages: received, ending: end } = yield* told
    expect(end).toEqual(ending)
    expect(received.length).toBe(messages.length)
    // Large messages are compared as they are, without a copy in the report.
    messages.forEach((message, index) => {
      const got = received[index]
      if (typeof message === "string") expect(got === message || got).toBe(true)
      else expect(got instanceof Uint8Array && (Buffer.compare(got, message) === 0 || got)).toBe(true)
    })
  })

/** The frames that come from us, and those that should. */
class Frames {
  private readonly head: number
  private expected = Buffer.alloc(0)
  private count = 0

  constructor(
    private readonly peer: Peer,
    private readonly role: Role
  ) {
    this.head = peer.received().indexOf(emptyLine) + emptyLine.length
  }

  expect(bytes: Uint8Array): Effect.Effect<void> {
    this.expected = Buffer.concat([this.expected, bytes])
    this.count += dissect(bytes).length
    // A client's frames carry a key each.
    const size = this.head + this.expected.length + (this.role === "client" ? 4 * this.count : 0)
    return Effect.zipRight(
      this.peer.until(() => this.peer.size >= size, `frames ${Buffer.from(bytes.subarray(0, 64)).toString("hex")}`),
      Effect.sync(() => this.check())
    )
  }

  /** That all frames so far are those that were expected, and that only a client's are masked. */
  check(): void {
    const pieces = dissect(this.peer.received().subarray(this.head))
    const got = Buffer.concat(pieces.flatMap(({ start, payload }) => [start, payload]))
    if (!got.equals(this.expected)) {
      expect(got.subarray(0, 400).toString("hex")).toBe(this.expected.subarray(0, 400).toString("hex"))
      expect(got.length).toBe(this.expected.length)
    }
    const keys = pieces.map(({ key }) => key && Buffer.from(key).toString("hex"))
    if (this.role === "server") expect(keys.every((each) => each === undefined)).toBe(true)
    else expect(new Set(keys.filter((each) => each !== undefined)).size).toBe(pieces.length)
  }
}

const perform = (
  step: Step,
  role: Role,
  cut: Cut,
  { socket, peer, frames }: { readonly socket: WebSocket.WebSocket; readonly peer: Peer; readonly frames: Frames }
): Effect.Effect<void, never, Scope.Scope> => {
  const unmoved = Effect.zipRight(
    settle,
    Effect.sync(() => {
      frames.check()
      expect(peer.ended).toBe(false)
    })
  )
  const peerRole = role === "server" ? "client" : "server"
  switch (step._tag) {
    case "Send": {
      const bytes = step.bytes(peerRole)
      const ignored = step.ignored(peerRole)
      if (cut === "whole") return peer.send(Buffer.concat([bytes, ignored]), cut)
      return Effect.zipRight(peer.send(bytes, cut, step.decides ? unmoved : Effect.void), peer.send(ignored, cut))
    }
    case "Act":
      // It begins before the next step does.
      return Effect.zipRight(Effect.forkScoped(step.act(socket)), Effect.yieldNow())
    case "See":
      return frames.expect(step.bytes)
    case "Quiet":
      return unmoved
    case "PeerEnds":
      return peer.end
    case "PeerResets":
      return peer.reset
    case "TcpEnds":
      return Effect.gen(function* () {
        // The server first: our client must not have ended it, however long it has had.
        if (step.first === "server" && role === "client") yield* unmoved
        else yield* peer.until(() => peer.ended, "FIN")
        yield* peer.end
        yield* peer.until(() => peer.ended, "FIN")
        yield* peer.until(() => peer.closed, "end of TCP")
      })
    case "TimeRunsOut":
      return Effect.gen(function* () {
        yield* settle
        yield* TestClock.adjust(WebSocket.defaultCloseTimeout)
        yield* peer.until(() => peer.ended || peer.closed, "end of TCP")
        yield* peer.destroy
      })
  }
}
