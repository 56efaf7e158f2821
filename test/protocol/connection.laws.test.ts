import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { closePayload } from "../../src/protocol/close.js"
import { cutBy, join, retained } from "../fixtures/bytes.js"
import { type Heard, machine, peerOf, roles } from "../fixtures/machine.js"

// The laws at the head of connection.ts, for a peer that sends what it likes.

const limits = { maxMessageSize: 60, maxFrameSize: 40, maxFragments: 4 }

interface Sent {
  readonly opcode: number
  readonly fin: boolean
  readonly rsv: number
  readonly payload: string | Uint8Array
}

const sent = (opcode: number, payload: string | Uint8Array, fin = true): Sent => ({ opcode, payload, fin, rsv: 0 })

/** A message that keeps the rules, in fragments with pings between them. */
const message = fc
  .tuple(fc.constantFrom(1, 2), fc.array(fc.constantFrom("", "a", "€", "hello"), { minLength: 1, maxLength: 4 }))
  .map(([opcode, parts]) =>
    parts.flatMap((part, index) => [
      sent(index === 0 ? opcode : 0, part, index === parts.length - 1),
      ...(part === "a" ? [sent(9, part)] : [])
    ])
  )

const close = fc.constantFrom(undefined, 1000, 1005, 4000).map((code) => [sent(8, closePayload(code, ""))])

const rogue = fc
  .record({
    opcode: fc.oneof(fc.constantFrom(0, 1, 2, 9, 10), fc.nat(15)),
    fin: fc.boolean(),
    rsv: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(7) }),
    payload: fc.oneof(fc.constantFrom("", "a", "x".repeat(41)), fc.uint8Array({ maxLength: 5 }))
  })
  .map((frame) => [frame])

/** Frames that are mostly right, so that what is wrong gets into every state. */
const frames = fc.oneof(
  { weight: 8, arbitrary: message },
  { weight: 1, arbitrary: close },
  { weight: 1, arbitrary: rogue },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 8 }) }
)

const input = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: frames },
    { weight: 1, arbitrary: fc.constantFrom("ping", "text", "congest", "drain") },
    { weight: 1, arbitrary: fc.constantFrom("close", "end", "text", "ping") }
  ),
  { maxLength: 15 }
)

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 })

const sendsClose = (sent: string): boolean => sent.startsWith("close")

describe.each(roles)("a %s keeps its laws", (role) => {
  const peer = peerOf(role)
  const bytesOf = (frames: ReadonlyArray<Sent> | Uint8Array): Uint8Array =>
    frames instanceof Uint8Array ? frames : join(...frames.map((frame) => peer(frame.opcode, frame.payload, frame)))

  it("whatever comes in, and whatever the application does meanwhile", () => {
    const outcomes = { Closed: 0, Failed: 0, open: 0 }
    fc.assert(
      fc.property(input, sizes, fc.boolean(), (steps, cut, asFrames) => {
        const observed = machine(role, { ...limits, frames: asFrames })
        const { connection } = observed
        let received = 0
        let ended: Heard | undefined
        for (const step of steps) {
          if (typeof step !== "string") {
            const bytes = bytesOf(step)
            received += bytes.length
            observed.receive(...cutBy(bytes, cut))
          } else if (step === "close") connection.sendClose(1001, "")
          else if (step === "ping" && connection.isOpen) connection.sendPing(new Uint8Array(0))
          else if (step === "text" && connection.isOpen) connection.sendMessage("text")
          else if (step === "congest") connection.setCongested(true)
          else if (step === "drain") connection.setCongested(false)
          else if (step === "end") connection.receiveEnd()
          // Law 2: nothing changes any more.
          const heard = observed.heard()
          if (ended !== undefined) expect(heard).toEqual(ended)
          if (connection.outcome !== undefined) ended ??= heard
          // Law 5, now that all was taken that waited to be sent.
          expect(retained(connection).bytes).toBeLessThanOrEqual(2 * received + 1100)
        }
        const { sent } = observed.heard()
        // Law 3.
        expect(sent.filter(sendsClose).length).toBeLessThanOrEqual(1)
        expect(sent.findIndex(sendsClose)).toBeOneOf([-1, sent.length - 1])
        expect(connection.isClosing).toBe(sent.some(sendsClose))
        // Law 4: only what is within the limits, and text only as text.
        for (const message of observed.messages) expect(message.length).toBeLessThanOrEqual(limits.maxMessageSize)
        const { outcome } = connection
        outcomes[outcome?._tag ?? "open"]++
        // RFC 6455 7.1.7: who fails the connection says so, unless it has said a Close before.
        if (outcome?._tag === "Failed") expect(sent.some(sendsClose)).toBe(true)
        if (outcome?._tag === "Closed" && outcome.clean) expect(sent.some(sendsClose)).toBe(true)
      }),
      { numRuns: 1500, seed: 11 }
    )
    for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(150)
  })

  it("however its input is cut", () => {
    const bytes = fc.array(frames, { maxLength: 8 }).map((parts) => join(...parts.map(bytesOf)))
    fc.assert(
      fc.property(bytes, sizes, fc.boolean(), (all, cut, asFrames) => {
        const [whole, pieces] = [[all], cutBy(all, cut)].map((chunks) => {
          const observed = machine(role, { ...limits, frames: asFrames })
          observed.receive(...chunks)
          return observed.heard()
        })
        expect(pieces).toEqual(whole)
      }),
      { numRuns: 1000 }
    )
  })

  it("on noise: it never throws, and is open or over", () => {
    let over = 0
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 4 }), (chunks) => {
        const observed = machine(role, limits)
        observed.receive(...chunks)
        const { outcome, sent } = observed.heard()
        if (outcome !== "open") over++
        expect(sent.some(sendsClose)).toBe(outcome !== "open")
      }),
      { numRuns: 5000, seed: 1 }
    )
    expect(over).toBeGreaterThan(1000)
  })
})
