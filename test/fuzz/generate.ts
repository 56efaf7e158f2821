// Byte streams such as a peer might send: conversations that are valid, nearly
// valid, cut short and damaged.

import { constants, deflateRawSync } from "node:zlib"
import * as Wire from "../../src/protocol/frame.js"
import type { Extension } from "../../src/protocol/tokens.js"
import { Random } from "./random.js"
import type { Input } from "./stream.js"

const encoder = new TextEncoder()

// Each length of a sequence, the edges of each, non-characters, and a byte order mark.
const texts: readonly [string, ...ReadonlyArray<string>] = [
  "",
  "a",
  "hello, world",
  "\u0000\u007f\u0080\u07ff\u0800",
  "\ud7ff\ue000\ufffd\ufffe\uffff",
  "\u{10000}\u{1f600}\u{10ffff}\u{1fffe}",
  "\ufeffmark",
  "größer: 日本語 \u{1f469}\u200d\u{1f680}"
]

// Lone continuations, overlong forms, surrogates, above the last code point, cut sequences, bytes that never occur.
const invalid: readonly [string, ...ReadonlyArray<string>] = [
  "80",
  "bf",
  "c080",
  "c1bf",
  "c2",
  "e08080",
  "e09fbf",
  "e282",
  "eda080",
  "edbfbf",
  "f0808080",
  "f08fbfbf",
  "f09f98",
  "f4908080",
  "f5808080",
  "f8",
  "fe",
  "ff"
]

const payloadOf = (random: Random, text: boolean): Uint8Array => {
  const length = sizeOf(random)
  if (!text) return random.bytes(length)
  let content: string = random.pick(texts)
  while (content.length < length) content += content.length === 0 ? "abcdefghij" : content + random.pick(texts)
  const bytes = encoder.encode(content.length > 200 ? content.slice(0, length) : content)
  if (!random.oneIn(8)) return bytes
  const at = random.int(bytes.length + 1)
  const bad = Buffer.from(random.pick(invalid), "hex")
  return new Uint8Array(
    Buffer.concat([bytes.subarray(0, at), bad, bytes.subarray(random.oneIn(2) ? at : bytes.length)])
  )
}

// Small, since what is interesting lies in how frames follow each other; and around where the form of the length changes.
const sizeOf = (random: Random): number => {
  if (random.oneIn(2000)) return random.pick([65_535, 65_536, 66_000])
  if (random.oneIn(8)) return 120 + random.int(16)
  if (random.oneIn(30)) return random.int(3000)
  return random.int(24)
}

const closeCodes: readonly [number, ...ReadonlyArray<number>] = [
  0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 1016, 1100,
  2999, 3000, 3999, 4000, 4999, 5000, 65_535
]

const closePayload = (random: Random): Uint8Array => {
  const form = random.int(8)
  if (form === 0) return new Uint8Array(0)
  if (form === 1) return random.bytes(1)
  const code = random.oneIn(2) ? 1000 : random.pick(closeCodes)
  const reason = random.oneIn(2) ? new Uint8Array(0) : payloadOf(random, true)
  return new Uint8Array([code >> 8, code & 255, ...reason.subarray(0, random.oneIn(8) ? 130 : 123)])
}

/** Writes frames as they come, with lies in the header now and then. */
class Writer {
  private readonly parts: Array<Uint8Array> = []

  constructor(
    private readonly random: Random,
    private readonly masked: boolean,
    private readonly lies: boolean
  ) {}

  frame(fin: boolean, rsv: number, opcode: number, payload: Uint8Array): void {
    const { random } = this
    const lie = this.lies && random.oneIn(6) ? random.int(6) : -1
    const masked = lie === 0 ? !this.masked : this.masked
    const bytes = Wire.encodeFrame(
      { fin: lie === 1 ? !fin : fin, rsv: lie === 2 ? random.int(8) : rsv, opcode: 0, payload: new Uint8Array(0) },
      undefined
    )
    const first = (bytes[0] ?? 0) | (lie === 3 ? random.int(16) : opcode)
    const length =
      lie === 4
        ? random.pick([0, 125, 126, 65_535, 65_536, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63])
        : payload.length
    const form = lie === 5 ? random.int(3) : length < 126 ? 0 : length < 65_536 ? 1 : 2
    const header = Buffer.alloc(form === 0 ? 2 : form === 1 ? 4 : 10)
    header[0] = first
    header[1] = (masked ? 128 : 0) | (form === 0 ? length & 127 : 125 + form)
    if (form === 1) header.writeUInt16BE(length & 0xffff, 2)
    if (form === 2) header.writeBigUInt64BE(BigInt(length), 2)
    this.parts.push(header)
    if (!masked) {
      this.parts.push(payload)
      return
    }
    const key = random.oneIn(4) ? new Uint8Array(4) : random.bytes(4)
    this.parts.push(
      key,
      payload.map((byte, at) => byte ^ (key[at % 4] ?? 0))
    )
  }

  /** A payload in several frames, with control frames between them. */
  message(opcode: number, rsv: number, payload: Uint8Array, pieces: number): void {
    let at = 0
    for (let piece = 0; piece < pieces; piece++) {
      const last = piece === pieces - 1
      const end = last ? payload.length : Math.min(payload.length, at + this.random.int(payload.length + 1))
      this.frame(last, piece === 0 ? rsv : 0, piece === 0 ? opcode : 0, payload.subarray(at, end))
      if (!last && this.random.oneIn(4)) this.control()
      at = end
    }
  }

  control(): void {
    const { random } = this
    this.frame(true, 0, random.pick([9, 10]), random.bytes(random.oneIn(8) ? 125 : random.int(6)))
  }

  take(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.parts))
  }
}

interface Agreed {
  readonly extension: Extension
  /** Of who sends. */
  readonly windowBits: number
  readonly takeover: boolean
}

const agree = (random: Random, sender: "client" | "server"): Agreed => {
  const windowBits = random.oneIn(2) ? 15 : 9 + random.int(7)
  const takeover = random.oneIn(2)
  const params: Array<readonly [string, string | undefined]> = []
  if (!takeover) params.push([`${sender}_no_context_takeover`, undefined])
  if (windowBits < 15) params.push([`${sender}_max_window_bits`, String(windowBits)])
  return { extension: { name: "permessage-deflate", params }, windowBits, takeover }
}

/** Compresses one message after the other, as RFC 7692 7.2.1 says. */
class Compressor {
  private history = new Uint8Array(0)

  constructor(
    private readonly random: Random,
    private readonly agreed: Agreed
  ) {}

  compress(payload: Uint8Array): Uint8Array {
    const { random, agreed } = this
    // Two blocks at times; and a final one, which has to be followed by an empty block (RFC 7692 7.2.3.4).
    const final = random.oneIn(6)
    const cut = random.oneIn(3) ? random.int(payload.length + 1) : 0
    const head = cut === 0 ? new Uint8Array(0) : this.deflate(payload.subarray(0, cut), constants.Z_FULL_FLUSH)
    const body = this.deflate(payload.subarray(cut), final ? constants.Z_FINISH : constants.Z_SYNC_FLUSH)
    if (!agreed.takeover) this.history = new Uint8Array(0)
    return new Uint8Array(Buffer.concat([head, ...(final ? [body, new Uint8Array(1)] : [body.subarray(0, -4)])]))
  }

  private deflate(payload: Uint8Array, finishFlush: number): Uint8Array {
    const { random, agreed } = this
    const compressed = deflateRawSync(payload, {
      windowBits: agreed.windowBits,
      level: random.int(10),
      strategy: random.pick([constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY]),
      finishFlush,
      ...(this.history.length > 0 ? { dictionary: this.history } : {})
    })
    this.history = new Uint8Array(Buffer.concat([this.history, payload])).slice(-(2 ** agreed.windowBits))
    return compressed
  }
}

/** Damages bytes in a few places. */
const mutate = (random: Random, bytes: Uint8Array): Uint8Array => {
  let mutated = bytes
  for (let count = 1 + random.int(3); count > 0; count--) {
    const at = random.int(mutated.length + 1)
    const length = 1 + random.int(random.oneIn(4) ? 64 : 4)
    const before = mutated.subarray(0, at)
    const after = mutated.subarray(at)
    switch (random.int(5)) {
      case 0:
        mutated = mutated.map((byte, index) => (index === at ? byte ^ (1 << random.int(8)) : byte))
        break
      case 1:
        mutated = mutated.map((byte, index) => (index === at ? random.int(256) : byte))
        break
      case 2:
        mutated = new Uint8Array(Buffer.concat([before, random.bytes(length), after]))
        break
      case 3:
        mutated = new Uint8Array(Buffer.concat([before, after.subarray(length)]))
        break
      default:
        mutated = new Uint8Array(Buffer.concat([before, after.subarray(0, length), after]))
    }
  }
  return mutated
}

export const generate = (seed: number, withDeflate: boolean): Input => {
  const random = new Random(seed)
  const role = random.oneIn(2) ? "client" : "server"
  const agreed = withDeflate ? agree(random, role === "server" ? "client" : "server") : undefined
  const compressor = agreed === undefined ? undefined : new Compressor(random, agreed)
  const writer = new Writer(random, role === "server", random.oneIn(4))
  for (let count = 1 + random.int(7); count > 0; count--) {
    const choice = random.int(16)
    if (choice < 2) writer.control()
    else if (choice === 2) writer.frame(true, 0, 8, closePayload(random))
    else {
      const text = random.oneIn(2)
      const plain = payloadOf(random, text)
      const compress = compressor !== undefined && !random.oneIn(4)
      const payload = compress ? compressor.compress(plain) : plain
      const pieces = random.oneIn(3) ? 1 + random.int(random.oneIn(8) ? 12 : 4) : 1
      writer.message(text ? 1 : 2, compress ? 4 : 0, payload, pieces)
    }
  }
  let bytes = random.oneIn(200) ? random.bytes(random.int(80)) : writer.take()
  if (random.oneIn(3)) bytes = mutate(random, bytes)
  if (random.oneIn(4)) bytes = bytes.slice(0, random.int(bytes.length + 1))
  return {
    role,
    maxMessageSize: random.oneIn(8) ? 100 : 1024 * 1024,
    maxFragments: random.oneIn(8) ? 3 : 16_384,
    deflate: agreed?.extension,
    bytes,
    cuts: random.cuts(bytes.length)
  }
}
