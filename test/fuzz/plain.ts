// A compressed conversation as the plain one that means the same, by an inflater
// that shares nothing with zlib: what RFC 7692 7.2.2 says a message is, in full.

import { inflateRawSync } from "node:zlib"
import * as Wire from "../../src/protocol/frame.js"
import { inflateSlowly } from "../fixtures/inflater.js"
import type { Input } from "./stream.js"
import { isLong, type Walked, walk } from "./walk.js"

export interface Plain {
  readonly input: Input
  /** A message was no whole number of blocks. */
  readonly broken: boolean
  /** A message had a final block before its end. */
  readonly final: boolean
  /** It ends inside of a compressed message, of which this many bytes were declared. */
  readonly unfinished: number | undefined
}

// RFC 7692 7.2.2: what the sender took off.
const tail = [0x00, 0x00, 0xff, 0xff]

/** Whether zlib finds a final block, and leaves off there. */
const hasFinal = (input: Uint8Array, history: Uint8Array): boolean => {
  try {
    inflateRawSync(input, history.length > 0 ? { dictionary: history } : {})
    return true
  } catch {
    return false
  }
}

export const plainOf = (input: Input): Plain => {
  const { frames, partial } = walk(input.bytes)
  const parameter = (key: string) => input.deflate?.params.find(([name]) => name.endsWith(key))
  const takeover = parameter("no_context_takeover") === undefined
  const window = 2 ** Number(parameter("max_window_bits")?.[1] ?? 15)
  let history = new Uint8Array(0)
  let broken = false
  let final = false
  const out: Array<Uint8Array> = []
  let message: Array<{ readonly frame: Walked; readonly place: number }> = []

  const raw = ({ start }: Walked, end: number) => input.bytes.slice(start, end)
  const write = ({ fin, opcode, masked }: Walked, payload: Uint8Array, as: number | undefined) =>
    Wire.encodeFrame({ fin, rsv: 0, opcode: opcode === 0 ? 0 : as === 2 ? 2 : 1, payload }, masked ? 0 : undefined)
  /** Puts what the message says into its frames. */
  const finish = () => {
    const compressed = Buffer.concat(message.map(({ frame }) => frame.payload))
    const opcode = message[0]?.frame.opcode
    let payload: Uint8Array | undefined
    try {
      const whole = Buffer.concat([compressed, Buffer.from(tail)])
      const { bytes, flushed } = inflateSlowly(whole, history)
      payload = flushed ? bytes : undefined
      final ||= hasFinal(whole, history)
    } catch {
      payload = undefined
    }
    if (payload === undefined) broken = true
    else if (takeover) history = new Uint8Array(Buffer.concat([history, payload])).slice(-window)
    message.forEach(({ frame, place }, index) => {
      // In the last frame, since that is when a compressed message is judged. Broken is what no text is.
      const content = index === message.length - 1 ? (payload ?? new Uint8Array([0xff])) : new Uint8Array(0)
      out[place] = write(frame, content, payload === undefined ? 1 : opcode)
    })
    message = []
  }

  let open = 0
  frames.forEach((frame, index) => {
    const end = frames[index + 1]?.start ?? partial?.start ?? input.bytes.length
    const begins = open === 0 && frame.rsv === 4 && (frame.opcode === 1 || frame.opcode === 2)
    const goesOn = message.length > 0 && frame.opcode === 0 && frame.rsv === 0
    if (!Wire.isControl(frame.opcode)) open = frame.fin ? 0 : 1
    out.push(raw(frame, end))
    if (!begins && !goesOn) return
    if (isLong(input.bytes, frame)) {
      const copy = out[out.length - 1]
      if (copy !== undefined) copy[0] = (copy[0] ?? 0) & 0x8f
      return
    }
    message.push({ frame, place: out.length - 1 })
    if (frame.fin) finish()
  })
  let unfinished: number | undefined
  if (message.length > 0 || partial?.rsv === 4) {
    unfinished = [...message.map(({ frame }) => frame), ...(partial === undefined ? [] : [partial])].reduce(
      (size, { payload }) => size + payload.length,
      partial?.missing ?? 0
    )
  }
  for (const { frame, place } of message) out[place] = write(frame, new Uint8Array(0), 2)
  if (partial !== undefined) {
    const rest = raw(partial, input.bytes.length)
    const begins = open === 0 && partial.rsv === 4 && (partial.opcode === 1 || partial.opcode === 2)
    const goesOn = message.length > 0 && partial.opcode === 0 && partial.rsv === 0
    const judged =
      !partial.sized ||
      partial.masked !== (input.role === "server") ||
      partial.missing > 2 ** 32 ||
      isLong(input.bytes, partial)
    if (begins) rest[0] = (rest[0] ?? 0) & 0x8f
    // The beginning of what is compressed says nothing yet, but that there is one more fragment.
    const hollow = new Uint8Array([partial.opcode === 0 ? 0 : 2, partial.masked ? 128 : 0])
    out.push(judged || !(begins || goesOn) ? rest : hollow)
  }
  const bytes = new Uint8Array(Buffer.concat(out))
  return { input: { ...input, deflate: undefined, bytes, cuts: [] }, broken, final, unfinished }
}
