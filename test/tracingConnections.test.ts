import { describe, expect } from "@effect/vitest"
import { Deferred, Effect, type Layer, LogLevel, Option, Tracer } from "effect"
import * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { settle } from "./fixtures/heard.js"
import { joined } from "./fixtures/joined.js"
import { testInMemory, testsOn } from "./fixtures/leaks.js"
import { upgradedClient } from "./fixtures/rawPeer.js"
import { recordingLogger } from "./fixtures/recordingLogger.js"
import { recordingTracer } from "./fixtures/recordingTracer.js"

const networks: ReadonlyArray<readonly [string, Layer.Layer<Network>]> = [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
]

const traceId = "0af7651916cd43dd8448eb211c80319c"
const spanId = "b7ad6b7169203331"

const serve = (handler: (socket: WebSocket.WebSocket) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function* () {
    const server = yield* WebSocketServer.make({ drainTimeout: 0 })
    yield* server.serve(handler)
    return server
  })

/** Looks until the condition holds; the test's own limit ends what never comes. */
const until = (condition: () => boolean) =>
  Effect.gen(function* () {
    while (!condition()) yield* settle
  })

for (const [name, network] of networks) {
  const test = testsOn(network)

  describe(`${name}: traces of connections`, () => {
    const endings: ReadonlyArray<
      readonly [
        string,
        (peer: Effect.Effect.Success<ReturnType<typeof upgradedClient>>) => Effect.Effect<unknown>,
        object
      ]
    > = [
      [
        "ends well with an application's code",
        (peer) => peer.sendFrames(Frame.close(4001, "bye")),
        { status: "ok", code: 4001, initiator: "remote", reason: "bye", type: undefined }
      ],
      [
        "broke",
        (peer) => peer.end,
        {
          status: "ConnectionFailed: 1006 (abnormal closure)",
          code: 1006,
          initiator: "remote",
          reason: undefined,
          type: "1006"
        }
      ],
      [
        "had a peer that failed",
        (peer) => peer.sendFrames(Frame.close(1011)),
        {
          status: "ConnectionFailed: 1011 (internal error)",
          code: 1011,
          initiator: "remote",
          reason: undefined,
          type: "1011"
        }
      ],
      [
        "had a peer that broke a rule",
        (peer) => peer.send(Uint8Array.of(0x83, 0x80, 0, 0, 0, 0)),
        {
          status: expect.stringMatching(/^ConnectionFailed: .*opcode/),
          code: 1002,
          initiator: "local",
          reason: undefined,
          type: "1002"
        }
      ],
      [
        "had a peer that sent too much",
        (peer) => peer.sendFrames(Frame.text("x".repeat(101))),
        {
          status: "ConnectionFailed: frame size over 100",
          code: 1009,
          initiator: "local",
          reason: undefined,
          type: "1009"
        }
      ]
    ]
    for (const [what, act, expected] of endings) {
      test(
        `tell that a connection ${what}, when it is over and not when its scope is`,
        Effect.gen(function* () {
          const { within, span } = recordingTracer()
          const server = yield* within(WebSocketServer.make({ drainTimeout: "1 hour", maxPayloadSize: 100 }))
          const leave = yield* Deferred.make<void>()
          yield* server.serve(() => Deferred.await(leave))
          // A check that fails must not wait for an hour on a clock that stands still.
          yield* Effect.addFinalizer(() => Deferred.succeed(leave, undefined))
          const peer = yield* upgradedClient(server.address)
          expect(span("websocket.connection").status).toBe("open")
          yield* act(peer)
          yield* peer.end
          yield* peer.closed
          yield* until(() => span("websocket.connection").status !== "open")
          const { attributes, status } = span("websocket.connection")
          expect({
            status,
            code: attributes["websocket.close.code"],
            initiator: attributes["websocket.close.initiator"],
            reason: attributes["websocket.close.reason"],
            type: attributes["error.type"]
          }).toEqual(expected)
          expect(yield* server.connections).toBe(1)
        })
      )
    }

    test(
      "hold the failure of a handler as an event of its connection",
      Effect.gen(function* () {
        const { within, span } = recordingTracer()
        const server = yield* within(serve(() => Effect.fail(new Error("no such room"))))
        const peer = yield* upgradedClient(server.address)
        expect(yield* peer.closeCode).toBe(1011)
        yield* peer.sendFrames(Frame.close(1011))
        yield* peer.end
        yield* peer.closed
        yield* until(() => span("websocket.connection").status !== "open")
        const { attributes, events, status } = span("websocket.connection")
        expect(status).toBe("ConnectionFailed: 1011 (internal error)")
        expect(attributes["websocket.close.initiator"]).toBe("local")
        expect(events.join("\n")).toMatch(/^WebSocket handler failed [\s\S]*no such room/)
      })
    )

    test(
      "have a trace for each message, linked to its connection",
      Effect.gen(function* () {
        const { within, span, spans } = recordingTracer()
        const { client, server } = yield* within(joined())
        const handle = (message: WebSocket.Message) =>
          WebSocket.withMessageSpan(Effect.withSpan(server.send(message), "inside"), server, "message", {
            kind: "consumer",
            attributes: { size: 3 }
          })
        yield* client.sendAll(["one", "two"])
        yield* server
          .run((message) =>
            Effect.filterOrFail(
              handle(message),
              () => message === "one",
              () => "enough"
            )
          )
          .pipe(Effect.flip, Effect.withSpan("around"), within)
        const [message] = spans().filter(({ name }) => name === "message")
        expect(message).toMatchObject({
          kind: "consumer",
          parentId: undefined,
          links: [span("websocket.connection", "server").spanId],
          attributes: { size: 3 },
          status: "ok"
        })
        expect(spans().find(({ name }) => name === "inside")?.parentId).toBe(message?.spanId)
        expect(span("around").traceId).not.toBe(message?.traceId)
        const other = Tracer.externalSpan({ traceId, spanId })
        yield* Effect.fail("no").pipe(
          WebSocket.withMessageSpan(client, "failing", {
            links: [{ _tag: "SpanLink", span: other, attributes: {} }]
          }),
          Effect.flip,
          within
        )
        expect(span("failing").links).toEqual([spanId, span("websocket.connection", "client").spanId])
        expect(span("failing").status).toContain("no")
        expect(spans().filter(({ name }) => name === "websocket.connection")).toHaveLength(2)
      })
    )

    test(
      "aren't made where nobody traces, or tracing is off",
      Effect.gen(function* () {
        const { within, spans } = recordingTracer()
        const off = <A, E, R>(effect: Effect.Effect<A, E, R>) => within(Effect.withTracerEnabled(effect, false))
        const marked = (socket: WebSocket.WebSocket) =>
          WebSocket.withMessageSpan(Effect.option(Effect.currentSpan), socket, "message")
        const untraced = yield* joined()
        const disabled = yield* off(joined())
        for (const socket of [untraced.client, untraced.server, disabled.client, disabled.server]) {
          expect(socket.span).toBeUndefined()
          expect(Option.isNone(yield* marked(socket))).toBe(true)
          expect(Option.isNone(yield* off(marked(socket)))).toBe(true)
        }
        expect(spans()).toEqual([])
        // Whoever traces messages only, gets that.
        yield* within(marked(untraced.client))
        expect(spans()).toMatchObject([{ name: "message", links: [], status: "ok" }])
      })
    )
  })
}

describe("traces of connections", () => {
  testInMemory(
    "hold what is logged of a connection as its events",
    Effect.gen(function* () {
      const { within, span } = recordingTracer()
      const { lines, listening } = recordingLogger(LogLevel.Debug)
      const { client, server } = yield* listening(within(joined()))
      yield* client.close()
      yield* server.closed
      for (const role of ["client", "server"] as const) {
        const { events } = span("websocket.connection", role)
        expect(events.map((event) => event.split(" ").slice(0, 3).join(" "))).toEqual([
          "WebSocket connection opened",
          "WebSocket connection closed"
        ])
      }
      expect(lines()).toHaveLength(5)
    })
  )
})
