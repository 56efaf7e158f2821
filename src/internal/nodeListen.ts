// Accepting connections with node:net and node:tls.

import * as Net from "node:net"
import * as Tls from "node:tls"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { type Address, type Flow, formatAddress } from "../Flow.js"
import type { Listener, ListenOptions, TlsServerOptions } from "../Network.js"
import type { ListenError } from "../WebSocketError.js"
import { listenError } from "./nodeErrors.js"
import { type Ends, NodeFlow } from "./nodeFlow.js"
import { shareAccepted } from "./nodeReading.js"
import { abandon, ignore, mutable, peerOf } from "./nodeSocket.js"

/** See `NodeNetwork.tlsHandshakeTimeout`. */
export const tlsHandshakeTimeout = 10_000

/** Listens until `close` is called. */
export const listen = (
  options: ListenOptions,
  onFlow: (flow: Flow) => void,
  log: (effect: Effect.Effect<void>) => void
): Effect.Effect<{ readonly listener: Listener; readonly close: () => void }, ListenError> =>
  Effect.async((resume) => {
    const { address, tls } = options
    const fail = (cause: unknown) => resume(Effect.fail(listenError(options, cause)))
    // An unnamed end of a Unix socket gets the name of the other.
    const ends = address._tag === "UnixAddress" ? { remoteAddress: address, localAddress: address } : {}
    let plainEnds: Ends = ends
    const accepted = (socket: Net.Socket) => onFlow(new NodeFlow(socket, ends))
    const acceptedPlain = (accepted: Net.Socket) => {
      const { reading, socket } = shareAccepted(accepted)
      onFlow(new NodeFlow(socket, plainEnds, reading))
    }
    // Connections in the middle of their TLS handshake.
    const pending = new Map<string, Net.Socket>()
    let closed = false
    try {
      const server =
        tls === undefined
          ? Net.createServer({ pauseOnConnect: true }, acceptedPlain)
          : createTlsServer(tls, pending, accepted)
      const close = () => {
        closed = true
        server.close()
        for (const socket of pending.values()) socket.destroy()
      }
      server.on("error", (cause) => {
        // A listening server goes on after a failed accept (out of descriptors, for example).
        if (server.listening) log(Effect.logWarning(`accepting on ${formatAddress(address)} failed`, cause))
        else fail(cause)
      })
      server.on("listening", () => {
        // Node looks the host name up first, and listens even if the server was closed in the meantime.
        if (closed) return close()
        const bound = boundTo(server, address)
        plainEnds = { ...ends, ...localOf(bound) }
        resume(Effect.succeed({ listener: { address: bound, secure: tls !== undefined }, close }))
      })
      server.listen(
        address._tag === "UnixAddress" ? { path: address.path } : { host: address.hostname, port: address.port }
      )
      return Effect.sync(close)
    } catch (cause) {
      // What Node refuses at once: a certificate that is no PEM, a port out of range.
      return fail(cause)
    }
  })

const createTlsServer = (
  tls: TlsServerOptions,
  pending: Map<string, Net.Socket>,
  accepted: (socket: Net.Socket) => void
): Net.Server => {
  const server = Tls.createServer(
    {
      ALPNProtocols: ["http/1.1"],
      handshakeTimeout: tlsHandshakeTimeout,
      cert: tls.cert,
      key: Redacted.value(tls.key),
      ...(tls.clientCa === undefined
        ? undefined
        : { ca: mutable(tls.clientCa), requestCert: true, rejectUnauthorized: true })
    },
    (socket) => {
      pending.delete(peerOf(socket))
      accepted(socket)
    }
  )
  server.on("connection", (socket: Net.Socket) => {
    // The TCP socket under the TLS socket breaks on its own, too.
    socket.on("error", ignore)
    // Peers on a Unix socket have no name to tell them apart by: there only the timeout bounds a handshake.
    if (socket.remotePort === undefined) return
    const peer = peerOf(socket)
    pending.set(peer, socket)
    socket.once("close", () => {
      if (pending.get(peer) === socket) pending.delete(peer)
    })
  })
  server.on("tlsClientError", (_, socket) => abandon(socket))
  return server
}

const boundTo = (server: Net.Server, asked: Address): Address => {
  const bound = server.address()
  return bound === null || typeof bound === "string"
    ? asked
    : { _tag: "TcpAddress", hostname: bound.address, port: bound.port }
}

/** Where all connections of a listener come in, if that is one place: to ask each socket for it is a system call. */
const localOf = (bound: Address): Ends =>
  bound._tag === "TcpAddress" && !wildcards.has(bound.hostname) ? { localAddress: bound } : {}

const wildcards: ReadonlySet<string> = new Set(["0.0.0.0", "::"])
