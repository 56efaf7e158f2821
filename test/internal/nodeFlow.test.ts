import * as Net from "node:net"
import { Duplex, PassThrough } from "node:stream"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { bytes, closed, heard, reading, settle } from "../fixtures/heard.js"
import { event, rawClient, rawServer } from "../fixtures/node.js"

describe("fromDuplex", () => {
  it.live("makes a flow of any stream of bytes, which keeps no listener on it after the close", () =>
    Effect.gen(function* () {
      const stream = new PassThrough()
      const own = ["error", "close", "data", "end", "drain"].map((name) => stream.listenerCount(name))
      const address = { _tag: "TcpAddress", hostname: "tunnel", port: 1 } as const
      const flow = NodeNetwork.fromDuplex(stream, { remoteAddress: address, secure: true })
      expect([flow.remoteAddress, flow.localAddress, flow.secure]).toEqual([
        address,
        { _tag: "UnixAddress", path: "" },
        true
      ])
      const handler = reading(flow)
      flow.write(bytes("echo"), false)
      flow.end()
      yield* closed(handler)
      expect(handler.text()).toBe("echo")
      expect(handler.events.filter((event) => event !== "drain")).toEqual(["data", "end", "close"])
      expect(["error", "close", "data", "end", "drain"].map((name) => stream.listenerCount(name))).toEqual(own)
    })
  )

  it.live("hears of what happened to a stream before it became a flow", () =>
    Effect.gen(function* () {
      const broken = new PassThrough()
      broken.on("error", () => {})
      broken.destroy(Object.assign(new Error("gone"), { code: "EPIPE" }))
      const pending = reading(NodeNetwork.fromDuplex(broken))
      yield* closed(pending)
      const afterwards = reading(NodeNetwork.fromDuplex(broken))
      yield* closed(afterwards)
      for (const handler of [pending, afterwards]) {
        expect(handler.events).toEqual(["close"])
        expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "write", code: "EPIPE" })
      }
      const ended = new PassThrough()
      ended.end()
      ended.resume()
      yield* event(ended, "close")
      const late = reading(NodeNetwork.fromDuplex(ended))
      yield* closed(late)
      expect(late.events).toEqual(["end", "close"])
      expect(late.error()).toBeUndefined()
      const destroyed = new PassThrough()
      const flow = NodeNetwork.fromDuplex(destroyed)
      const handler = heard()
      flow.attach(handler)
      destroyed.destroy()
      yield* closed(handler)
      expect(handler.error()).toBeUndefined()
    })
  )

  it.live("lets a socket be half open that wasn't made for it", () =>
    Effect.gen(function* () {
      const got = heard()
      const server = Net.createServer({ allowHalfOpen: true }, (socket) => {
        socket.on("data", (chunk) => got.data(chunk)).on("end", () => got.end())
        socket.end("bye")
      })
      const port = yield* rawServer(server)
      const flow = NodeNetwork.fromDuplex(yield* rawClient(port))
      const handler = reading(flow)
      yield* handler.until(({ events }) => events.includes("end"))
      yield* settle
      flow.write(bytes("more"), false)
      flow.end()
      yield* closed(handler)
      yield* got.until(({ events }) => events.includes("end"))
      expect([handler.text(), got.text()]).toEqual(["bye", "more"])
    }).pipe(Effect.scoped)
  )

  it.live("closes on an error of a stream that wouldn't by itself", () =>
    Effect.gen(function* () {
      const stream = new Duplex({ autoDestroy: false, read() {}, write() {} })
      const handler = reading(NodeNetwork.fromDuplex(stream))
      stream.emit("error", new Error("no code"))
      yield* closed(handler)
      expect(handler.error()).toMatchObject({ _tag: "IoError", operation: "read", address: "unix:" })
      expect(handler.error()?.code).toBeUndefined()
    })
  )

  it.live("sends writes that announce more in one piece", () =>
    Effect.gen(function* () {
      const batches: Array<number> = []
      const stream = new Duplex({
        read() {},
        writev(chunks, done) {
          batches.push(chunks.length)
          done()
        }
      })
      const flow = NodeNetwork.fromDuplex(stream)
      flow.write(bytes("head"), true)
      flow.write(bytes("er"), true)
      flow.write(bytes("body"), false)
      expect(batches).toEqual([3])
      flow.destroy()
      yield* settle
    })
  )
})
