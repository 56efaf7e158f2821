// Requests, and the kinds of cases about them.

import type { ServerOptions } from "effect-websocket/WebSocketServer"
import { head, key, type RequestCase, type reasons } from "../opening.js"

export const get = "GET / HTTP/1.1"

export const ordinary: ReadonlyArray<readonly [name: string, value: string]> = [
  ["Host", "server.example"],
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Key", key],
  ["Sec-WebSocket-Version", "13"]
]

/** The ordinary request with the lines of a name left out, replaced, or given several times. */
export const withLines = (name: string, ...values: ReadonlyArray<string>): string =>
  head(
    get,
    ...ordinary.flatMap(([each, value]) =>
      each === name ? values.map((other) => `${name}: ${other}`) : [`${each}: ${value}`]
    )
  )

/** The ordinary request with more lines behind. */
export const plus = (...lines: ReadonlyArray<string>): string =>
  head(get, ...ordinary.map(([name, value]) => `${name}: ${value}`), ...lines)

export const startedBy = (start: string): string => head(start, ...ordinary.map(([name, value]) => `${name}: ${value}`))

/** As far as a line that is wrong, which is refused before its end. */
export const asFarAs = (...lines: ReadonlyArray<string>): string => [get, ...lines].join("\r\n")

export const ok = (
  id: string,
  section: string,
  rule: string,
  request: string,
  {
    options,
    lines = [],
    early
  }: {
    readonly options?: ServerOptions
    readonly lines?: ReadonlyArray<string>
    readonly early?: RequestCase["early"]
  } = {}
): RequestCase => ({
  id,
  section,
  rule,
  roles: "server",
  outcome: "ok, 101",
  request,
  options,
  early,
  answer: { _tag: "Accepted", lines }
})

export type Refusal = readonly [status: keyof typeof reasons, rule: string, ...lines: ReadonlyArray<string>]

export const refused = (
  id: string,
  section: string,
  rule: string,
  request: string,
  [status, because, ...lines]: Refusal,
  options?: ServerOptions
): RequestCase => ({
  id,
  section,
  rule,
  roles: "server",
  outcome: `refused with ${status}`,
  request,
  options,
  answer: { _tag: "Refused", status, rule: because, lines }
})

/** Variants of one rule: what is wrong, and the refusal. */
export const each = (
  prefix: string,
  section: string,
  rule: string,
  refusal: Refusal,
  variants: Readonly<Record<string, string>>
): ReadonlyArray<RequestCase> =>
  Object.entries(variants).map(([name, request]) =>
    refused(`${prefix}-${name.replaceAll(" ", "-")}`, section, `${rule}: ${name}`, request, refusal)
  )
