import { describe } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import type * as Frame from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import { expect } from "vitest"
import type { Peers } from "../fixtures/breakable.js"
import {
  type Closer,
  conversation,
  fragments,
  type Line,
  type Moment,
  placeOf,
  readUntil,
  saidByPeer,
  sizeOf
} from "../fixtures/conversation.js"
import {
  type End,
  type Fault,
  type Outcome,
  onManualClock,
  play,
  roleOf,
  sizeOfHead,
  stage
} from "../fixtures/faultStage.js"

// A conversation between our end and a peer in lock step (conversation.ts), and a fault at one byte of it: when
// our end has got so many bytes of the peer (`in`), or the peer so many of ours (`out`). The fault is then all that
// the peer does, so what has to come of it follows from the place: the oracle. Bytes of ours that are garbled on
// their way are a matter of the other end, and so the same as `in` for the other role.

// ------------------------------------------------------------------ the oracle

/**
 * What garbage from this byte of a frame on makes of it: the code that the connection is failed with, and what our
 * end still answers to what became whole. The key of a client's frames, bytes 2 to 5, is zero.
 */
const ruinOf = (role: Frame.Role, { opcode }: Line, at: number) => {
  const payload = role === "server" ? 6 : 2
  // A key of garbage makes zeros of a payload of garbage.
  const zeros = role === "server" && at === 2
  if (opcode === 9 && at >= 2) return { code: 1002, answers: [zeros ? "pong 00" : "pong ff"], received: [] }
  if (opcode === 0 && zeros) {
    const message = fragments[0] + "\0".repeat(fragments[1].length)
    return { code: 1002, answers: [`text ${message}`, "ping 00000001"], received: [message] }
  }
  // 0xff is no byte of UTF-8; garbage in a close code is no code that may be sent.
  const invalidText = opcode === 8 ? at >= payload + 2 : (opcode === 0 || opcode === 1) && at >= 2 && !zeros
  return { code: invalidText ? 1007 : 1002, answers: [], received: [] }
}

/** What has to come of a fault. */
const expected = (end: End, lines: ReadonlyArray<Line>, closer: Closer, fault: Fault, moment: Moment): Outcome => {
  const role = roleOf(end)
  const { line, at, received, ...place } = placeOf(lines, saidByPeer(lines, moment))
  const said = place.said.map(({ words }) => words)
  const goesOn = moment.direction === "in" || fault === "FIN" || fault === "garbage"
  const outcome = (ending: string, seconds: number, last: ReadonlyArray<string> = []): Outcome => ({
    received,
    ending,
    wire: goesOn ? [...said, ...last] : readUntil(lines, moment),
    seconds
  })

  // Before the end of the opening handshake there is no connection, and the server's application hears of none.
  if (line?.opcode === "head") {
    const unopened = (ending: string, seconds: number, last: ReadonlyArray<string> = []): Outcome => ({
      ...outcome(ending, seconds, last),
      ...(end === "serve" ? { ending: undefined } : undefined)
    })
    if (fault === "reset") return unopened("HandshakeError: read ECONNRESET", 0)
    if (fault === "FIN") return unopened("HandshakeError: read", 0)
    if (role === "client") {
      return fault === "stall" ? unopened("ConnectError timeout", 10) : unopened("HandshakeError", 0)
    }
    // Who is refused has time to hang up.
    return fault === "stall"
      ? unopened("HandshakeError 408", 15, ["HTTP/1.1 408 Request Timeout"])
      : unopened("HandshakeError 400", 0, ["HTTP/1.1 400 Bad Request"])
  }

  // Behind both Closes nothing matters, but that a peer may take its time to hang up.
  if (line === undefined) {
    const ending =
      closer === "us" ? "closed 1000, sent 1000, local, clean" : "closed 1008 enough, sent 1008, remote, clean"
    return outcome(ending, fault === "stall" ? 5 : 0)
  }

  const closing = said.some((each) => each.startsWith("close"))
  const broken = `closed 1006${at === 0 ? "" : " the stream ended inside a frame"}, ${closing ? "sent 1000, local" : "remote"}`
  if (fault === "reset") return outcome("IoError read ECONNRESET", 0)
  if (fault === "FIN") return outcome(broken, 0)
  if (fault === "stall") {
    const pings = said.includes("ping 00000001")
      ? ["ping 00000002", "ping 00000003"]
      : ["ping 00000001", "ping 00000002"]
    return closing ? outcome(broken, 5) : outcome("IoError read ETIMEDOUT", 30, pings)
  }
  const ruin = ruinOf(role, line, at)
  const failed = outcome(`ProtocolError remote ${ruin.code}`, 0, [
    ...ruin.answers,
    ...(closing ? [] : [`close ${ruin.code}`])
  ])
  return { ...failed, received: [...received, ...ruin.received] }
}

// ------------------------------------------------------------------- the suite

/** The offsets that are tried, of all that there are. */
export type Choice = (lines: ReadonlyArray<Line>, by: "us" | "peer") => ReadonlyArray<number>

export const everyOffset: Choice = (lines, by) => Array.from({ length: sizeOf(lines, by) + 1 }, (_, offset) => offset)

/** Of the opening handshake, and the byte behind it: for an end that is the same as another from there on. */
export const everyOffsetOfTheHead: Choice = (lines, by) =>
  everyOffset(
    lines.filter(({ opcode }) => opcode === "head"),
    by
  )

/** For networks where our end can't know how far the peer has read. */
export const everyOffsetOfThePeer: Choice = (lines, by) => (by === "peer" ? everyOffset : someOffsets)(lines, by)

/** Somewhere in each line, and behind it. */
export const someOffsets: Choice = (lines, by) => {
  let at = 0
  return lines.flatMap((line) => {
    if (line.by !== by) return []
    at += line.size
    return [at - (line.size >> 1), at]
  })
}

/** Faults at all the bytes that are chosen. */
export const faultsSuite = <R>(
  name: string,
  test: <E>(title: string, body: Effect.Effect<unknown, E, R | Network | Scope.Scope>) => void,
  peers: Peers<R | Network>,
  choices: ReadonlyArray<readonly [end: End, fault: Fault, choose: Choice]>
): void => {
  describe(`${name}: at any byte of a conversation`, () => {
    for (const [end, fault, choose] of choices) {
      test(
        `${fault} is told as what it is, by both ends, in time (${end})`,
        onManualClock((clock) =>
          Effect.gen(function* () {
            const asked = {
              us: yield* stage(end, "us", peers, clock),
              peer: yield* stage(end, "peer", peers, clock)
            }
            const headSize = yield* sizeOfHead(asked.us, end)
            for (const closer of ["us", "peer"] as const) {
              const lines = conversation(roleOf(end), closer, headSize)
              for (const direction of ["in", "out"] as const) {
                for (const offset of choose(lines, direction === "in" ? "peer" : "us")) {
                  const moment = { direction, offset }
                  // Until its time comes, it makes no difference who will close.
                  const { received } = placeOf(lines, saidByPeer(lines, moment))
                  if (closer === "peer" && !received.includes("pong")) continue
                  const outcome = yield* play(asked[closer], end, lines, fault, moment)
                  const at = `${direction} ${offset}, ${closer} closes`
                  expect({ at, ...outcome }).toEqual({ at, ...expected(end, lines, closer, fault, moment) })
                }
              }
              // And the next one is served.
              const last = { direction: "in", offset: sizeOf(lines, "peer") } as const
              expect(yield* play(asked[closer], end, lines)).toEqual(expected(end, lines, closer, "FIN", last))
            }
          })
        )
      )
    }
  })
}
