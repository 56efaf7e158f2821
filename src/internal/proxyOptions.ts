// What a proxy's URL and options say, checked before anything is opened.

import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Redacted from "effect/Redacted"
import { type Address, formatAddress } from "../Flow.js"
import type { TlsClientOptions } from "../Network.js"
import * as Socks from "../protocol/socks.js"
import { ConnectError } from "../WebSocketError.js"

/** A proxy, ready to be used. */
export type ProxyServer = HttpProxy | SocksProxy

interface Common {
  /** The URL without user info, for messages. */
  readonly label: string
  readonly address: Address
  readonly tls: TlsClientOptions | undefined
}

interface HttpProxy extends Common {
  readonly _tag: "Http"
  /** The value of Proxy-Authorization. */
  readonly secret: Redacted.Redacted<string> | undefined
}

interface SocksProxy extends Common {
  readonly _tag: "Socks"
  /** The message of RFC 1929. */
  readonly secret: Redacted.Redacted<Uint8Array> | undefined
}

export interface ProxyOptions {
  readonly url: string | URL | Redacted.Redacted<string>
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted<string> | undefined
  readonly tls?: TlsClientOptions | undefined
}

const schemes: ReadonlyMap<
  string,
  { readonly tag: ProxyServer["_tag"]; readonly secure: boolean; readonly port: number }
> = new Map([
  ["http:", { tag: "Http", secure: false, port: 80 }],
  ["https:", { tag: "Http", secure: true, port: 443 }],
  ["socks5:", { tag: "Socks", secure: false, port: 1080 }],
  ["socks5h:", { tag: "Socks", secure: false, port: 1080 }]
])

/** `name` is how messages call the URL as long as nothing better is known: it may hold a password anywhere. */
export const readProxy = (options: ProxyOptions, name: string): Effect.Effect<ProxyServer, ConnectError> =>
  Effect.gen(function* () {
    const text = (Redacted.isRedacted(options.url) ? Redacted.value(options.url) : String(options.url)).trim()
    // A URL parser drops line breaks without a word, so that what is connected to isn't what was written.
    if (control.test(text)) return yield* unusable(name, "its URL holds a control character, such as a line break")
    const absolute = text.includes("://") ? text : `http://${text}`
    const url = URL.canParse(absolute) ? new URL(absolute) : undefined
    const scheme = url && schemes.get(url.protocol)
    if (url === undefined || scheme === undefined || url.hostname === "") {
      return yield* unusable(name, "its URL has to be like http://host:port; https, socks5 and socks5h are spoken, too")
    }
    const address: Address = {
      _tag: "TcpAddress",
      hostname: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port === "" ? scheme.port : Number(url.port)
    }
    const label = `${url.protocol}//${formatAddress(address)}`
    const common = { label, address, tls: scheme.secure ? (options.tls ?? {}) : undefined }
    const username = options.username ?? percentDecoded(url.username)
    const password = options.password === undefined ? percentDecoded(url.password) : Redacted.value(options.password)
    const anonymous = username === "" && password === ""
    if (scheme.tag === "Http") {
      // RFC 7617 2: the first colon ends the user name.
      if (username.includes(":") || control.test(username + password)) {
        return yield* unusable(label, "Basic allows no colon in a user name, and no control characters (RFC 7617 2)")
      }
      const basic = `Basic ${Encoding.encodeBase64(`${username}:${password}`)}`
      return { _tag: "Http", ...common, secret: anonymous ? undefined : Redacted.make(basic) }
    }
    const login = anonymous ? undefined : Socks.login(username, password)
    if (login !== undefined && "_tag" in login) return yield* unusable(label, login.rule)
    return { _tag: "Socks", ...common, secret: login && Redacted.make(login) }
  })

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const control = /[\0-\x1f\x7f]/

const unusable = (address: string, detail: string): ConnectError =>
  new ConnectError({ reason: "proxy", address, detail: `the proxy can't be used: ${detail}` })

const percentDecoded = (text: string): string =>
  Either.getOrElse(
    Either.try(() => decodeURIComponent(text)),
    () => text
  )
