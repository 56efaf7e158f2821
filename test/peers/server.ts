import { Effect, Either, Layer, Queue } from "effect"
import { Frame, NodeNetwork, OriginPolicy, WebSocket, WebSocketServer } from "effect-websocket"
import type { TlsServerOptions } from "effect-websocket/Network"

/** How a connection of the path `/told` ended: the code and the reason, or the tag of the error. */
export type Told = string

const echo = (socket: WebSocket.WebSocket) => socket.run((message) => socket.send(message))

/** Two messages in fragments with pings between them, and a whole one. */
const fragments = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    const { binary, continuation, text } = Frame.Opcode
    const euro = new TextEncoder().encode("€")
    for (const frame of [
      // A character that is cut in two, and an empty frame.
      Frame.make({ opcode: text, fin: false, payload: euro.subarray(0, 1) }),
      Frame.make({ opcode: Frame.Opcode.ping, payload: "between" }),
      Frame.make({ opcode: continuation, fin: false }),
      Frame.make({ opcode: continuation, fin: true, payload: euro.subarray(1) }),
      Frame.make({ opcode: binary, fin: false, payload: new Uint8Array([1, 2]) }),
      Frame.make({ opcode: Frame.Opcode.pong, payload: "unasked for" }),
      Frame.make({ opcode: continuation, fin: true, payload: new Uint8Array([3]) }),
      Frame.make({ payload: "whole" })
    ]) {
      yield* socket.sendFrame(frame)
    }
    yield* socket.run(() => Effect.void)
  })

/** Pings, and says what came back. */
const ping = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    yield* socket.sendPing("are you there?")
    let frame = yield* socket.receiveFrame
    while (frame.opcode !== Frame.Opcode.pong) frame = yield* socket.receiveFrame
    yield* socket.send(new TextDecoder().decode(frame.payload))
    yield* socket.run(() => Effect.void)
  })

/** Closes as the query says: `code` and `reason`, or without a code. */
const close = (socket: WebSocket.WebSocket) =>
  Effect.gen(function* () {
    const { searchParams } = new URL(socket.url)
    const code = searchParams.get("code")
    if (code !== null) return yield* socket.close(Number(code), searchParams.get("reason") ?? "")
    yield* socket.sendFrame(Frame.make({ opcode: Frame.Opcode.close }))
    yield* socket.closed
  })

/** A server with all that the scenario visits. */
export const serving = (options: { readonly tls?: TlsServerOptions | undefined } = {}) =>
  Effect.gen(function* () {
    const told = yield* Queue.unbounded<Told>()
    const tell = (socket: WebSocket.WebSocket) =>
      Effect.gen(function* () {
        const last = yield* Effect.either(socket.run(() => Effect.void))
        const closed = yield* Effect.either(socket.closed)
        const end = Either.isRight(closed) ? closed.right : Either.isLeft(last) ? last.left : undefined
        yield* Queue.offer(
          told,
          end?._tag === "ConnectionClosed" ? `${end.code} ${end.reason}`.trim() : (end?._tag ?? "nothing")
        )
      })
    const server = yield* Layer.build(
      Layer.mergeAll(
        WebSocketServer.serve(echo, { path: "/echo" }),
        WebSocketServer.serve(echo, { path: "/chosen", subprotocols: ["v2", "v1"] }),
        WebSocketServer.serve(fragments, { path: "/fragments" }),
        WebSocketServer.serve(ping, { path: "/ping" }),
        WebSocketServer.serve(close, { path: "/close" }),
        WebSocketServer.serve(tell, { path: "/told" })
      ).pipe(
        Layer.provideMerge(WebSocketServer.layer({ origin: OriginPolicy.allowAll, tls: options.tls })),
        Layer.provide(NodeNetwork.layer)
      )
    ).pipe(Effect.flatMap((context) => Effect.provide(WebSocketServer.WebSocketServer, context)))

    /** Whether it serves: one echo, by our own client. */
    const serves = Effect.gen(function* () {
      const socket = yield* WebSocket.connect(`${server.url}echo`, { tls: { verify: false } })
      yield* socket.send("still there?")
      return yield* socket.receive
    }).pipe(Effect.scoped, Effect.provide(NodeNetwork.layer))

    return { base: server.url.slice(0, -1), told: Queue.take(told), serves }
  })
