import type * as Net from "node:net"
import { Duplex } from "node:stream"
import * as Tls from "node:tls"
import { describe, expect } from "@effect/vitest"
import { Effect } from "effect"
import { type ListenOptions, Network } from "effect-websocket/Network"
import { makeCertificates } from "./fixtures/certificates.js"
import { bytes, closed, type Heard, heard, pattern, reading, settle } from "./fixtures/heard.js"
import { event, listening, live, loopback, rawClient } from "./fixtures/node.js"

const certificates = makeCertificates()

describe("a real reset", () => {
  const resets = (title: string, tls: ListenOptions["tls"], before: (socket: Net.Socket) => Effect.Effect<unknown>) =>
    live(
      title,
      Effect.gen(function* () {
        const heardAtServer: Array<Heard> = []
        const server = yield* listening({ address: loopback, tls }, (flow) => heardAtServer.push(reading(flow)))
        const socket = yield* rawClient(server.port)
        yield* before(socket)
        socket.resetAndDestroy()
        // The listener still serves.
        const { connect } = yield* Network
        const client = yield* connect({
          address: server.address,
          tls: tls === undefined ? undefined : { ca: certificates.ca }
        })
        client.write(bytes("still there?"), false)
        yield* Effect.iterate(undefined, {
          while: () => heardAtServer.at(-1)?.text() !== "still there?",
          body: () => settle
        })
        yield* settle
        // Whoever was accepted before hears of the reset, and of nothing after it.
        for (const handler of heardAtServer.slice(0, -1)) {
          yield* closed(handler)
          expect(handler.events.at(-1)).toBe("close")
          expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "read", code: "ECONNRESET" })
        }
      })
    )

  resets("right after the connection was made harms nobody else", undefined, () => Effect.void)
  resets("of an accepted flow closes it with ECONNRESET", undefined, () => settle)
  resets("in the middle of data closes it with ECONNRESET", undefined, (socket) =>
    Effect.zipRight(
      Effect.sync(() => socket.write(pattern(10_000))),
      settle
    )
  )
  resets("before a TLS handshake harms nobody else", certificates.good, () => settle)
  resets("in the middle of a TLS handshake harms nobody else", certificates.good, (socket) =>
    Effect.zipRight(
      // The beginning of a ClientHello.
      Effect.sync(() => socket.write(Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3))),
      settle
    )
  )

  live(
    "right behind data is an end or a close, never a throw",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback })
      const socket = yield* rawClient(server.port)
      const handler = reading(yield* server.first)
      socket.write(pattern(10_000))
      socket.resetAndDestroy()
      // Node reports a reset that it finds together with the last data as an end.
      yield* handler.until(({ events }) => events.includes("end") || events.includes("close"))
    })
  )

  live(
    "of a flow that nobody has attached to yet is kept for the one who does",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback })
      const socket = yield* rawClient(server.port)
      const flow = yield* server.first
      socket.resetAndDestroy()
      while (flow.write(bytes("x"), false)) yield* settle
      const handler = heard()
      flow.attach(handler)
      yield* closed(handler)
      expect(handler.events).toEqual(["close"])
      expect(handler.error()?._tag).toBe("IoError")
    })
  )

  live(
    "after the end closes the flow with an error of the write that meets it",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback })
      const socket = yield* rawClient(server.port)
      const flow = yield* server.first
      const handler = reading(flow)
      socket.end()
      yield* handler.until(({ events }) => events.includes("end"))
      socket.resetAndDestroy()
      while (!handler.events.includes("close")) {
        flow.write(bytes("x"), false)
        yield* settle
      }
      expect(handler.events.filter((event) => event !== "drain")).toEqual(["end", "close"])
      expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "write" })
    })
  )

  live(
    "of the TCP connection under TLS closes the flow with an error",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback, tls: certificates.good })
      const tcp = yield* rawClient(server.port)
      const socket = Tls.connect({
        socket: Duplex.from({ readable: tcp, writable: tcp }),
        ca: certificates.ca,
        servername: "localhost"
      })
      socket.on("error", () => {})
      yield* event(socket, "secureConnect")
      const flow = yield* server.first
      const handler = reading(flow)
      socket.resume()
      flow.write(bytes("hello"), false)
      yield* event(socket, "data")
      yield* settle
      tcp.resetAndDestroy()
      yield* closed(handler)
      expect(handler.error()).toMatchObject({ _tag: "IoError", code: "ECONNRESET" })
    })
  )

  live(
    "doesn't need close_notify: a TLS peer's bare FIN is an end",
    Effect.gen(function* () {
      const server = yield* listening({ address: loopback, tls: certificates.good })
      const tcp = yield* rawClient(server.port)
      const socket = Tls.connect({ socket: tcp, ca: certificates.ca, servername: "localhost" })
      socket.on("error", () => {})
      yield* event(socket, "secureConnect")
      const flow = yield* server.first
      const handler = reading(flow)
      socket.resume()
      flow.write(bytes("hello"), false)
      yield* event(socket, "data")
      tcp.end()
      yield* handler.until(({ events }) => events.includes("end"))
      flow.destroy()
      yield* closed(handler)
      expect(handler.error()).toBeUndefined()
    })
  )
})
