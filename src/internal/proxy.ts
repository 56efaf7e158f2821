// Tunnels through proxies, each a flow that ends at the target.

import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Flow from "../Flow.js"
import type { ConnectOptions, Network } from "../Network.js"
import type { HeaderPairs, ResponseHead } from "../protocol/head.js"
import { writeConnect } from "../protocol/headWriter.js"
import * as Socks from "../protocol/socks.js"
import type { Failure } from "../protocol/tokens.js"
import { ConnectError, IoError } from "../WebSocketError.js"
import { readFinalHead } from "./client.js"
import { acquiring } from "./opening.js"
import type { ProxyServer } from "./proxyOptions.js"

type Service = Context.Tag.Service<Network>

/** Connects through the proxy that `choose` names, if it names one, and as `network` does otherwise. */
export const through =
  (network: Service, choose: (options: ConnectOptions) => ProxyServer | undefined): Service["connect"] =>
  (options) =>
    Effect.suspend(() => {
      const proxy = options.over === undefined ? choose(options) : undefined
      return proxy === undefined ? network.connect(options) : acquiring(tunnel(network, proxy, options))
    })

const tunnel = (
  network: Service,
  proxy: ProxyServer,
  options: ConnectOptions
): Effect.Effect<Flow.Flow, ConnectError, Scope.Scope> =>
  Effect.gen(function* () {
    const failed: Failed = (detail, more) =>
      new ConnectError({
        reason: "proxy",
        address: Flow.formatAddress(options.address),
        detail: `the proxy ${proxy.label} ${detail}`,
        ...more
      })
    const authority = Flow.formatAddress(options.address)
    // Before anything is opened: what can't be asked for needs no connection.
    const request = proxy._tag === "Http" ? connectRequest(authority, proxy.secret) : Socks.connectRequest(authority)
    if ("_tag" in request) return yield* failed(`can't be asked for this target: ${request.rule}`)
    const flow = yield* network.connect({ ...options, address: proxy.address, tls: proxy.tls }).pipe(
      Effect.mapError((cause) =>
        failed(`can't be reached (${cause.reason}): ${cause.detail}`, {
          cause,
          ...(cause.code === undefined ? undefined : { code: cause.code })
        })
      )
    )
    yield* proxy._tag === "Http"
      ? httpTunnel(flow, request, proxy.secret !== undefined, failed)
      : socksTunnel(flow, request, proxy.secret, failed)
    return options.tls === undefined
      ? // TLS to the proxy ends there.
        Flow.withSecure(flow, false)
      : yield* network.connect({ ...options, over: flow })
  })

type Failed = (detail: string, more?: { readonly code?: string; readonly cause?: unknown }) => ConnectError

const connectRequest = (
  authority: string,
  authorization: Redacted.Redacted<string> | undefined
): Uint8Array | Failure => {
  const headers: HeaderPairs =
    authorization === undefined ? [] : [["Proxy-Authorization", Redacted.value(authorization)]]
  return writeConnect(authority, headers)
}

const hungUp = (failed: Failed) => (cause: IoError) => failed("hung up before the connection was there", { cause })

/** RFC 9110 9.3.6: any 2xx begins the tunnel, right behind its head whatever that says of a body. */
const httpTunnel = (
  flow: Flow.Flow,
  request: Uint8Array,
  authorized: boolean,
  failed: Failed
): Effect.Effect<void, ConnectError> =>
  Effect.gen(function* () {
    flow.write(request, false)
    const { head, rest } = yield* readFinalHead(flow, {}).pipe(
      Effect.mapError((cause) =>
        cause instanceof IoError ? hungUp(failed)(cause) : failed(`gave an answer that isn't valid HTTP: ${cause.rule}`)
      )
    )
    if (head.status < 200 || head.status > 299) {
      const detail =
        head.status === 407 || head.status === 401
          ? explainAuthentication(head, authorized)
          : "refused to connect to this target"
      return yield* failed(`${detail} (HTTP ${head.status})`, { code: `HTTP ${head.status}` })
    }
    flow.unshift(rest)
  })

/** A 407 is due (RFC 9110 15.5.8); tinyproxy answers wrong credentials with 401. */
const explainAuthentication = ({ fields }: ResponseHead, authorized: boolean): string => {
  const challenges = fields.get("proxy-authenticate")
  if (challenges !== undefined && !/(^|[\s,])basic([\s,]|$)/i.test(challenges)) {
    return "wants another authentication than Basic, which is all that is spoken here"
  }
  return authorized ? "doesn't accept the user name and password" : "wants a user name and a password"
}

/** RFC 1928 3 and 4, RFC 1929 2. What comes behind the reply stays in the flow. */
const socksTunnel = (
  flow: Flow.Flow,
  request: Uint8Array,
  login: Redacted.Redacted<Uint8Array> | undefined,
  failed: Failed
): Effect.Effect<void, ConnectError> => {
  const read = <A>(size: number, parse: (bytes: Uint8Array) => A | undefined): Effect.Effect<A, ConnectError> =>
    Flow.readExactly(flow, size).pipe(
      Effect.mapError(hungUp(failed)),
      Effect.flatMap((bytes) => {
        const answer = parse(bytes)
        return answer === undefined ? failed("gave an answer that isn't SOCKS5 (RFC 1928)") : Effect.succeed(answer)
      })
    )
  return Effect.gen(function* () {
    const withPassword = login !== undefined
    flow.write(Socks.greeting(withPassword), false)
    const method = yield* read(2, (bytes) => Socks.readMethod(bytes, withPassword))
    if (method === Socks.Method.unacceptable) {
      return yield* failed(
        withPassword
          ? "takes no user name and password, and doesn't work without authentication either"
          : "wants a user name and a password, or some other authentication"
      )
    }
    if (method === Socks.Method.password && login !== undefined) {
      // A copy: what is written belongs to the flow.
      flow.write(Redacted.value(login).slice(), false)
      if (!(yield* read(2, Socks.readLogin))) return yield* failed("doesn't accept the user name and password")
    }
    flow.write(request, false)
    const code = yield* read(2, Socks.readCode)
    if (code !== 0) {
      return yield* failed(`refused to connect to this target: ${Socks.explainReply(code)} (SOCKS ${code})`, {
        code: `SOCKS ${code}`
      })
    }
    const rest = yield* read(3, Socks.readBound)
    yield* read(rest, () => true)
  })
}
