// What `connect` and `ping` share: how to get to the server.

import * as CliArgs from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { TlsClientOptions } from "../Network.js"
import * as NodeNetwork from "../NodeNetwork.js"
import * as ProxyNetwork from "../ProxyNetwork.js"
import type { ConnectOptions } from "../WebSocket.js"

export const url = CliArgs.text({ name: "url" }).pipe(
  CliArgs.withDescription("ws:, wss:, http: or https: URL; wss://localhost:8443 and localhost:8080/chat will do, too")
)

/** A duration as people write it: `5s`, `250ms`, `1 minute`; a bare number is seconds. */
export const duration = (name: string): Options.Options<Duration.Duration> =>
  Options.mapEffect(Options.withPseudoName(Options.text(name), "duration"), (text) =>
    Option.match(parseDuration(text), {
      onNone: () => Effect.fail(invalid(`--${name} takes a duration: 30s, 250ms, "1 minute"; not "${text}"`)),
      onSome: Effect.succeed
    })
  )

const units: ReadonlyMap<string, Duration.Unit> = new Map([
  ["", "seconds"],
  ["ms", "millis"],
  ["s", "seconds"],
  ["m", "minutes"],
  ["h", "hours"]
])

const parseDuration = (text: string): Option.Option<Duration.Duration> => {
  const [, amount = "", unit = ""] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(text) ?? []
  const known = units.get(unit)
  return known === undefined || amount === ""
    ? Duration.decodeUnknown(text)
    : Option.some(Duration.decode(`${Number(amount)} ${known}`))
}

const invalid = (text: string) => ValidationError.invalidValue(HelpDoc.p(text))

const readHeader = (text: string) => {
  const colon = text.indexOf(":")
  return colon > 0
    ? Effect.succeed([text.slice(0, colon).trim(), text.slice(colon + 1).trim()] as const)
    : Effect.fail(invalid(`--header takes "Name: value", not "${text}"`))
}

const header = Options.text("header").pipe(
  Options.withPseudoName("name: value"),
  Options.withAlias("H"),
  Options.withDescription("A header for the request; may be given several times"),
  Options.repeated,
  Options.mapEffect((texts) => Effect.forEach(texts, readHeader))
)

export const connection = {
  header,
  subprotocol: Options.text("subprotocol").pipe(
    Options.withAlias("s"),
    Options.withDescription("A subprotocol to offer, the preferred one first; may be given several times"),
    Options.repeated
  ),
  origin: Options.text("origin").pipe(
    Options.withDescription("The Origin to claim, as a browser would"),
    Options.optional
  ),
  ca: Options.file("ca", { exists: "yes" }).pipe(
    Options.withDescription("Certificates (PEM) of the authorities to trust"),
    Options.optional
  ),
  cert: Options.file("cert", { exists: "yes" }).pipe(
    Options.withDescription("The client's certificate (PEM)"),
    Options.optional
  ),
  key: Options.file("key", { exists: "yes" }).pipe(
    Options.withDescription("The key (PEM) of the client's certificate"),
    Options.optional
  ),
  insecure: Options.boolean("insecure").pipe(
    Options.withAlias("k"),
    Options.withDescription("Accept any certificate: anybody in between can read and change all")
  ),
  proxy: Options.text("proxy").pipe(
    Options.withPseudoName("url"),
    Options.withDescription(
      "Connect through an http:, https: or socks5: proxy; `env` takes it from the usual variables"
    ),
    Options.optional
  ),
  timeout: duration("timeout").pipe(
    Options.withDescription("For the whole way to the open connection (10s)"),
    Options.optional
  ),
  deflate: Options.boolean("deflate").pipe(Options.withDescription("Offer compression (permessage-deflate)")),
  redirects: Options.integer("redirects").pipe(
    Options.withDescription("Redirects to follow (0)"),
    Options.withDefault(0)
  ),
  maxPayload: Options.integer("max-payload").pipe(
    Options.withPseudoName("bytes"),
    Options.withDescription("The largest message to accept (1 MiB)"),
    Options.optional
  )
} as const

/** The options above as they come from the command line. */
export interface Connection {
  readonly header: ReadonlyArray<readonly [name: string, value: string]>
  readonly subprotocol: ReadonlyArray<string>
  readonly origin: Option.Option<string>
  readonly ca: Option.Option<string>
  readonly cert: Option.Option<string>
  readonly key: Option.Option<string>
  readonly insecure: boolean
  readonly proxy: Option.Option<string>
  readonly timeout: Option.Option<Duration.Duration>
  readonly deflate: boolean
  readonly redirects: number
  readonly maxPayload: Option.Option<number>
}

/** What `WebSocket.connect` is given. */
export const connectOptions = (given: Connection) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const read = (path: Option.Option<string>) =>
      Option.match(path, { onNone: () => Effect.succeed(undefined), onSome: (found) => files.readFileString(found) })
    const key = yield* read(given.key)
    const tls: TlsClientOptions = {
      ca: yield* read(given.ca),
      cert: yield* read(given.cert),
      key: key === undefined ? undefined : Redacted.make(key),
      verify: !given.insecure
    }
    const origin = Option.match(given.origin, { onNone: () => [], onSome: (value) => [["origin", value] as const] })
    const options: ConnectOptions = {
      headers: [...given.header, ...origin],
      subprotocols: given.subprotocol,
      tls,
      handshakeTimeout: Option.getOrUndefined(given.timeout),
      maxPayloadSize: Option.getOrUndefined(given.maxPayload),
      maxRedirects: given.redirects,
      deflate: given.deflate
    }
    return options
  })

/** The network, through the proxy that was asked for. */
export const network = ({ proxy }: Connection) =>
  Option.match(proxy, {
    onNone: () => NodeNetwork.layer,
    onSome: (through) =>
      (through === "env" ? ProxyNetwork.layerEnv : ProxyNetwork.layer(through)).pipe(Layer.provide(NodeNetwork.layer))
  })

/** `localhost:8080/chat` means a WebSocket here, whatever it means to a URL parser. */
export const toUrl = (text: string): string => (/^[a-z]+:\/\//i.test(text) ? text : `ws://${text}`)
