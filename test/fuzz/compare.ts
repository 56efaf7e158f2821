// The verdict on one input. Where the two receivers differ, the difference must be
// one of the allowances below, each with the sentence of the RFC that makes us
// right; docs/fuzzing.md tells them at length. An allowance is never taken on
// trust: each shows from the bytes that it is the one that applies.

import * as Wire from "../../src/protocol/frame.js"
import { latin1, type Observation, same, sameHeard } from "./observe.js"
import { type Ours, ours, pingsLast } from "./ours.js"
import { plainOf } from "./plain.js"
import type { Input } from "./stream.js"
import { theirs } from "./theirs.js"
import { isLong, type Walked, walk } from "./walk.js"

export type Allowance =
  | "sooner"
  | "minimal length"
  | "top bit"
  | "fragments"
  | "whole blocks"
  | "final block"
  | "whole message"
  | "compressed size"

export type Verdict =
  | { readonly _tag: "Same" }
  | { readonly _tag: "Allowed"; readonly allowance: Allowance }
  | { readonly _tag: "Different"; readonly why: string }

const different = (why: string): Verdict => ({ _tag: "Different", why })
const allowed = (allowance: Allowance): Verdict => ({ _tag: "Allowed", allowance })

const show = ({ heard, end }: Observation) => `${JSON.stringify(heard)} ${end}`

type Receiver = (input: Input, frames: boolean) => Ours

/** A verdict in a word. */
export const word = (verdict: Verdict): string =>
  verdict._tag === "Allowed" ? verdict.allowance : verdict._tag.toLowerCase()

/** `frames` has our side deliver frames; then the order of pings among the messages is compared too. */
export const compare = async (input: Input, frames: boolean, receive: Receiver = ours): Promise<Verdict> => {
  try {
    const us = receive(input, frames)
    // Not cut, so that agreement also says that the cuts don't matter.
    const them = await theirs(input)
    if (!same(us, frames ? them : pingsLast(them))) {
      const verdict = await explain(input, frames, us, them, receive)
      return verdict._tag === "Different" && input.deflate !== undefined
        ? ((await explainDeflate(input, frames, us, them, receive)) ?? verdict)
        : verdict
    }
    return (us.end === "failed 1007" ? firstBadByte(input, frames, us, receive) : undefined) ?? { _tag: "Same" }
  } catch (error) {
    return different(`thrown: ${error instanceof Error ? error.stack : String(error)}`)
  }
}

const explain = async (
  input: Input,
  frames: boolean,
  us: Ours,
  them: Observation,
  receive: Receiver
): Promise<Verdict> => {
  const plainly = different(`ours   ${show(us)} ${us.rule}\ntheirs ${show(frames ? them : pingsLast(them))}`)
  if (!us.end.startsWith("failed")) return plainly
  // Byte by byte, so that it is known at which one we failed.
  const slow = receive(bytewise(input), frames)
  if (!same(us, slow)) return different(`whole     ${show(us)}\nbytewise ${show(slow)}`)
  const bytes = input.bytes.slice(0, slow.consumed)
  const limited = us.rule === "fragments per message"
  // Room for the frame that `completed` may add.
  const asked = { ...input, bytes, maxFragments: input.maxFragments + (limited ? 0 : 1) }
  const { partial } = walk(bytes)
  const last = partial ?? walk(bytes).frames.at(-1)
  if (last === undefined) return plainly
  const ask = async (complete: Uint8Array): Promise<Observation> => {
    const answer = await theirs({ ...asked, bytes: complete })
    return frames ? answer : pingsLast(answer)
  }
  if (us.rule.includes("fewest bytes")) {
    // They take such a length for what it says. What came before must be the same to both, and so
    // must be all the rest once the length is written as it should be.
    const before = await ask(bytes.slice(0, last.start))
    if (before.end !== "open" || !sameHeard(before.heard, us.heard) || !isLong(bytes, last)) return plainly
    const verdict = await compare({ ...input, bytes: shortened(input.bytes, last), cuts: [] }, frames, receive)
    return verdict._tag === "Different" ? verdict : allowed("minimal length")
  }
  const complete = await ask(completed(bytes, input.role))
  if (!sameHeard(complete.heard, us.heard)) return plainly
  if (complete.end === us.end) {
    return us.end === "failed 1007"
      ? (firstBadByte(input, frames, us, receive) ?? allowed("sooner"))
      : allowed("sooner")
  }
  if (us.rule.includes("top bit")) {
    const topBit = ((bytes[last.start + 1] ?? 0) & 127) === 127 && (bytes[last.start + 2] ?? 0) >= 128
    return topBit && complete.end === "failed 1009" ? allowed("top bit") : plainly
  }
  if (limited) return complete.end === "failed 1008" ? allowed("fragments") : plainly
  return plainly
}

/**
 * Where the two inflate differently, an inflater that reads bit by bit decides: we
 * must have made of the compressed conversation what we make of the plain one, and
 * that has to stand the comparison by itself.
 */
const explainDeflate = async (
  input: Input,
  frames: boolean,
  us: Ours,
  them: Observation,
  receive: Receiver
): Promise<Verdict | undefined> => {
  // The limit, of which they count what is compressed, and we what comes out.
  const both = us.end === "failed 1009" && them.end === us.end && them.heard.every((event) => us.heard.includes(event))
  if (both) return allowed("compressed size")
  const plain = plainOf(input)
  const expected = receive(plain.input, frames)
  // What is left out of the plain one is the beginning of a message, and that it is too large.
  const cut = us.end === "failed 1009" && expected.end === "open" && (plain.unfinished ?? 0) > input.maxMessageSize
  // Of a message that grows too large before it breaks, either may be told.
  const large =
    (us.rule === "message size" || us.rule === "frame size") && plain.broken && expected.end === "failed 1007"
  const agrees = cut || large ? sameHeard(us.heard, expected.heard) : same(us, expected)
  if (!agrees) return different(`compressed ${show(us)} ${us.rule}\nplain      ${show(expected)} ${expected.rule}`)
  const verdict = await compare(plain.input, frames, receive)
  if (verdict._tag === "Different") return verdict
  if (plain.broken) return allowed("whole blocks")
  if (plain.final) return allowed("final block")
  if (them.end === "failed 1009") return allowed("compressed size")
  return plain.unfinished !== undefined && them.end === "failed 1007" ? allowed("whole message") : undefined
}

const bytewise = (input: Input): Input => ({
  ...input,
  cuts: Array.from({ length: Math.max(0, input.bytes.length - 1) }, (_, at) => at + 1)
})

/** The same bytes with the length of one frame in the fewest bytes. */
const shortened = (bytes: Uint8Array, { start, length }: Walked): Uint8Array => {
  const form = (bytes[start + 1] ?? 0) & 127
  const short = length < 126 ? [length] : [126, length >> 8, length & 255]
  const mask = (bytes[start + 1] ?? 0) & 128
  return new Uint8Array([
    ...bytes.subarray(0, start + 1),
    mask | (short[0] ?? 0),
    ...short.slice(1),
    ...bytes.subarray(start + (form === 126 ? 4 : 10))
  ])
}

/** The frame under way made whole with zeros, and the message under way ended. */
const completed = (bytes: Uint8Array, role: Wire.Role): Uint8Array => {
  const mask = role === "server" ? 0x80 : 0
  const started = walk(bytes).partial
  // One byte is no header: the second one says that there is no payload.
  const whole = started !== undefined && started.header === 1 ? append(bytes, [mask]) : bytes
  const missing = walk(whole).partial?.missing ?? 0
  const filled = append(whole, new Uint8Array(Math.min(missing, 2 ** 22)))
  const end = walk(filled).frames.findLast(({ opcode }) => !Wire.isControl(opcode))
  return end === undefined || end.fin ? filled : append(filled, [0x80, mask, ...(mask === 0 ? [] : [0, 0, 0, 0])])
}

const append = (bytes: Uint8Array, more: ArrayLike<number>): Uint8Array => {
  const all = new Uint8Array(bytes.length + more.length)
  all.set(bytes)
  all.set(more, bytes.length)
  return all
}

/**
 * RFC 6455 8.1, read strictly: a text fails at the byte that no valid text has
 * there, judged by the platform's own decoder. Undefined if we did so.
 */
const firstBadByte = (input: Input, frames: boolean, us: Ours, receive: Receiver): Verdict | undefined => {
  if (!us.rule.startsWith("a text message")) return undefined
  const { consumed } = receive(bytewise(input), frames)
  const { frames: whole, partial } = walk(input.bytes.slice(0, consumed))
  const all = partial === undefined ? whole : [...whole, partial]
  const data = all.filter(({ opcode }) => !Wire.isControl(opcode))
  const message = data.slice(data.findLastIndex(({ opcode }) => opcode !== Wire.continuation))
  // What was compressed is judged as it comes out, which doesn't show in the bytes.
  if (message.some(({ rsv }) => rsv !== 0)) return undefined
  const text = new Uint8Array(Buffer.concat(message.map(({ payload }) => payload)))
  const ended = partial === undefined && (message.at(-1)?.fin ?? false)
  if (isText(text, ended)) return different(`valid text was refused: ${Buffer.from(text).toString("hex")}`)
  return isText(text.subarray(0, -1), false) || text.length === 0
    ? undefined
    : different(`invalid text was refused late: ${latin1(text)}`)
}

const isText = (bytes: Uint8Array, whole: boolean): boolean => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !whole })
    return true
  } catch {
    return false
  }
}
