// Runs a case of the opening handshake.

import { Effect, Either, Fiber, Option, type Scope, TestClock } from "effect"
import type { Network } from "effect-websocket/Network"
import * as WebSocket from "effect-websocket/WebSocket"
import type { ConnectError, HandshakeError } from "effect-websocket/WebSocketError"
import { expect } from "vitest"
import { close, dissect, join, nothing } from "./bytes.js"
import { closedByPeer } from "./model.js"
import { answerText, type OwnRequestCase, type RequestCase, type ResponseCase, type Verdict } from "./opening.js"
import { type Cut, type Peer, RawNetwork, settle } from "./peer.js"
import { acceptFor, emptyLine, listen, ourServer } from "./run.js"

type Needs = Network | RawNetwork | Scope.Scope

const latin1 = (text: string) => Buffer.from(text, "latin1")
const gone = (peer: Peer) => peer.until(() => peer.ended || peer.closed, "end of TCP")

/** Sends a request to our server, and compares its answer; one that is accepted leads to a connection that works. */
export const runRequest = ({ request, options, answer, early, stops }: RequestCase, cut: Cut) =>
  Effect.gen(function* () {
    const server = yield* Effect.orDie(ourServer(options ?? {}))
    const { dial } = yield* RawNetwork
    const peer = yield* dial(server.port)
    const expected = answerText(answer)
    const silent = Effect.zipRight(
      settle,
      Effect.sync(() => expect([peer.size, peer.ended]).toEqual([0, false]))
    )
    if (early === undefined) yield* peer.send(latin1(request), cut, silent)
    else yield* peer.send(Buffer.concat([latin1(request), early.bytes("client")]), cut)
    if (stops === true) {
      yield* silent
      yield* TestClock.adjust(WebSocket.defaultHandshakeTimeout)
    }
    if (answer._tag === "Hangs up") yield* peer.end
    yield* peer.until(() => peer.size >= expected.length, `answer ${expected}`)
    expect(peer.received().toString("latin1")).toBe(expected)
    if (answer._tag === "Accepted") {
      yield* peer.send(close(1000)("client"), cut)
      const echo = close(1000)("server")
      yield* peer.until(() => peer.size >= expected.length + echo.length, "Close")
      expect(peer.received().subarray(expected.length)).toEqual(Buffer.from(echo))
      expect(yield* server.told).toEqual({ messages: early?.messages ?? [], ending: closedByPeer(1000) })
    }
    yield* peer.until(() => peer.ended, "FIN")
    if (answer._tag !== "Hangs up") yield* peer.end
    yield* peer.until(() => peer.closed, "end of TCP")
    if (answer._tag !== "Accepted") expect(peer.received().toString("latin1")).toBe(expected)
  })

const verdictOf = (error: ConnectError | HandshakeError): Verdict =>
  error._tag === "ConnectError"
    ? { _tag: error._tag, reason: error.reason }
    : { _tag: error._tag, rule: error.rule, status: error.status, body: error.body }

/** Waits for the request of our client. */
const requested = (url: (port: number) => string, options: WebSocket.ConnectOptions) =>
  Effect.gen(function* () {
    const { listen: listening } = yield* RawNetwork
    const server = yield* listening
    const connecting = yield* Effect.forkScoped(Effect.either(WebSocket.connect(url(server.port), options)))
    const peer = yield* server.next
    yield* peer.until(() => peer.received().includes(emptyLine), "request")
    return { port: server.port, connecting, peer, request: peer.received().toString("latin1") }
  })

/** Answers our client, and compares what it makes of it. */
export const runResponse = (
  { response, options, verdict, early = nothing, behind }: ResponseCase,
  cut: Cut
): Effect.Effect<void, never, Needs> =>
  Effect.gen(function* () {
    const { connecting, peer, request } = yield* requested((port) => `ws://127.0.0.1:${port}/`, options ?? {})
    const bytes = Buffer.concat([latin1(response(acceptFor(request))), early("server")])
    const undecided = Effect.gen(function* () {
      yield* settle
      expect(peer.ended).toBe(false)
      expect(Option.isNone(yield* Fiber.poll(connecting))).toBe(true)
    })
    const decidesAtOnce = behind === undefined && early === nothing
    yield* peer.send(bytes, cut, decidesAtOnce ? undecided : Effect.void)
    if (behind === "FIN") yield* peer.end
    if (behind === "silence") {
      yield* undecided
      yield* TestClock.adjust(WebSocket.defaultHandshakeTimeout)
    }
    const result = yield* Fiber.join(connecting)
    if (Either.isLeft(result)) {
      expect(verdictOf(result.left)).toEqual(verdict)
      yield* gone(peer)
      // Not a byte but the request.
      expect(peer.size).toBe(request.length)
      return
    }
    const socket = result.right
    expect(verdict._tag === "Open" && { subprotocol: verdict.subprotocol }).toEqual({ subprotocol: socket.subprotocol })
    if (verdict._tag !== "Open") return
    const told = yield* Effect.forkScoped(listen(socket))
    yield* peer.send(close(1000)("server"), "whole")
    const expected = dissect(join(verdict.replies, close(1000))("server"))
    const frames = () => dissect(peer.received().subarray(request.length))
    yield* peer.until(() => frames().length >= expected.length, "Close")
    expect(frames().map(({ payload }) => Buffer.from(payload).toString("hex"))).toEqual(
      expected.map(({ payload }) => Buffer.from(payload).toString("hex"))
    )
    yield* peer.end
    expect(yield* Fiber.join(told)).toEqual({ messages: verdict.messages, ending: closedByPeer(1000) })
    yield* gone(peer)
  })

/** Compares what our client asks for. Two connections must have different keys. */
export const runOwnRequest = ({
  path,
  options,
  request: expected
}: OwnRequestCase): Effect.Effect<void, never, Needs> =>
  Effect.gen(function* () {
    const keys: Array<string> = []
    for (let round = 0; round < 2; round++) {
      const { port, peer, request } = yield* requested((at) => `ws://127.0.0.1:${at}${path}`, options)
      const [, key = ""] = /\r\nSec-WebSocket-Key: (.*)\r\n/.exec(request) ?? []
      expect(request).toBe(expected(`127.0.0.1:${port}`, key))
      expect(Buffer.from(key, "base64").length).toBe(16)
      expect(Buffer.from(key, "base64").toString("base64")).toBe(key)
      keys.push(key)
      // It waits for the answer, and sends nothing before.
      yield* settle
      expect([peer.size, peer.ended]).toEqual([request.length, false])
      yield* peer.end
    }
    expect(new Set(keys).size).toBe(2)
  })
