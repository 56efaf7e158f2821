import { type Bytes, firstByte, frame, join, nothing, op, text } from "../bytes.js"
import type { ConnectionCase } from "../model.js"
import { refused } from "../model.js"
import * as offence from "../offences.js"

const inMessage: readonly [Bytes, Bytes] = [frame(op.text, "begun", { fin: false }), nothing]

const bitNames = (rsv: number) =>
  [rsv & 4 ? "RSV1" : "", rsv & 2 ? "RSV2" : "", rsv & 1 ? "RSV3" : ""].filter((name) => name !== "").join(", ")

const bits: ReadonlyArray<ConnectionCase> = Object.entries(op).flatMap(([name, opcode]) =>
  [1, 2, 3, 4, 5, 6, 7].map((rsv) =>
    refused(
      `rsv-${rsv}-${name}`,
      "5.2",
      `${bitNames(rsv)} on a ${name} frame, no extension negotiated: refused at the first byte`,
      firstByte(opcode, { rsv }),
      offence.reservedBits,
      { before: opcode === op.continuation ? inMessage : undefined }
    )
  )
)

const reservedOpcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]

const opcodes: ReadonlyArray<ConnectionCase> = reservedOpcodes.flatMap((opcode) => [
  refused(
    `opcode-${opcode}`,
    "5.2",
    `opcode ${opcode} is reserved: refused at the first byte`,
    firstByte(opcode),
    offence.reservedOpcode(opcode)
  ),
  refused(
    `opcode-${opcode}-without-fin`,
    "5.2",
    `opcode ${opcode} is reserved, without FIN too`,
    firstByte(opcode, { fin: false }),
    offence.reservedOpcode(opcode)
  ),
  refused(
    `opcode-${opcode}-in-message`,
    "5.2, 5.4",
    `opcode ${opcode} is reserved, between the frames of a message too`,
    firstByte(opcode),
    offence.reservedOpcode(opcode),
    { before: inMessage }
  ),
  refused(
    `opcode-${opcode}-after-message`,
    "5.2, 7.1.7",
    `what came before a frame of opcode ${opcode} is delivered, what follows isn't`,
    join(text("before"), firstByte(opcode)),
    offence.reservedOpcode(opcode),
    { messages: ["before"], ignored: join(text("after"), frame(op.ping, "after")) }
  )
])

export const reserved = [...bits, ...opcodes]
