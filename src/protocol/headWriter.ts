/**
 * The head of an HTTP/1.1 message, written (RFC 9112). What could be read as
 * something else than was meant (a line break in a value, a space in a name) is
 * a failure here, so no caller's text can inject a field or a second message.
 */
import type { HeaderPairs } from "./head.js"
import { consistsOf, type Failure, failure, fieldTable, isTarget, isToken, parseHost } from "./tokens.js"

const reasons: ReadonlyMap<number, string> = new Map([
  [101, "Switching Protocols"],
  [200, "OK"],
  [204, "No Content"],
  [301, "Moved Permanently"],
  [302, "Found"],
  [303, "See Other"],
  [304, "Not Modified"],
  [307, "Temporary Redirect"],
  [308, "Permanent Redirect"],
  [400, "Bad Request"],
  [401, "Unauthorized"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Method Not Allowed"],
  [408, "Request Timeout"],
  [410, "Gone"],
  [421, "Misdirected Request"],
  [426, "Upgrade Required"],
  [429, "Too Many Requests"],
  [431, "Request Header Fields Too Large"],
  [500, "Internal Server Error"],
  [502, "Bad Gateway"],
  [503, "Service Unavailable"],
  [504, "Gateway Timeout"],
  [505, "HTTP Version Not Supported"]
])

/** 1xx, 204 and 304 end with their head (RFC 9112 6.3). */
export const isBodiless = (status: number): boolean => status < 200 || status === 204 || status === 304

/** The bytes of a request without a body. */
export const writeRequest = (request: {
  readonly method: string
  readonly target: string
  readonly headers: HeaderPairs
}): Uint8Array | Failure => {
  if (!isToken(request.method)) return failure("a method is a token (RFC 9110 9.1)")
  if (!isTarget(request.target)) {
    return failure(
      "a request target is a path and perhaps a query, in visible ASCII, without a fragment (RFC 9112 3.2.1)"
    )
  }
  return write(`${request.method} ${request.target} HTTP/1.1\r\n`, request.headers, empty)
}

/** The bytes of a request for a tunnel to `authority`, a host and a port (RFC 9110 9.3.6). */
export const writeConnect = (authority: string, headers: HeaderPairs): Uint8Array | Failure => {
  // RFC 9112 3.2.3: the target is the authority alone, and its port is never left out.
  if (parseHost(authority)?.port === undefined) {
    return failure("the target of a tunnel is a host and a port (RFC 9112 3.2.3)")
  }
  return write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n`, headers, empty)
}

/**
 * The bytes of a response. Unless its status forbids a body, the length of the body, 0
 * without one, is declared. A body that follows may come in chunks, or else the end of the connection
 * ends it (RFC 9112 6.3). `headOnly` leaves the body away, as the answer to a HEAD must (RFC 9110 9.3.2).
 */
export const writeResponse = (response: {
  readonly status: number
  readonly headers: HeaderPairs
  readonly body?: Uint8Array | "chunks follow" | "follows" | undefined
  readonly headOnly?: boolean | undefined
}): Uint8Array | Failure => {
  const { status, body = empty } = response
  if (!Number.isInteger(status) || status < 100 || status > 599) {
    return failure("a status is a whole number from 100 to 599 (RFC 9110 15)")
  }
  if (isBodiless(status) && body.length > 0)
    return failure(`a response with status ${status} has no body (RFC 9112 6.3)`)
  const bytes = typeof body === "string" || response.headOnly === true ? empty : body
  const start = `HTTP/1.1 ${status} ${reasons.get(status) ?? ""}\r\n${isBodiless(status) ? "" : lengthOf(body)}`
  return write(start, response.headers, bytes)
}

/** What tells where a body ends (RFC 9112 6.3). */
const lengthOf = (body: Uint8Array | "chunks follow" | "follows"): string => {
  if (body === "follows") return ""
  return body === "chunks follow" ? "Transfer-Encoding: chunked\r\n" : `Content-Length: ${body.length}\r\n`
}

/** A part of a body in chunks; one without bytes would be the last (RFC 9112 7.1). */
export const writeChunk = (part: Uint8Array): Uint8Array => {
  if (part.length === 0) return empty
  const size = `${part.length.toString(16)}\r\n`
  const bytes = new Uint8Array(size.length + part.length + 2)
  for (let index = 0; index < size.length; index++) bytes[index] = size.charCodeAt(index)
  bytes.set(part, size.length)
  bytes.set(lineEnd, size.length + part.length)
  return bytes
}

const lineEnd = Uint8Array.of(13, 10)

/** What ends a body in chunks. */
export const lastChunk: Uint8Array = Uint8Array.of(48, 13, 10, 13, 10)

const empty = new Uint8Array(0)

const write = (start: string, headers: HeaderPairs, body: Uint8Array): Uint8Array | Failure => {
  let text = start
  for (const [name, value] of headers) {
    if (!isToken(name)) return failure("a header name is a token (RFC 9110 5.1)")
    const lower = name.toLowerCase()
    // Two opinions on where a body ends are the root of request smuggling (RFC 9112 6.1).
    if (lower === "content-length" || lower === "transfer-encoding") {
      return failure("Content-Length and Transfer-Encoding follow from the body and can't be given (RFC 9112 6)")
    }
    if (!consistsOf(value, fieldTable)) {
      return failure(`the value of ${lower} holds a control character, or one outside of latin1 (RFC 9110 5.5)`)
    }
    text += `${name}: ${value}\r\n`
  }
  text += "\r\n"
  const bytes = new Uint8Array(text.length + body.length)
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index)
  bytes.set(body, text.length)
  return bytes
}
