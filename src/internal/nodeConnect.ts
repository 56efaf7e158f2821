// Opening connections with node:net and node:tls.

import * as Net from "node:net"
import * as Tls from "node:tls"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Address, Flow } from "../Flow.js"
import type { ConnectOptions, TlsClientOptions } from "../Network.js"
import type { ConnectError, ConnectReason } from "../WebSocketError.js"
import { connectError, serverName, stringOf } from "./nodeErrors.js"
import { NodeFlow } from "./nodeFlow.js"
import { abandon, mutable } from "./nodeSocket.js"

/** Opens a socket, and speaks TLS if asked to. */
export const connect = (options: ConnectOptions): Effect.Effect<Flow, ConnectError> =>
  Effect.async((resume) => {
    const { address, tls } = options
    let reason: ConnectReason = "tcp"
    const fail = (cause: unknown) => resume(Effect.fail(connectError(options, reason, cause)))
    let socket: Net.Socket
    try {
      socket = tls === undefined ? Net.connect(target(address)) : openTls(address, tls)
    } catch (cause) {
      // Options that Node refuses: a port out of range, a certificate that is no PEM.
      if (tls !== undefined && stringOf(cause, "code") !== "ERR_SOCKET_BAD_PORT") reason = "tls"
      return fail(cause)
    }
    const connected = () => {
      reason = "tls"
    }
    const release = () => {
      socket.removeListener("connect", connected)
      socket.removeListener(ready, opened)
      socket.removeListener("error", failed)
    }
    const opened = () => {
      const flow = new NodeFlow(
        socket,
        address._tag === "UnixAddress" ? { remoteAddress: address, localAddress: address } : {}
      )
      release()
      resume(Effect.succeed(flow))
    }
    const failed = (cause: Error) => {
      release()
      abandon(socket)
      fail(cause)
    }
    const ready = tls === undefined ? "connect" : "secureConnect"
    if (tls !== undefined) socket.on("connect", connected)
    socket.on(ready, opened)
    socket.on("error", failed)
    return Effect.sync(() => {
      release()
      abandon(socket)
    })
  })

const target = (address: Address) =>
  address._tag === "UnixAddress" ? { path: address.path } : { host: address.hostname, port: address.port }

const openTls = (address: Address, tls: TlsClientOptions): Tls.TLSSocket => {
  const name = serverName(address, tls)
  return Tls.connect({
    ...target(address),
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: tls.verify !== false,
    // RFC 6066 section 3 allows no IP address in the server name. It is verified all the same.
    ...(Net.isIP(name) === 0 ? { servername: name } : undefined),
    checkServerIdentity: (_, certificate) => Tls.checkServerIdentity(name, certificate),
    ...(tls.ca === undefined ? undefined : { ca: mutable(tls.ca) }),
    ...(tls.cert === undefined ? undefined : { cert: tls.cert }),
    ...(tls.key === undefined ? undefined : { key: Redacted.value(tls.key) })
  })
}
