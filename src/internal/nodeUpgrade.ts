// Upgrades inside a Node HTTP server: the server made ready for them, and a connection taken over.

import * as Http from "node:http"
import type * as Https from "node:https"
import type * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as Tls from "node:tls"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Flow } from "../Flow.js"
import { HandshakeError } from "../WebSocketError.js"
import { NodeFlow } from "./nodeFlow.js"
import { ignore, peerOf } from "./nodeSocket.js"

const preparedServers = new WeakSet<object>()
/** Handed over by Node's HTTP server, in the sight of a prepared one. */
const watched = new WeakSet<Duplex>()
const taken = new WeakSet<Duplex>()
const heads = new WeakMap<Duplex, Uint8Array>()

/** See `NodeNetwork.prepareServer`. */
export const prepareServer = <Server extends Http.Server | Https.Server>(server: Server): Server => {
  if (preparedServers.has(server)) return server
  preparedServers.add(server)
  const used = closeUnused(server)
  // First in line: the listeners of NodeHttpServer may be there already.
  server.prependListener("upgrade", (request: Http.IncomingMessage, socket: Duplex, head: Uint8Array) => {
    used(request)
    watched.add(socket)
    socket.on("error", ignore)
    socket.once("end", gone)
    socket.once("finish", refused)
    if (head.length > 0) heads.set(socket, head)
    // Before the application serves, and while it ends, nobody else listens.
    if (server.listenerCount("upgrade") === 1) socket.end(unavailable)
  })
  // Node would leave the request unanswered, and wait for its end when the server closes.
  server.prependListener("request", (request: Http.IncomingMessage, response: Http.ServerResponse) => {
    used(request)
    if (server.listenerCount("request") > 1) return
    response.writeHead(503, { connection: "close", "content-length": "0" }).end()
  })
  return server
}

const unavailable = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

/**
 * A client that ends the connection before its upgrade was answered has given up. Node ends
 * ordinary requests in the same case; the platform interrupts this one when it closes.
 */
function gone(this: Duplex): void {
  if (!this.writableEnded) this.destroy()
}

/**
 * How long a client may take to close the connection after its upgrade was
 * refused, in milliseconds: 5 seconds, several round trips of the slowest links.
 */
const refusedTimeout = 5_000

/** The application has answered an upgrade, and ended the connection, without taking it over. */
function refused(this: Duplex): void {
  // Node counts it among its HTTP connections no more: no timeout of Node's holds for it, and
  // unless it is read the client's FIN is never seen. A client that doesn't close would hold
  // the descriptor, and the server's own end, for ever.
  this.resume()
  const timer = setTimeout(() => this.destroy(), refusedTimeout)
  this.once("close", () => clearTimeout(timer))
}

/**
 * Makes `close` end the connections that have carried no request. Node ends those that
 * have, and are idle, but waits for ever for the ones that a browser opened ahead. Answers
 * what is to be called with each request.
 */
const closeUnused = (server: Http.Server | Https.Server): ((request: Http.IncomingMessage) => void) => {
  const secure = server instanceof Tls.Server
  const unused = new Map<unknown, Net.Socket>()
  // A TLS socket doesn't tell which TCP socket is under it, but has the same peer.
  const keyOf = (socket: Net.Socket): unknown => (secure && socket.remotePort !== undefined ? peerOf(socket) : socket)
  const opened = (socket: Net.Socket): void => {
    const key = keyOf(socket)
    unused.set(key, socket)
    socket.once("close", () => {
      if (unused.get(key) === socket) unused.delete(key)
    })
  }
  server.on("connection", (socket: Net.Socket) => {
    // Under TLS, peers on a Unix socket can't be told apart before they are secure.
    if (!secure || socket.remotePort !== undefined) opened(socket)
  })
  if (secure) server.on("secureConnection", opened)
  // Node tells nobody that it begins to close: "close" is when it has.
  const close = server.close.bind(server)
  Object.assign(server, {
    close: (callback?: (error?: Error) => void) => {
      close(callback)
      for (const socket of unused.values()) socket.destroy()
      return server
    }
  })
  return ({ socket }) => void unused.delete(keyOf(socket))
}

/** See `Network.upgrade`. */
export const upgrade = (
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<Flow, HandshakeError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const source = request.source
      if (!(source instanceof Http.IncomingMessage)) {
        return refuse(
          "the request doesn't come from a Node HTTP server, so this network can't take its connection over"
        )
      }
      // Node sets it if the request asks for an upgrade and the server listens for that.
      if (Reflect.get(source, "upgrade") !== true) {
        return refuse("the request doesn't ask for an upgrade")
      }
      const socket = source.socket
      if (taken.has(socket)) return refuse("the connection of this request was taken over already")
      taken.add(socket)
      silence(request, socket)
      const flow = new NodeFlow(socket, {})
      socket.removeListener("error", ignore)
      socket.removeListener("end", gone)
      socket.removeListener("finish", refused)
      const head = heads.get(socket)
      heads.delete(socket)
      if (head !== undefined) flow.unshift(head)
      return Effect.as(watched.has(socket) ? Effect.void : warn(socket), flow)
    }),
    (flow) => Effect.sync(() => flow.destroy())
  )

const refuse = (rule: string) => Effect.fail(new HandshakeError({ rule, address: "HTTP request" }))

/**
 * Ends the response that @effect/platform-node would write to the connection when the application
 * is done with the request. It would wait for ever for a body to leave through a socket that is
 * closed by then, and the end of the server for it; and an application that answers
 * early, because of a timeout for example, would write into the frames.
 *
 * `NodeHttpServerRequest.toServerResponse` reads the same field, but would load all of
 * that package, with an HTTP client and another implementation of WebSockets, for one line.
 */
const silence = (request: HttpServerRequest.HttpServerRequest, socket: Net.Socket): void => {
  const field: unknown = Reflect.get(request, "response")
  const response: unknown = typeof field === "function" ? field() : field
  if (!(response instanceof Http.ServerResponse)) return
  response.detachSocket(socket)
  // On Bun a response is bound to its request for good: its end would be written in front of the handshake.
  if (response.socket === null) response.end()
  else Object.defineProperty(response, "writableEnded", { value: true })
}

const warned = new WeakSet<object>()

/** Says once for each server that it wasn't prepared. */
const warn = (socket: Net.Socket): Effect.Effect<void> =>
  Effect.suspend(() => {
    const server: unknown = Reflect.get(socket, "server")
    const one = typeof server === "object" && server !== null ? server : socket
    if (warned.has(one)) return Effect.void
    warned.add(one)
    return Effect.logWarning(
      "an HTTP server that upgrades wasn't given to NodeNetwork.prepareServer: a client that resets its connection early ends the process"
    )
  })
