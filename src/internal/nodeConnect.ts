// Opening connections with node:net and node:tls.

import * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as Tls from "node:tls"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Flow } from "../Flow.js"
import type { ConnectOptions, TlsClientOptions } from "../Network.js"
import type { ConnectError, ConnectReason } from "../WebSocketError.js"
import { FlowDuplex } from "./nodeDuplex.js"
import { connectError, serverName, stringOf } from "./nodeErrors.js"
import { type Ends, NodeFlow } from "./nodeFlow.js"
import { connectShared, type SharedReading } from "./nodeReading.js"
import { abandon, mutable } from "./nodeSocket.js"

/** Opens a socket, unless there is a flow to use instead, and speaks TLS if asked to. */
export const connect = (options: ConnectOptions): Effect.Effect<Flow, ConnectError> =>
  options.over !== undefined && options.tls === undefined ? Effect.succeed(options.over) : open(options)

const open = (options: ConnectOptions): Effect.Effect<Flow, ConnectError> =>
  Effect.async((resume) => {
    const { over, tls } = options
    // A socket that is ours goes under TLS as it is, which spares each read and write a turn through streams.
    const under = over instanceof NodeFlow ? over.release() : over && new FlowDuplex(over)
    let reason: ConnectReason = under === undefined ? "tcp" : "tls"
    const fail = (cause: unknown) => resume(Effect.fail(connectError(options, reason, cause)))
    let socket: Net.Socket
    let reading: SharedReading | undefined
    try {
      if (tls === undefined) ({ reading, socket } = connectShared(target(options)))
      else socket = openTls(options, tls, under)
    } catch (cause) {
      if (under !== undefined) abandon(under)
      // Options that Node refuses: a port out of range, a certificate that is no PEM.
      if (tls !== undefined && !badAddress.has(stringOf(cause, "code"))) reason = "tls"
      return fail(cause)
    }
    const connected = () => {
      reason = "tls"
    }
    // What ended while it was still read as a flow ends unnoticed by the TLS over it. A failure of TLS
    // closes what is under it before it is told.
    const hungUp = () =>
      failed(socket.errored ?? Object.assign(new Error("the connection ended"), { code: "ECONNRESET" }))
    const release = () => {
      under?.removeListener("end", hungUp)
      under?.removeListener("close", hungUp)
      socket.removeListener("connect", connected)
      socket.removeListener("keylog", logged)
      socket.removeListener(ready, opened)
      socket.removeListener("error", failed)
    }
    const opened = () => {
      const flow = new NodeFlow(socket, endsOf(options), reading)
      release()
      resume(Effect.succeed(flow))
    }
    const failed = (cause: unknown) => {
      release()
      abandon(socket)
      fail(cause)
    }
    const ready = tls === undefined ? "connect" : "secureConnect"
    const logged = (line: Uint8Array) => {
      try {
        tls?.keyLog?.(new TextDecoder().decode(line))
      } catch (cause) {
        // In a listener it would be nobody's, and end the process.
        failed(cause)
      }
    }
    if (tls !== undefined) socket.on("connect", connected)
    if (tls?.keyLog !== undefined) socket.on("keylog", logged)
    socket.on(ready, opened)
    socket.on("error", failed)
    under?.on("end", hungUp)
    under?.on("close", hungUp)
    if (under?.readable === false) hungUp()
    return Effect.sync(() => {
      release()
      abandon(socket)
    })
  })

/** What a socket doesn't know of itself. */
const endsOf = ({ address, over }: ConnectOptions): Ends => {
  if (over !== undefined) return { remoteAddress: over.remoteAddress, localAddress: over.localAddress }
  return address._tag === "UnixAddress" ? { remoteAddress: address, localAddress: address } : {}
}

const badAddress: ReadonlySet<string | undefined> = new Set(["ERR_SOCKET_BAD_PORT", "ERR_INVALID_IP_ADDRESS"])

const target = ({ address, localAddress }: ConnectOptions): Net.NetConnectOpts => {
  if (address._tag === "UnixAddress") return { path: address.path }
  const { hostname: host, port } = address
  const to = { host, port }
  // Node refuses these, too, but forgets the socket that it has made by then.
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw Object.assign(new RangeError(`a port is from 0 to 65535, and ${port} isn't`), { code: "ERR_SOCKET_BAD_PORT" })
  }
  if (localAddress !== undefined && Net.isIP(localAddress) === 0) {
    throw Object.assign(new TypeError(`no IP address: ${localAddress}`), { code: "ERR_INVALID_IP_ADDRESS" })
  }
  // Only an address of the same family can be reached from it.
  return localAddress === undefined ? to : { ...to, localAddress, family: Net.isIP(localAddress) }
}

const openTls = (options: ConnectOptions, tls: TlsClientOptions, under: Duplex | undefined): Tls.TLSSocket => {
  const name = serverName(options.address, tls)
  return Tls.connect({
    ...(under === undefined ? target(options) : { socket: under }),
    // A server that is offered HTTP/2, too, would choose it, and answer no upgrade (RFC 8441 is another handshake).
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: tls.verify !== false,
    // RFC 6066 section 3 allows no IP address in the server name. It is verified all the same.
    ...(Net.isIP(name) === 0 ? { servername: name } : undefined),
    checkServerIdentity: (_, certificate) => Tls.checkServerIdentity(name, certificate),
    ...(tls.ca === undefined ? undefined : { ca: mutable(tls.ca) }),
    ...(tls.cert === undefined ? undefined : { cert: tls.cert }),
    ...(tls.key === undefined ? undefined : { key: Redacted.value(tls.key) }),
    ...(tls.passphrase === undefined ? undefined : { passphrase: Redacted.value(tls.passphrase) })
  })
}
