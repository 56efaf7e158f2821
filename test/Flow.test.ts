import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Flow from "effect-websocket/Flow"
import * as TestNetwork from "effect-websocket/TestNetwork"
import { bytes, heard, settle } from "./fixtures/heard.js"

describe("formatAddress", () => {
  it("writes host and port, an IPv6 address in brackets, and the path of a Unix socket", () => {
    expect(Flow.formatAddress({ _tag: "TcpAddress", hostname: "chat.example", port: 80 })).toBe("chat.example:80")
    expect(Flow.formatAddress({ _tag: "TcpAddress", hostname: "::1", port: 443 })).toBe("[::1]:443")
    expect(Flow.formatAddress({ _tag: "UnixAddress", path: "/run/app.sock" })).toBe("unix:/run/app.sock")
  })
})

describe("readExactly", () => {
  it.scoped("collects the bytes of many small reads", () =>
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair({ fragmentation: 1 })
      client.write(bytes("abcdefgh"), false)
      expect(Buffer.from(yield* Flow.readExactly(server, 5)).toString()).toBe("abcde")
      expect(Buffer.from(yield* Flow.readExactly(server, 3)).toString()).toBe("fgh")
    })
  )

  it.scoped("pauses the flow when it has what it wants", () =>
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair()
      client.write(bytes("ab"), false)
      yield* Flow.readExactly(server, 1)
      const rest = heard()
      server.attach(rest)
      yield* settle
      expect(rest.events).toEqual([])
      server.resume()
      yield* rest.until(({ text }) => text() === "b")
    })
  )

  it.scoped("says how many bytes it had when the flow ended", () =>
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair()
      client.write(bytes("abc"), false)
      client.end()
      const error = yield* Effect.flip(Flow.readExactly(server, 4))
      expect(error).toMatchObject({ _tag: "IoError", operation: "read", address: "127.0.0.1:49152" })
      expect(error.cause).toMatchObject({ message: "ended after 3 of 4 bytes" })
    })
  )

  it.scoped("fails with the error that broke the flow", () =>
    Effect.gen(function* () {
      const { reset, server } = yield* TestNetwork.pair()
      const fiber = yield* Effect.fork(Effect.flip(Flow.readExactly(server, 1)))
      yield* settle
      yield* reset
      expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "IoError", code: "ECONNRESET" })
    })
  )

  it.scoped("loses nothing when it is interrupted again and again", () =>
    Effect.gen(function* () {
      const { client, server } = yield* TestNetwork.pair({ fragmentation: 2 })
      for (const text of ["ab", "cd", "ef"]) {
        const fiber = yield* Effect.fork(Flow.readExactly(server, 100))
        client.write(bytes(text), false)
        yield* settle
        yield* Fiber.interrupt(fiber)
      }
      expect(Buffer.from(yield* Flow.readExactly(server, 6)).toString()).toBe("abcdef")
    })
  )
})
