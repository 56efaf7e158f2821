import { once } from "node:events"
import { createServer } from "node:http"
import * as Net from "node:net"
import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Queue, Scope } from "effect"
import { NodeNetwork, WebSocket, WebSocketServer } from "effect-websocket"
import { WebSocket as Ws } from "ws"

/** An HTTP server of @effect/platform with one route that upgrades. */
const serving = Effect.gen(function* () {
  const ends = yield* Queue.unbounded<string>()
  const server = NodeNetwork.prepareServer(createServer())
  const echo = WebSocketServer.upgrade(
    (socket) =>
      socket
        .run((message) => socket.send(message))
        .pipe(
          Effect.onExit((exit) =>
            Queue.offer(
              ends,
              Exit.match(exit, {
                onSuccess: () => "success",
                onFailure: (cause) =>
                  Cause.isInterrupted(cause) ? "interrupted" : (Cause.squash(cause)?.toString() ?? "")
              })
            )
          )
        ),
    { subprotocols: ["echo.v1"] }
  )
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const context = yield* HttpRouter.empty.pipe(
    HttpRouter.get("/echo", echo),
    HttpServer.serve(),
    Layer.provideMerge(NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 })),
    Layer.provide(NodeNetwork.layer),
    Layer.buildWithScope(scope)
  )
  const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
  const port = address._tag === "TcpAddress" ? address.port : 0
  return {
    port,
    url: `ws://127.0.0.1:${port}`,
    end: Queue.take(ends),
    connections: Effect.async<number>((resume) => {
      server.getConnections((_, count) => resume(Effect.succeed(count)))
    }),
    stop: Scope.close(scope, Exit.void)
  }
})

const connect = (url: string, options?: WebSocket.ConnectOptions) =>
  WebSocket.connect(url, options).pipe(Effect.provide(NodeNetwork.layer))

const request = (path: string, more: ReadonlyArray<string> = []) =>
  [
    ...[`GET ${path} HTTP/1.1`, "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"],
    ...["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", ...more, "", ""]
  ].join("\r\n")

/** A TCP connection that keeps its half open when the other end closes. */
const tcp = (port: number) =>
  Effect.acquireRelease(
    Effect.sync(() => Net.connect({ host: "127.0.0.1", port, allowHalfOpen: true }).on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  )

describe("an upgrade inside of NodeHttpServer", () => {
  it.scopedLive("speaks to ws and to our client, and to pages of the same origin", () =>
    Effect.gen(function* () {
      const { end, port, url } = yield* serving
      const headers = { origin: `http://127.0.0.1:${port}` }
      const socket = yield* connect(`${url}/echo`, { subprotocols: ["echo.v1"], headers })
      yield* socket.send("hello")
      expect([socket.subprotocol, yield* socket.receive]).toEqual(["echo.v1", "hello"])
      yield* socket.close(4000, "bye")
      expect(yield* socket.closed).toMatchObject({ code: 4000, clean: true })
      expect(yield* end).toContain("4000")

      const answer = yield* Effect.promise(async () => {
        const ws = new Ws(`${url}/echo`)
        await once(ws, "open")
        ws.send("hello")
        const [data] = await once(ws, "message")
        ws.close(1000)
        const [code] = await once(ws, "close")
        return [String(data), code]
      })
      expect(answer).toEqual(["hello", 1000])
      expect(yield* end).toBe("success")
    })
  )

  it.scopedLive("keeps what came right behind the request", () =>
    Effect.gen(function* () {
      const { port } = yield* serving
      const socket = yield* tcp(port)
      // A masked "hi", with a key of zeros.
      socket.write(Buffer.concat([Buffer.from(request("/echo")), Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69])]))
      const heard = yield* Effect.promise(async () => {
        let all = Buffer.alloc(0)
        for await (const bytes of socket) {
          all = Buffer.concat([all, bytes])
          if (all.includes("\r\n\r\n") && all.length >= all.indexOf("\r\n\r\n") + 8) break
        }
        return all.subarray(all.indexOf("\r\n\r\n") + 4)
      })
      expect([...heard]).toEqual([0x81, 2, 0x68, 0x69])
    })
  )

  it.scopedLive("refuses what is no upgrade for it, and is not disturbed", () =>
    Effect.gen(function* () {
      const { port, url } = yield* serving
      const foreign = yield* Effect.flip(connect(`${url}/echo`, { headers: { origin: "https://elsewhere.example" } }))
      expect(foreign).toMatchObject({ _tag: "HandshakeError", status: 403 })
      const missing = yield* Effect.flip(connect(`${url}/missing`))
      expect(missing).toMatchObject({ _tag: "HandshakeError", status: 404 })
      const plain = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/echo`))
      expect([plain.status, plain.headers.get("upgrade")]).toEqual([426, "websocket"])
      const socket = yield* connect(`${url}/echo`)
      yield* socket.send("hello")
      expect(yield* socket.receive).toBe("hello")
    })
  )

  it.scopedLive("ends the handler when the client resets the connection, and serves on", () =>
    Effect.gen(function* () {
      const { connections, end, port, url } = yield* serving
      const socket = yield* tcp(port)
      socket.write(request("/echo"))
      yield* Effect.promise(() => once(socket, "data"))
      socket.resetAndDestroy()
      expect(yield* end).toContain("ECONNRESET")
      while ((yield* connections) > 0) yield* Effect.sleep("20 millis")
      const other = yield* connect(`${url}/echo`)
      yield* other.send("hello")
      expect(yield* other.receive).toBe("hello")
    })
  )

  it.scopedLive("lets go of a client that was refused and keeps its half open", () =>
    Effect.gen(function* () {
      const { connections, port, stop } = yield* serving
      for (const [path, header] of [
        ["/echo", "Origin: https://elsewhere.example"],
        ["/missing", "X-Nothing: special"]
      ] as const) {
        const socket = yield* tcp(port)
        socket.resume()
        socket.write(request(path, [header]))
        yield* Effect.promise(() => once(socket, "end"))
      }
      while ((yield* connections) > 0) yield* Effect.sleep("20 millis")
      yield* stop
      expect(yield* connections).toBe(0)
    })
  )

  it.scopedLive("closes with 1001 when the server shuts down", () =>
    Effect.gen(function* () {
      const { end, stop, url } = yield* serving
      const socket = yield* connect(`${url}/echo`)
      yield* stop
      expect(yield* socket.closed).toMatchObject({ code: 1001, initiator: "remote", clean: true })
      expect(yield* end).toBe("success")
    })
  )
})
