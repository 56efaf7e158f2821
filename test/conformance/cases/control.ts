import {
  type Bytes,
  binary,
  close,
  firstByte,
  frame,
  join,
  nothing,
  op,
  pattern,
  ping,
  pong,
  start,
  text
} from "../bytes.js"
import type { ConnectionCase } from "../model.js"
import { accepted, closedByPeer, closes, refused, sends } from "../model.js"
import * as offence from "../offences.js"

const controls = [
  ["close", op.close],
  ["ping", op.ping],
  ["pong", op.pong]
] as const

const illegal: ReadonlyArray<ConnectionCase> = controls.flatMap(([name, opcode]) => [
  ...([126, 65_536] as const).map((length) =>
    refused(
      `${name}-of-${length}`,
      "5.5",
      `a ${name} has at most 125 bytes of payload: a length in ${length === 126 ? 16 : 64} bits is refused at the second byte, which announces it`,
      (peer) => start(opcode, length)(peer).subarray(0, 2),
      offence.longControl,
      { ignored: (peer) => start(opcode, length)(peer).subarray(2) }
    )
  ),
  refused(
    `${name}-fragmented`,
    "5.4, 5.5",
    `a ${name} must not be fragmented: refused at the first byte`,
    firstByte(opcode, { fin: false }),
    offence.fragmentedControl
  ),
  refused(
    `${name}-fragmented-in-message`,
    "5.4, 5.5",
    `a ${name} without FIN between the frames of a message is refused`,
    firstByte(opcode, { fin: false }),
    offence.fragmentedControl,
    { before: [frame(op.binary, "x", { fin: false }), nothing] }
  )
])

const payloads: ReadonlyArray<readonly [name: string, payload: Uint8Array]> = [
  ["empty", pattern(0)],
  ["one-byte", pattern(1)],
  ["124-bytes", pattern(124)],
  ["125-bytes", pattern(125)],
  ["not-utf-8", Uint8Array.of(0xff, 0xfe, 0xc0, 0x00)]
]

const pings: ReadonlyArray<ConnectionCase> = payloads.flatMap(([name, payload]) => [
  accepted(
    `ping-${name}`,
    "5.5.2, 5.5.3",
    `a ping is answered by a pong with the same payload (${name})`,
    ping(payload),
    {
      replies: pong(payload)
    }
  ),
  accepted(
    `pong-unsolicited-${name}`,
    "5.5.3",
    `a pong that nobody asked for is no error, and has no answer (${name})`,
    pong(payload)
  ),
  sends(`sent-ping-${name}`, "5.5.2", `we send a ping (${name})`, (socket) => socket.sendPing(payload), ping(payload)),
  sends(
    `sent-pong-${name}`,
    "5.5.3",
    `we send a pong that answers nothing (${name})`,
    (socket) => socket.sendPong(payload),
    pong(payload)
  )
])

const numbered = (count: number, one: (content: string) => Bytes): Bytes =>
  join(...Array.from({ length: count }, (_, index) => one(`number ${index}`)))

const sequences: ReadonlyArray<ConnectionCase> = [
  accepted("ten-pings", "5.5.2, 5.5.3", "ten pings are answered one by one, in order", numbered(10, ping), {
    replies: numbered(10, pong)
  }),
  accepted(
    "ping-between-messages",
    "5.5",
    "pings between messages disturb neither",
    join(text("a"), ping("1"), binary("b"), ping("2")),
    {
      messages: ["a", new Uint8Array([0x62])],
      replies: join(pong("1"), pong("2"))
    }
  ),
  accepted(
    "pong-then-ping",
    "5.5.3",
    "an unsolicited pong doesn't stand for the answer to the next ping",
    join(pong("x"), ping("x"), pong("x")),
    { replies: pong("x") }
  ),
  accepted(
    "control-in-message",
    "5.4, 5.5",
    "ping and pong between the frames of a message are acted on at once, and the message is whole",
    join(
      frame(op.text, "one ", { fin: false }),
      ping("in between"),
      frame(op.continuation, "two ", { fin: false }),
      pong("unasked"),
      frame(op.continuation, "three")
    ),
    { messages: ["one two three"], replies: pong("in between") }
  ),
  accepted(
    "ping-does-not-wait",
    "5.5.2",
    "a ping is answered though the message around it never ends",
    join(frame(op.binary, "begun", { fin: false }), ping("now")),
    { replies: pong("now") }
  ),
  accepted(
    "ping-in-code-point",
    "5.4, 8.1",
    "a ping between two frames that cut a code point leaves the text valid",
    join(
      frame(op.text, Uint8Array.of(0xe2, 0x82), { fin: false }),
      ping(Uint8Array.of(0xff)),
      frame(op.continuation, Uint8Array.of(0xac))
    ),
    { messages: ["€"], replies: pong(Uint8Array.of(0xff)) }
  ),
  closes(
    "close-in-message",
    "5.4, 5.5.1",
    "a Close between the frames of a message is answered, and the message is not delivered",
    join(frame(op.text, "never ended", { fin: false }), close(1000)),
    close(1000),
    closedByPeer(1000)
  )
]

export const control = [...illegal, ...pings, ...sequences]
