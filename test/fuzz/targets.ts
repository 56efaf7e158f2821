// What is fuzzed with coverage as the guide, one after the other. An input is bytes, whatever they are made into.

import { Either } from "effect"
import { OriginPolicy } from "effect-websocket"
import { subprotocol } from "ws"
import { type DeflateOptions, deflate } from "../../src/internal/deflate.js"
import { acceptFirst } from "../../src/protocol/extension.js"
import { type Extension, formatExtensions, parseExtensions, parseTokens } from "../../src/protocol/tokens.js"
import { compare } from "./compare.js"
import { judgeExtensions } from "./grammar.js"
import type { Target } from "./guide.js"
import { judgeHead } from "./heads.js"
import { latin1 } from "./observe.js"
import { Random } from "./random.js"
import { type Input, print } from "./stream.js"

export const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))

const words = (text: string): ReadonlyArray<Uint8Array> => text.split(" ").map((word) => bytesOf(decodeURI(word)))

const upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
export const request = `GET /a?b HTTP/1.1\r\nHost: a\r\n${upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`
const response = `HTTP/1.1 101 x\r\n${upgrade}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n`

const headWords = words(
  "%0D%0A %0A %0D %00 %20 %09 : , ; = HTTP/1.0 HTTP/1.1 GET POST / * http://a/ Host: Content-Length: Content-Length:%200 Transfer-Encoding:%20chunked " +
    "Upgrade: Connection: keep-alive websocket h2c Sec-WebSocket-Key: Sec-WebSocket-Protocol:%20v1 Sec-WebSocket-Extensions:%20permessage-deflate " +
    "Origin:%20http://a %0D%0A%20folded __proto__: 101 200 Expect:%20100-continue %0D%0A%0D%0A"
)

const head = (asServer: boolean): Target => ({
  name: asServer ? "requests" : "responses",
  seeds: [bytesOf(`${asServer ? request : response}\r\n`)],
  words: headWords,
  maxSize: 2000,
  judge: async (input) => {
    const verdict = await judgeHead(asServer, latin1(input), new Random(input.length), 0)
    return typeof verdict === "object" ? verdict.failure : undefined
  }
})

const parameters = (text: string): Extension | undefined => {
  const parsed = parseExtensions(`permessage-deflate${text}`)
  return "_tag" in parsed ? undefined : parsed[0]
}

const agreements = [
  "",
  "; server_no_context_takeover; client_no_context_takeover",
  "; server_max_window_bits=9; client_max_window_bits=9",
  "; client_no_context_takeover; server_max_window_bits=12"
].map(parameters)

/** Two bytes say who receives what under which limits and in which pieces, the others are what arrives. */
const streamOf = (input: Uint8Array): { readonly stream: Input; readonly frames: boolean } => {
  const [flags = 0, cuts = 0] = input
  const bytes = input.slice(2)
  return {
    frames: (flags & 1) !== 0,
    stream: {
      role: (flags & 2) === 0 ? "server" : "client",
      deflate: (flags & 4) === 0 ? undefined : agreements[(flags >> 3) & 3],
      maxMessageSize: (flags & 32) === 0 ? 100_000 : 100,
      maxFragments: (flags & 64) === 0 ? 1000 : 4,
      bytes,
      cuts: new Random(cuts).cuts(bytes.length)
    }
  }
}

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"))

const streams: Target = {
  name: "streams",
  // A masked text, fragments with a ping between them, a Close; unmasked ones; a compressed one of each role.
  seeds: [
    hex("00 00 81 85 00000000 48656c6c6f"),
    hex("01 07 01 83 00000000 e282ac 89 81 00000000 21 80 82 00000000 c3a4 88 85 00000000 03e8 627965"),
    hex("02 03 82 7e 0080").subarray(0, 6),
    hex("03 01 81 05 48656c6c6f 8a 00 88 00"),
    hex("04 00 c1 87 00000000 f248cdc9c90700"),
    hex("06 05 c1 07 f248cdc9c90700 c1 05 f200110000")
  ],
  words: [
    ...["00 00", "81 80 00000000", "01 80 00000000", "80 80 00000000", "89 80 00000000", "88 82 00000000 03e8"],
    ...["81 00", "01 00", "80 00", "89 00", "88 02 03e8", "c1", "41", "7e 007e", "7f 0000000000010000", "0000ffff"],
    ...["f0 9f 98 80", "ed a0 80", "c0 80", "ef bf bf"]
  ].map(hex),
  maxSize: 600,
  judge: async (input) => {
    const { frames, stream } = streamOf(input)
    const verdict = await compare(stream, frames)
    return verdict._tag === "Different" ? `${verdict.why}\nfor corpus/:\n${print(stream, "same", "?")}` : undefined
  }
}

const wanted: ReadonlyArray<DeflateOptions> = [
  {},
  { serverNoContextTakeover: false, clientNoContextTakeover: false },
  { serverMaxWindowBits: 9, clientMaxWindowBits: 10 },
  { serverNoContextTakeover: false, clientNoContextTakeover: false, clientMaxWindowBits: 8 }
]

const bitsOf = ({ params }: Extension, name: string) => params.find(([key]) => key === name)

/** What an agreement must be, whatever was offered (RFC 7692 7.1). */
const brokenIn = (offer: Extension, answer: Extension): string | undefined => {
  const names = answer.params.map(([key]) => key)
  if (new Set(names).size !== names.length) return "a parameter twice"
  const asked = (name: string) => offer.params.some(([key]) => key === name)
  if (asked("server_no_context_takeover") && !names.includes("server_no_context_takeover")) return "takes over"
  if (names.includes("client_max_window_bits") && !asked("client_max_window_bits")) return "limits who can't be limited"
  for (const side of ["server_max_window_bits", "client_max_window_bits"]) {
    const [, granted] = bitsOf(answer, side) ?? []
    const [, offered] = bitsOf(offer, side) ?? []
    if (names.includes(side) && !/^([89]|1[0-5])$/.test(granted ?? "")) return `${side} of ${granted}`
    // Only what the server promises is bound by the offer; the other value is a hint.
    if (side.startsWith("server") && Number(granted ?? 15) > Number(offered ?? 15)) return `${side} above the offer`
  }
  return undefined
}

const message = new Uint8Array(Buffer.from("a message that repeats a message that repeats ".repeat(8)))

const negotiation: Target = {
  name: "negotiation",
  seeds: [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits, permessage-deflate",
    "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12; server_no_context_takeover",
    'permessage-deflate; server_max_window_bits="8"; client_no_context_takeover'
  ].map(bytesOf),
  words: words(
    'permessage-deflate ;%20 ,%20 = " \\ 7 8 9 10 15 16 08 server_max_window_bits client_max_window_bits server_no_context_takeover client_no_context_takeover x-webkit'
  ),
  maxSize: 400,
  judge: (input) => {
    const offers = parseExtensions(latin1(input))
    if ("_tag" in offers) return undefined
    for (const options of wanted) {
      const support = deflate({ ...options, threshold: 0 })
      for (const offer of offers) {
        // As the answer of a server, it is refused or makes a codec.
        const confirmed = support.confirm(offer)
        if (typeof confirmed === "string") continue
        const window = Number(bitsOf(offer, "server_max_window_bits")?.[1] ?? 15)
        if (!(window >= 8 && window <= (options.serverMaxWindowBits ?? 15))) return `confirmed a window of ${window}`
      }
      const negotiated = acceptFirst([support], offers)
      if (negotiated === undefined) continue
      const { extension, response } = negotiated
      const say = `${formatExtensions([response])} for ${JSON.stringify(options)}`
      const broken = offers
        .filter(({ name }) => name === response.name)
        .map((offer) => brokenIn(offer, response))
        .filter((wrong) => wrong !== undefined)
      if (broken.length === offers.filter(({ name }) => name === response.name).length) return `${broken[0]}: ${say}`
      // Whoever is free to agree to anything understands the answer, and each the other's messages.
      const client = deflate({ serverNoContextTakeover: false, clientNoContextTakeover: false }).confirm(response)
      if (typeof client === "string") return `${client}: ${say}`
      for (const [from, to] of [
        [extension, client],
        [client, extension]
      ] as const) {
        for (let round = 0; round < 2; round++) {
          const got = to.decode(from.encode(message), message.length)
          if ("_tag" in got || Buffer.compare(got, message) !== 0) return `another message: ${say}`
        }
      }
    }
    return undefined
  }
}

const byWs = (text: string): ReadonlyArray<string> | undefined => {
  try {
    return [...subprotocol.parse(text)]
  } catch {
    return undefined
  }
}

const judgeSubprotocols = (text: string): string | undefined => {
  const ours = parseTokens(text)
  const theirs = byWs(text)
  const say = `subprotocols ${JSON.stringify(text)}: ${JSON.stringify(ours)}, theirs ${JSON.stringify(theirs)}`
  if ("_tag" in ours) return theirs === undefined ? undefined : say
  // They refuse empty elements, repeated ones and some spaces; what is plain they must take.
  const plain = theirs ?? (new Set(ours).size < ours.length || ours.length === 0 ? ours : byWs(ours.join(", ")))
  return JSON.stringify(plain) === JSON.stringify(ours) ? undefined : say
}

/** What we take for the same origin must be the same to the parser of URLs that pages live under. */
const judgeOrigin = (text: string): string | undefined => {
  const [origin = "", host = "", scheme = ""] = text.split("\n")
  const secure = scheme === "s"
  if (Either.isLeft(OriginPolicy.validate(OriginPolicy.sameOrigin, { origin, host, secure }))) return undefined
  const own = `${secure ? "https" : "http"}://${host}`
  if (!URL.canParse(origin) || !URL.canParse(own)) return undefined
  const [theirs, ours] = [new URL(origin).origin, new URL(own).origin]
  return theirs === ours ? undefined : `the origin ${origin} is ${theirs}, and was taken for ${ours}`
}

/** The first byte says which header it is. */
const headers: Target = {
  name: "headers",
  seeds: [
    "0permessage-deflate; client_max_window_bits, x; y=1",
    '0a; b="c\\d"',
    "1chat, superchat",
    "2http://a.example:80\na.example\n",
    "2https://[::1]\n[::1]:443\ns"
  ].map(bytesOf),
  words: words('0 1 2 , ; = " \\ %20 %09 a b chat http:// https:// a.example :80 :443 [::1] %0A s @ / ? %23 null .'),
  maxSize: 400,
  judge: (input) => {
    const text = latin1(input.subarray(1))
    switch ((input[0] ?? 0) % 3) {
      case 0: {
        const verdict = judgeExtensions(text)
        return typeof verdict === "object" ? verdict.failure : undefined
      }
      case 1:
        return judgeSubprotocols(text)
      default:
        return judgeOrigin(text)
    }
  }
}

export const targets: ReadonlyArray<Target> = [head(true), head(false), streams, negotiation, headers]
