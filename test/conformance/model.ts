// What a case is, and the usual kinds of them.

import type { Effect } from "effect"
import type { Role } from "effect-websocket/Frame"
import type { ConnectionOptions, Message, WebSocket } from "effect-websocket/WebSocket"
import { type Bytes, close, dissect, join, nothing } from "./bytes.js"

export type Roles = Role | "both"

/** What each case says of itself, and what stands in the table. */
export interface Named {
  readonly id: string
  /** Of RFC 6455, unless it names another document. */
  readonly section: string
  readonly rule: string
  readonly roles: Roles
  readonly outcome: string
}

/** What the application is told at the end. */
export type Ending =
  | {
      readonly _tag: "ConnectionClosed"
      readonly code: number
      readonly reason: string
      readonly sentCode: number | undefined
      readonly initiator: "local" | "remote"
      readonly clean: boolean
    }
  | {
      readonly _tag: "ProtocolError"
      readonly side: "local" | "remote"
      readonly rule: string
      readonly closeCode: number
    }
  | { readonly _tag: "PayloadTooLarge"; readonly which: string; readonly limit: number; readonly size: number }
  | { readonly _tag: "IoError"; readonly code: string | undefined }

export type Step =
  /**
   * The peer sends. If the last byte `decides`, nothing may come back before it, however slowly they come.
   * What is `ignored` follows at once.
   */
  | { readonly _tag: "Send"; readonly bytes: Bytes; readonly decides: boolean; readonly ignored: Bytes }
  /** The application does something; nobody waits for it. */
  | { readonly _tag: "Act"; readonly act: (socket: WebSocket) => Effect.Effect<unknown, unknown> }
  /** These frames come back, unmasked here, and byte for byte. */
  | { readonly _tag: "See"; readonly bytes: Uint8Array }
  /** Nothing comes back, and TCP stays as it is. */
  | { readonly _tag: "Quiet" }
  /** The peer sends FIN, or RST. */
  | { readonly _tag: "PeerEnds" }
  | { readonly _tag: "PeerResets" }
  /** Both sides send FIN: first the server, as RFC 6455 7.1.1 wants it, or first we, whatever our role. */
  | { readonly _tag: "TcpEnds"; readonly first: "server" | "us" }
  /** `closeTimeout` passes, and then TCP is gone, without the peer's doing. */
  | { readonly _tag: "TimeRunsOut" }

export interface ConnectionCase extends Named {
  readonly options?: ConnectionOptions | undefined
  readonly steps: ReadonlyArray<Step>
  readonly messages: ReadonlyArray<Message>
  readonly ending: Ending
  /** The application begins to receive only when all is over, so that it would see what came too late. */
  readonly receivesLate?: boolean | undefined
}

export const send = (...parts: ReadonlyArray<Bytes>): Step => ({
  _tag: "Send",
  bytes: join(...parts),
  decides: false,
  ignored: nothing
})
export const sendDeciding = (bytes: Bytes, ignored: Bytes = nothing): Step => ({
  _tag: "Send",
  bytes,
  decides: true,
  ignored
})
export const act = (act: (socket: WebSocket) => Effect.Effect<unknown, unknown>): Step => ({ _tag: "Act", act })
/** As a server writes them, so unmasked. */
export const see = (...parts: ReadonlyArray<Bytes>): Step => ({ _tag: "See", bytes: join(...parts)("server") })
export const quiet: Step = { _tag: "Quiet" }
export const peerEnds: Step = { _tag: "PeerEnds" }
export const peerResets: Step = { _tag: "PeerResets" }
export const tcpEnds: Step = { _tag: "TcpEnds", first: "server" }
export const weEndTcp: Step = { _tag: "TcpEnds", first: "us" }
export const timeRunsOut: Step = { _tag: "TimeRunsOut" }

export const closedByPeer = (code: number, reason = ""): Ending => ({
  _tag: "ConnectionClosed",
  code,
  reason,
  sentCode: code === 1005 ? undefined : code,
  initiator: "remote",
  clean: true
})

export const closedByUs = (sentCode: number, code: number, reason = ""): Ending => ({
  _tag: "ConnectionClosed",
  code,
  reason,
  sentCode,
  initiator: "local",
  clean: true
})

/** The connection ended without the peer's Close. */
export const brokenOff = (
  initiator: "local" | "remote",
  sentCode: number | undefined = undefined,
  reason = ""
): Ending => ({ _tag: "ConnectionClosed", code: 1006, reason, sentCode, initiator, clean: false })

interface Told {
  readonly roles?: Roles | undefined
  readonly options?: ConnectionOptions | undefined
  /** What the application receives. */
  readonly messages?: ReadonlyArray<Message> | undefined
}

/** Legal bytes: after them the connection still works, which a closing handshake shows. */
export const accepted = (
  id: string,
  section: string,
  rule: string,
  bytes: Bytes,
  { roles = "both", options, messages = [], replies = nothing }: Told & { readonly replies?: Bytes | undefined } = {}
): ConnectionCase => {
  const answered = see(replies)
  const answers = answered._tag === "See" ? dissect(answered.bytes).length : 0
  return {
    id,
    section,
    rule,
    roles,
    options,
    outcome: answers === 0 ? "ok" : `ok, ${answers === 1 ? "one frame" : `${answers} frames`} in answer`,
    steps: [send(bytes), answered, send(close(1000)), see(close(1000)), tcpEnds],
    messages,
    ending: closedByPeer(1000)
  }
}

/** What we send when the application does something. */
export const sends = (
  id: string,
  section: string,
  rule: string,
  action: (socket: WebSocket) => Effect.Effect<unknown, unknown>,
  expected: Bytes
): ConnectionCase => ({
  id,
  section,
  rule,
  roles: "both",
  outcome: "sent so",
  steps: [act(action), see(expected), send(close(1000)), see(close(1000)), tcpEnds],
  messages: [],
  ending: closedByPeer(1000)
})

/** A breach: what the Close says, and what the application is told. */
export type Offence =
  | { readonly code: number; readonly rule: string }
  | { readonly which: string; readonly limit: number; readonly size: number }

export const closeFor = (offence: Offence): Bytes =>
  "rule" in offence ? close(offence.code, offence.rule) : close(1009, `${offence.which} is limited to ${offence.limit}`)

export const endingFor = (offence: Offence): Ending =>
  "rule" in offence
    ? { _tag: "ProtocolError", side: "remote", rule: offence.rule, closeCode: offence.code }
    : { _tag: "PayloadTooLarge", ...offence }

/**
 * Illegal bytes: at the last of `bytes`, and not before, a Close says why, and
 * TCP is ended by us. `ignored` follows, and changes nothing.
 */
export const refused = (
  id: string,
  section: string,
  rule: string,
  bytes: Bytes,
  offence: Offence,
  {
    roles = "both",
    options,
    messages = [],
    ignored = nothing,
    before
  }: Told & {
    readonly ignored?: Bytes | undefined
    /** What comes first, legal, and what it is answered with. */
    readonly before?: readonly [bytes: Bytes, replies: Bytes] | undefined
  } = {}
): ConnectionCase => ({
  id,
  section,
  rule,
  roles,
  options,
  outcome: `refused with ${"rule" in offence ? offence.code : 1009}`,
  steps: [
    ...(before === undefined ? [] : [send(before[0]), see(before[1])]),
    sendDeciding(bytes, ignored),
    see(closeFor(offence)),
    weEndTcp
  ],
  messages,
  ending: endingFor(offence)
})

/** The peer closes, and is answered. */
export const closes = (
  id: string,
  section: string,
  rule: string,
  bytes: Bytes,
  answer: Bytes,
  ending: Ending,
  { roles = "both", messages = [], ignored = nothing }: Told & { readonly ignored?: Bytes | undefined } = {}
): ConnectionCase => ({
  id,
  section,
  rule,
  roles,
  outcome: ending._tag === "ConnectionClosed" ? `closed with ${ending.code}` : "closed",
  steps: [sendDeciding(bytes, ignored), see(answer), tcpEnds],
  messages,
  ending
})
