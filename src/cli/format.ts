// How things look on a terminal, and what a script is told.

import type { ConnectError, HandshakeError, ListenError, WebSocketError } from "../WebSocketError.js"

export type Failure = ConnectError | HandshakeError | ListenError | WebSocketError

/** Codes to exit with, so that a script can tell what happened. 1 is anything else: a wrong option, a bug. */
export const exitCodes = {
  /** No connection: DNS, TCP, TLS, proxy, timeout; or a port that can't be listened on. */
  unreachable: 2,
  /** The server answered, and refused. */
  refused: 3,
  /** The peer closed with a code that is no ordinary end, or went away without a Close. */
  closed: 4,
  /** One of the two broke the protocol or a limit. */
  protocol: 5,
  /** Pings without an answer. */
  unanswered: 6
} as const

export const exitCodeOf = (failure: Failure): number => {
  switch (failure._tag) {
    case "ConnectError":
    case "ListenError":
      return exitCodes.unreachable
    case "HandshakeError":
      return exitCodes.refused
    case "ConnectionClosed":
    case "IoError":
      return exitCodes.closed
    case "ProtocolError":
    case "PayloadTooLarge":
      return exitCodes.protocol
  }
}

const tags: ReadonlySet<string> = new Set([
  "ConnectError",
  "HandshakeError",
  "ListenError",
  "ConnectionClosed",
  "IoError",
  "ProtocolError",
  "PayloadTooLarge"
])

export const isFailure = (error: unknown): error is Failure =>
  error instanceof Error && "_tag" in error && typeof error._tag === "string" && tags.has(error._tag)

/** A failure in words, with what a server said to it. */
export const describe = (failure: Failure): string => {
  const body = failure._tag === "HandshakeError" ? failure.body?.trim() : undefined
  return body === undefined || body === "" ? failure.message : `${failure.message}\n${printable(body)}`
}

export interface Paint {
  readonly dim: (text: string) => string
  readonly red: (text: string) => string
  readonly green: (text: string) => string
  readonly cyan: (text: string) => string
}

const ansi = (code: number) => (text: string) => `\u001b[${code}m${text}\u001b[39;22m`
const plain = (text: string) => text

/** Colours, where there is somebody to see them (https://no-color.org). */
export const paint = (coloured: boolean): Paint =>
  coloured
    ? { dim: ansi(2), red: ansi(31), green: ansi(32), cyan: ansi(36) }
    : { dim: plain, red: plain, green: plain, cyan: plain }

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g

/** Text of a peer must not move the cursor, change colours or ring bells of whoever reads it. */
export const printable = (text: string): string =>
  text.replace(controls, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`)

const bytesInLine = 16
const bytesShown = 1024

/** Bytes as editors for them show them: place, hexadecimal, and the text that is in them. */
export const hexDump = (bytes: Uint8Array): string => {
  const lines: Array<string> = []
  for (let at = 0; at < Math.min(bytes.length, bytesShown); at += bytesInLine) {
    const part = [...bytes.subarray(at, at + bytesInLine)]
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ")
    const text = part.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("")
    lines.push(`${at.toString(16).padStart(8, "0")}  ${hex.padEnd(bytesInLine * 3)} ${text}`)
  }
  if (bytes.length > bytesShown) lines.push(`… ${bytes.length - bytesShown} bytes more`)
  return lines.join("\n")
}
