import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Message } from "../../src/protocol/connection.js"
import type { Role } from "../../src/protocol/frame.js"
import { anyText, cutBy, pattern } from "../fixtures/bytes.js"
import { machine, otherRole, roles } from "../fixtures/machine.js"

/** A client and a server, with the bytes between them. */
const pair = () => {
  const ends = { client: machine("client"), server: machine("server") }
  const onTheWay = { client: new Uint8Array(0), server: new Uint8Array(0) }

  /** Some of what one end has sent reaches the other. */
  const deliver = (from: Role, size: number): boolean => {
    const pending = Buffer.concat([onTheWay[from], ends[from].output()])
    ends[otherRole(from)].receive(pending.subarray(0, size))
    onTheWay[from] = new Uint8Array(pending.subarray(size))
    return pending.length > 0
  }

  return {
    ...ends,
    deliver,
    settle: (size = 1e9): void => {
      for (let busy = true; busy; ) busy = [deliver("client", size), deliver("server", size)].some((moved) => moved)
    }
  }
}

/** For quick comparison. */
const inWords = (messages: ReadonlyArray<Message>): ReadonlyArray<string> =>
  messages.map((message) => (typeof message === "string" ? `text ${message}` : Buffer.from(message).toString("latin1")))

describe("two machines", () => {
  it.each(roles)("close when the %s begins, and both know the code and who began", (role) => {
    for (const [code, sent] of [
      [1000, "bye"],
      [4999, ""],
      [undefined, ""]
    ] as const) {
      const both = pair()
      both[role].connection.sendMessage("last words")
      both[role].connection.sendClose(code, sent)
      both.settle(1)
      expect(both[otherRole(role)].messages).toEqual(["last words"])
      const heard = code ?? 1005
      expect(both[role].connection.outcome).toEqual({
        _tag: "Closed",
        code: heard,
        reason: "",
        sentCode: code,
        initiator: "local",
        clean: true
      })
      expect(both[otherRole(role)].connection.outcome).toEqual({
        _tag: "Closed",
        code: heard,
        reason: sent,
        sentCode: code,
        initiator: "remote",
        clean: true
      })
    }
  })

  it("close when both begin at once, each with the other's code", () => {
    const both = pair()
    both.client.connection.sendClose(1000, "mine")
    both.server.connection.sendClose(1001, "yours")
    both.settle()
    expect(both.client.heard()).toEqual({
      events: [],
      sent: ['close 1000 "mine"'],
      outcome: 'closed 1001 "yours", sent 1000, local, clean'
    })
    expect(both.server.heard()).toEqual({
      events: [],
      sent: ['close 1001 "yours"'],
      outcome: 'closed 1000 "mine", sent 1001, local, clean'
    })
  })

  it.each(roles)("end alike when the %s was sent nonsense: the other one reads why in a valid Close", (role) => {
    const both = pair()
    both[role].receive(Uint8Array.of(0x83, 0x00))
    both.settle()
    const rule = "opcode 0x3 is reserved (RFC 6455 5.2)"
    expect(both[role].heard().outcome).toBe(`failed 1002: ${rule}`)
    expect(both[otherRole(role)].heard().outcome).toBe(`closed 1002 "${rule}", sent 1002, remote, clean`)
  })

  it("bring every message over, in order, and end up closed, whatever the order of sending, delivery and closing", () => {
    const who = fc.constantFrom(...roles)
    const message = fc.oneof(
      anyText(30),
      fc.uint8Array({ maxLength: 30 }),
      fc.constantFrom(126, 1000, 16_384).map((size): Message => pattern(size))
    )
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ _tag: fc.constant("send" as const), who, message }) },
      { weight: 2, arbitrary: fc.record({ _tag: fc.constant("ping" as const), who }) },
      { weight: 1, arbitrary: fc.record({ _tag: fc.constant("congest" as const), who, on: fc.boolean() }) },
      { weight: 5, arbitrary: fc.record({ _tag: fc.constant("deliver" as const), who, size: fc.nat(200) }) },
      { weight: 1, arbitrary: fc.record({ _tag: fc.constant("close" as const), who }) }
    )
    let crossed = 0
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 30 }),
        who,
        fc.integer({ min: 500, max: 100_000 }),
        (steps, last, size) => {
          const both = pair()
          const sent: Record<Role, Array<Message>> = { client: [], server: [] }
          for (const one of steps) {
            const { connection } = both[one.who]
            if (one._tag === "send" && connection.isOpen) {
              connection.sendMessage(one.message)
              sent[one.who].push(one.message)
            } else if (one._tag === "ping" && connection.isOpen) {
              connection.sendPing(new Uint8Array(0))
            } else if (one._tag === "congest") {
              connection.setCongested(one.on)
            } else if (one._tag === "deliver") {
              both.deliver(one.who, one.size)
            } else if (one._tag === "close") {
              connection.sendClose(1000, "")
            }
          }
          both[last].connection.sendClose(1001, "")
          both.settle(size)
          for (const role of roles) {
            const { connection, messages, sent: frames } = both[role]
            expect(inWords(messages)).toEqual(inWords(sent[otherRole(role)]))
            expect(connection.outcome).toMatchObject({ _tag: "Closed", clean: true })
            expect(frames.filter((frame) => frame.startsWith("close")).length).toBe(1)
            expect(frames.at(-1)).toMatch(/^close/)
          }
          const initiators = roles.map((role) => {
            const { outcome } = both[role].connection
            return outcome?._tag === "Closed" ? outcome.initiator : "failed"
          })
          expect(initiators).toContain("local")
          if (initiators.every((initiator) => initiator === "local")) crossed++
        }
      ),
      { numRuns: 400, seed: 7 }
    )
    expect(crossed).toBeGreaterThan(10)
  })

  it("stay open and in step over many messages in single bytes", () => {
    const both = pair()
    const expected: Array<string> = []
    for (let index = 0; index < 50; index++) {
      both.client.connection.sendMessage(`question ${index}`)
      both.server.connection.sendMessage(`answer ${index}`)
      both.client.connection.sendPing(new Uint8Array(0))
      expected.push(String(index))
    }
    for (const role of roles) both[otherRole(role)].receive(...cutBy(both[role].output(), [1]))
    both.settle()
    expect(both.server.messages).toEqual(expected.map((index) => `question ${index}`))
    expect(both.client.messages).toEqual(expected.map((index) => `answer ${index}`))
    expect(both.client.events.filter((event) => event === "pong").length).toBe(50)
    expect(both.client.connection.isOpen && both.server.connection.isOpen).toBe(true)
  })
})
