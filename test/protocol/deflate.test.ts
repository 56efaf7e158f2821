import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Deflate from "../../src/protocol/deflate.js"
import { acceptFirst, confirmOnly, type MessageExtension } from "../../src/protocol/extension.js"
import { type Extension, formatExtensions, parseExtensions } from "../../src/protocol/tokens.js"

const loose: Deflate.Parameters = {
  serverNoContextTakeover: false,
  clientNoContextTakeover: false,
  serverMaxWindowBits: 15,
  clientMaxWindowBits: 15
}

/** What a side compresses and expects with, as `bits` or `bits fresh`. */
interface Agreed {
  readonly send: string
  readonly receive: string
}

const direction = ({ contextTakeover, windowBits }: Deflate.Direction) =>
  `${windowBits}${contextTakeover ? "" : " fresh"}`

const made = new WeakMap<MessageExtension, Agreed>()

const makeCodec: Deflate.MakeCodec = (send, receive) => {
  const codec: MessageExtension = {
    rsv: Deflate.rsv,
    applies: () => true,
    encode: (payload) => payload,
    decode: (payload) => payload,
    bound: (size) => size
  }
  made.set(codec, { send: direction(send), receive: direction(receive) })
  return codec
}

const support = (wanted: Partial<Deflate.Parameters> = {}) => Deflate.support({ ...loose, ...wanted }, makeCodec)

const parse = (value: string): ReadonlyArray<Extension> => {
  const parsed = parseExtensions(value)
  if ("_tag" in parsed) throw new Error(parsed.rule)
  return parsed
}

/** What a server makes of a header: its answer and what it does, or undefined if it declines. */
const answerTo = (offers: string, wanted: Partial<Deflate.Parameters> = {}) => {
  const negotiated = acceptFirst([support(wanted)], parse(offers))
  return negotiated && { response: formatExtensions([negotiated.response]), ...made.get(negotiated.extension) }
}

/** What a client makes of an answer: what it does, or the rule that is broken. */
const confirmed = (response: string, wanted: Partial<Deflate.Parameters> = {}) => {
  const extension = confirmOnly([support(wanted)], parse(response))
  return typeof extension === "object" ? made.get(extension) : extension
}

const offered = (wanted: Partial<Deflate.Parameters> = {}) => formatExtensions(support(wanted).offers)

describe("a client's offer", () => {
  it("names what it wants, and always client_max_window_bits, so that the server may limit the window (7.1.2.2)", () => {
    expect(offered()).toBe("permessage-deflate; client_max_window_bits")
    expect(offered({ serverNoContextTakeover: true, clientNoContextTakeover: true })).toBe(
      "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"
    )
    expect(offered({ serverMaxWindowBits: 9, clientMaxWindowBits: 10 })).toBe(
      "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10"
    )
  })
})

describe("a server", () => {
  it("accepts an offer without parameters, which allows everything but a limit on the client's window", () => {
    expect(answerTo("permessage-deflate")).toEqual({ response: "permessage-deflate", send: "15", receive: "15" })
  })

  it("includes what is asked of it (7.1.1.1, 7.1.2.1)", () => {
    expect(answerTo("permessage-deflate; server_no_context_takeover; server_max_window_bits=10")).toEqual({
      response: "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
      send: "10 fresh",
      receive: "15"
    })
    expect(answerTo("permessage-deflate; server_max_window_bits=15")).toEqual({
      response: "permessage-deflate; server_max_window_bits=15",
      send: "15",
      receive: "15"
    })
  })

  it("takes the client's hint not to take over its context (7.1.1.2)", () => {
    expect(answerTo("permessage-deflate; client_no_context_takeover")).toEqual({
      response: "permessage-deflate; client_no_context_takeover",
      send: "15",
      receive: "15 fresh"
    })
  })

  it("asks for more than was offered where that is allowed (7.1.1.1, 7.1.1.2, 7.1.2.1)", () => {
    const wanted = { serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 12 }
    expect(answerTo("permessage-deflate", wanted)).toEqual({
      response: "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
      send: "12 fresh",
      receive: "15 fresh"
    })
  })

  it("answers the smaller one of two server_max_window_bits (7.1.2.1)", () => {
    const bits = (offer: number, own: number) =>
      answerTo(`permessage-deflate; server_max_window_bits=${offer}`, { serverMaxWindowBits: own })
    expect(bits(9, 12)).toMatchObject({ response: "permessage-deflate; server_max_window_bits=9", send: "9" })
    expect(bits(12, 9)).toMatchObject({ response: "permessage-deflate; server_max_window_bits=9", send: "9" })
  })

  it("limits the client's window if client_max_window_bits is offered, to no more than its value (7.1.2.2)", () => {
    const bits = (offer: string, own: number) => answerTo(`permessage-deflate; ${offer}`, { clientMaxWindowBits: own })
    expect(bits("client_max_window_bits", 15)).toMatchObject({ response: "permessage-deflate", receive: "15" })
    expect(bits("client_max_window_bits", 11)).toMatchObject({
      response: "permessage-deflate; client_max_window_bits=11",
      receive: "11"
    })
    expect(bits("client_max_window_bits=10", 15)).toMatchObject({
      response: "permessage-deflate; client_max_window_bits=10",
      receive: "10"
    })
    expect(bits("client_max_window_bits=13", 8)).toMatchObject({
      response: "permessage-deflate; client_max_window_bits=8",
      receive: "8"
    })
    expect(bits("client_max_window_bits=15", 15)).toMatchObject({ response: "permessage-deflate", receive: "15" })
  })

  it("never answers client_max_window_bits if it isn't offered (7.1.2.2)", () => {
    expect(answerTo("permessage-deflate", { clientMaxWindowBits: 9, clientNoContextTakeover: true })).toEqual({
      response: "permessage-deflate; client_no_context_takeover",
      send: "15",
      receive: "15 fresh"
    })
    expect(
      answerTo("permessage-deflate; client_no_context_takeover", { clientMaxWindowBits: 9 })?.response
    ).not.toContain("client_max_window_bits")
  })

  it("declines a client that takes over a larger window than it keeps (7.1: an offer that isn't supported)", () => {
    expect(answerTo("permessage-deflate", { clientMaxWindowBits: 9 })).toBeUndefined()
    expect(
      answerTo("permessage-deflate, permessage-deflate; client_max_window_bits", { clientMaxWindowBits: 9 })
    ).toMatchObject({ response: "permessage-deflate; client_max_window_bits=9", receive: "9" })
  })

  it("reads quoted values as those without quotes (RFC 6455 9.1)", () => {
    expect(answerTo('permessage-deflate; server_max_window_bits="10"; client_max_window_bits="1\\2"')).toEqual({
      response: "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12",
      send: "10",
      receive: "12"
    })
  })

  it.each<readonly [string, string]>([
    ["an unknown parameter", "permessage-deflate; no_such_parameter"],
    ["an unknown parameter with a value", "permessage-deflate; server_window=10"],
    ["a parameter in another case", "permessage-deflate; Server_No_Context_Takeover"],
    ["a parameter twice", "permessage-deflate; server_no_context_takeover; server_no_context_takeover"],
    [
      "a parameter twice with different values",
      "permessage-deflate; server_max_window_bits=10; server_max_window_bits=11"
    ],
    ["a value where none is due", "permessage-deflate; server_no_context_takeover=1"],
    ["a quoted value where none is due", 'permessage-deflate; client_no_context_takeover="true"'],
    ["server_max_window_bits without a value", "permessage-deflate; server_max_window_bits"],
    ...["7", "16", "0", "08", "010", "-9", "+9", "9.0", "1e1", "0xa", "99", "x"].flatMap((value) =>
      ["server_max_window_bits", "client_max_window_bits"].map(
        (name) => [`${name}=${value}`, `permessage-deflate; ${name}=${value}`] as const
      )
    )
  ])("declines an offer with %s (7.1), and takes the next one", (_, illegal) => {
    expect(answerTo(illegal)).toBeUndefined()
    expect(answerTo(`${illegal}, permessage-deflate; server_max_window_bits=9`)).toMatchObject({
      response: "permessage-deflate; server_max_window_bits=9"
    })
  })

  it("accepts every legal window size", () => {
    for (let bits = 8; bits <= 15; bits++) {
      expect(
        answerTo(`permessage-deflate; server_max_window_bits=${bits}; client_max_window_bits=${bits}`)
      ).toMatchObject({ send: `${bits}`, receive: `${bits}` })
    }
  })

  it("takes the first offer that it can accept, in the client's order (RFC 6455 9.1)", () => {
    const offers =
      "permessage-foo, permessage-deflate; server_max_window_bits=7, " +
      "permessage-deflate; server_max_window_bits=10; client_max_window_bits, permessage-deflate"
    expect(answerTo(offers)).toMatchObject({ response: "permessage-deflate; server_max_window_bits=10", send: "10" })
    expect(answerTo("permessage-deflate, permessage-deflate; server_no_context_takeover")).toMatchObject({
      response: "permessage-deflate"
    })
  })
})

describe("a client", () => {
  it("does what the answer says", () => {
    expect(confirmed("permessage-deflate")).toEqual({ send: "15", receive: "15" })
    expect(
      confirmed(
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; " +
          "server_max_window_bits=9; client_max_window_bits=10"
      )
    ).toEqual({ send: "10 fresh", receive: "9 fresh" })
    expect(confirmed('permessage-deflate; server_max_window_bits="8"; client_max_window_bits="8"')).toEqual({
      send: "8",
      receive: "8"
    })
  })

  it("keeps to its own hints whether or not they are answered (7.1.1.2, 7.1.2.2)", () => {
    const wanted = { clientNoContextTakeover: true, clientMaxWindowBits: 10 }
    expect(confirmed("permessage-deflate", wanted)).toMatchObject({ send: "10 fresh" })
    expect(confirmed("permessage-deflate; client_max_window_bits=9", wanted)).toMatchObject({ send: "9 fresh" })
    expect(confirmed("permessage-deflate; client_max_window_bits=12", wanted)).toMatchObject({ send: "10 fresh" })
  })

  it("accepts less of the server than it asked for", () => {
    expect(confirmed("permessage-deflate; server_max_window_bits=9", { serverMaxWindowBits: 10 })).toMatchObject({
      receive: "9"
    })
  })

  it("fails an answer that doesn't include server_no_context_takeover as asked (7.1.1.1)", () => {
    expect(confirmed("permessage-deflate", { serverNoContextTakeover: true })).toMatch(
      /server_no_context_takeover.*7\.1\.1\.1/
    )
    expect(
      confirmed("permessage-deflate; server_no_context_takeover", { serverNoContextTakeover: true })
    ).toMatchObject({ receive: "15 fresh" })
  })

  it("fails an answer without server_max_window_bits, or with a larger one, if it asked for it (7.1.2.1)", () => {
    expect(confirmed("permessage-deflate", { serverMaxWindowBits: 10 })).toMatch(/larger server_max.*7\.1\.2\.1/)
    expect(confirmed("permessage-deflate; server_max_window_bits=11", { serverMaxWindowBits: 10 })).toMatch(
      /larger server_max/
    )
  })

  it.each([
    [
      "client_max_window_bits without a value (7.1.2.2)",
      "client_max_window_bits",
      /^client_max_window_bits is.*8 to 15/
    ],
    ["server_max_window_bits without a value", "server_max_window_bits", /^server_max_window_bits is.*8 to 15/],
    ["an unknown parameter", "no_such_parameter", /no parameter no_such_parameter/],
    ["a parameter twice", "client_max_window_bits=9; client_max_window_bits=9", /client_max_window_bits twice/],
    ["a value where none is due", "client_no_context_takeover=1", /takes no value/],
    ["a value that is too small", "server_max_window_bits=7", /server_max_window_bits.*8 to 15/],
    ["a value that is too large", "client_max_window_bits=16", /client_max_window_bits.*8 to 15/],
    ["a leading zero", "server_max_window_bits=09", /8 to 15 without leading zeros/]
  ])("fails an answer with %s, and names the rule", (_, parameters, rule) => {
    expect(confirmed(`permessage-deflate; ${parameters}`)).toMatch(rule)
  })
})

describe("both together", () => {
  const wanted = fc.record({
    serverNoContextTakeover: fc.boolean(),
    clientNoContextTakeover: fc.boolean(),
    serverMaxWindowBits: fc.integer({ min: 8, max: 15 }),
    clientMaxWindowBits: fc.integer({ min: 8, max: 15 })
  })

  it("agree, within what each of them wants, and see it the same way", () => {
    fc.assert(
      fc.property(wanted, wanted, (client, server) => {
        const answer = answerTo(String(offered(client)), server)
        const result = confirmed(String(answer?.response), client)
        expect(result).toEqual({ send: answer?.receive, receive: answer?.send })
        const limit = (fresh: boolean, bits: number) => `${bits}${fresh ? " fresh" : ""}`
        expect(result).toEqual({
          send: limit(
            client.clientNoContextTakeover || server.clientNoContextTakeover,
            Math.min(client.clientMaxWindowBits, server.clientMaxWindowBits)
          ),
          receive: limit(
            client.serverNoContextTakeover || server.serverNoContextTakeover,
            Math.min(client.serverMaxWindowBits, server.serverMaxWindowBits)
          )
        })
      })
    )
  })
})
