// The parameters of permessage-deflate (RFC 7692 section 7.1), for both sides. The
// compression itself is a codec that the caller brings.

import type { ExtensionSupport, MessageExtension, Negotiated } from "./extension.js"
import type { Extension } from "./tokens.js"

export const name = "permessage-deflate"

/** RFC 7692 6: RSV1 on the first frame of a message says that it is compressed. */
export const rsv = 4

/** What was agreed on, or what a side asks for. Window sizes are exponents of two, 8 to 15. */
export interface Parameters {
  readonly serverNoContextTakeover: boolean
  readonly clientNoContextTakeover: boolean
  readonly serverMaxWindowBits: number
  readonly clientMaxWindowBits: number
}

/** One direction of what was agreed on. */
export interface Direction {
  readonly contextTakeover: boolean
  readonly windowBits: number
}

/** Makes the codec of one connection: `send` is what we compress with, `receive` what the peer does. */
export type MakeCodec = (send: Direction, receive: Direction) => MessageExtension

const maxBits = 15

/** Parameters as they were given: undefined where absent, `true` where without a value. */
interface Given {
  readonly serverNoContextTakeover: boolean
  readonly clientNoContextTakeover: boolean
  readonly serverMaxWindowBits: number | undefined
  readonly clientMaxWindowBits: number | true | undefined
}

/** RFC 7692 7.1: unknown or repeated parameters and values out of range make it illegal. */
const parse = ({ params }: Extension): Given | string => {
  const values = new Map<string, string | undefined>()
  for (const [key, value] of params) {
    if (values.has(key)) return `permessage-deflate has the parameter ${key} twice (RFC 7692 7.1)`
    values.set(key, value)
  }
  let serverMaxWindowBits: number | undefined
  let clientMaxWindowBits: number | true | undefined
  for (const [key, value] of values) {
    switch (key) {
      case "server_no_context_takeover":
      case "client_no_context_takeover":
        if (value !== undefined) return `${key} takes no value (RFC 7692 7.1.1)`
        break
      case "server_max_window_bits": {
        const bits = windowBits(value)
        if (bits === undefined) return badBits(key)
        serverMaxWindowBits = bits
        break
      }
      case "client_max_window_bits": {
        const bits = value === undefined ? true : windowBits(value)
        if (bits === undefined) return badBits(key)
        clientMaxWindowBits = bits
        break
      }
      default:
        return `permessage-deflate has no parameter ${key} (RFC 7692 7.1)`
    }
  }
  return {
    serverNoContextTakeover: values.has("server_no_context_takeover"),
    clientNoContextTakeover: values.has("client_no_context_takeover"),
    serverMaxWindowBits,
    clientMaxWindowBits
  }
}

const badBits = (key: string) => `${key} is a whole number from 8 to 15 without leading zeros (RFC 7692 7.1.2)`

const windowBits = (value: string | undefined): number | undefined =>
  value !== undefined && /^([89]|1[0-5])$/.test(value) ? Number(value) : undefined

const write = (parameters: Given): Extension => {
  const params: Array<readonly [string, string | undefined]> = []
  if (parameters.serverNoContextTakeover) params.push(["server_no_context_takeover", undefined])
  if (parameters.clientNoContextTakeover) params.push(["client_no_context_takeover", undefined])
  if (parameters.serverMaxWindowBits !== undefined) {
    params.push(["server_max_window_bits", String(parameters.serverMaxWindowBits)])
  }
  if (parameters.clientMaxWindowBits !== undefined) {
    const bits = parameters.clientMaxWindowBits
    params.push(["client_max_window_bits", bits === true ? undefined : String(bits)])
  }
  return { name, params }
}

/** permessage-deflate as this side wants it. */
export const support = (wanted: Parameters, makeCodec: MakeCodec): ExtensionSupport => ({
  name,
  offers: [
    write({
      serverNoContextTakeover: wanted.serverNoContextTakeover,
      clientNoContextTakeover: wanted.clientNoContextTakeover,
      serverMaxWindowBits: wanted.serverMaxWindowBits < maxBits ? wanted.serverMaxWindowBits : undefined,
      // RFC 7692 7.1.2.2: offered, it lets the server choose a smaller window for us.
      clientMaxWindowBits: wanted.clientMaxWindowBits < maxBits ? wanted.clientMaxWindowBits : true
    })
  ],
  accept: (offer) => {
    const given = parse(offer)
    // RFC 7692 7.1: a server declines an offer that it can't accept, or that is illegal.
    return typeof given === "string" ? undefined : agree(given, wanted, makeCodec)
  },
  confirm: (response) => {
    const given = parse(response)
    return typeof given === "string" ? given : confirm(given, wanted, makeCodec)
  }
})

const agree = (given: Given, wanted: Parameters, makeCodec: MakeCodec): Negotiated | undefined => {
  const serverNoContextTakeover = given.serverNoContextTakeover || wanted.serverNoContextTakeover
  const clientNoContextTakeover = given.clientNoContextTakeover || wanted.clientNoContextTakeover
  const serverMaxWindowBits = Math.min(given.serverMaxWindowBits ?? maxBits, wanted.serverMaxWindowBits)
  // RFC 7692 7.1.2.2: the answer may limit the client's window only if the offer allows it to.
  const { clientMaxWindowBits: allowed } = given
  const clientMaxWindowBits =
    allowed === undefined ? maxBits : Math.min(allowed === true ? maxBits : allowed, wanted.clientMaxWindowBits)
  // A window that the client takes over is memory of ours: more than was meant for it isn't agreed to.
  if (!clientNoContextTakeover && clientMaxWindowBits > wanted.clientMaxWindowBits) return undefined
  return {
    response: write({
      serverNoContextTakeover,
      clientNoContextTakeover,
      serverMaxWindowBits:
        given.serverMaxWindowBits === undefined && serverMaxWindowBits === maxBits ? undefined : serverMaxWindowBits,
      clientMaxWindowBits: clientMaxWindowBits === maxBits ? undefined : clientMaxWindowBits
    }),
    extension: makeCodec(
      { contextTakeover: !serverNoContextTakeover, windowBits: serverMaxWindowBits },
      { contextTakeover: !clientNoContextTakeover, windowBits: clientMaxWindowBits }
    )
  }
}

const confirm = (given: Given, wanted: Parameters, makeCodec: MakeCodec): MessageExtension | string => {
  // RFC 7692 7.1.1.1: what the client asked of the server is due in the answer.
  if (wanted.serverNoContextTakeover && !given.serverNoContextTakeover) {
    return "the server didn't accept server_no_context_takeover (RFC 7692 7.1.1.1)"
  }
  // RFC 7692 7.1.2.1: likewise, with the same or a smaller value.
  const serverMaxWindowBits = given.serverMaxWindowBits ?? maxBits
  if (serverMaxWindowBits > wanted.serverMaxWindowBits) {
    return "the server chose a larger server_max_window_bits than was asked for (RFC 7692 7.1.2.1)"
  }
  // RFC 7692 7.1.2.2: in an answer it has a value. It may be larger than the one offered, which is
  // no more than a hint that our window won't be larger than that.
  if (given.clientMaxWindowBits === true) return badBits("client_max_window_bits")
  const clientMaxWindowBits = Math.min(given.clientMaxWindowBits ?? maxBits, wanted.clientMaxWindowBits)
  return makeCodec(
    {
      contextTakeover: !(given.clientNoContextTakeover || wanted.clientNoContextTakeover),
      windowBits: clientMaxWindowBits
    },
    { contextTakeover: !given.serverNoContextTakeover, windowBits: serverMaxWindowBits }
  )
}
