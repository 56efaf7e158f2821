/**
 * What went wrong in `node:net` and `node:tls`, in words that say what to do.
 */
import { type Address, formatAddress } from "../Flow.js"
import type { ConnectOptions, ListenOptions, TlsClientOptions } from "../Network.js"
import { ConnectError, type ConnectReason, ListenError } from "../WebSocketError.js"

/** The name to verify: without the dot at the end that a fully qualified name may have. */
export const serverName = (address: Address, tls: TlsClientOptions): string =>
  (tls.servername ?? (address._tag === "UnixAddress" ? "localhost" : address.hostname)).replace(/\.$/, "")

export const connectError = (options: ConnectOptions, stage: ConnectReason, cause: unknown): ConnectError => {
  const code = stringOf(cause, "code")
  const reason = stringOf(cause, "syscall") === "getaddrinfo" ? "dns" : stage
  const host = options.address._tag === "TcpAddress" ? options.address.hostname : options.address.path
  const name = options.tls === undefined ? host : serverName(options.address, options.tls)
  return new ConnectError({
    reason,
    address: formatAddress(options.address),
    detail: withCode(explain(reason, code, host, name, cause), code),
    cause,
    ...(code === undefined ? undefined : { code })
  })
}

const explain = (
  reason: ConnectReason,
  code: string | undefined,
  host: string,
  name: string,
  cause: unknown
): string => {
  switch (code) {
    case "ENOTFOUND":
      return `the host name "${host}" doesn't exist; check its spelling`
    case "EAI_AGAIN":
      return `the host name "${host}" couldn't be resolved for now; check the connection to the name server, or try again`
    case "ECONNREFUSED":
      return "nobody listens there; check the address, and that the server runs"
    case "ETIMEDOUT":
      return "no answer; a firewall may drop the packets, or the host is down"
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return "there is no route to that address; check the network connection"
    case "ENOENT":
      return "there is no such socket file; check the path, and that the server runs"
    case "EACCES":
      return "no permission to connect; check the owner and mode of the socket file, or the firewall"
    case "CERT_HAS_EXPIRED":
      return `the certificate of ${name} has expired; renew it, or check this machine's clock`
    case "CERT_NOT_YET_VALID":
      return `the certificate of ${name} isn't valid yet; check this machine's clock`
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `name mismatch: the certificate isn't for ${name}: ${stringOf(cause, "reason") ?? messageOf(cause)}`
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return `unknown authority: the certificate of ${name} is signed by nobody that is trusted here; give its authority as \`ca\``
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return `what listens at ${host} doesn't speak TLS on this port`
    case "ECONNRESET":
    case "EPIPE":
      return reason === "tls"
        ? `${host} hung up during the TLS handshake; it may not speak TLS on this port, or want another certificate`
        : "the peer hung up at once"
    default:
      return messageOf(cause)
  }
}

/** When all addresses of a host failed, the first failure speaks for them. */
const messageOf = (cause: unknown): string => {
  if (cause instanceof AggregateError && cause.errors.length > 0) return messageOf(cause.errors[0])
  return cause instanceof Error ? cause.message : String(cause)
}

const withCode = (detail: string, code: string | undefined): string =>
  code === undefined || detail.includes(code) ? detail : `${detail} (${code})`

export const listenError = ({ address }: ListenOptions, cause: unknown): ListenError => {
  const code = stringOf(cause, "code")
  return new ListenError({
    address: formatAddress(address),
    detail: withCode(explainListen(address, code, cause), code),
    cause,
    ...(code === undefined ? undefined : { code })
  })
}

const explainListen = (address: Address, code: string | undefined, cause: unknown): string => {
  const unix = address._tag === "UnixAddress"
  switch (code) {
    case "EADDRINUSE":
      return unix
        ? "the path exists already; another server listens there, or one that died left its file behind: remove it"
        : "the port is taken by another server; stop it, or choose another port"
    case "EACCES":
      return unix
        ? "no permission to create that file; check the directory's owner and mode"
        : "no permission; ports below 1024 may be reserved to the superuser"
    case "EADDRNOTAVAIL":
      return "the address isn't one of this machine's; 0.0.0.0 or :: listens on all of them"
    case "ENOENT":
    case "ENOTDIR":
      return "the directory doesn't exist"
    case "ENOTFOUND":
      return "the host name doesn't exist; check its spelling"
    default:
      return code?.startsWith("ERR_OSSL") || code?.startsWith("ERR_SSL")
        ? `the certificate or its key can't be used: ${messageOf(cause)}`
        : messageOf(cause)
  }
}

/** A property of an error that Node documents but doesn't declare. */
export const stringOf = (error: unknown, property: "code" | "syscall" | "reason"): string | undefined => {
  if (typeof error !== "object" || error === null) return undefined
  const value: unknown = Reflect.get(error, property)
  return typeof value === "string" ? value : undefined
}
