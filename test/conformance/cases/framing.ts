import { binary, firstByte, fragments, frame, join, op, pattern, ping, raw, start, text } from "../bytes.js"
import type { ConnectionCase } from "../model.js"
import { accepted, refused, sends } from "../model.js"
import * as offence from "../offences.js"

const lengths = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 1_048_576]

const letters = (length: number) => "abcdefghijklmnopqrstuvwxyz".repeat(length / 26 + 1).slice(0, length)

const form = (length: number) => (length < 126 ? "7 bits" : length < 65_536 ? "16 bits" : "64 bits")

const received: ReadonlyArray<ConnectionCase> = lengths.flatMap((length) => [
  accepted(
    `text-${length}`,
    "5.2, 5.6",
    `a text frame of ${length} bytes, its length in ${form(length)}`,
    text(letters(length)),
    { messages: [letters(length)] }
  ),
  accepted(
    `binary-${length}`,
    "5.2, 5.6",
    `a binary frame of ${length} bytes, its length in ${form(length)}`,
    binary(pattern(length)),
    { messages: [pattern(length)] }
  )
])

const sent: ReadonlyArray<ConnectionCase> = lengths.flatMap((length) => [
  sends(
    `sent-text-${length}`,
    "5.2, 6.1",
    `we send ${length} bytes of text in one frame, the length in ${form(length)}`,
    (socket) => socket.send(letters(length)),
    text(letters(length))
  ),
  sends(
    `sent-binary-${length}`,
    "5.2, 6.1",
    `we send ${length} bytes in one frame, the length in ${form(length)}`,
    (socket) => socket.send(pattern(length)),
    binary(pattern(length))
  )
])

/** Each length in a form that is longer than it needs, refused at the length's last byte. */
const notMinimal: ReadonlyArray<ConnectionCase> = [
  [16, [0, 1, 125]] as const,
  [64, [0, 1, 125, 126, 127, 65_535]] as const
].flatMap(([bits, tooSmall]) =>
  tooSmall.flatMap((length) =>
    [op.text, op.binary].map((opcode) =>
      refused(
        `${length}-in-${bits}-bits-opcode-${opcode}`,
        "5.2",
        `a length is encoded in the fewest bytes: ${length} isn't written in ${bits} bits (opcode ${opcode})`,
        start(opcode, length, { form: bits }),
        offence.notMinimal
      )
    )
  )
)

const tooLong: ReadonlyArray<ConnectionCase> = [
  refused(
    "top-bit",
    "5.2",
    "the most significant bit of a 64-bit length is 0",
    (peer) => start(op.binary, 2n ** 63n)(peer).subarray(0, 3),
    offence.topBit
  ),
  refused(
    "top-bit-all-ones",
    "5.2",
    "a 64-bit length of all ones is refused at its first byte",
    (peer) => start(op.text, 2n ** 64n - 1n)(peer).subarray(0, 3),
    offence.topBit
  ),
  ...(
    [
      ["2^53", 2n ** 53n],
      ["2^63-1", 2n ** 63n - 1n]
    ] as const
  ).map(([name, length]) =>
    refused(
      `length-${name}`,
      "5.2, 7.4.1",
      `a length of ${name}, legal but beyond any limit, is refused on its declaration`,
      start(op.binary, length),
      offence.unrepresentable
    )
  ),
  ...[
    ["2^53-1", Number.MAX_SAFE_INTEGER] as const,
    ["2^32", 2 ** 32] as const,
    ["2^31", 2 ** 31] as const,
    ["1 MiB + 1", 1_048_577] as const
  ].map(([name, length]) =>
    refused(
      `length-${name.replaceAll(" ", "")}`,
      "7.4.1, 10.4",
      `a frame of ${name}, above the limit of 1 MiB, is refused on its declared length`,
      start(op.binary, length),
      offence.frameTooLarge(1_048_576, length)
    )
  )
]

const limits: ReadonlyArray<ConnectionCase> = [
  accepted("at-frame-limit", "10.4", "a frame of exactly the limit", text("0123456789"), {
    options: { maxFrameSize: 10 },
    messages: ["0123456789"]
  }),
  refused(
    "above-frame-limit",
    "10.4",
    "a frame one byte above the limit, refused before its payload",
    start(op.text, 11),
    offence.frameTooLarge(10, 11),
    { options: { maxFrameSize: 10 } }
  ),
  accepted(
    "at-message-limit",
    "10.4",
    "a message of exactly the limit, in frames",
    join(...fragments(op.text, "0123456789", "0123456789")),
    { options: { maxPayloadSize: 20 }, messages: ["01234567890123456789"] }
  ),
  refused(
    "above-message-limit",
    "10.4",
    "a message whose frames add up to more than the limit, refused at the declaration of the one too many",
    start(op.continuation, 11),
    offence.messageTooLarge(20, 21),
    { options: { maxPayloadSize: 20 }, before: [frame(op.text, "0123456789", { fin: false }), raw("")] }
  ),
  accepted(
    "at-fragment-limit",
    "10.4",
    "a message of exactly as many frames as the limit says",
    join(...fragments(op.text, "", "", "", "x")),
    { options: { maxFragments: 4 }, messages: ["x"] }
  ),
  refused(
    "above-fragment-limit",
    "10.4",
    "a message of more frames than the limit says, empty ones counted, refused at the first byte of the one too many",
    firstByte(op.continuation),
    offence.tooManyFragments(4),
    {
      options: { maxFragments: 4 },
      before: [join(...fragments(op.text, "", "", "", "", "").slice(0, 4)), raw("")]
    }
  ),
  accepted("limits-spare-control", "10.4, 5.5", "limits on data don't touch control frames", ping("0123456789abcdef"), {
    options: { maxFrameSize: 4, maxPayloadSize: 4 },
    replies: frame(op.pong, "0123456789abcdef")
  })
]

const order: ReadonlyArray<ConnectionCase> = [
  accepted(
    "many-in-a-row",
    "5.2, 6.2",
    "frames of one packet are read one after the other, in order",
    join(text("a"), binary(Uint8Array.of(1)), text(""), text("b"), binary(new Uint8Array(0))),
    { messages: ["a", Uint8Array.of(1), "", "b", new Uint8Array(0)] }
  ),
  accepted(
    "example-text",
    "5.7",
    "the RFC's example: Hello, masked from a client, unmasked from a server",
    (peer) => raw(peer === "client" ? "818537fa213d7f9f4d5158" : "810548656c6c6f")(peer),
    { messages: ["Hello"] }
  ),
  accepted("example-fragments", "5.7", "the RFC's example: Hello in two frames, unmasked", raw("010348656c80026c6f"), {
    roles: "client",
    messages: ["Hello"]
  }),
  accepted(
    "example-ping",
    "5.7",
    "the RFC's example: a ping, and its pong with the same body",
    (peer) => raw(peer === "client" ? "898537fa213d7f9f4d5158" : "890548656c6c6f")(peer),
    { replies: raw("8a0548656c6c6f") }
  )
]

export const framing = [...received, ...sent, ...notMinimal, ...tooLong, ...limits, ...order]
