// A reverse proxy: a connection to it is a connection to another server, frame by frame.
//
// - The upstream is asked first, with the client's path, subprotocols and credentials. The client gets its
//   101 when the upstream has said 101, with the same subprotocol; else the upstream's refusal, or 502, or 504.
// - Frames pass as they come, so that a message of any size never is in memory as a whole: one frame
//   in each direction, and the buffers below.
// - A side that reads slowly makes the other one wait. One that reads nothing finds no ping either: the heartbeat ends it.
// - Pings are local: each connection answers them by itself, and has a heartbeat of its own.
// - A Close passes with its code and reason. Where a side is lost without one, the other is told: an upstream
//   1001, a client 1014.
// - The page's origin is judged here, against the Host that the client knows. The upstream learns of the client
//   through X-Forwarded-For, -Proto and -Host (`trustedProxies: 1`).

import { Headers, HttpServerResponse } from "@effect/platform"
import { Effect, ExecutionStrategy, Exit, Layer, Scope } from "effect"
import { CloseCode, Frame, WebSocket, type WebSocketError, WebSocketServer } from "effect-websocket"

/** For the connections on both sides. A frame is held as a whole, a message isn't. */
export const limits = {
  maxFrameSize: 1024 * 1024,
  maxPayloadSize: Number.MAX_SAFE_INTEGER,
  maxFragments: Number.MAX_SAFE_INTEGER
} satisfies WebSocket.ConnectionOptions

/** What of the client's request the upstream is told, beside path and subprotocols. */
const passedOn = ["authorization", "cookie", "origin", "user-agent", "accept-language"]

/** What of the upstream's refusal the client is told. */
const passedBack = ["content-type", "location", "retry-after", "set-cookie", "www-authenticate"]

const pick = (headers: Readonly<Record<string, string | undefined>>, names: ReadonlyArray<string>) =>
  Headers.fromInput(
    Object.fromEntries(names.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])))
  )

/** What the upstream is asked for. Its own path is the root of the client's. */
const urlFor = (upstream: URL, { target }: WebSocketServer.Request): URL => {
  const [path = "/", ...query] = target.split("?")
  const url = new URL(upstream)
  // Set part by part: a target like `//elsewhere.example` must not become another host.
  url.pathname = upstream.pathname.replace(/\/$/, "") + path
  url.search = query.join("?")
  return url
}

const headersFor = ({ headers, remoteAddress, secure }: WebSocketServer.Request) => ({
  ...pick(headers, passedOn),
  // What the client itself says of this is worth nothing.
  "x-forwarded-for": remoteAddress._tag === "TcpAddress" ? remoteAddress.hostname : "127.0.0.1",
  "x-forwarded-proto": secure ? "https" : "http",
  "x-forwarded-host": headers["host"] ?? ""
})

const refusal = (error: WebSocketError.ConnectError | WebSocketError.HandshakeError) => {
  if (error._tag === "ConnectError") {
    return HttpServerResponse.text(`${error.reason === "timeout" ? "the upstream is slow" : "no upstream"}\n`, {
      status: error.reason === "timeout" ? 504 : 502
    })
  }
  const { body = "", headers = {}, status = 0 } = error
  return status < 300
    ? HttpServerResponse.text("the upstream speaks no WebSocket\n", { status: 502 })
    : HttpServerResponse.text(body, { status, headers: pick(headers, passedBack) })
}

const isLocal = ({ opcode }: Frame.Frame) => opcode === Frame.Opcode.ping || opcode === Frame.Opcode.pong

/**
 * Passes on what comes from one side until that has ended, and so ends the other. What can't be
 * sent is nobody's concern here: that the other side has ended is found by whoever reads from it.
 */
const forward = (from: WebSocket.WebSocket, to: WebSocket.WebSocket, lost: number) =>
  Effect.forever(
    Effect.flatMap(from.receiveFrame, (frame) =>
      isLocal(frame) ? Effect.void : Effect.catchAll(to.sendFrame(frame), () => Effect.never)
    )
  ).pipe(
    // After a Close that was passed on this only waits until it is answered.
    Effect.catchAll(() => to.close(lost))
  )

/** Serves all requests of the surrounding server, which has to have the same `limits`, from an upstream. */
export const layer = (upstream: URL) =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const server = yield* WebSocketServer.WebSocketServer
      // Before `serveWith`, so that it closes behind it: what is left then is what no handler has got.
      const upstreams = yield* Effect.acquireRelease(Scope.make(ExecutionStrategy.parallel), (scope, exit) =>
        Scope.close(scope, exit)
      )
      const connect = (request: WebSocketServer.Request) =>
        Effect.gen(function* () {
          const scope = yield* Scope.fork(upstreams, ExecutionStrategy.sequential)
          const socket = yield* WebSocket.connect(urlFor(upstream, request), {
            ...limits,
            subprotocols: request.subprotocols,
            headers: headersFor(request),
            // Half of what the server allows for the whole decision.
            handshakeTimeout: "5 seconds"
          }).pipe(
            Scope.extend(scope),
            Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)))
          )
          return { data: { socket, scope }, subprotocol: socket.subprotocol }
        })
      yield* server.serveWith(
        (request) => Effect.mapError(connect(request), refusal),
        (client, { scope, socket }) =>
          Effect.raceFirst(
            forward(client, socket, CloseCode.goingAway),
            forward(socket, client, CloseCode.badGateway)
          ).pipe(Effect.onExit((exit) => Scope.close(scope, exit)))
      )
    })
  )
