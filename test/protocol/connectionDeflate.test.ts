import { constants } from "node:zlib"
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { DeflateOptions } from "../../src/internal/deflate.js"
import { Connection, type Limits, type Message } from "../../src/protocol/connection.js"
import type { MessageExtension } from "../../src/protocol/extension.js"
import { encodeFrame, type Frame, type OpcodeValue, type Role } from "../../src/protocol/frame.js"
import {
  bomb,
  codecs,
  compressed,
  everyWindowBits,
  hex,
  joinedBytes,
  jsonText,
  noise,
  takeover
} from "../fixtures/deflating.js"

const MiB = 2 ** 20
const key = 0x37fa213d

const utf8 = (text: string) => new TextEncoder().encode(text)
const hello = hex("f2 48 cd c9 c9 07 00")

/** One end of a connection, and what it has to tell. */
const endpoint = (role: Role, extension: MessageExtension | undefined, limits: Partial<Limits> = {}) => {
  const heard: Array<Message | Frame | { readonly pong: Uint8Array }> = []
  const connection = new Connection(
    role,
    { maxMessageSize: MiB, maxFrameSize: limits.maxMessageSize ?? MiB, maxFragments: 16_384, ...limits },
    {
      message: (message) => heard.push(message),
      frame: (frame) => heard.push(frame),
      pong: (pong) => heard.push({ pong }),
      closing() {}
    },
    () => key,
    extension
  )
  return {
    connection,
    heard,
    // The connection unmasks in place.
    feed: (...parts: ReadonlyArray<Uint8Array>) => connection.receive(joinedBytes(...parts)),
    sent: () => joinedBytes(...connection.output.take())
  }
}

const other = (role: Role): Role => (role === "client" ? "server" : "client")

/** A frame as the peer of that role sends it. */
const frameTo = (role: Role, opcode: OpcodeValue, payload: Uint8Array, { fin = true, rsv = 0 } = {}) =>
  encodeFrame({ opcode, rsv, fin, payload }, role === "server" ? key : undefined)

const deflated = { rsv: 4 }

/** What must hold in both roles. */
const inBothRoles = (
  title: string,
  body: (role: Role, extension: (options?: DeflateOptions) => MessageExtension) => void
) => {
  for (const role of ["client", "server"] as const)
    it(`${title} (${role})`, () => body(role, (options) => codecs(options)[role]))
}

const closeCodeOf = (role: Role, bytes: Uint8Array) => {
  const offset = role === "client" ? 6 : 2
  const [high = 0, low = 0] = bytes.subarray(offset, offset + 2)
  return role === "client" ? ((high ^ (key >>> 24)) << 8) | (low ^ ((key >>> 16) & 255)) : (high << 8) | low
}

const failsWith = (self: ReturnType<typeof endpoint>, role: Role, code: number, rule?: RegExp) => {
  expect(closeCodeOf(role, self.sent())).toBe(code)
  expect(self.connection.outcome).toMatchObject(
    code === 1009
      ? { _tag: "Failed", violation: { _tag: "Excess" } }
      : {
          _tag: "Failed",
          violation: { _tag: "Breach", closeCode: code, rule: expect.stringMatching(rule ?? /./) }
        }
  )
}

describe("sending", () => {
  it("sets RSV1 on a compressed message, byte for byte as in RFC 7692 7.2.3.1", () => {
    const { connection, sent } = endpoint("server", codecs().server)
    expect(connection.sendMessage("Hello", true)).toBeUndefined()
    expect(sent()).toEqual(hex("c1 07 f2 48 cd c9 c9 07 00"))
    connection.sendMessage(utf8("Hello"), true)
    expect(sent()).toEqual(hex("c2 07 f2 48 cd c9 c9 07 00"))
  })

  it("masks what was compressed, as a client", () => {
    const { connection, sent } = endpoint("client", codecs().client)
    connection.sendMessage("Hello", true)
    expect(sent()).toEqual(frameTo("server", 1, hello, deflated))
  })

  inBothRoles("compresses from the threshold on, and where the sender wishes", (role, extension) => {
    const { connection, sent } = endpoint(role, extension({ threshold: 10 }))
    const compresses = (message: Message, wish?: boolean) => {
      connection.sendMessage(message, wish)
      return ((sent()[0] ?? 0) & 0x40) !== 0
    }
    expect(compresses("123456789")).toBe(false)
    expect(compresses("1234567890")).toBe(true)
    expect(compresses(new Uint8Array(9))).toBe(false)
    expect(compresses(new Uint8Array(10))).toBe(true)
    expect(compresses("", true)).toBe(true)
    expect(compresses("1234567890", false)).toBe(false)
  })

  inBothRoles("compresses nothing if nothing was negotiated, whatever the wish", (role) => {
    const { connection, sent } = endpoint(role, undefined)
    connection.sendMessage("Hello", true)
    expect(sent()).toEqual(frameTo(other(role), 1, utf8("Hello")))
  })

  inBothRoles("leaves frames and control frames alone", (role, extension) => {
    const { connection, sent } = endpoint(role, extension({ threshold: 0 }))
    connection.sendFrame({ opcode: 1, rsv: 0, fin: false, payload: utf8("a") })
    connection.sendFrame({ opcode: 0, rsv: 0, fin: true, payload: utf8("b") })
    connection.sendPing(new Uint8Array(0))
    expect(connection.sendFrame({ opcode: 1, rsv: 4, fin: true, payload: hello })).toMatchObject({ _tag: "Breach" })
    expect(sent()).toEqual(
      joinedBytes(
        frameTo(other(role), 1, utf8("a"), { fin: false }),
        frameTo(other(role), 0, utf8("b")),
        frameTo(other(role), 9, new Uint8Array(0))
      )
    )
  })

  inBothRoles("refuses a compressed message inside of a fragmented one", (role, extension) => {
    const { connection } = endpoint(role, extension())
    connection.sendFrame({ opcode: 1, rsv: 0, fin: false, payload: utf8("a") })
    expect(connection.sendMessage("Hello", true)).toMatchObject({ _tag: "Breach" })
  })
})

describe("receiving", () => {
  inBothRoles("the examples of RFC 7692 7.2.3, text and binary", (role, extension) => {
    const { feed, heard } = endpoint(role, extension(takeover))
    feed(frameTo(role, 1, hello, deflated))
    feed(frameTo(role, 1, hex("f2 00 11 00 00"), deflated))
    feed(frameTo(role, 1, hex("00 05 00 fa ff 48 65 6c 6c 6f 00"), deflated))
    feed(frameTo(role, 1, hex("f3 48 cd c9 c9 07 00 00"), deflated))
    feed(frameTo(role, 1, hex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"), deflated))
    feed(frameTo(role, 1, hex("00"), deflated))
    feed(frameTo(role, 2, hello, deflated))
    feed(frameTo(role, 2, hex("00"), deflated))
    expect(heard).toEqual(["Hello", "Hello", "Hello", "Hello", "Hello", "", utf8("Hello"), new Uint8Array(0)])
  })

  inBothRoles("the fragmented one of 7.2.3.1: RSV1 on the first frame only", (role, extension) => {
    const { feed, heard } = endpoint(role, extension())
    feed(frameTo(role, 1, hex("f2 48 cd"), { ...deflated, fin: false }), frameTo(role, 0, hex("c9 c9 07 00")))
    expect(heard).toEqual(["Hello"])
  })

  it("the frames of 7.2.3.1 as they stand in the RFC, as a client", () => {
    const { feed, heard } = endpoint("client", codecs().client)
    feed(hex("c1 07 f2 48 cd c9 c9 07 00"))
    feed(hex("41 03 f2 48 cd 80 04 c9 c9 07 00"))
    expect(heard).toEqual(["Hello", "Hello"])
  })

  inBothRoles("control frames between fragments, and empty fragments", (role, extension) => {
    const { feed, heard, sent } = endpoint(role, extension())
    feed(
      frameTo(role, 1, new Uint8Array(0), { ...deflated, fin: false }),
      frameTo(role, 9, utf8("ping")),
      frameTo(role, 0, hello.subarray(0, 3), { fin: false }),
      frameTo(role, 10, utf8("pong")),
      frameTo(role, 0, hello.subarray(3), { fin: false }),
      frameTo(role, 0, new Uint8Array(0))
    )
    expect(heard).toEqual([{ pong: utf8("pong") }, "Hello"])
    expect(sent()).toEqual(frameTo(other(role), 10, utf8("ping")))
  })

  inBothRoles(
    "messages that aren't compressed between those that are, whose window they leave alone",
    (role, extension) => {
      const { feed, heard } = endpoint(role, extension(takeover))
      feed(frameTo(role, 1, hello, deflated))
      feed(frameTo(role, 1, utf8("plain")), frameTo(role, 2, noise(100)))
      feed(frameTo(role, 1, utf8("pl"), { fin: false }), frameTo(role, 0, utf8("ain")))
      feed(frameTo(role, 1, hex("f2 00 11 00 00"), deflated))
      expect(heard).toEqual(["Hello", "plain", noise(100), "plain", "Hello"])
    }
  )

  inBothRoles("messages of its own codec, with takeover and without", (role, extension) => {
    for (const options of [{}, takeover]) {
      const pair = codecs(options)
      const self = endpoint(role, pair[role])
      const peer = endpoint(other(role), pair[other(role)])
      const messages = [jsonText(5000), jsonText(5000), noise(3000), "", jsonText(100_000, 7)]
      for (const message of messages) {
        peer.connection.sendMessage(message, true)
        self.feed(peer.sent())
      }
      expect(self.heard).toEqual(messages)
    }
    expect(extension().rsv).toBe(4)
  })

  inBothRoles("as frames: a compressed message is one, without RSV1", (role, extension) => {
    const self = endpoint(role, extension())
    self.connection.delivery = "frames"
    self.feed(
      frameTo(role, 1, hex("f2 48 cd"), { ...deflated, fin: false }),
      frameTo(role, 9, utf8("p")),
      frameTo(role, 0, hex("c9 c9 07 00")),
      frameTo(role, 2, hello, deflated),
      frameTo(role, 1, utf8("x"))
    )
    expect(self.heard).toEqual([
      { opcode: 9, rsv: 0, fin: true, payload: utf8("p") },
      { opcode: 1, rsv: 0, fin: true, payload: utf8("Hello") },
      { opcode: 2, rsv: 0, fin: true, payload: utf8("Hello") },
      { opcode: 1, rsv: 0, fin: true, payload: utf8("x") }
    ])
  })

  inBothRoles("the same, however the bytes are cut", (role, extension) => {
    const pair = codecs({ ...takeover, threshold: 0 })
    const peer = endpoint(other(role), pair[other(role)])
    for (const message of ["Hello", noise(20), "Hello", "", jsonText(300)]) peer.connection.sendMessage(message)
    peer.connection.sendPing(new Uint8Array(0))
    const conversation = joinedBytes(
      peer.sent(),
      frameTo(role, 1, compressed("fragments").subarray(0, 4), { ...deflated, fin: false }),
      frameTo(role, 10, utf8("between")),
      frameTo(role, 0, compressed("fragments").subarray(4)),
      frameTo(role, 2, utf8("plain"))
    )
    const run = (...cuts: ReadonlyArray<number>) => {
      const { feed, heard, sent, connection } = endpoint(role, extension(takeover))
      const edges = [0, ...cuts, conversation.length]
      for (const [index, end] of edges.slice(1).entries()) feed(conversation.subarray(edges[index], end))
      return { heard, sent: sent(), outcome: connection.outcome }
    }
    const whole = run()
    expect(whole.heard).toEqual([
      "Hello",
      noise(20),
      "Hello",
      "",
      jsonText(300),
      { pong: utf8("between") },
      "fragments",
      utf8("plain")
    ])
    for (let cut = 0; cut <= conversation.length; cut++) expect(run(cut)).toEqual(whole)
    expect(run(...conversation.keys())).toEqual(whole)
    fc.assert(
      fc.property(fc.array(fc.nat(conversation.length), { maxLength: 20 }), (cuts) => {
        expect(run(...cuts.sort((left, right) => left - right))).toEqual(whole)
      })
    )
  })
})

describe("failing", () => {
  inBothRoles("RSV1 where nothing was negotiated: 1002", (role) => {
    const self = endpoint(role, undefined)
    self.feed(frameTo(role, 1, hello, deflated))
    failsWith(self, role, 1002, /RSV/)
  })

  inBothRoles("RSV1 on a continuation: 1002 (RFC 7692 6.1)", (role, extension) => {
    for (const rsv of [0, 4]) {
      const self = endpoint(role, extension())
      self.feed(frameTo(role, 2, hello, { fin: false, rsv }), frameTo(role, 0, hello, deflated))
      failsWith(self, role, 1002, /RSV/)
      expect(self.heard).toEqual([])
    }
  })

  inBothRoles("RSV1 on a control frame: 1002 (RFC 7692 6.1)", (role, extension) => {
    for (const opcode of [8, 9, 10] as const) {
      const self = endpoint(role, extension())
      self.feed(frameTo(role, opcode, new Uint8Array(0), deflated))
      failsWith(self, role, 1002, /RSV/)
    }
  })

  inBothRoles("the other RSV bits: 1002", (role, extension) => {
    for (const rsv of [1, 2, 3, 5, 6, 7]) {
      const self = endpoint(role, extension())
      self.feed(frameTo(role, 2, hello, { rsv }))
      failsWith(self, role, 1002, /RSV/)
    }
  })

  inBothRoles("a new message, compressed, inside of another: 1002", (role, extension) => {
    const self = endpoint(role, extension())
    self.feed(frameTo(role, 1, utf8("a"), { fin: false }), frameTo(role, 1, hello, deflated))
    failsWith(self, role, 1002, /must end before/)
  })

  inBothRoles("what isn't DEFLATE: 1007, and nothing of it is delivered", (role, extension) => {
    for (const payload of [hex(""), hex("ff"), hello.subarray(0, 5), joinedBytes(hello, hex("00 00 ff ff"))]) {
      const self = endpoint(role, extension())
      self.feed(frameTo(role, 2, payload, deflated), frameTo(role, 2, hello, deflated))
      failsWith(self, role, 1007, /DEFLATE/)
      expect(self.heard).toEqual([])
    }
  })

  inBothRoles("text that isn't UTF-8 once inflated: 1007; binary of the same bytes is fine", (role, extension) => {
    for (const bad of [hex("ff"), hex("61 c0 80"), hex("ed a0 80"), hex("e2 82")]) {
      for (const frames of [false, true]) {
        const self = endpoint(role, extension())
        self.connection.delivery = frames ? "frames" : "messages"
        self.feed(frameTo(role, 2, compressed(bad), deflated))
        expect(self.heard.length).toBe(1)
        self.feed(frameTo(role, 1, compressed(bad), deflated))
        expect(self.heard.length).toBe(1)
        failsWith(self, role, 1007, /UTF-8/)
      }
    }
  })
})

describe("limits", () => {
  inBothRoles("count what comes out: the limit is accepted, one byte more is 1009", (role, extension) => {
    const limit = 5000
    // What can't be compressed is larger than the limit on the wire, and still accepted.
    for (const content of [noise, (size: number) => new Uint8Array(size)]) {
      for (const fragments of [1, 3]) {
        const send = (size: number) => {
          const payload = compressed(content(size), { level: 0 })
          const self = endpoint(role, extension(), { maxMessageSize: limit })
          const part = Math.ceil(payload.length / fragments)
          for (let index = 0; index < fragments; index++) {
            self.feed(
              frameTo(role, index === 0 ? 2 : 0, payload.subarray(index * part, (index + 1) * part), {
                fin: index === fragments - 1,
                rsv: index === 0 ? 4 : 0
              })
            )
          }
          return self
        }
        expect(send(limit).heard).toEqual([content(limit)])
        const over = send(limit + 1)
        expect(over.heard).toEqual([])
        expect(over.connection.outcome).toEqual({
          _tag: "Failed",
          violation: { _tag: "Excess", which: "message size", limit, size: limit + 1 }
        })
        failsWith(over, role, 1009)
      }
    }
  })

  inBothRoles("hold the compressed bytes themselves, too, by their declared length", (role, extension) => {
    const limit = 5000
    const most = extension().bound(limit)
    const declare = (size: number) => {
      const self = endpoint(role, extension(), { maxMessageSize: limit, maxFrameSize: Number.MAX_SAFE_INTEGER })
      self.feed(frameTo(role, 2, new Uint8Array(size), deflated).subarray(0, 14))
      return self.connection.outcome
    }
    expect(declare(most)).toBeUndefined()
    expect(declare(most + 1)).toMatchObject({ violation: { which: "message size", limit, size: most + 1 } })
    // Not the message that isn't compressed.
    const plain = endpoint(role, extension(), { maxMessageSize: limit, maxFrameSize: Number.MAX_SAFE_INTEGER })
    plain.feed(frameTo(role, 2, hello, deflated), frameTo(role, 2, new Uint8Array(limit + 1)))
    expect(plain.heard.length).toBe(1)
    failsWith(plain, role, 1009)
  })

  inBothRoles("of frames hold compressed frames by their size on the wire", (role, extension) => {
    const send = (maxFrameSize: number) => {
      const self = endpoint(role, extension(), { maxFrameSize })
      self.feed(frameTo(role, 1, compressed(new Uint8Array(1000)), deflated))
      return self
    }
    const { length } = compressed(new Uint8Array(1000))
    expect(length).toBeLessThan(50)
    expect(send(length).heard).toEqual(["\0".repeat(1000)])
    expect(send(length - 1).connection.outcome).toMatchObject({ violation: { which: "frame size", size: length } })
  })

  inBothRoles("of fragments hold compressed ones", (role, extension) => {
    const self = endpoint(role, extension(), { maxFragments: 2 })
    self.feed(
      frameTo(role, 1, hello.subarray(0, 1), { ...deflated, fin: false }),
      frameTo(role, 0, hello.subarray(1, 2), { fin: false }),
      frameTo(role, 0, hello.subarray(2))
    )
    failsWith(self, role, 1009)
  })

  inBothRoles("refuse 1 GiB of zeros in 1 MiB, whole and in fragments", (role, extension) => {
    const payload = bomb(1024)
    const whole = endpoint(role, extension())
    whole.feed(frameTo(role, 2, payload, deflated))
    failsWith(whole, role, 1009)
    const pieces = endpoint(role, extension())
    const before = process.memoryUsage()
    for (let at = 0; at < payload.length; at += 100) {
      const last = at + 100 >= payload.length
      pieces.feed(frameTo(role, at === 0 ? 2 : 0, payload.subarray(at, at + 100), { fin: last, rsv: at === 0 ? 4 : 0 }))
    }
    const after = process.memoryUsage()
    failsWith(pieces, role, 1009)
    // The message on the wire, its copies and what came out up to the limit.
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(64 * MiB)
    expect(after.rss - before.rss).toBeLessThan(256 * MiB)
  })
})

describe("a conversation", () => {
  it("arrives as it was sent, whatever was agreed on", () => {
    const wanted: fc.Arbitrary<DeflateOptions> = fc.record({
      threshold: fc.constantFrom(0, 10, 1024),
      serverNoContextTakeover: fc.boolean(),
      clientNoContextTakeover: fc.boolean(),
      serverMaxWindowBits: fc.constantFrom(...everyWindowBits),
      clientMaxWindowBits: fc.constantFrom(...everyWindowBits)
    })
    const content = fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 50 }),
      fc.uint8Array({ maxLength: 50 }),
      fc.nat(3000).map((size) => jsonText(size)),
      fc.nat(20_000).map((size) => noise(size))
    )
    const step = fc.tuple(fc.boolean(), content, fc.constantFrom(undefined, true, false))
    fc.assert(
      fc.property(wanted, fc.array(step, { maxLength: 10 }), (options, steps) => {
        const pair = codecs(options)
        const client = endpoint("client", pair.client)
        const server = endpoint("server", pair.server)
        for (const [up, message, wish] of steps) {
          const [from, to] = up ? [client, server] : [server, client]
          from.connection.sendMessage(message, wish)
          to.feed(from.sent())
        }
        expect(server.heard).toEqual(steps.filter(([up]) => up).map(([, message]) => message))
        expect(client.heard).toEqual(steps.filter(([up]) => !up).map(([, message]) => message))
      }),
      { numRuns: 50 }
    )
  })

  it("keeps one window through flushes of any kind", () => {
    const text = jsonText(2000)
    for (const finishFlush of [constants.Z_SYNC_FLUSH, constants.Z_FULL_FLUSH]) {
      const { feed, heard } = endpoint("client", codecs(takeover).client)
      feed(frameTo("client", 1, compressed(text, { finishFlush }), deflated))
      feed(frameTo("client", 1, compressed(text, { dictionary: utf8(text) }), deflated))
      expect(heard).toEqual([text, text])
    }
  })
})
