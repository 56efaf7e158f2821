// What a server refuses because of what it says (RFC 6455 4.2.1).

import { utf8 } from "../bytes.js"
import { key, type RequestCase } from "../opening.js"
import { each, plus, refused, startedBy, withLines } from "./requestLines.js"

const upgradeRequired = [
  426,
  "this address speaks WebSocket: Upgrade: websocket and Connection: Upgrade are due (RFC 6455 4.1)",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13"
] as const
const otherVersion = [
  426,
  "the only Sec-WebSocket-Version spoken is 13 (RFC 6455 4.4)",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13"
] as const
const badKey = [400, "Sec-WebSocket-Key is due exactly once, 16 bytes in base64 (RFC 6455 4.1)"] as const
const badHost = [400, "an upgrade request has exactly one Host, a valid one (RFC 9112 3.2)"] as const
const badMethod = [405, "an upgrade request is a GET (RFC 6455 4.1)", "Allow: GET"] as const
const badBody = [400, "an upgrade request has no body (RFC 9112 6)"] as const
const badSubprotocols = [
  400,
  "Sec-WebSocket-Protocol lists at least one subprotocol, and none twice (RFC 6455 4.1)"
] as const
const badExtensions = [
  400,
  "Sec-WebSocket-Extensions isn't a list of extensions with parameters (RFC 6455 9.1)"
] as const
const tooOld = [505, "an upgrade needs HTTP/1.1 (RFC 6455 4.1)"] as const
const badVersion = [505, "the only version spoken is HTTP/1.1 (RFC 9110 2.5)"] as const
const keyOf = (size: number) => Buffer.alloc(size, 7).toString("base64")

export const illegalRequests: ReadonlyArray<RequestCase> = [
  ...each("method", "4.1", "the method is GET", badMethod, {
    POST: startedBy("POST / HTTP/1.1"),
    HEAD: startedBy("HEAD / HTTP/1.1"),
    OPTIONS: startedBy("OPTIONS / HTTP/1.1"),
    "get in lower case": startedBy("get / HTTP/1.1")
  }),
  refused("http-1.0", "4.1", "the version is at least 1.1, not 1.0", startedBy("GET / HTTP/1.0"), tooOld),
  ...each("http", "4.1, RFC 9110 2.5", "another version of HTTP isn't spoken, refused at its number", badVersion, {
    "1.2": "GET / HTTP/1.2",
    "2.0": "GET / HTTP/2",
    "0.9": "GET / HTTP/0"
  }),
  ...each("host", "4.2.1, RFC 9112 3.2", "a request has one valid Host", badHost, {
    missing: withLines("Host"),
    empty: withLines("Host", ""),
    twice: withLines("Host", "a.example", "b.example"),
    "the same twice": withLines("Host", "a.example", "a.example"),
    "with a space": withLines("Host", "a b"),
    "with user info": withLines("Host", "user@a.example"),
    "port out of range": withLines("Host", "a.example:65536")
  }),
  ...each("upgrade", "4.2.1", "Upgrade names websocket", upgradeRequired, {
    missing: withLines("Upgrade"),
    empty: withLines("Upgrade", ""),
    other: withLines("Upgrade", "h2c"),
    longer: withLines("Upgrade", "websockets"),
    "with a version": withLines("Upgrade", "websocket/13")
  }),
  ...each("connection", "4.2.1", "Connection names upgrade", upgradeRequired, {
    missing: withLines("Connection"),
    empty: withLines("Connection", ""),
    "keep-alive": withLines("Connection", "keep-alive"),
    "part of a token": withLines("Connection", "non-upgrade")
  }),
  ...each("version", "4.2.1, 4.4", "Sec-WebSocket-Version is 13, and the refusal says so", otherVersion, {
    missing: withLines("Sec-WebSocket-Version"),
    empty: withLines("Sec-WebSocket-Version", ""),
    "0": withLines("Sec-WebSocket-Version", "0"),
    "8": withLines("Sec-WebSocket-Version", "8"),
    "14": withLines("Sec-WebSocket-Version", "14"),
    "13 with zeros": withLines("Sec-WebSocket-Version", "013"),
    list: withLines("Sec-WebSocket-Version", "13, 8"),
    twice: withLines("Sec-WebSocket-Version", "13", "13")
  }),
  ...each("key", "4.2.1", "Sec-WebSocket-Key is 16 bytes in base64, once", badKey, {
    missing: withLines("Sec-WebSocket-Key"),
    empty: withLines("Sec-WebSocket-Key", ""),
    "15 bytes": withLines("Sec-WebSocket-Key", keyOf(15)),
    "17 bytes": withLines("Sec-WebSocket-Key", keyOf(17)),
    "not base64": withLines("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZ!=="),
    "the alphabet for URLs": withLines("Sec-WebSocket-Key", "-_-_-_-_-_-_-_-_-_-_-w=="),
    "without padding": withLines("Sec-WebSocket-Key", key.slice(0, 22)),
    "space inside": withLines("Sec-WebSocket-Key", key.replace("N", " ")),
    "unused bits set": withLines("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZR=="),
    twice: withLines("Sec-WebSocket-Key", key, key)
  }),
  ...each("body", "4.1, RFC 9112 6", "an upgrade request has no body", badBody, {
    "Content-Length": plus("Content-Length: 5"),
    "Content-Length twice": plus("Content-Length: 0", "Content-Length: 0"),
    "Content-Length no number": plus("Content-Length: +0"),
    "Transfer-Encoding": plus("Transfer-Encoding: chunked")
  }),
  {
    ...refused(
      "body-behind",
      "4.1, RFC 9112 6",
      "a body that is there: the refusal reaches the client, no reset takes it away",
      plus("Content-Length: 5"),
      badBody
    ),
    early: { bytes: () => utf8("hello"), messages: [] }
  },
  refused(
    "origin-foreign",
    "4.2.2, 10.2",
    "a page of another origin isn't allowed",
    plus("Origin: http://evil.example"),
    [403, "this origin is not the origin of this server"]
  ),
  refused("origin-other-scheme", "4.2.2, 10.2", "nor one of another scheme", plus("Origin: https://server.example"), [
    403,
    "this origin is not the origin of this server"
  ]),
  refused("origin-null", "4.2.2, 10.2", "nor the opaque origin null", plus("Origin: null"), [
    403,
    "the opaque origin `null` is not allowed"
  ]),
  refused(
    "origin-twice",
    "RFC 6454 7.3",
    "a request has at most one Origin",
    plus("Origin: http://server.example", "Origin: http://server.example"),
    [400, "a request has at most one Origin (RFC 6454 7.3)"]
  ),
  refused("subprotocol-no-token", "4.1", "subprotocols are tokens", plus("Sec-WebSocket-Protocol: a b"), [
    400,
    "Sec-WebSocket-Protocol isn't a list of tokens (RFC 6455 4.1)"
  ]),
  ...each("subprotocol", "4.1, 4.3", "Sec-WebSocket-Protocol lists at least one, and none twice", badSubprotocols, {
    empty: plus("Sec-WebSocket-Protocol:"),
    twice: plus("Sec-WebSocket-Protocol: a, b, a")
  }),
  ...each("extensions", "9.1", "Sec-WebSocket-Extensions follows its grammar", badExtensions, {
    "no name": plus("Sec-WebSocket-Extensions: ;a"),
    "no parameter": plus("Sec-WebSocket-Extensions: a;;b"),
    "no value": plus("Sec-WebSocket-Extensions: a; b="),
    "quoted no token": plus('Sec-WebSocket-Extensions: a; b="c d"'),
    "open quote": plus('Sec-WebSocket-Extensions: a; b="c'),
    "two names": plus("Sec-WebSocket-Extensions: a b")
  }),
  refused(
    "extensions-empty",
    "9.1",
    "Sec-WebSocket-Extensions lists at least one",
    plus("Sec-WebSocket-Extensions: ,"),
    [400, "Sec-WebSocket-Extensions lists at least one extension (RFC 6455 9.1)"]
  )
]
