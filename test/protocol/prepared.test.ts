import { describe, expect, it } from "@effect/vitest"
import type { MessageExtension } from "../../src/protocol/extension.js"
import { Prepared } from "../../src/protocol/prepared.js"
import { join, parse, pattern, toHex } from "../fixtures/bytes.js"
import { codecs, dictionaries, takeover } from "../fixtures/deflating.js"
import { machine } from "../fixtures/machine.js"

const messages = ["", "text", "é€😀\ud800", "x".repeat(70_000), pattern(0), pattern(10), pattern(20_000)] as const

/** An extension, and how often it was asked to encode. */
const counted = (extension: MessageExtension) => {
  const calls = { encode: 0 }
  const watched: MessageExtension = {
    rsv: extension.rsv,
    manner: extension.manner,
    applies: (size, wish) => extension.applies(size, wish),
    encode: (payload) => {
      calls.encode++
      return extension.encode(payload)
    },
    decode: (payload, limit) => extension.decode(payload, limit),
    bound: (size) => extension.bound(size)
  }
  return { calls, extension: watched }
}

describe("a prepared message", () => {
  it.each(messages)("is the same on the wire as one that isn't (%#)", (message) => {
    for (const extension of [undefined, codecs({ threshold: 5 }).server]) {
      for (const compress of [undefined, true, false]) {
        const [plain, ready] = [machine("server", { extension }), machine("server", { extension })]
        const prepared = new Prepared(message)
        expect(prepared.length).toBe(message.length)
        plain.connection.sendMessage(message, compress)
        ready.connection.sendMessage(prepared, compress)
        expect(toHex(ready.output())).toBe(toHex(plain.output()))
      }
    }
  })

  it("is one piece of memory for all servers, between what each of them sends beside it", () => {
    const prepared = new Prepared("x".repeat(1000))
    const taken = Array.from({ length: 10 }, (_, index) => {
      const { connection } = machine("server")
      connection.sendMessage(`before ${index}`)
      connection.sendMessage(prepared)
      connection.sendMessage("after")
      return connection.output.take()
    })
    for (const [index, pieces] of taken.entries()) {
      expect(pieces).toContain(prepared.frame)
      expect(parse(join(...pieces)).map(({ payload }) => Buffer.from(payload).toString())).toEqual([
        `before ${index}`,
        "x".repeat(1000),
        "after"
      ])
    }
  })

  it("is masked by each client anew, and its bytes stay as they are", () => {
    const content = pattern(50)
    const prepared = new Prepared(content)
    const client = machine("client")
    client.connection.sendMessage(prepared)
    client.connection.sendMessage(prepared)
    const frames = parse(client.output())
    expect(frames.map(({ payload }) => payload)).toEqual([pattern(50), pattern(50)])
    expect(frames[0]?.key).not.toBe(frames[1]?.key)
    expect(content).toEqual(pattern(50))
  })

  it("is compressed once for each manner, however many connections there are", () => {
    const prepared = new Prepared("again and again ".repeat(100))
    const calls = [
      {},
      {},
      { serverMaxWindowBits: 9 } as const,
      { serverMaxWindowBits: 9 } as const,
      { level: 9 } as const
    ]
      .map((options) => counted(codecs({ threshold: 0, ...options }).server))
      .map(({ calls, extension }) => {
        const server = machine("server", { extension })
        server.connection.sendMessage(prepared)
        server.connection.sendMessage(prepared)
        expect(parse(server.output()).map(({ rsv }) => rsv)).toEqual([4, 4])
        return calls.encode
      })
    expect(calls).toEqual([1, 0, 1, 0, 1])
  })

  it.runIf(dictionaries)("is compressed by each connection that takes its context over, and every time", () => {
    const prepared = new Prepared("again and again ".repeat(100))
    for (let connection = 0; connection < 3; connection++) {
      const { client, server } = codecs({ threshold: 0, ...takeover })
      const { calls, extension } = counted(server)
      const observed = machine("server", { extension })
      observed.connection.sendMessage(prepared)
      observed.connection.sendMessage(prepared)
      expect(calls.encode).toBe(2)
      const [first, second] = parse(observed.output()).map(({ payload }) => payload)
      expect(second?.length).toBeLessThan(first?.length ?? 0)
      for (const payload of [first, second]) {
        const decoded = client.decode(payload ?? new Uint8Array(0), 1e6)
        expect("_tag" in decoded ? decoded : Buffer.from(decoded).toString()).toBe(prepared.message)
      }
    }
  })

  it("goes plain where it is below the threshold, or isn't to be compressed, and the other way round", () => {
    const prepared = new Prepared("small")
    const { calls, extension } = counted(codecs({ threshold: 100 }).server)
    const server = machine("server", { extension })
    for (const compress of [undefined, false, true]) server.connection.sendMessage(prepared, compress)
    expect(parse(server.output()).map(({ rsv }) => rsv)).toEqual([0, 0, 4])
    expect(calls.encode).toBe(1)
  })

  it("is refused like any other in the middle of a message", () => {
    const { connection } = machine("server")
    connection.sendFrame({ opcode: 1, rsv: 0, fin: false, payload: new Uint8Array(0) })
    expect(connection.sendMessage(new Prepared("x"))).toMatchObject({ rule: expect.stringContaining("must end") })
  })
})
