import { Effect } from "effect"
import * as Frame from "effect-websocket/Frame"
import { binary, firstByte, fragments, frame, join, nothing, op, pattern, ping, pong, text, utf8 } from "../bytes.js"
import type { ConnectionCase } from "../model.js"
import { accepted, refused, sends } from "../model.js"
import * as offence from "../offences.js"

const names = new Map<number, string>([
  [op.text, "text"],
  [op.binary, "binary"]
])

const stray: ReadonlyArray<ConnectionCase> = [true, false].flatMap((fin) => {
  const kind = fin ? "with FIN" : "without FIN"
  const suffix = fin ? "fin" : "no-fin"
  return [
    refused(
      `stray-first-${suffix}`,
      "5.4",
      `a continuation ${kind} that comes first is refused at its first byte`,
      firstByte(op.continuation, { fin }),
      offence.strayContinuation
    ),
    refused(
      `stray-after-message-${suffix}`,
      "5.4",
      `a continuation ${kind} after a message in one frame is refused`,
      join(text("whole"), firstByte(op.continuation, { fin })),
      offence.strayContinuation,
      { messages: ["whole"] }
    ),
    refused(
      `stray-after-fragments-${suffix}`,
      "5.4",
      `a continuation ${kind} after a message in frames is refused`,
      join(...fragments(op.text, "who", "le"), firstByte(op.continuation, { fin })),
      offence.strayContinuation,
      { messages: ["whole"] }
    ),
    refused(
      `stray-after-ping-${suffix}`,
      "5.4",
      `a continuation ${kind} after a ping alone is refused`,
      firstByte(op.continuation, { fin }),
      offence.strayContinuation,
      { before: [ping("a"), pong("a")] }
    )
  ]
})

const interleaved: ReadonlyArray<ConnectionCase> = [op.text, op.binary].flatMap((outer) =>
  [op.text, op.binary].flatMap((inner) =>
    [true, false].map((fin) =>
      refused(
        `${names.get(inner)}-inside-${names.get(outer)}${fin ? "" : "-no-fin"}`,
        "5.4",
        `a new ${names.get(inner)} frame ${fin ? "with" : "without"} FIN inside a ${names.get(outer)} message is refused`,
        firstByte(inner, { fin }),
        offence.interleaved,
        { before: [frame(outer, "begun", { fin: false }), nothing] }
      )
    )
  )
)

const shapes: ReadonlyArray<readonly [name: string, parts: ReadonlyArray<string>]> = [
  ["two", ["Hel", "lo"]],
  ["first empty", ["", "Hello"]],
  ["last empty", ["Hello", ""]],
  ["middle empty", ["Hel", "", "lo"]],
  ["all empty", ["", "", "", ""]],
  ["one byte each", [..."Hello"]],
  ["empty between each", ["", "H", "", "", "i", ""]],
  ["lengths at the boundaries", ["a".repeat(125), "b".repeat(126), "c".repeat(65_535), "d".repeat(65_536)]],
  ["200 frames", Array.from({ length: 200 }, (_, index) => String.fromCharCode(97 + (index % 26)))]
]

const legal: ReadonlyArray<ConnectionCase> = shapes.flatMap(([name, parts]) => {
  const whole = parts.join("")
  const id = name.replaceAll(" ", "-")
  return [
    accepted(`text-${id}`, "5.4", `a text message in frames: ${name}`, join(...fragments(op.text, ...parts)), {
      messages: [whole]
    }),
    accepted(`binary-${id}`, "5.4", `a binary message in frames: ${name}`, join(...fragments(op.binary, ...parts)), {
      messages: [utf8(whole)]
    }),
    ...(parts.length > 20
      ? []
      : [
          accepted(
            `pings-${id}`,
            "5.4, 5.5.2",
            `a ping before and behind each frame of a message: ${name}`,
            join(ping("0"), ...fragments(op.text, ...parts).flatMap((each) => [each, ping("x")])),
            { messages: [whole], replies: join(pong("0"), ...parts.map(() => pong("x"))) }
          )
        ])
  ]
})

const several: ReadonlyArray<ConnectionCase> = [
  accepted(
    "messages-in-frames",
    "5.4",
    "messages in frames one after the other, of both types",
    join(
      ...fragments(op.text, "a", "b"),
      ...fragments(op.binary, "c", "d"),
      text("e"),
      ...fragments(op.text, "f", "g")
    ),
    { messages: ["ab", utf8("cd"), "e", "fg"] }
  ),
  accepted(
    "type-of-the-first",
    "5.4",
    "a message's type is that of its first frame: bytes that aren't UTF-8 are legal in a binary one",
    join(...fragments(op.binary, Uint8Array.of(0xff), Uint8Array.of(0xc0, 0x80)), binary(pattern(3))),
    { messages: [Uint8Array.of(0xff, 0xc0, 0x80), pattern(3)] }
  ),
  refused(
    "no-part-is-delivered",
    "5.4, 7.1.7",
    "of a message that a breach cuts short nothing is delivered, of what follows the breach neither",
    join(text("whole"), frame(op.text, "a part", { fin: false }), firstByte(op.text)),
    offence.interleaved,
    { messages: ["whole"], ignored: join(text("after"), ping("after")) }
  ),
  sends(
    "sent-in-frames",
    "5.4, 6.1",
    "we send a message in frames: the type on the first, FIN on the last",
    (socket) =>
      Effect.all([
        socket.sendFrame(Frame.make({ opcode: Frame.Opcode.text, fin: false, payload: "one " })),
        socket.sendPing("between"),
        socket.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, fin: false, payload: "" })),
        socket.sendFrame(Frame.make({ opcode: Frame.Opcode.continuation, fin: true, payload: "two" })),
        socket.send("three")
      ]),
    join(
      frame(op.text, "one ", { fin: false }),
      ping("between"),
      frame(op.continuation, "", { fin: false }),
      frame(op.continuation, "two"),
      text("three")
    )
  )
]

export const fragmentation = [...stray, ...interleaved, ...legal, ...several]
