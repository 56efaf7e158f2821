import { Headers, HttpRouter } from "@effect/platform"
import { describe, it } from "@effect/vitest"
import { Chunk, Effect, Either, Fiber, Layer, Option, Redacted, Runtime, Schema, type Scope, Stream } from "effect"
import {
  Flow,
  Frame,
  Handshake,
  Network,
  NodeNetwork,
  OriginPolicy,
  Rng,
  TestNetwork,
  WebSocket,
  WebSocketError,
  WebSocketServer
} from "effect-websocket"
import { expect } from "vitest"
import { httpServer } from "./fixtures/httpServer.js"
import { joined } from "./fixtures/joined.js"
import { acceptValue, key, upgradedClient } from "./fixtures/rawPeer.js"

// The API that the library started from, row by row. Each test is named after a row
// of the README's table: what it was called, and what it is called here.

const row = (was: string, is: string) => `${was} is ${is}`

const pure = (was: string, is: string, body: () => void) => it(row(was, is), body)

const connected = <E>(
  was: string,
  is: string,
  body: (
    both: Effect.Effect.Success<ReturnType<typeof joined>>
  ) => Effect.Effect<unknown, E, Network.Network | TestNetwork.TestNetwork | Scope.Scope>
) => it.scoped(row(was, is), () => Effect.flatMap(joined(), body).pipe(Effect.provide(TestNetwork.layer)))

describe("values", () => {
  pure("websocket_uuid", "Handshake.guid", () => {
    expect(Handshake.guid).toBe("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    expect(Handshake.sha1Base64(key + Handshake.guid)).toBe(acceptValue)
  })

  pure("Opcode", "Frame.Opcode", () => {
    expect(Frame.Opcode).toEqual({ continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 })
  })

  pure("frame { opcode; extension; final; content }", "Frame.Frame { opcode, rsv, fin, payload }", () => {
    const frame: Frame.Frame = { opcode: Frame.Opcode.text, rsv: 5, fin: false, payload: new TextEncoder().encode("a") }
    expect(Schema.is(Frame.Frame)(frame)).toBe(true)
    expect(Schema.is(Frame.Frame)({ ...frame, rsv: 8 })).toBe(false)
    expect(Either.getOrThrow(Frame.encode(frame, "server"))).toEqual(Uint8Array.of(0x51, 1, 97))
  })

  pure("pp_frame", "Frame.format", () => {
    const line = Frame.format(Frame.text("some content that isn't shown"))
    expect(line).toContain("text")
    expect(line).not.toContain("\n")
    expect(line).not.toContain("content")
  })

  pure("make_frame ?opcode ?extension ?final ?content", "Frame.make", () => {
    expect(Frame.make({})).toEqual({ opcode: Frame.Opcode.text, rsv: 0, fin: true, payload: new Uint8Array(0) })
    expect(Frame.make({ opcode: Frame.Opcode.binary, rsv: 1, fin: false, payload: Uint8Array.of(7) })).toEqual({
      opcode: 2,
      rsv: 1,
      fin: false,
      payload: Uint8Array.of(7)
    })
  })

  pure("close_frame code", "Frame.close(code, reason?)", () => {
    expect(Frame.close(1000)).toEqual({ opcode: 8, rsv: 0, fin: true, payload: Uint8Array.of(3, 232) })
    expect(Frame.close(1001, "x").payload).toEqual(Uint8Array.of(3, 233, 120))
  })

  pure("default_max_payload_size", "WebSocket.defaultMaxPayloadSize", () => {
    expect(WebSocket.defaultMaxPayloadSize).toBe(1024 * 1024)
  })

  connected("t", "WebSocket.WebSocket (interface and Context.Tag)", ({ client }) =>
    Effect.gen(function* () {
      const inContext: WebSocket.WebSocket = yield* Effect.provideService(
        WebSocket.WebSocket,
        WebSocket.WebSocket,
        client
      )
      expect(inContext).toBe(client)
    })
  )

  pure(
    "error = Connection_closed, Protocol_error, Io_error, Payload_too_large",
    "the tagged errors in WebSocketError",
    () => {
      const address = "peer.example:80"
      const errors: ReadonlyArray<WebSocketError.WebSocketError> = [
        new WebSocketError.ConnectionClosed({ code: 1000, reason: "", initiator: "remote", clean: true, address }),
        new WebSocketError.ProtocolError({ side: "remote", rule: "a rule", closeCode: 1002, address }),
        new WebSocketError.IoError({ operation: "read", code: "ECONNRESET", address }),
        new WebSocketError.PayloadTooLarge({ which: "message size", limit: 1, size: 2, address })
      ]
      expect(errors.map(({ _tag }) => _tag)).toEqual([
        "ConnectionClosed",
        "ProtocolError",
        "IoError",
        "PayloadTooLarge"
      ])
      for (const error of errors) {
        expect(WebSocketError.isWebSocketError(error)).toBe(true)
        expect(error.message).toContain(address)
      }
    }
  )

  pure("b64_encoded_sha1sum, compute_accept_key", "Handshake.sha1Base64, Handshake.computeAcceptKey", () => {
    expect(Handshake.sha1Base64("abc")).toBe("qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")
    expect(Handshake.computeAcceptKey(key)).toBe(acceptValue)
  })

  it.effect(row("Rng", "Rng, a Context.Reference of secure random bytes"), () =>
    Effect.gen(function* () {
      expect((yield* Rng.Rng).uint32()).toBeTypeOf("number")
      const deterministic = Effect.provide(Handshake.generateKey, Rng.layerDeterministic(1))
      expect(yield* deterministic).toBe(yield* deterministic)
      expect(yield* Handshake.generateKey).not.toBe(yield* Handshake.generateKey)
    })
  )

  pure("xor_mask", "Frame.mask", () => {
    const masked = Frame.mask(new TextEncoder().encode("Hello"), 0x37fa213d)
    expect(masked).toEqual(Uint8Array.of(0x7f, 0x9f, 0x4d, 0x51, 0x58))
    expect(Frame.mask(masked, 0x37fa213d)).toEqual(new TextEncoder().encode("Hello"))
  })

  pure("write_frame_to_buf ~is_client", "Frame.encode(frame, role)", () => {
    const hello = Frame.text("Hello")
    // The examples of RFC 6455 5.7.
    expect(Either.getOrThrow(Frame.encode(hello, "server"))).toEqual(
      Uint8Array.of(0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f)
    )
    expect(Either.getOrThrow(Frame.encode(hello, "client", 0x37fa213d))).toEqual(
      Uint8Array.of(0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58)
    )
  })

  it.scoped(row("read_exactly flow n", "Flow.readExactly"), () =>
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair()
      client.write(Uint8Array.of(1, 2, 3, 4, 5), false)
      expect(yield* Flow.readExactly(server, 2)).toEqual(Uint8Array.of(1, 2))
      expect(yield* Flow.readExactly(server, 3)).toEqual(Uint8Array.of(3, 4, 5))
    })
  )

  pure("frame <-> bytes", "Frame.FromBytes and its Channel forms", () => {
    const frame = Frame.binary(Uint8Array.of(1, 2))
    const bytes = Schema.encodeSync(Frame.FromBytes)(frame)
    expect(bytes).toEqual(Uint8Array.of(0x82, 2, 1, 2))
    expect(Schema.decodeSync(Frame.FromBytes)(bytes)).toEqual(frame)
    const frames = Stream.fromIterable(bytes).pipe(
      Stream.map((byte) => Uint8Array.of(byte)),
      Stream.pipeThroughChannel(Frame.decodeChannel({ role: "server" })),
      Stream.runCollect,
      Effect.runSync
    )
    expect(Chunk.toReadonlyArray(frames)).toEqual([frame])
  })
})

describe("a connection", () => {
  connected("read_frame", "WebSocket.receiveFrame; on bytes: Frame.decode", ({ client, server }) =>
    Effect.gen(function* () {
      yield* client.sendFrame(Frame.ping("a"))
      yield* client.send("b")
      const waiting = yield* Effect.fork(server.receiveFrame)
      expect(Frame.format(yield* Fiber.join(waiting))).toMatch(/ping|text/)
      const decoded = Either.getOrThrow(Frame.decode(Uint8Array.of(0x81, 1, 97, 0xff)))
      expect(decoded).toEqual(Option.some({ frame: Frame.text("a"), size: 3 }))
    })
  )

  connected("is_open", "socket.isOpen", ({ client, server }) =>
    Effect.gen(function* () {
      expect(yield* client.isOpen).toBe(true)
      yield* client.close()
      expect(yield* client.isOpen).toBe(false)
      expect(yield* server.isOpen).toBe(false)
    })
  )

  connected(
    "send, send_text, send_binary, send_ping ?content, send_pong ?content",
    "socket.sendFrame, send, sendText, sendBinary, sendPing, sendPong",
    ({ client, server }) =>
      Effect.gen(function* () {
        const frames = yield* Effect.fork(Effect.replicateEffect(server.receiveFrame, 8))
        yield* Effect.yieldNow()
        yield* client.sendFrame(Frame.text("frame"))
        yield* client.send("message")
        yield* client.sendText("text")
        yield* client.sendBinary(Uint8Array.of(1))
        yield* client.sendPing()
        yield* client.sendPing("ping")
        yield* client.sendPong()
        yield* client.sendPong("pong")
        expect(yield* Fiber.join(frames)).toEqual([
          Frame.text("frame"),
          Frame.text("message"),
          Frame.text("text"),
          Frame.binary(Uint8Array.of(1)),
          Frame.ping(),
          Frame.ping("ping"),
          Frame.pong(),
          Frame.pong("pong")
        ])
      })
  )

  connected("recv / recv_message", "socket.receiveFrame / socket.receive", ({ client, server }) =>
    Effect.gen(function* () {
      yield* client.sendFrame(Frame.make({ fin: false, payload: "in " }))
      yield* client.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, payload: "parts" }))
      expect(yield* server.receive).toBe("in parts")
      yield* client.send("whole")
      expect(yield* server.receiveFrame).toEqual(Frame.text("whole"))
    })
  )

  connected("close ?code", "socket.close(code?, reason?)", ({ client, server }) =>
    Effect.gen(function* () {
      yield* server.close(4000, "because")
      expect(yield* client.closed).toMatchObject({ code: 4000, reason: "because", clean: true })
    })
  )
})

describe("the opening handshake", () => {
  pure(
    "has_connection_upgrade_token, is_upgrade_request, get_websocket_key, supported_websocket_version, " +
      "get_websocket_version, validate_websocket_version, get_origin",
    "the same names in camelCase in Handshake",
    () => {
      const headers = Headers.fromInput({
        host: "a",
        connection: "keep-alive, Upgrade",
        upgrade: "websocket",
        "sec-websocket-key": key,
        "sec-websocket-version": "13",
        origin: "https://app.example"
      })
      expect(Handshake.hasConnectionUpgradeToken(headers)).toBe(true)
      expect(Handshake.isUpgradeRequest({ method: "GET", headers })).toBe(true)
      expect(Handshake.isUpgradeRequest({ method: "POST", headers })).toBe(false)
      expect(Handshake.getWebsocketKey(headers)).toEqual(Option.some(key))
      expect(Handshake.supportedWebsocketVersion).toBe("13")
      expect(Handshake.getWebsocketVersion(headers)).toEqual(Option.some("13"))
      expect(Handshake.validateWebsocketVersion(headers)).toBe(true)
      expect(Handshake.getOrigin(headers)).toEqual(Option.some("https://app.example"))
    }
  )

  pure(
    "origin_policy = Allow_all, Allow_list, Allow_same_origin, validate_origin ~policy",
    "OriginPolicy and Handshake.validateOrigin",
    () => {
      const headers = Headers.fromInput({ host: "app.example", origin: "https://app.example" })
      const allows = (policy: OriginPolicy.OriginPolicy, secure = true) =>
        Either.isRight(Handshake.validateOrigin(headers, { policy, secure }))
      expect(allows(OriginPolicy.allowAll)).toBe(true)
      expect(allows(OriginPolicy.allowList(["https://app.example"]))).toBe(true)
      expect(allows(OriginPolicy.allowList(["https://other.example"]))).toBe(false)
      expect(allows(OriginPolicy.sameOrigin)).toBe(true)
      expect(allows(OriginPolicy.sameOrigin, false)).toBe(false)
    }
  )

  it.effect(row("generate_key", "Handshake.generateKey"), () =>
    Effect.map(Handshake.generateKey, (generated) => {
      expect(Buffer.from(generated, "base64")).toHaveLength(16)
    })
  )

  it.scoped(
    row("connect ~sw ~net ?tls_config ?protocols uri", "WebSocket.connect(url, options) and WebSocket.layer"),
    () =>
      Effect.gen(function* () {
        const server = yield* WebSocketServer.make({ subprotocols: ["feed.v1"] })
        yield* server.serve((socket) => socket.run((message) => socket.send(message)))
        const options = { subprotocols: ["feed.v1"] }
        const socket = yield* WebSocket.connect(server.url, options)
        expect(socket.subprotocol).toBe("feed.v1")
        const answer = Effect.gen(function* () {
          const { receive, send } = yield* WebSocket.WebSocket
          yield* send("through the layer")
          return yield* receive
        })
        expect(yield* Effect.provide(answer, WebSocket.layer(server.url, options))).toBe("through the layer")
        const tls = yield* WebSocketServer.make({ tls: { cert: "", key: Redacted.make("") } })
        yield* tls.serve(() => Effect.void)
        expect((yield* WebSocket.connect(tls.url, { tls: { verify: false } })).secure).toBe(true)
      }).pipe(Effect.provide(TestNetwork.layer))
  )

  it.scoped(
    row(
      "accept ?max_payload_size ~flow ~key",
      "WebSocket.accept(flow, options), WebSocketServer.layer / serve / upgrade"
    ),
    () =>
      Effect.gen(function* () {
        const { listen } = yield* Network.Network
        const address = { _tag: "TcpAddress", hostname: "127.0.0.1", port: 80 } as const
        const runFork = yield* Effect.runtime<Scope.Scope>()
        yield* listen({ address }, (flow) => {
          // With a key, the request has been read by somebody else.
          Runtime.runFork(runFork)(
            Flow.readExactly(flow, 4).pipe(
              Effect.zipRight(WebSocket.accept(flow, { key, maxPayloadSize: 3 })),
              Effect.flatMap((socket) => socket.run((message) => socket.send(message)))
            )
          )
        })
        const peer = yield* upgradedClient(address, "mine")
        expect(yield* peer.head).toContain(`Sec-WebSocket-Accept: ${acceptValue}`)
        yield* peer.sendFrames(Frame.text("abc"))
        expect(yield* peer.frame(() => true)).toEqual(Frame.text("abc"))
        yield* peer.sendFrames(Frame.text("abcd"))
        expect(yield* peer.closeCode).toBe(1009)
        yield* peer.end

        const Echo = WebSocketServer.serve((socket) => Stream.run(socket.messages, socket.sink)).pipe(
          Layer.provideMerge(WebSocketServer.layer({ port: 8080 }))
        )
        const echoed = Effect.gen(function* () {
          const socket = yield* WebSocket.connect((yield* WebSocketServer.WebSocketServer).url)
          yield* socket.send("hello")
          return yield* socket.receive
        })
        expect(yield* Effect.scoped(Effect.provide(echoed, Echo))).toBe("hello")
      }).pipe(Effect.provide(TestNetwork.layer))
  )

  it.scoped(row("accept inside an HTTP server", "WebSocketServer.upgrade"), () =>
    Effect.gen(function* () {
      const url = yield* httpServer(
        HttpRouter.empty.pipe(
          HttpRouter.get(
            "/echo",
            WebSocketServer.upgrade((socket) => Stream.run(socket.messages, socket.sink))
          )
        )
      )
      const socket = yield* WebSocket.connect(`${url}echo`)
      yield* socket.send("hello")
      expect(yield* socket.receive).toBe("hello")
    }).pipe(Effect.provide(NodeNetwork.layer))
  )
})
