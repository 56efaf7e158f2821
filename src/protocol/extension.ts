// The seam between the connection and extensions (RFC 6455 section 9). The state
// machine knows of them only what is here; another extension is another value of
// `ExtensionSupport`.

import type { Extension } from "./tokens.js"
import type { Violation } from "./violation.js"

/** What an extension does to messages once it is negotiated. One for each connection. */
export interface MessageExtension {
  /** The RSV bits that it sets on the first frame of a message it has transformed. */
  readonly rsv: number
  /** Whether to transform a message of this size; `wish` is the sender's, if it has one. */
  readonly applies: (size: number, wish: boolean | undefined) => boolean
  /**
   * What `encode` goes by, if that is all it goes by: connections with the same make the same of
   * a message. Undefined if it depends on the messages before.
   */
  readonly manner?: string | undefined
  /** The payload of a message that is about to be sent, transformed. */
  readonly encode: (payload: Uint8Array) => Uint8Array
  /** The payload that a transformed message had before; an excess if that is more than `limit` bytes. */
  readonly decode: (payload: Uint8Array, limit: number) => Uint8Array | Violation
  /** What a peer may need to transform `size` bytes, whatever they are. */
  readonly bound: (size: number) => number
}

/** An extension agreed on: how the server's answer names it, and what it does. */
export interface Negotiated {
  readonly response: Extension
  readonly extension: MessageExtension
}

/** An extension that this side is able to speak. */
export interface ExtensionSupport {
  readonly name: string
  /** Client: what to offer, the preferred one first. */
  readonly offers: ReadonlyArray<Extension>
  /** Server: the answer to one offer; undefined to decline it. */
  readonly accept: (offer: Extension) => Negotiated | undefined
  /** Client: what the server's answer leads to; a string is the rule that it breaks. */
  readonly confirm: (response: Extension) => MessageExtension | string
}

/** Server: the first offer that can be accepted, in the client's order of preference. */
export const acceptFirst = (
  supported: ReadonlyArray<ExtensionSupport>,
  offers: ReadonlyArray<Extension>
): Negotiated | undefined => {
  for (const offer of offers) {
    const negotiated = supported.find((support) => support.name === offer.name)?.accept(offer)
    if (negotiated !== undefined) return negotiated
  }
  return undefined
}

/** Client: what the server's answer leads to. At most one extension is in use. */
export const confirmOnly = (
  supported: ReadonlyArray<ExtensionSupport>,
  responses: ReadonlyArray<Extension>
): MessageExtension | string | undefined => {
  const [response, second] = responses
  if (response === undefined) return undefined
  if (second !== undefined) return "the server chose more than one extension that uses the same RSV bit (RFC 6455 9.1)"
  const support = supported.find(({ name }) => name === response.name)
  return support === undefined
    ? "the server chose an extension that wasn't asked for (RFC 6455 4.1)"
    : support.confirm(response)
}
