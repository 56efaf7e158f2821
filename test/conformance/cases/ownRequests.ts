// What a client asks for (RFC 6455 4.1, the first list).

import type { ConnectOptions } from "effect-websocket/WebSocket"
import { head, type OwnRequestCase } from "../opening.js"

const asks = (
  id: string,
  section: string,
  rule: string,
  path: string,
  options: ConnectOptions,
  target: string,
  lines: ReadonlyArray<string>,
  hostOf: (host: string) => string = (host) => host
): OwnRequestCase => ({
  id,
  section,
  rule,
  roles: "client",
  outcome: "sent so",
  path,
  options,
  request: (host, key) =>
    head(
      `GET ${target} HTTP/1.1`,
      `Host: ${hostOf(host)}`,
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Key: ${key}`,
      "Sec-WebSocket-Version: 13",
      ...lines
    )
})

export const ownRequests: ReadonlyArray<OwnRequestCase> = [
  asks(
    "ordinary",
    "4.1, 10.3",
    "the request of a client: every header that is due, once; another key of 16 bytes each time",
    "/",
    {},
    "/",
    []
  ),
  asks("target", "3, 4.1", "path and query of the URL are the target", "/a%20b/c?d=e&f", {}, "/a%20b/c?d=e&f", []),
  asks("empty-path", "3", "an empty path is sent as a slash", "", {}, "/", []),
  asks("only-query", "3", "so it is before a query", "?q", {}, "/?q", []),
  asks(
    "subprotocols",
    "4.1",
    "subprotocols in one field, in the order of preference",
    "/",
    { subprotocols: ["b", "a"] },
    "/",
    ["Sec-WebSocket-Protocol: b, a"]
  ),
  asks(
    "headers",
    "4.1",
    "more headers behind those of the handshake",
    "/",
    { headers: { origin: "http://app.example", cookie: "a=b" } },
    "/",
    ["origin: http://app.example", "cookie: a=b"]
  )
]
