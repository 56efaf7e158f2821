import { describe, expect, it } from "@effect/vitest"
import { closePayload } from "../../src/protocol/close.js"
import { Connection } from "../../src/protocol/connection.js"
import type { Role } from "../../src/protocol/frame.js"
import { fromHex, join, parse } from "../fixtures/bytes.js"
import { peerOf, roles } from "../fixtures/machine.js"

/** A machine that sends a last message when it is told that it is closing, and what it was told. */
const last = (role: Role) => {
  const told: Array<string> = []
  const connection: Connection = new Connection(
    role,
    { maxMessageSize: 1000, maxFrameSize: 1000, maxFragments: 10 },
    {
      message() {},
      frame() {},
      pong() {},
      closing: (failed) => {
        told.push(`${failed ? "failed" : "closing"}, ${connection.isOpen ? "open" : "closed"}`)
        connection.sendMessage("last")
      }
    },
    () => 0x01020304,
    undefined
  )
  const sent = () => parse(join(...connection.output.take())).map(({ opcode }) => opcode)
  return { connection, told, sent }
}

describe.each(roles)("a %s that is about to queue its Close", (role) => {
  const peer = peerOf(role)

  it("says so while messages can still go before it, once", () => {
    const { connection, sent, told } = last(role)
    connection.sendClose(1000, "")
    connection.sendClose(1001, "")
    connection.receive(peer(8, closePayload(1000, "")))
    expect(told).toEqual(["closing, open"])
    expect(sent()).toEqual([1, 8])
  })

  it("says so likewise where it answers one, or sends one as a frame", () => {
    const answering = last(role)
    answering.connection.receive(peer(8, closePayload(1000, "")))
    expect(answering.told).toEqual(["closing, open"])
    expect(answering.sent()).toEqual([1, 8])
    const framing = last(role)
    framing.connection.sendFrame({ opcode: 8, rsv: 0, fin: true, payload: new Uint8Array(0) })
    expect(framing.told).toEqual(["closing, open"])
    expect(framing.sent()).toEqual([1, 8])
  })

  it("says that it failed, where the peer broke a rule or crossed a limit", () => {
    for (const bad of [peer(1, fromHex("ff")), peer(2, new Uint8Array(1001))]) {
      const { connection, sent, told } = last(role)
      connection.receive(bad)
      expect(told).toEqual(["failed, open"])
      expect(sent()).toEqual([1, 8])
    }
  })

  it("says nothing where it sends none", () => {
    const ended = last(role)
    ended.connection.receiveEnd()
    ended.connection.sendClose(1000, "")
    expect(ended.told).toEqual([])
    const unsendable = last(role)
    unsendable.connection.sendClose(1005, "")
    unsendable.connection.sendFrame({ opcode: 8, rsv: 0, fin: true, payload: fromHex("00") })
    expect(unsendable.told).toEqual([])
  })
})
