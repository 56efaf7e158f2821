import { Headers, HttpServerRequest } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, Option } from "effect"
import * as Handshake from "effect-websocket/Handshake"
import * as OriginPolicy from "effect-websocket/OriginPolicy"
import * as Rng from "effect-websocket/Rng"

const key = "dGhlIHNhbXBsZSBub25jZQ=="
const headers = (input: Record<string, string>) => Headers.fromInput(input)

describe("keys", () => {
  it("are answered as in the example of RFC 6455 1.3", () => {
    expect(Handshake.guid).toBe("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    expect(Handshake.computeAcceptKey(key)).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
  })

  it("are hashed with the SHA-1 of FIPS 180's examples, and of UTF-8", () => {
    expect(Handshake.sha1Base64("abc")).toBe("qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")
    expect(Handshake.sha1Base64("")).toBe("2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
    expect(Handshake.sha1Base64("\u00e9")).not.toBe(Handshake.sha1Base64("\u00e8"))
  })

  it.effect("are made of 16 bytes of the random source in the context", () =>
    Effect.gen(function* () {
      const made = yield* Effect.provide(Handshake.generateKey, Rng.layerDeterministic(1))
      const bytes = new Uint8Array(16)
      Rng.deterministic(1).fill(bytes)
      expect(new Uint8Array(Buffer.from(made, "base64"))).toEqual(bytes)
      expect(Handshake.getWebsocketKey(headers({ "sec-websocket-key": made }))).toEqual(Option.some(made))
    })
  )

  it.effect("differ each time", () =>
    Effect.gen(function* () {
      expect(yield* Handshake.generateKey).not.toBe(yield* Handshake.generateKey)
    })
  )
})

describe("hasConnectionUpgradeToken", () => {
  it.each([
    ["Upgrade", true],
    ["keep-alive, upgrade", true],
    ["keep-alive", false],
    ["upgraded", false],
    ["", false]
  ])("finds it in %j: %s", (connection, found) => {
    expect(Handshake.hasConnectionUpgradeToken(headers({ Connection: connection }))).toBe(found)
  })

  it("doesn't find it where there is no Connection", () => {
    expect(Handshake.hasConnectionUpgradeToken(Headers.empty)).toBe(false)
  })
})

describe("isUpgradeRequest", () => {
  const asking = headers({ Connection: "keep-alive, Upgrade", Upgrade: "WebSocket" })

  it("holds for a GET that asks for websocket", () => {
    expect(Handshake.isUpgradeRequest({ method: "GET", headers: asking })).toBe(true)
  })

  it("takes a request of @effect/platform", () => {
    const request = HttpServerRequest.fromWeb(new Request("http://a.example/", { headers: { upgrade: "websocket" } }))
    expect(Handshake.isUpgradeRequest(request)).toBe(false)
    expect(Handshake.isUpgradeRequest(request.modify({ headers: asking }))).toBe(true)
  })

  it.each([
    ["another method", "POST", asking],
    ["no Upgrade", "GET", headers({ connection: "upgrade" })],
    ["another protocol", "GET", headers({ connection: "upgrade", upgrade: "h2c" })],
    ["no Connection", "GET", headers({ upgrade: "websocket" })]
  ])("doesn't hold for %s", (_, method, given) => {
    expect(Handshake.isUpgradeRequest({ method, headers: given })).toBe(false)
  })
})

describe("the headers of a request", () => {
  it("have the key, unless it isn't 16 bytes in base64", () => {
    expect(Handshake.getWebsocketKey(headers({ "Sec-WebSocket-Key": key }))).toEqual(Option.some(key))
    expect(Handshake.getWebsocketKey(headers({ "Sec-WebSocket-Key": "abc" }))).toEqual(Option.none())
    expect(Handshake.getWebsocketKey(headers({ "Sec-WebSocket-Key": `${key}, ${key}` }))).toEqual(Option.none())
    expect(Handshake.getWebsocketKey(Headers.empty)).toEqual(Option.none())
  })

  it("have the version, and it is valid only if it is 13", () => {
    const of = (version: string) => headers({ "Sec-WebSocket-Version": version })
    expect(Handshake.supportedWebsocketVersion).toBe("13")
    expect(Handshake.getWebsocketVersion(of("8"))).toEqual(Option.some("8"))
    expect(Handshake.getWebsocketVersion(Headers.empty)).toEqual(Option.none())
    expect(Handshake.validateWebsocketVersion(of("13"))).toBe(true)
    expect(Handshake.validateWebsocketVersion(of("8"))).toBe(false)
    expect(Handshake.validateWebsocketVersion(of("13, 13"))).toBe(false)
    expect(Handshake.validateWebsocketVersion(Headers.empty)).toBe(false)
  })

  it("have the origin, if it was sent", () => {
    expect(Handshake.getOrigin(headers({ Origin: "https://a.example" }))).toEqual(Option.some("https://a.example"))
    expect(Handshake.getOrigin(Headers.empty)).toEqual(Option.none())
  })
})

describe("validateOrigin", () => {
  const given = headers({ Host: "a.example", Origin: "https://a.example" })
  const policy = OriginPolicy.sameOrigin

  it("judges Origin and Host by the policy", () => {
    expect(Handshake.validateOrigin(given, { policy, secure: true })).toEqual(Either.void)
    expect(Either.isLeft(Handshake.validateOrigin(given, { policy, secure: false }))).toBe(true)
    expect(Handshake.validateOrigin(Headers.empty, { policy, secure: true })).toEqual(Either.void)
  })

  it("also takes the headers last", () => {
    expect(Handshake.validateOrigin({ policy: OriginPolicy.allowList([]), secure: true })(given)).toEqual(
      Either.left(expect.stringContaining("not on the list"))
    )
  })
})

describe("selectSubprotocol", () => {
  it("prefers what the server prefers", () => {
    expect(Handshake.selectSubprotocol(["v1", "v2", "v3"], ["v3", "v2"])).toEqual(Option.some("v3"))
    expect(Handshake.selectSubprotocol(["v3", "v2"])(["v1", "v2"])).toEqual(Option.some("v2"))
  })

  it("chooses none where there is none in common, case counting", () => {
    expect(Handshake.selectSubprotocol(["v1"], ["V1"])).toEqual(Option.none())
    expect(Handshake.selectSubprotocol([], ["v1"])).toEqual(Option.none())
    expect(Handshake.selectSubprotocol(["v1"], [])).toEqual(Option.none())
    expect(Handshake.selectSubprotocol(["constructor"], ["toString"])).toEqual(Option.none())
  })
})
