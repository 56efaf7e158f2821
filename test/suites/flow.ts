import { describe, expect } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import * as Flow from "effect-websocket/Flow"
import { bytes, closed, ended, type Heard, heard, pattern, reading, settle } from "../fixtures/heard.js"

/** The two ends of a connection. */
export interface Joined {
  readonly client: Flow.Flow
  readonly server: Flow.Flow
}

/** Defines a test of a connection of its own. */
type Law = <E>(title: string, body: (joined: Joined) => Effect.Effect<unknown, E, Scope.Scope>) => void

const listening = (flow: Flow.Flow): Heard => {
  const handler = heard()
  flow.attach(handler)
  return handler
}

/** Without the drains, which come of every write over TLS, and hardly ever of a small one over TCP. */
const read = (handler: Heard) => handler.events.filter((event) => event !== "drain")
/**
 * The server says something and the client reads it. A client that is destroyed
 * with unread bytes, such as TLS 1.3's session tickets, resets the connection.
 */
export const greet = (client: Flow.Flow, server: Flow.Flow) =>
  Effect.gen(function* () {
    const atClient = reading(client)
    server.write(bytes("welcome"), false)
    yield* atClient.until(({ text }) => text() === "welcome")
  })

/** The laws of `Flow`, which every implementation keeps. */
export const flowLaws = (law: Law, secure: boolean): void => {
  describe("a flow delivers bytes", () => {
    law("in order, in both directions", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        const atClient = reading(client)
        for (const text of ["one", "two", "three"]) client.write(bytes(text), false)
        server.write(bytes("four"), false)
        yield* atServer.until(({ text }) => text() === "onetwothree")
        yield* atClient.until(({ text }) => text() === "four")
        expect(client.secure).toBe(secure)
        expect(server.secure).toBe(secure)
      })
    )

    law("that stay what they are while more arrive", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        for (const [index, text] of ["first", "other", "third"].entries()) {
          client.write(bytes(text), false)
          yield* atServer.until(({ size }) => size() === 5 * (index + 1))
        }
        expect(atServer.text()).toBe("firstotherthird")
      })
    )

    law("as they were written, though their memory is used again where it was given back", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        const memory = bytes("first")
        const taken = client.write(memory, false)
        if (taken && client.returnsBytes) memory.fill(0)
        yield* atServer.until(({ size }) => size() === 5)
        expect(atServer.text()).toBe("first")
      })
    )

    law("to who only borrows them, and what that puts back comes again", ({ client, server }) =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const again = heard()
        server.attach({
          ...heard(),
          borrows: true,
          data(chunk) {
            seen.push(Buffer.from(chunk).toString())
            if (seen.join("") !== "one, two") return
            server.pause()
            server.unshift(chunk.subarray(chunk.length - 3))
            server.attach(again)
          }
        })
        server.resume()
        client.write(bytes("one, two"), false)
        yield* Effect.suspend(() => settle).pipe(Effect.repeat({ until: () => seen.join("") === "one, two" }))
        client.write(bytes(", three"), false)
        yield* settle
        server.resume()
        yield* again.until(({ size }) => size() === 10)
        expect(again.text()).toBe("two, three")
      })
    )

    law("of writes that announce more, after the last", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        client.write(bytes("head"), true)
        client.write(bytes("er"), true)
        client.write(bytes("body"), false)
        client.write(bytes("next"), false)
        yield* atServer.until(({ text }) => text() === "headerbodynext")
      })
    )

    law("that came before there was a handler", ({ client, server }) =>
      Effect.gen(function* () {
        client.write(bytes("early"), false)
        yield* settle
        const atServer = reading(server)
        yield* atServer.until(({ text }) => text() === "early")
      })
    )

    law("to nobody before it is resumed, and loses none when it is resumed before it has a handler", (joined) =>
      Effect.gen(function* () {
        joined.client.write(bytes("kept"), false)
        joined.server.resume()
        yield* settle
        const atServer = listening(joined.server)
        yield* atServer.until(({ text }) => text() === "kept")
        const atClient = listening(joined.client)
        joined.server.write(bytes("held"), false)
        yield* settle
        expect(atClient.events).toEqual([])
        joined.client.resume()
        yield* atClient.until(({ text }) => text() === "held")
      })
    )

    law("that the receiver may change without the sender seeing it", ({ client, server }) =>
      Effect.gen(function* () {
        const sent = bytes("shared")
        const atServer = reading(server, { data: (chunk) => void chunk.fill(0) })
        client.write(sent, false)
        yield* atServer.until(({ size }) => size() === 6)
        expect(sent).toEqual(bytes("shared"))
        expect(atServer.text()).toBe("\0".repeat(6))
      })
    )

    law("not while it is paused, from within data on", ({ client, server }) =>
      Effect.gen(function* () {
        const size = 1_000_000
        const atServer = reading(server, { data: () => server.pause() })
        const all = pattern(size)
        client.write(all, false)
        yield* atServer.until((it) => it.size() > 0)
        const once = atServer.size()
        yield* settle
        expect(atServer.size()).toBe(once)
        expect(once).toBeLessThan(size)
        while (atServer.size() < size) {
          const before = atServer.size()
          server.resume()
          yield* atServer.until((it) => it.size() > before)
        }
        expect(Buffer.concat(atServer.chunks).equals(all)).toBe(true)
      })
    )

    law("not when it is paused again in the turn in which it was resumed", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = listening(server)
        client.write(bytes("wait"), false)
        yield* settle
        server.resume()
        server.pause()
        yield* settle
        expect(atServer.events).toEqual([])
        server.resume()
        yield* atServer.until(({ text }) => text() === "wait")
      })
    )

    law("to the handler that was attached last", ({ client, server }) =>
      Effect.gen(function* () {
        const second = heard()
        const first = reading(server, { data: () => server.attach(second) })
        client.write(bytes("first"), false)
        yield* first.until(({ text }) => text() === "first")
        client.write(bytes("second"), false)
        yield* second.until(({ text }) => text() === "second")
        expect(first.text()).toBe("first")
      })
    )
  })

  describe("unshift", () => {
    law("puts bytes back in front of what follows", ({ client, server }) =>
      Effect.gen(function* () {
        const second = heard()
        const first = reading(server, {
          data(chunk) {
            server.pause()
            server.attach(second)
            server.unshift(chunk.subarray(2))
            server.unshift(bytes(""))
          }
        })
        client.write(bytes("abcd"), false)
        yield* first.until(({ size }) => size() > 0)
        client.write(bytes("ef"), false)
        yield* settle
        expect(second.events).toEqual([])
        server.resume()
        yield* second.until(({ text }) => text() === "cdef")
      })
    )

    law("works after the end has arrived, and the end comes after the bytes", ({ client, server }) =>
      Effect.gen(function* () {
        const first = reading(server, { data: () => server.pause() })
        client.write(bytes("abcd"), false)
        yield* first.until(({ text }) => text() === "abcd")
        client.end()
        yield* settle
        server.unshift(bytes("d"))
        server.unshift(bytes("c"))
        const second = reading(server)
        yield* ended(second)
        expect(second.text()).toBe("cd")
        expect(second.events).toEqual(["data", "end"])
        expect(first.events).toEqual(["data"])
      })
    )
  })

  describe("the end", () => {
    law("comes once, after the bytes, and leaves the other direction open", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        const atClient = reading(client)
        client.write(bytes("last"), false)
        client.end()
        client.end()
        expect(client.write(bytes("too late"), false)).toBe(false)
        yield* ended(atServer)
        expect(atServer.text()).toBe("last")
        server.write(bytes("answer"), false)
        yield* atClient.until(({ text }) => text() === "answer")
        expect(read(atClient)).toEqual(["data"])
        server.end()
        yield* closed(atServer)
        yield* closed(atClient)
        expect(read(atServer)).toEqual(["data", "end", "close"])
        expect(read(atClient)).toEqual(["data", "end", "close"])
        expect(atServer.error()).toBeUndefined()
        expect(atClient.error()).toBeUndefined()
      })
    )

    law("isn't told while paused", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = listening(server)
        client.end()
        yield* settle
        expect(atServer.events).toEqual([])
        server.resume()
        yield* ended(atServer)
      })
    )

    law("follows what a large write still had to send", ({ client, server }) =>
      Effect.gen(function* () {
        const all = pattern(3_000_000)
        client.write(all, false)
        client.end()
        const atServer = reading(server)
        yield* ended(atServer)
        expect(Buffer.concat(atServer.chunks).equals(all)).toBe(true)
      })
    )

    law("is told to a handler that is attached later, too", ({ client, server }) =>
      Effect.gen(function* () {
        const first = reading(server)
        client.end()
        yield* ended(first)
        const second = listening(server)
        yield* ended(second)
        server.pause()
        const third = listening(server)
        yield* settle
        expect(third.events).toEqual([])
        server.resume()
        yield* ended(third)
        expect(first.events).toEqual(["end"])
      })
    )

    law("of both sides while paused is told, with the close behind it, when resumed", ({ client, server }) =>
      Effect.gen(function* () {
        const atClient = reading(client)
        const atServer = listening(server)
        client.end()
        server.end()
        yield* closed(atClient)
        yield* settle
        server.resume()
        yield* closed(atServer)
        expect(atServer.events).toEqual(["end", "close"])
        const late = listening(server)
        yield* closed(late)
        expect(late.events).toEqual(["end", "close"])
      })
    )
  })

  describe("destroy", () => {
    law("closes once, without an error, and tells nothing else", ({ client, server }) =>
      Effect.gen(function* () {
        server.write(bytes("unread"), false)
        yield* settle
        const atClient = reading(client)
        client.destroy()
        client.destroy()
        yield* closed(atClient)
        expect(atClient.events).toEqual(["close"])
        expect(atClient.error()).toBeUndefined()
        expect(client.write(bytes("x"), false)).toBe(false)
        expect(client.write(bytes("x"), true)).toBe(false)
        expect(client.bufferedBytes()).toBe(0)
        for (const call of [client.end, client.pause, client.resume, () => client.unshift(bytes("x"))]) call()
        yield* settle
        expect(atClient.events).toEqual(["close"])
      })
    )

    law("tells a handler that is attached later", ({ client }) =>
      Effect.gen(function* () {
        client.destroy()
        yield* settle
        const late = listening(client)
        yield* closed(late)
        const later = listening(client)
        yield* closed(later)
        expect(later.events).toEqual(["close"])
      })
    )

    law("from within data ends the data", ({ client, server }) =>
      Effect.gen(function* () {
        server.pause()
        client.write(pattern(20_000), false)
        client.write(pattern(20_000), false)
        yield* settle
        const atServer = reading(server, { data: () => server.destroy() })
        yield* closed(atServer)
        expect(atServer.chunks.length).toBe(1)
        expect(atServer.events).toEqual(["data", "close"])
      })
    )

    law("ends the peer's reading", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        yield* greet(client, server)
        client.destroy()
        yield* ended(atServer)
        server.end()
        yield* closed(atServer)
      })
    )
  })

  describe("a broken connection", () => {
    law("closes with an IoError, once and last", ({ client, server }) =>
      Effect.gen(function* () {
        const atClient = reading(client)
        // More than any buffer takes, so that unread bytes are left when the peer goes: TCP answers with a reset.
        client.write(pattern(20_000_000), false)
        yield* settle
        server.destroy()
        yield* closed(atClient)
        expect(atClient.events.at(-1)).toBe("close")
        const error = atClient.error()
        expect(error?._tag).toBe("IoError")
        expect(["ECONNRESET", "EPIPE"]).toContain(error?.code)
        expect(error?.address).toBe(Flow.formatAddress(client.remoteAddress))
        expect(error?.cause).toBeInstanceOf(Error)
        expect(client.bufferedBytes()).toBe(0)
        expect(client.write(bytes("x"), false)).toBe(false)
        client.end()
        client.destroy()
        const late = reading(client)
        yield* closed(late)
        expect(late.events).toEqual(["close"])
        expect(late.error()).toEqual(error)
      })
    )

    law("comes of writing to a peer that is gone", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        yield* greet(client, server)
        client.destroy()
        yield* ended(atServer)
        while (!atServer.events.includes("close")) {
          server.write(bytes("anybody?"), false)
          yield* settle
        }
        expect(atServer.error()?._tag).toBe("IoError")
        expect(read(atServer)).toEqual(["end", "close"])
      })
    )
  })

  describe("backpressure", () => {
    law("answers false, counts what waits, and drains when the reader goes on", ({ client, server }) =>
      Effect.gen(function* () {
        const atClient = reading(client)
        const atServer = listening(server)
        const piece = pattern(100_000)
        let sent = 0
        // The operating system's buffers take a few megabytes at most.
        while (client.bufferedBytes() < 1_000_000) {
          client.write(piece, false)
          sent += piece.length
          yield* settle
          expect(sent).toBeLessThan(100_000_000)
        }
        expect(client.write(piece, false)).toBe(false)
        sent += piece.length
        const waiting = client.bufferedBytes()
        yield* settle
        expect(client.bufferedBytes()).toBe(waiting)
        const drained = () => atClient.events.filter((event) => event === "drain").length
        const before = drained()
        server.resume()
        yield* atServer.until(({ size }) => size() === sent)
        yield* atClient.until(() => drained() > before)
        expect(client.bufferedBytes()).toBe(0)
        const received = Buffer.concat(atServer.chunks)
        for (let at = 0; at < sent; at += piece.length) {
          expect(received.subarray(at, at + piece.length).equals(piece)).toBe(true)
        }
      })
    )

    law("drains after every write that answered false", ({ client, server }) =>
      Effect.gen(function* () {
        const atServer = reading(server)
        const atClient = reading(client)
        let drains = 0
        for (let round = 0; round < 20; round++) {
          const answered = client.write(pattern(200_000), false)
          expect(answered).toBe(client.bufferedBytes() === 0)
          if (answered) continue
          drains++
          yield* atClient.until(({ events }) => events.filter((event) => event === "drain").length === drains)
        }
        yield* atServer.until(({ size }) => size() === 4_000_000)
        yield* settle
        expect(atClient.events.length).toBe(drains)
      })
    )
  })

  describe("readExactly", () => {
    law("reads as many bytes as asked, and leaves the rest", ({ client, server }) =>
      Effect.gen(function* () {
        client.write(bytes("abcd"), false)
        client.write(bytes("efgh"), false)
        expect(Buffer.from(yield* Flow.readExactly(server, 3)).toString()).toBe("abc")
        expect(Buffer.from(yield* Flow.readExactly(server, 3)).toString()).toBe("def")
        const rest = reading(server)
        yield* rest.until(({ text }) => text() === "gh")
      })
    )

    law("puts back what it holds when it is interrupted", ({ client, server }) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.fork(Flow.readExactly(server, 10))
        client.write(bytes("half"), false)
        yield* settle
        yield* Fiber.interrupt(fiber)
        client.write(bytes("way"), false)
        expect(Buffer.from(yield* Flow.readExactly(server, 7)).toString()).toBe("halfway")
      })
    )

    law("fails with an IoError when the flow ends or closes first", ({ client, server }) =>
      Effect.gen(function* () {
        client.write(bytes("abc"), false)
        client.end()
        const early = yield* Effect.flip(Flow.readExactly(server, 4))
        expect(early).toMatchObject({ _tag: "IoError", operation: "read" })
        // and again, now that the end was heard
        yield* Effect.flip(Flow.readExactly(server, 1))
        client.destroy()
        const gone = yield* Effect.flip(Flow.readExactly(client, 1))
        expect(gone._tag).toBe("IoError")
      })
    )
  })
}
