// Where a URL leads to, and what of it may be shown.

import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import { type Failure, failure } from "../protocol/tokens.js"
import { ConnectError } from "../WebSocketError.js"

/** What a URL asks for. */
export interface Destination {
  /** The URL without user info, its scheme `ws` or `wss`. It may be shown to anybody. */
  readonly label: string
  /** Scheme, host and port: what secrets are meant for (RFC 6454 4). */
  readonly origin: string
  readonly address: { readonly _tag: "TcpAddress"; readonly hostname: string; readonly port: number }
  readonly secure: boolean
  readonly host: string
  readonly target: string
  readonly authorization: string | undefined
}

const schemes: ReadonlyMap<string, "ws:" | "wss:"> = new Map([
  ["ws:", "ws:"],
  ["http:", "ws:"],
  ["wss:", "wss:"],
  ["https:", "wss:"]
])

/** The destination of a URL that the caller gave. */
export const destination = (input: string | URL): Effect.Effect<Destination, ConnectError> =>
  Effect.suspend(() => {
    const text = String(input)
    const parsed = parse(text)
    return "_tag" in parsed
      ? Effect.fail(new ConnectError({ reason: "url", address: presentable(text), detail: parsed.rule }))
      : Effect.succeed(parsed)
  })

/** The destination of a URL, which is relative to another one if that is given. */
export const parse = (text: string, base?: string): Destination | Failure => {
  // A URL parser drops line breaks without a word, so that what is connected to isn't what was written.
  if (control.test(text)) return failure("the URL must not hold control characters, such as a line break")
  const url = URL.canParse(text, base) ? new URL(text, base) : undefined
  const scheme = url === undefined ? undefined : schemes.get(url.protocol)
  if (url === undefined || scheme === undefined) {
    return failure("it must be an absolute ws:, wss:, http: or https: URL (RFC 6455 3)")
  }
  // RFC 6455 3: fragment identifiers must not be used on these URIs.
  if (text.includes("#")) return failure("it must not have a fragment (RFC 6455 3)")
  const authorization = basic(url)
  if (typeof authorization === "object") return authorization
  url.username = ""
  url.password = ""
  url.protocol = scheme
  const secure = scheme === "wss:"
  return {
    label: url.href,
    origin: url.origin,
    address: {
      _tag: "TcpAddress",
      hostname: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port === "" ? (secure ? 443 : 80) : Number(url.port)
    },
    secure,
    host: url.host,
    target: url.pathname + url.search,
    authorization
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const control = /[\0-\x1f\x7f]/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const controls = /[\0-\x1f\x7f]/g

const basic = ({ username, password }: URL): string | Failure | undefined => {
  if (username === "" && password === "") return undefined
  const user = percentDecoded(username)
  const secret = percentDecoded(password)
  // A server would end the user at the first colon, and a control character is for no header (RFC 7617 2).
  if (user.includes(":")) return failure("the user of its user info must not hold a colon (RFC 7617 2)")
  if (control.test(user + secret)) return failure("its user info must not hold control characters (RFC 7617 2)")
  return `Basic ${Encoding.encodeBase64(`${user}:${secret}`)}`
}

const percentDecoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * What may be shown of a text that should be a URL: no user info, and no fragment. Of a
 * text that is no URL of ours nothing before its last `@`, where a password may stand
 * however it is spelled.
 */
export const presentable = (text: string): string => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !schemes.has(url.protocol)) {
    return withoutUser(text)
      .replace(/#.*$/s, "")
      .replace(controls, (character) => encodeURIComponent(character))
  }
  url.username = ""
  url.password = ""
  url.hash = ""
  return url.href
}

const withoutUser = (text: string): string => {
  const end = text.lastIndexOf("@")
  if (end < 0) return text
  const scheme = /^[a-z][a-z0-9+.-]{0,30}:\/\//i.exec(text)?.[0] ?? ""
  return scheme + text.slice(end + 1)
}
