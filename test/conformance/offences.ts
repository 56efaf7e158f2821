// The breaches that a frame can be, in the words that the Close and the typed error carry.

import type { Offence } from "./model.js"

const breach = (rule: string): Offence => ({ code: 1002, rule })

export const unmasked = breach("a client must mask every frame it sends (RFC 6455 5.1)")
export const maskedByServer = breach("a server must not mask any frame it sends (RFC 6455 5.1)")
export const notMinimal = breach("a payload length must be encoded in the fewest bytes that hold it (RFC 6455 5.2)")
export const topBit = breach("the top bit of a 64-bit payload length must be 0 (RFC 6455 5.2)")
export const reservedBits = breach(
  "RSV bits must be 0 unless an extension that defines them was negotiated (RFC 6455 5.2)"
)
export const reservedOpcode = (opcode: number): Offence =>
  breach(`opcode 0x${opcode.toString(16)} is reserved (RFC 6455 5.2)`)
export const longControl = breach("a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)")
export const fragmentedControl = breach("a control frame must not be fragmented (RFC 6455 5.5)")
export const strayContinuation = breach("a continuation frame must follow a data frame without FIN (RFC 6455 5.4)")
export const interleaved = breach("a message must end before the next one begins (RFC 6455 5.4)")
export const shortClose = breach("a Close frame's payload must be empty or at least two bytes (RFC 6455 5.5.1)")
export const closeCode = (code: number): Offence => breach(`close code ${code} must not be sent (RFC 6455 7.4)`)

export const invalidText: Offence = { code: 1007, rule: "a text message must be UTF-8 (RFC 6455 8.1)" }
export const invalidReason: Offence = { code: 1007, rule: "a close reason must be UTF-8 (RFC 6455 5.5.1)" }

export const unrepresentable: Offence = { code: 1009, rule: "a payload length above 2^53 - 1 can't be represented" }
export const frameTooLarge = (limit: number, size: number): Offence => ({ which: "frame size", limit, size })
export const messageTooLarge = (limit: number, size: number): Offence => ({ which: "message size", limit, size })
export const tooManyFragments = (limit: number): Offence => ({
  which: "fragments per message",
  limit,
  size: limit + 1
})
