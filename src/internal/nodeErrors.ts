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
  const speaker = telling(cause)
  const code = stringOf(speaker, "code")
  const reason = stageOf(stage, code, stringOf(speaker, "syscall"))
  return new ConnectError({
    reason,
    address: formatAddress(options.address),
    detail: withCode(explain(reason, code, options, speaker), code) + attempts(cause),
    cause,
    ...(code === undefined ? undefined : { code })
  })
}

const stageOf = (stage: ConnectReason, code: string | undefined, syscall: string | undefined): ConnectReason => {
  if (syscall === "getaddrinfo") return "dns"
  // The system's patience is over before that of whoever set a timeout.
  return stage === "tcp" && code === "ETIMEDOUT" ? "timeout" : stage
}

// What a machine without IPv6, or without IPv4, says to each address of that kind.
const noRoute: ReadonlySet<string | undefined> = new Set(["ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL"])

/** When all addresses of a host failed, one failure speaks for them: the first that came from the host itself. */
const telling = (cause: unknown): unknown => {
  if (!(cause instanceof AggregateError) || cause.errors.length === 0) return cause
  const errors: ReadonlyArray<unknown> = cause.errors
  return errors.find((error) => !noRoute.has(stringOf(error, "code"))) ?? errors[0]
}

/** Which addresses of a host were tried, and what came of it. */
const attempts = (cause: unknown): string => {
  if (!(cause instanceof AggregateError) || cause.errors.length < 2) return ""
  const errors: ReadonlyArray<unknown> = cause.errors
  const tried = errors.map((error) => `${stringOf(error, "address") ?? "?"}: ${stringOf(error, "code") ?? "?"}`)
  return `; tried ${tried.join(", ")}`
}

const explain = (
  reason: ConnectReason,
  code: string | undefined,
  { address, localAddress, tls }: ConnectOptions,
  cause: unknown
): string => {
  const host = address._tag === "TcpAddress" ? address.hostname : address.path
  const name = tls === undefined ? host : serverName(address, tls)
  // OpenSSL 3.5 says SSL/TLS of the alerts that it said SSLV3 of before.
  switch (code?.replace("ERR_SSL_SSL/TLS_ALERT_", "ERR_SSL_SSLV3_ALERT_")) {
    case "ERR_INVALID_IP_ADDRESS":
      return `\`localAddress\` must be an IP address, and "${localAddress}" is none`
    case "EADDRNOTAVAIL":
    case "EINVAL":
      return localAddress === undefined
        ? messageOf(cause)
        : `there is no connecting from ${localAddress}; \`localAddress\` must be one of this machine's addresses, of the same family as the server's`
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
      return `name mismatch: the certificate isn't for ${name}: ${namesOf(cause) ?? messageOf(cause)}`
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return `unknown authority: the certificate of ${name} is signed by nobody that is trusted here; give its authority as \`ca\``
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return `what listens at ${host} doesn't speak TLS on this port`
    case "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE":
      return `${host} broke the TLS handshake off; it may want a client certificate, or share no cipher with us`
    case "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA":
    case "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE":
    case "ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED":
    case "ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN":
      return `${host} refused the client certificate; it may not trust its authority, or it may have expired`
    case "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL":
      return `${host} doesn't offer HTTP/1.1 (ALPN), which WebSocket begins with`
    case "ERR_SSL_UNSUPPORTED_PROTOCOL":
    case "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION":
      return `${host} and this side have no version of TLS in common; 1.2 and 1.3 are spoken here`
    case "ERR_OSSL_PEM_NO_START_LINE":
      return `the client certificate or its key is no PEM: ${messageOf(cause)}`
    case "ERR_OSSL_X509_KEY_VALUES_MISMATCH":
      return "the client certificate and its key don't belong together"
    case "ERR_OSSL_BAD_DECRYPT":
    case "ERR_OSSL_EVP_BAD_DECRYPT":
      return tls?.passphrase === undefined
        ? "the client certificate's key is encrypted; give its `passphrase`"
        : "the passphrase isn't that of the client certificate's key"
    case "ECONNRESET":
    case "EPIPE":
      return reason === "tls"
        ? `${host} hung up during the TLS handshake; it may not speak TLS on this port, or want another certificate`
        : "the peer hung up at once"
    default:
      return messageOf(cause)
  }
}

/** The names that the certificate of a name mismatch is for, which Node hands over with the error. */
const namesOf = (cause: unknown): string | undefined => {
  const certificate = propertyOf(cause, "cert")
  const names = propertyOf(certificate, "subjectaltname") ?? propertyOf(propertyOf(certificate, "subject"), "CN")
  if (typeof names !== "string") return undefined
  // Some are for hundreds.
  return `it is for ${names.length > maxNames ? `${names.slice(0, maxNames)}…` : names}`
}

const maxNames = 300

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

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
export const stringOf = (error: unknown, property: "code" | "syscall" | "address"): string | undefined => {
  const value = propertyOf(error, property)
  return typeof value === "string" ? value : undefined
}

const propertyOf = (error: unknown, property: string): unknown =>
  typeof error === "object" && error !== null ? Reflect.get(error, property) : undefined
