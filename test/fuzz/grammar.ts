// Single values: frames as bytes, and extension lists. Nothing may throw, and what
// is accepted must mean what another reader takes it for.

import { Either, Option } from "effect"
import { Frame } from "effect-websocket"
import { extension } from "ws"
import { formatExtensions, parseExtensions } from "../../src/protocol/tokens.js"
import type { Result } from "./heads.js"
import { latin1 } from "./observe.js"
import { Random } from "./random.js"
import { isLong, walk } from "./walk.js"

type Verdict = "accepted" | { readonly failure: string } | undefined

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

const someFrame = (random: Random): Uint8Array => {
  const bytes = random.bytes(2 + random.int(20))
  bytes[0] = random.oneIn(2) ? random.uint32() : random.pick([0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8a])
  const form = random.pick([random.int(20), random.int(20), 125, 126, 127])
  bytes[1] = (random.oneIn(2) ? 0x80 : 0) | form
  if (random.oneIn(2)) bytes.fill(0, 2, 2 + random.int(8))
  return bytes
}

/** Why no frame may begin like this, if the plain reading of RFC 6455 5 says so. */
const isBroken = (bytes: Uint8Array, role: Frame.Role | undefined, limit: number): boolean => {
  const { frames, partial } = walk(bytes)
  const frame = frames[0] ?? partial
  if (frame === undefined) return false
  const sized = frames.length > 0 || partial?.sized === true
  const form = (bytes[1] ?? 0) & 127
  const control = frame.opcode >= 8
  return (
    ![0, 1, 2, 8, 9, 10].includes(frame.opcode) ||
    (control && !frame.fin) ||
    (bytes.length > 1 && control && form > 125) ||
    (bytes.length > 1 && role !== undefined && frame.masked !== (role === "client")) ||
    (form === 127 && (bytes[2] ?? 0) >= 128) ||
    (sized && isLong(bytes, frame)) ||
    frame.length > limit
  )
}

const judgeFrame = (random: Random): Verdict => {
  const bytes = someFrame(random)
  const role = random.pick([undefined, "client", "server"] as const)
  const limit = random.oneIn(2) ? 16 : Number.MAX_SAFE_INTEGER
  const before = hex(bytes)
  let whole = false
  for (let length = 0; length <= bytes.length; length++) {
    const prefix = bytes.slice(0, length)
    const decoded = Frame.decode(prefix, { role, maxFrameSize: limit })
    const broken = length > 0 && isBroken(prefix, role, limit)
    const say = `frame ${hex(prefix)} from ${role} up to ${limit}: ${JSON.stringify(decoded)}`
    if (Either.isLeft(decoded) !== broken) return { failure: `${say}, where ${broken ? "a" : "no"} rule is broken` }
    if (hex(prefix) !== before.slice(0, 2 * length)) return { failure: `${say} changed its bytes` }
    if (Either.isLeft(decoded) || Option.isNone(decoded.right)) {
      if (Either.isRight(decoded) && length > 0 && walk(prefix).frames.length > 0)
        return { failure: `${say}, but it is whole` }
      continue
    }
    const { frame, size } = decoded.right.value
    whole = true
    const [walked] = walk(prefix).frames
    const same =
      walked !== undefined &&
      walked.fin === frame.fin &&
      walked.rsv === frame.rsv &&
      walked.opcode === frame.opcode &&
      latin1(walked.payload) === latin1(frame.payload)
    if (!same) return { failure: `${say} instead of ${JSON.stringify(walked)}` }
    const unmasked = Frame.encode(frame, "server")
    // What may be received but not sent, by anyone: a Close of one byte, a code of no meaning.
    if (Either.isLeft(unmasked)) continue
    const again = Frame.decode(unmasked.right, { role: "server" })
    const identical =
      Either.isRight(again) &&
      Option.isSome(again.right) &&
      JSON.stringify(again.right.value.frame) === JSON.stringify(frame)
    if (!identical) return { failure: `${say}, and another one after encoding it` }
    if (walk(bytes.slice(0, size)).partial !== undefined) return { failure: `${say}, whose size is not ${size}` }
  }
  return whole ? "accepted" : undefined
}

const names = ["permessage-deflate", "x", "client_max_window_bits", "__proto__", "15"] as const
const values = ["15", '"10"', '"1\\0"', '"\\1\\5"', "a"] as const
const noise = [";", ",", "=", '"', "\\", '""', '"a b"', '"1\\"', " ", "\t", "\xe9", "\0", "x", ", ,"] as const

const someExtensions = (random: Random): string => {
  const space = () => (random.oneIn(8) ? random.pick([" ", "\t", "  "]) : "")
  const parameter = () =>
    `${random.pick(names)}${random.oneIn(2) ? "" : `${space()}=${space()}${random.pick(values)}`}${space()}`
  const extensions = Array.from({ length: random.int(4) }, () =>
    [random.pick(names), ...Array.from({ length: random.int(4) }, parameter)].join(random.pick([";", "; ", " ; "]))
  )
  let text = extensions.join(random.pick([",", ", ", " , "]))
  if (random.oneIn(2)) {
    const at = random.int(text.length + 1)
    text = text.slice(0, at) + random.pick(noise) + text.slice(at + random.int(2))
  }
  return text
}

/** Whether `ws` makes the same of a list of extensions. */
export const judgeExtensions = (text: string): Verdict => {
  const ours = parseExtensions(text)
  const say = `extensions ${JSON.stringify(text)}: ${JSON.stringify(ours)}`
  if ("_tag" in ours) {
    const theirs = byWs(text)
    return theirs === undefined ? undefined : { failure: `${say}, theirs ${theirs}` }
  }
  const normal = formatExtensions(ours)
  if (typeof normal !== "string") return { failure: `${say}, which can't be written` }
  if (ours.length === 0) return undefined
  const expected: Record<string, Array<Record<string, Array<string | true>>>> = Object.create(null)
  for (const { name, params } of ours) {
    const offer: Record<string, Array<string | true>> = Object.create(null)
    for (const [key, value] of params) {
      offer[key] ??= []
      offer[key].push(value ?? true)
    }
    expected[name] ??= []
    expected[name].push(offer)
  }
  // Where they refuse the spelling (an empty element, space around =, space at the end: RFC 9110
  // 5.6.1.2 and the implied space of RFC 6455 4.3 allow them), they must understand the plain one.
  const theirs = byWs(text) ?? byWs(normal)
  return theirs === JSON.stringify(expected) ? "accepted" : { failure: `${say}, theirs ${theirs}` }
}

const byWs = (text: string): string | undefined => {
  try {
    return JSON.stringify(extension.parse(text))
  } catch {
    return undefined
  }
}

export const fuzzGrammar = async (seed: number, most: number, goOn: () => boolean = () => true): Promise<Result> => {
  let accepted = 0
  let count = 0
  for (; count < most && goOn(); count++) {
    const random = new Random((seed + Math.imul(count, 0x9e3779b1)) | 0)
    try {
      const verdict = count % 2 === 0 ? judgeFrame(random) : judgeExtensions(someExtensions(random))
      if (verdict === "accepted") accepted++
      else if (verdict !== undefined) return { count, accepted, failure: verdict.failure }
    } catch (error) {
      const what = error instanceof Error ? error.stack : String(error)
      return { count, accepted, failure: `value ${count} of seed ${seed}: ${what}` }
    }
  }
  return { count, accepted, failure: undefined }
}
