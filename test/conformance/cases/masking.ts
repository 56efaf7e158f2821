import { binary, firstByte, fragments, frame, join, op, pattern, ping, start, text } from "../bytes.js"
import type { ConnectionCase } from "../model.js"
import { accepted, refused, sends } from "../model.js"
import * as offence from "../offences.js"

const opcodes = Object.entries(op)

const missing: ReadonlyArray<ConnectionCase> = opcodes.map(([name, opcode]) =>
  refused(
    `missing-${name}`,
    "5.1",
    `a ${name} frame of a client that isn't masked is refused at its second byte`,
    start(opcode, 5, { wronglyMasked: true }),
    offence.unmasked,
    {
      roles: "server",
      before: opcode === op.continuation ? [frame(op.text, "a", { fin: false }), () => new Uint8Array(0)] : undefined
    }
  )
)

const forbidden: ReadonlyArray<ConnectionCase> = opcodes.map(([name, opcode]) =>
  refused(
    `forbidden-${name}`,
    "5.1",
    `a ${name} frame of a server that is masked is refused at its second byte`,
    start(opcode, 5, { wronglyMasked: true }),
    offence.maskedByServer,
    {
      roles: "client",
      before: opcode === op.continuation ? [frame(op.text, "a", { fin: false }), () => new Uint8Array(0)] : undefined
    }
  )
)

const keys: ReadonlyArray<ConnectionCase> = [
  "00000000",
  "ffffffff",
  "000000ff",
  "80000000",
  "deadbeef",
  "0a0d0d0a"
].map((key) =>
  accepted(`key-${key}`, "5.3", `any masking key is legal: ${key}`, text("any key, any text: äöü", { key }), {
    roles: "server",
    messages: ["any key, any text: äöü"]
  })
)

const phases: ReadonlyArray<ConnectionCase> = [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33].map((length) =>
  accepted(
    `length-${length}`,
    "5.3",
    `byte i is masked with byte i modulo 4 of the key (${length} bytes)`,
    binary(pattern(length), { key: "01020408" }),
    { roles: "server", messages: [pattern(length)] }
  )
)

const more: ReadonlyArray<ConnectionCase> = [
  accepted(
    "key-of-each-frame",
    "5.3",
    "each frame has a key of its own, also within a message",
    join(
      frame(op.binary, pattern(5), { fin: false, key: "11111111" }),
      frame(op.ping, pattern(3), { key: "22222222" }),
      frame(op.continuation, pattern(6), { key: "00000001" })
    ),
    {
      roles: "server",
      messages: [Uint8Array.from([...pattern(5), ...pattern(6)])],
      replies: frame(op.pong, pattern(3))
    }
  ),
  accepted(
    "empty-frame-has-a-key",
    "5.2",
    "a client's empty frame carries a key all the same",
    join(text(""), ping(), ...fragments(op.text, "", "")),
    { roles: "server", messages: ["", ""], replies: frame(op.pong, "") }
  ),
  sends(
    "ours-by-role",
    "5.1, 5.3",
    "every frame that we send is masked as a client, each with another key, and unmasked as a server",
    (socket) => socket.sendAll(["a", "a", "a", Uint8Array.of(97)]),
    join(text("a"), text("a"), text("a"), binary("a"))
  ),
  refused(
    "order-of-checks",
    "5.1, 5.2",
    "a first byte that is wrong is refused before the mask bit is seen",
    firstByte(op.text, { rsv: 4 }),
    offence.reservedBits
  )
]

export const masking = [...missing, ...forbidden, ...keys, ...phases, ...more]
