import { describe, expect } from "@effect/vitest"
import { Effect } from "effect"
import { doorOf } from "effect-websocket/internal/broadcastDoor"
import { gathering } from "../fixtures/gathering.js"
import { settle } from "../fixtures/heard.js"
import { testInMemory } from "../fixtures/leaks.js"

describe("the door of a connection", () => {
  testInMemory(
    "tells once that the connection is over, at once if it is, and not to whoever takes it back",
    Effect.gen(function* () {
      const { welcome } = yield* gathering()
      const { server } = yield* welcome()
      const door = doorOf(server)
      expect(doorOf(server)).toBe(door)
      const told: Array<string> = []
      door.onOver(() => told.push("first"))
      const forget = door.onOver(() => told.push("second"))
      door.onOver(() => told.push("third"))
      expect(door.isOpen).toBe(true)
      forget()
      yield* server.close()
      expect(told.toSorted()).toEqual(["first", "third"])
      expect(door.isOpen).toBe(false)
      door.onOver(() => told.push("late"))
      expect(told.slice(2)).toEqual(["late"])
    })
  )

  testInMemory(
    "to a socket of another making does the same, and waits for it no longer than need be",
    Effect.gen(function* () {
      const { welcome } = yield* gathering()
      const { server } = yield* welcome()
      let waiting = 0
      const closed = Effect.acquireUseRelease(
        Effect.sync(() => waiting++),
        () => server.closed,
        () => Effect.sync(() => waiting--)
      )
      const own = { ...server, offer: () => Effect.succeed("sent" as const), closed }
      const door = doorOf(own)
      expect(doorOf(own)).toBe(door)
      expect(door).not.toBe(doorOf(server))
      const told: Array<string> = []
      door.onOver(() => told.push("first"))
      const forget = door.onOver(() => told.push("second"))
      yield* settle
      expect(waiting).toBe(2)
      forget()
      yield* settle
      expect(waiting).toBe(1)
      yield* server.close()
      yield* settle
      expect([told, waiting]).toEqual([["first"], 0])
    })
  )
})
