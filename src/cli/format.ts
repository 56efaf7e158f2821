// How things look on a terminal, and what a script is told.

import type { ConnectError, HandshakeError, ListenError, WebSocketError } from "../WebSocketError.js"

export type Failure = ConnectError | HandshakeError | ListenError | WebSocketError

/** Codes to exit with, so that a script can tell what happened. */
export const exitCodes = {
  /** The command line or a line of input is wrong, or it is a bug. */
  wrong: 1,
  /** No connection: DNS, TCP, TLS, proxy, timeout; or a port that can't be listened on. */
  unreachable: 2,
  /** The server answered, and refused. */
  refused: 3,
  /** The peer closed with a code that is no ordinary end, or went away without a Close. */
  closed: 4,
  /** The peer broke the protocol or a limit. */
  protocol: 5,
  /** Pings without an answer. */
  unanswered: 6,
  /** Ended by Ctrl-C: 128 and the number of the signal, as shells have it. */
  interrupted: 130,
  terminated: 143
} as const

export const exitCodeOf = (failure: Failure): number => {
  switch (failure._tag) {
    case "ConnectError":
      return failure.reason === "url" ? exitCodes.wrong : exitCodes.unreachable
    case "ListenError":
      return exitCodes.unreachable
    case "HandshakeError":
      // Without a status it is a request that can't be written, or no answer at all, or a server that closed.
      return exitCodes.refused
    case "ConnectionClosed":
      return exitCodes.closed
    case "IoError":
      return failure.code === "ETIMEDOUT" ? exitCodes.unanswered : exitCodes.closed
    case "ProtocolError":
      return failure.side === "local" ? exitCodes.wrong : exitCodes.protocol
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
  return body === undefined || body === "" ? failure.message : `${failure.message}\n${body}`
}

export interface Paint {
  readonly dim: (text: string) => string
  readonly red: (text: string) => string
  readonly green: (text: string) => string
  readonly cyan: (text: string) => string
}

const ansi = (code: number) => (text: string) => `\u001b[${code}m${text}\u001b[0m`
const plain = (text: string) => text

export const paint = (coloured: boolean): Paint =>
  coloured
    ? { dim: ansi(2), red: ansi(31), green: ansi(32), cyan: ansi(36) }
    : { dim: plain, red: plain, green: plain, cyan: plain }

/** Whether what is written to it may have colours: somebody sees it, and doesn't mind (https://no-color.org). */
export const isColoured = (
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>
): boolean => stream.isTTY === true && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb"

// All but tab and line feed; and those that turn the direction of writing, which hide what a text says.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g

/** Text of a peer must not move the cursor, change colours or ring bells of whoever reads it. */
export const printable = (text: string): string =>
  text.replace(controls, (control) => {
    const code = control.charCodeAt(0).toString(16)
    return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`
  })

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
