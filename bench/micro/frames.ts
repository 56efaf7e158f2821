// Frames: bytes to frames and back, by the read loop's functions, and by those for values.

import { Effect, Either, Schema } from "effect"
import { Frame } from "effect-websocket"
import { Decoder } from "../../src/protocol/decoder.js"
import { encodeFrame } from "../../src/protocol/frame.js"
import { Output } from "../../src/protocol/output.js"
import { type Part, repeat, type Work } from "./compare.js"

const sizes = [16, 1024, 65_536]
const payloads = sizes.map((size) => new Uint8Array(size).fill(0x5a))
const many = 32

const masked = (payload: Uint8Array): Uint8Array =>
  Either.getOrThrow(Frame.encode(Frame.make({ opcode: 2, payload }), "client"))

/** Takes all, and looks at nothing. */
const sink = {
  frameStarts: () => undefined,
  frameDeclares: () => undefined,
  frameBegins: () => {},
  framePayload: () => undefined
}

/** A batch each time, told for one of it. */
const eachOf = (batch: () => unknown): Work => {
  const work = repeat(batch)
  return (times) => work(Math.ceil(times / many))
}

const decode = Schema.decodeUnknownSync(Frame.FromBytes)
const encode = Schema.encodeSync(Frame.FromBytes)

export const frames: ReadonlyArray<Part> = [
  {
    title: "frames decoded",
    why: "the decoder cuts a read into pieces of frames, and makes no object for any",
    columns: sizes.map(String),
    alternatives: {
      "Decoder *, 32 at once": payloads.map((payload) => {
        const batch = Buffer.concat(Array.from({ length: many }, () => masked(payload)))
        const decoder = new Decoder(true, sink)
        return eachOf(() => decoder.push(batch))
      }),
      "Decoder *, one at once": payloads.map((payload) => {
        const bytes = masked(payload)
        const decoder = new Decoder(true, sink)
        return repeat(() => decoder.push(bytes))
      }),
      "Schema, unmasked frames": payloads.map((payload) => {
        const bytes = encode(Frame.make({ opcode: 2, payload }))
        return repeat(() => decode(bytes))
      })
    }
  },
  {
    title: "frames encoded",
    why: "one slab for all frames of a turn: one write, and no memory of its own for each; large payloads aren't copied",
    columns: sizes.map(String),
    alternatives: {
      "Output *, 32 in a turn": payloads.map((payload) => {
        const output = new Output()
        return eachOf(() => {
          for (let count = 0; count < many; count++) output.binary(payload, undefined)
          return output.take()
        })
      }),
      "Output *, one in a turn": payloads.map((payload) => {
        const output = new Output()
        return repeat(() => {
          output.binary(payload, undefined)
          return output.take()
        })
      }),
      "memory for each frame": payloads.map((payload) =>
        repeat(() => encodeFrame({ opcode: 2, rsv: 0, fin: true, payload }, undefined))
      ),
      "Frame.encode, an Effect": payloads.map((payload) => {
        const frame = Frame.make({ opcode: 2, payload })
        return repeat(() => Effect.runSync(Frame.encode(frame, "server")))
      }),
      Schema: payloads.map((payload) => {
        const frame = Frame.make({ opcode: 2, payload })
        return repeat(() => encode(frame))
      })
    }
  }
]
