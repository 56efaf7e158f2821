import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { NodeNetwork, ReconnectingWebSocket, WebSocket } from "effect-websocket"
import { leaksOf } from "./fixtures/leaks.js"
import { tsx } from "./fixtures/process.js"
import { historyOf } from "./fixtures/reconnecting.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const serverOn = (port: string) =>
  Effect.gen(function* () {
    const server = yield* tsx("examples/echo-server.ts", [], { PORT: port })
    const [, url = ""] = yield* server.line(/^listening on (ws:\S+)$/)
    return { server, url }
  })

describe("ReconnectingWebSocket over TCP", () => {
  it.scopedLive("finds a server again that was killed and started anew, and loses nothing that waited", () =>
    Effect.gen(function* () {
      const first = yield* serverOn("0")
      const leaks = yield* leaksOf(
        Effect.gen(function* () {
          const socket = yield* ReconnectingWebSocket.make(WebSocket.connect(first.url), {
            schedule: Schedule.spaced("50 millis")
          })
          const history = yield* historyOf(socket)
          yield* socket.send("before")
          expect(yield* socket.receive).toBe("before")
          yield* first.server.kill("SIGKILL")
          yield* first.server.exit
          // One attempt at least finds nobody.
          yield* history.until("Waiting", 2)
          const waiting = yield* Effect.fork(socket.send("in between"))
          const second = yield* serverOn(new URL(first.url).port)
          expect(yield* Fiber.join(waiting)).toBe("sent")
          expect(yield* socket.receive).toBe("in between")
          yield* second.server.kill("SIGTERM")
          yield* second.server.exit
          const third = yield* serverOn(new URL(first.url).port)
          yield* history.until("Connected", 3)
          yield* socket.send("after")
          expect(yield* socket.receive).toBe("after")
          yield* third.server.kill("SIGKILL")
          const errors = history.states.flatMap((state) => (state._tag === "Waiting" ? [state.error._tag] : []))
          expect(errors).toContain("ConnectError")
          expect(errors).toContain("ConnectionClosed")
        })
      )
      expect(leaks).toEqual([])
    }).pipe(Effect.provide(NodeNetwork.layer))
  )
})
