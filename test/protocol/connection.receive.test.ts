import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { anyText, cutBy, join, pattern, toHex, utf8 } from "../fixtures/bytes.js"
import { hear, machine, peerOf, roles, stillOpen } from "../fixtures/machine.js"

describe.each(roles)("a %s receives", (role) => {
  const peer = peerOf(role)

  it("text and binary, however they are cut", () => {
    const bytes = join(peer(1, "Hello"), peer(2, pattern(3)), peer(1, "zwölf €uro 😀"), peer(1, ""), peer(2, ""))
    expect(hear(role, bytes)).toEqual(
      stillOpen(['text "Hello"', "binary 00070e", 'text "zwölf €uro 😀"', 'text ""', "binary"])
    )
  })

  it("a message in fragments, some of them empty", () => {
    const bytes = join(
      peer(1, "", { fin: false }),
      peer(0, "Hel", { fin: false }),
      peer(0, "", { fin: false }),
      peer(0, "lo", { fin: false }),
      peer(0, ""),
      peer(2, pattern(4), { fin: false }),
      peer(0, pattern(2))
    )
    expect(hear(role, bytes)).toEqual(stillOpen(['text "Hello"', "binary 00070e150007"]))
  })

  it("a message that is nothing but empty fragments", () => {
    const bytes = join(peer(1, "", { fin: false }), peer(0, "", { fin: false }), peer(0, ""), peer(1, "next"))
    expect(hear(role, bytes)).toEqual(stillOpen(['text ""', 'text "next"']))
  })

  it("control frames between fragments, at once", () => {
    const bytes = join(
      peer(1, "one ", { fin: false }),
      peer(9, "a"),
      peer(0, "message", { fin: false }),
      peer(10, "b"),
      peer(9, ""),
      peer(0, ""),
      peer(9, "c")
    )
    expect(hear(role, bytes)).toEqual(
      stillOpen(["pong 62", 'text "one message"'], ["pong fin 61", "pong fin", "pong fin 63"])
    )
  })

  it("code points that are cut between fragments, with a ping inside of one", () => {
    const euro = utf8("€")
    const smile = utf8("😀")
    const bytes = join(
      peer(1, euro.slice(0, 1), { fin: false }),
      peer(0, euro.slice(1, 2), { fin: false }),
      peer(9, "within"),
      peer(0, join(euro.slice(2), smile.slice(0, 3)), { fin: false }),
      peer(0, "", { fin: false }),
      peer(0, smile.slice(3))
    )
    expect(hear(role, bytes)).toEqual(stillOpen(['text "€😀"'], [`pong fin ${toHex(utf8("within"))}`]))
  })

  it.each([0, 1, 125, 126, 127, 65_535, 65_536, 200_000])("a message of %i bytes, whole and in pieces", (length) => {
    const text = "x".repeat(length)
    const bytes = join(peer(2, pattern(length)), peer(1, text))
    for (const sizes of [[bytes.length], [1500], [65_536], [1, 2, 3, 10_000]]) {
      const observed = machine(role)
      observed.receive(...cutBy(bytes, sizes))
      const [binary, string] = observed.messages
      if (!(binary instanceof Uint8Array)) throw new Error("no binary message")
      expect(Buffer.compare(binary, pattern(length))).toBe(0)
      expect(string === text).toBe(true)
      expect(observed.messages.length).toBe(2)
    }
  })

  it("a masking key of zero, where frames are masked", () => {
    const key = role === "server" ? 0 : undefined
    expect(hear(role, join(peer(1, "plain", { key }), peer(9, "p", { key })))).toEqual(
      stillOpen(['text "plain"'], ["pong fin 70"])
    )
  })

  it("non-characters, NUL and a byte order mark as they are", () => {
    const text = "\ufeff\ufdd0\ufffe\uffff\u{1fffe}\u{10ffff}\0"
    expect(hear(role, peer(1, text))).toEqual(stillOpen([`text ${JSON.stringify(text)}`]))
  })

  it("pongs that nobody asked for, with their payload", () => {
    expect(hear(role, join(peer(10, "x".repeat(125)), peer(10)))).toEqual(
      stillOpen([`pong ${"78".repeat(125)}`, "pong"])
    )
  })

  it("any messages in any fragments and pieces, each once and in order", () => {
    const message = fc.tuple(
      fc.oneof(anyText(40), fc.uint8Array({ maxLength: 40 })),
      fc.array(fc.nat(12), { maxLength: 4 })
    )
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 6 }),
        (messages, sizes) => {
          const frames = messages.flatMap(([content, lengths]) => {
            const bytes = typeof content === "string" ? utf8(content) : content
            let at = 0
            const fragments = lengths.map((length, index) => {
              const fragment = bytes.slice(at, at + length)
              at += length
              return peer(index > 0 ? 0 : typeof content === "string" ? 1 : 2, fragment, { fin: false })
            })
            return [...fragments, peer(lengths.length > 0 ? 0 : typeof content === "string" ? 1 : 2, bytes.slice(at))]
          })
          const observed = machine(role)
          observed.receive(...cutBy(join(...frames), sizes))
          expect(observed.messages).toEqual(messages.map(([content]) => content))
          expect(observed.heard()).toMatchObject({ sent: [], outcome: "open" })
        }
      ),
      { numRuns: 300 }
    )
  })

  it("a chunk that is a Buffer, without handing it on", () => {
    const observed = machine(role, { frames: true })
    const buffer = Buffer.from(join(peer(9, "p"), peer(2, "small"), new Uint8Array(0)))
    observed.connection.receive(buffer)
    buffer.fill(0xff)
    expect(observed.frames.map(({ payload }) => payload.constructor)).toEqual([Uint8Array, Uint8Array])
    expect(observed.events).toEqual(["frame ping fin 70", `frame binary fin ${toHex(utf8("small"))}`])
  })
})

describe.each(roles)("a small message that a %s receives", (role) => {
  const peer = peerOf(role)
  const chunkOf = (frame: Uint8Array): Uint8Array => {
    const chunk = new Uint8Array(65_536)
    chunk.set(frame)
    return chunk.subarray(0, frame.length)
  }

  it("doesn't keep the chunk alive that it came in", () => {
    const observed = machine(role)
    observed.connection.receive(chunkOf(join(peer(2, pattern(100)), peer(2, "", { fin: false }), peer(0, pattern(10)))))
    expect(observed.messages.map((message) => message instanceof Uint8Array && message.buffer.byteLength)).toEqual([
      100, 10
    ])
  })

  it("doesn't either as a frame, nor does what a control frame carries", () => {
    const observed = machine(role, { frames: true })
    observed.connection.receive(
      chunkOf(join(peer(2, pattern(100)), peer(9, "p"), peer(10, "pong"), peer(8, "\u0003\u00e8")))
    )
    expect(observed.frames.slice(0, 3).map(({ payload }) => payload.buffer.byteLength)).toEqual([100, 1, 4])
  })

  it("is a view of a chunk that it is most of", () => {
    const observed = machine(role)
    const chunk = peer(2, pattern(60_000))
    observed.connection.receive(chunk)
    const [message] = observed.messages
    expect(message instanceof Uint8Array && message.buffer).toBe(chunk.buffer)
  })
})
