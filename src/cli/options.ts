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

/** Something that was given, on the command line or as a line of input, can't be used. */
export class BadInput {
  readonly _tag = "BadInput"
  constructor(readonly message: string) {}
}

/** A duration as people write it: `5s`, `250ms`, `1 minute`, `forever`; a bare number is seconds. */
export const duration = (name: string): Options.Options<Duration.Duration> =>
  Options.mapEffect(Options.withPseudoName(Options.text(name), "duration"), (text) =>
    Option.match(parseDuration(text), {
      onNone: () => Effect.fail(invalid(`--${name} takes a duration: 30s, 250ms, 5m, forever; not "${text}"`)),
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

export const parseDuration = (text: string): Option.Option<Duration.Duration> => {
  if (text.trim() === "forever") return Option.some(Duration.infinity)
  const [, amount = "", unit = ""] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(text) ?? []
  const known = units.get(unit)
  return known === undefined || amount === ""
    ? Duration.decodeUnknown(text)
    : Option.some(Duration.decode(`${Number(amount)} ${known}`))
}

const invalid = (text: string) => ValidationError.invalidValue(HelpDoc.p(text))

/** One of `Name: value`, or those of a file, one for each line, so that secrets need not stand where `ps` shows them. */
const readHeaders = (text: string) =>
  Effect.gen(function* () {
    if (!text.startsWith("@")) return [yield* readHeader(text, `not "${text}"`)]
    const path = text.slice(1)
    const content = yield* Effect.mapError(readText(path), ({ message }) => invalid(`--header ${message}`))
    const lines = content.split(/\r?\n/).filter((line) => line.trim() !== "")
    // What such a line holds may be a secret, also if it is wrong.
    return yield* Effect.forEach(lines, (line) => readHeader(line, `not what ${path} holds`))
  })

const readHeader = (text: string, instead: string) => {
  const colon = text.indexOf(":")
  return colon > 0
    ? Effect.succeed([text.slice(0, colon).trim(), text.slice(colon + 1).trim()] as const)
    : Effect.fail(invalid(`--header takes "name: value", or @ and a file of such lines; ${instead}`))
}

const header = Options.text("header").pipe(
  Options.withPseudoName("name: value"),
  Options.withAlias("H"),
  Options.withDescription(
    "A header for the request; @file takes all lines of a file, so that secrets don't show in ps. Repeatable"
  ),
  Options.repeated,
  Options.mapEffect((texts) => Effect.map(Effect.forEach(texts, readHeaders), (headers) => headers.flat()))
)

const readText = (path: string) =>
  Effect.mapError(
    Effect.flatMap(FileSystem.FileSystem, (files) => files.readFileString(path)),
    ({ message }) => new BadInput(`can't read ${path}: ${message}`)
  )

/** A whole number that is at least `least`. */
export const whole = (name: string, least: number): Options.Options<number> =>
  Options.mapEffect(Options.integer(name), (value) =>
    value >= least ? Effect.succeed(value) : Effect.fail(invalid(`--${name} must be at least ${least}, not ${value}`))
  )

export const json = Options.boolean("json").pipe(
  Options.withAlias("j"),
  Options.withDescription("Speak JSON, one object a line, instead of text")
)

export const maxPayload = whole("max-payload", 1).pipe(
  Options.withPseudoName("bytes"),
  Options.withDescription("The largest message to accept; default 1048576"),
  Options.optional
)

/** What a certificate is without its key, and the other way round. */
const incomplete = () => new BadInput("--cert and --key belong together: give both, or none")

/** A certificate and its key, if they were given, and together. */
export const keyPair = ({ cert, key }: Pick<Connection, "cert" | "key">) =>
  Effect.gen(function* () {
    if (Option.isNone(cert) && Option.isNone(key)) return undefined
    const [certificate, itsKey] = yield* Effect.mapError(Option.all([cert, key]), incomplete)
    return { cert: yield* readText(certificate), key: Redacted.make(yield* readText(itsKey)) }
  })

export const connection = {
  header,
  subprotocol: Options.text("subprotocol").pipe(
    Options.withPseudoName("name"),
    Options.withAlias("s"),
    Options.withDescription("A subprotocol to offer, the preferred one first. Repeatable"),
    Options.repeated
  ),
  origin: Options.text("origin").pipe(
    Options.withPseudoName("url"),
    Options.withDescription("The Origin to claim, as a browser would"),
    Options.optional
  ),
  ca: Options.file("ca", { exists: "yes" }).pipe(
    Options.withDescription("Certificates (PEM) of the authorities to trust"),
    Options.optional
  ),
  cert: Options.file("cert", { exists: "yes" }).pipe(
    Options.withDescription("This side's certificate (PEM)"),
    Options.optional
  ),
  key: Options.file("key", { exists: "yes" }).pipe(
    Options.withDescription("The key (PEM) of --cert"),
    Options.optional
  ),
  insecure: Options.boolean("insecure").pipe(
    Options.withAlias("k"),
    Options.withDescription("Accept any certificate: anybody in between can read and change all")
  ),
  proxy: Options.text("proxy").pipe(
    Options.withPseudoName("url"),
    Options.withDescription(
      "Connect through an http:, https: or socks5: proxy; `env` takes it from HTTPS_PROXY and the like"
    ),
    Options.optional
  ),
  timeout: duration("timeout").pipe(
    Options.withDescription("For all of the way to an open connection; default 10s"),
    Options.optional
  ),
  deflate: Options.boolean("deflate").pipe(Options.withDescription("Offer compression (permessage-deflate)")),
  redirects: whole("redirects", 0).pipe(
    Options.withPseudoName("number"),
    Options.withDescription("Redirects to follow; default none"),
    Options.withDefault(0)
  ),
  maxPayload
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
    const tls: TlsClientOptions = {
      ca: Option.isNone(given.ca) ? undefined : yield* readText(given.ca.value),
      ...(yield* keyPair(given)),
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
