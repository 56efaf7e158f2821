// What a server accepts (RFC 6455 4.2.1).

import * as OriginPolicy from "effect-websocket/OriginPolicy"
import { binary, join, text } from "../bytes.js"
import { head, key, type RequestCase } from "../opening.js"
import { get, ok, ordinary, plus, startedBy, withLines } from "./requestLines.js"

const example = (...lines: ReadonlyArray<string>) =>
  head(
    "GET /chat HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${key}`,
    "Origin: http://example.com",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Version: 13",
    ...lines
  )

export const legalRequests: ReadonlyArray<RequestCase> = [
  ok("example", "1.2, 1.3", "the RFC's example, with its key and its subprotocol", example(), {
    options: { origin: OriginPolicy.allowAll, subprotocols: ["chat"] },
    lines: ["Sec-WebSocket-Protocol: chat"]
  }),
  ok(
    "names-lower-case",
    "4.2.1, RFC 9110 5.1",
    "header names in lower case",
    startedBy(get).replace(/^[\w-]+:/gm, (name) => name.toLowerCase())
  ),
  ok(
    "names-upper-case",
    "4.2.1, RFC 9110 5.1",
    "header names in upper case",
    startedBy(get).replace(/^[\w-]+:/gm, (name) => name.toUpperCase())
  ),
  ok(
    "reverse-order",
    "4.1",
    "headers in any order",
    head(get, ...ordinary.toReversed().map(([name, value]) => `${name}: ${value}`))
  ),
  ...["WebSocket", "WEBSOCKET", "h2c, websocket", "websocket,foo/2"].map((value) =>
    ok(
      `upgrade-${value.toLowerCase() === "websocket" ? value : value.replaceAll(/[^a-z0-9]+/g, "-")}`,
      "4.2.1",
      `Upgrade is a list that names websocket in any case: ${value}`,
      withLines("Upgrade", value)
    )
  ),
  ok(
    "upgrade-twice",
    "4.2.1, RFC 9110 5.3",
    "several Upgrade fields are one list",
    withLines("Upgrade", "h2c", "websocket")
  ),
  ...["upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade,keep-alive", " ,,keep-alive ,\tUpgrade , "].map(
    (value, index) =>
      ok(
        `connection-${index + 1}`,
        "4.2.1",
        `Connection is a list that names upgrade in any case: "${value.replace("\t", " ")}"`,
        withLines("Connection", value)
      )
  ),
  ok(
    "connection-twice",
    "4.2.1, RFC 9110 5.3",
    "several Connection fields are one list",
    withLines("Connection", "keep-alive", "Upgrade")
  ),
  ok("no-space", "RFC 9112 5.1", "no whitespace between colon and value", startedBy(get).replaceAll(": ", ":")),
  ok(
    "more-space",
    "RFC 9112 5.1",
    "spaces and tabs before and behind a value",
    startedBy(get).replace(/: (.*)\r/g, ": \t $1 \t\r")
  ),
  ok("content-length-0", "RFC 9112 6", "Content-Length: 0 is no body", plus("Content-Length: 0")),
  ok(
    "unknown-headers",
    "4.2.1",
    "headers that mean nothing here, with bytes above 127",
    plus("Cookie: a=b; c=d", "X-Name: \xe4\xf6\xfc\x80\xff", "X-Empty:")
  ),
  ok(
    "many-headers",
    "RFC 9112 2.2",
    "100 header fields",
    plus(...Array.from({ length: 95 }, (_, index) => `X-${index}: x`))
  ),
  ok(
    "target",
    "3, 4.1",
    "a path with a query, which browsers leave unescaped in part",
    startedBy("GET /a/b%20c?d=e|f&g={h}%7D HTTP/1.1")
  ),
  ok("host-with-port", "4.1", "Host with a port", withLines("Host", "server.example:8080")),
  ok("host-ipv6", "4.1", "Host is an IPv6 address", withLines("Host", "[::1]:8080")),
  ok("origin-same", "4.2.2, 10.2", "the origin is the server's own", plus("Origin: http://server.example")),
  ok("origin-none", "4.2.1, 10.2", "no origin: no browser", startedBy(get)),
  ok(
    "origin-listed",
    "4.2.2, 10.2",
    "the origin is on the list of those allowed",
    plus("Origin: https://app.example"),
    {
      options: { origin: OriginPolicy.allowList(["https://app.example"]) }
    }
  ),
  ok(
    "subprotocol-none-spoken",
    "4.2.2",
    "subprotocols, none of which is spoken: none is chosen",
    plus("Sec-WebSocket-Protocol: a, b")
  ),
  ok(
    "subprotocol-chosen",
    "4.2.2",
    "subprotocols: one is chosen, by the server's preference",
    plus("Sec-WebSocket-Protocol: a, b, c"),
    {
      options: { subprotocols: ["x", "c", "b"] },
      lines: ["Sec-WebSocket-Protocol: c"]
    }
  ),
  ok(
    "subprotocol-several-fields",
    "4.1, 11.3.4",
    "several Sec-WebSocket-Protocol fields are one list",
    plus("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
    {
      options: { subprotocols: ["b"] },
      lines: ["Sec-WebSocket-Protocol: b"]
    }
  ),
  ok("subprotocol-case", "4.1", "subprotocols are compared with their case", plus("Sec-WebSocket-Protocol: Chat"), {
    options: { subprotocols: ["chat"] }
  }),
  ok("subprotocol-not-asked", "4.2.2", "no subprotocol asked for: none is chosen", startedBy(get), {
    options: { subprotocols: ["chat"] }
  }),
  ok(
    "extensions-unknown",
    "4.2.2, 9.1",
    "unknown extensions with parameters are declined in silence",
    plus(
      'Sec-WebSocket-Extensions: foo; bar; baz=1, bar; q="quoted"',
      "Sec-WebSocket-Extensions: x-webkit-deflate-frame"
    )
  ),
  ok(
    "extensions-not-enabled",
    "4.2.2, 9.1",
    "an extension that isn't enabled is declined",
    plus("Sec-WebSocket-Extensions: permessage-deflate")
  ),
  ok(
    "early-frames",
    "4.1",
    "frames in the packet of the request: a client may not send them yet, but nothing of them is lost",
    startedBy(get),
    {
      early: { bytes: join(text("early"), binary(Uint8Array.of(1))), messages: ["early", Uint8Array.of(1)] }
    }
  )
]
