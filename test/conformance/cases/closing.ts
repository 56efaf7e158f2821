import { Effect } from "effect"
import { type Bytes, close, closePayload, firstByte, frame, join, op, ping, pong, raw, start, text } from "../bytes.js"
import type { ConnectionCase, Ending, Roles, Step } from "../model.js"
import {
  act,
  brokenOff,
  closedByPeer,
  closedByUs,
  closeFor,
  closes,
  endingFor,
  peerEnds,
  peerResets,
  quiet,
  refused,
  see,
  send,
  sendDeciding,
  tcpEnds,
  timeRunsOut,
  weEndTcp
} from "../model.js"
import * as offence from "../offences.js"

const registered: ReadonlyArray<readonly [code: number, name: string]> = [
  [1000, "normal closure"],
  [1001, "going away"],
  [1002, "protocol error"],
  [1003, "unsupported data"],
  [1007, "invalid payload"],
  [1008, "policy violation"],
  [1009, "message too big"],
  [1010, "mandatory extension"],
  [1011, "internal error"],
  [1012, "service restart, of the registry"],
  [1013, "try again later, of the registry"],
  [1014, "bad gateway, of the registry"],
  [3000, "the first for libraries; in the registry: unauthorized"],
  [3003, "in the registry: forbidden"],
  [3008, "in the registry: timeout"],
  [3999, "the last for libraries"],
  [4000, "the first for private use"],
  [4999, "the last for private use"]
]

const legalCodes: ReadonlyArray<ConnectionCase> = registered.map(([code, name]) =>
  closes(
    `code-${code}`,
    "5.5.1, 7.4",
    `${code} (${name}) is legal, and answered with the same code`,
    close(code),
    close(code),
    closedByPeer(code)
  )
)

const illegalCodes: ReadonlyArray<ConnectionCase> = [
  [0, "below 1000"] as const,
  [1, "below 1000"] as const,
  [999, "below 1000"] as const,
  [1004, "reserved"] as const,
  [1005, "stands for no code"] as const,
  [1006, "stands for no Close"] as const,
  [1015, "stands for a failed TLS handshake"] as const,
  [1016, "not assigned"] as const,
  [1100, "not assigned"] as const,
  [1999, "not assigned"] as const,
  [2000, "for extensions, none negotiated"] as const,
  [2999, "for extensions, none negotiated"] as const,
  [5000, "above 4999"] as const,
  [32_768, "above 4999"] as const,
  [65_535, "above 4999"] as const
].map(([code, why]) =>
  refused(`code-${code}`, "7.4", `${code} isn't legal in a Close: ${why}`, close(code), offence.closeCode(code))
)

const payloads: ReadonlyArray<ConnectionCase> = [
  closes(
    "empty",
    "5.5.1, 7.1.5",
    "a Close without a code is answered by one without a code, and told as 1005",
    close(),
    close(),
    closedByPeer(1005)
  ),
  refused(
    "one-byte",
    "5.5.1",
    "a Close with one byte of payload is refused on its declared length",
    start(op.close, 1),
    offence.shortClose
  ),
  closes(
    "reason",
    "5.5.1, 7.1.6",
    "a reason is told to the application, and not sent back",
    close(4321, "so long – und danke"),
    close(4321),
    closedByPeer(4321, "so long – und danke")
  ),
  closes(
    "longest-reason",
    "5.5, 5.5.1",
    "a reason of 123 bytes fills the frame",
    close(1000, "x".repeat(123)),
    close(1000),
    closedByPeer(1000, "x".repeat(123))
  ),
  refused(
    "reason-too-long",
    "5.5",
    "a reason of 124 bytes makes the frame too long",
    (peer) => start(op.close, 126)(peer).subarray(0, 2),
    offence.longControl
  ),
  refused(
    "bad-code-before-bad-reason",
    "7.4",
    "of a bad code and a bad reason the code counts",
    frame(op.close, closePayload(1005, Uint8Array.of(0xff))),
    offence.closeCode(1005)
  )
]

const afterwards: ReadonlyArray<readonly [name: string, rule: string, bytes: Bytes]> = [
  ["data", "data after a Close is ignored", join(text("late"), text("later"))],
  ["ping", "a ping after a Close isn't answered", ping("late")],
  ["second-close", "a second Close is ignored", close(1001)],
  ["breach", "what breaks the protocol after a Close is ignored", raw("ffffffff")],
  ["half-a-frame", "a frame after a Close that never ends is ignored", start(op.binary, 1000)]
]

const afterClose: ReadonlyArray<ConnectionCase> = afterwards.map(([name, rule, bytes]) => ({
  receivesLate: true,
  ...closes(`then-${name}`, "1.4, 5.5.1", rule, join(text("in time"), close(1000)), close(1000), closedByPeer(1000), {
    messages: ["in time"],
    ignored: bytes
  })
}))

const afterFailure: ReadonlyArray<ConnectionCase> = afterwards.map(([name, , bytes]) => ({
  receivesLate: true,
  ...refused(
    `failed-then-${name}`,
    "7.1.7",
    `after a breach nothing more is processed: ${name}`,
    firstByte(3),
    offence.reservedOpcode(3),
    { ignored: bytes }
  )
}))

const scripted = (
  id: string,
  section: string,
  rule: string,
  outcome: string,
  steps: ReadonlyArray<Step>,
  ending: Ending,
  { messages = [], roles = "both" }: { readonly messages?: ReadonlyArray<string>; readonly roles?: Roles } = {}
): ConnectionCase => ({ id, section, rule, roles, outcome, steps, ending, messages })

const closeNow = (code?: number, reason?: string) => act((socket) => socket.close(code, reason))

const ours: ReadonlyArray<ConnectionCase> = [
  scripted(
    "ours",
    "5.5.1, 7.1.2",
    "our Close, answered: a clean end; the server closes TCP first",
    "closed with 1000",
    [closeNow(), see(close(1000)), quiet, sendDeciding(close(1000)), tcpEnds],
    closedByUs(1000, 1000)
  ),
  scripted(
    "ours-with-reason",
    "5.5.1",
    "our Close carries code and reason; the answer may have another code",
    "closed with 3001",
    [closeNow(4000, "ça suffit"), see(close(4000, "ça suffit")), sendDeciding(close(3001, "so do I")), tcpEnds],
    closedByUs(4000, 3001, "so do I")
  ),
  scripted(
    "ours-answered-without-code",
    "5.5.1, 7.1.5",
    "our Close, answered without a code",
    "closed with 1005",
    [closeNow(), see(close(1000)), sendDeciding(close()), tcpEnds],
    closedByUs(1000, 1005)
  ),
  scripted(
    "ours-then-data",
    "5.5.1, 7.1.2",
    "messages that come between our Close and the peer's are delivered",
    "closed with 1000",
    [closeNow(), see(close(1000)), send(text("on its way"), ping("unanswered"), pong("x"), close(1000)), tcpEnds],
    closedByUs(1000, 1000),
    { messages: ["on its way"] }
  ),
  scripted(
    "ours-only-once",
    "5.5.1",
    "after our Close we send nothing more: no data, no ping, no second Close",
    "closed with 1000",
    [
      closeNow(),
      act((socket) => Effect.ignore(socket.send("late"))),
      act((socket) => Effect.ignore(socket.sendPing())),
      closeNow(4000),
      see(close(1000)),
      send(ping()),
      quiet,
      sendDeciding(close(1000)),
      tcpEnds
    ],
    closedByUs(1000, 1000)
  ),
  scripted(
    "both-at-once",
    "7.1.2, 7.1.3",
    "both sides send a Close at once: each is the answer to the other",
    "closed with 4001",
    [closeNow(4000), send(close(4001)), see(close(4000)), tcpEnds],
    closedByUs(4000, 4001)
  ),
  scripted(
    "breach-after-ours",
    "5.5.1, 7.1.7",
    "a breach after our Close fails the connection without a second Close",
    "failed after our Close",
    [closeNow(), see(close(1000)), sendDeciding(firstByte(op.text, { rsv: 1 })), weEndTcp],
    endingFor(offence.reservedBits)
  ),
  scripted(
    "bad-close-after-ours",
    "5.5.1, 7.4",
    "so does a Close with a code that isn't legal",
    "failed after our Close",
    [closeNow(), see(close(1000)), sendDeciding(close(1006)), weEndTcp],
    endingFor(offence.closeCode(1006))
  )
]

const halfFrame = (peer: "client" | "server") => text("never whole")(peer).subarray(0, 9)

const withoutClose: ReadonlyArray<ConnectionCase> = [
  scripted(
    "fin-at-once",
    "7.1.5",
    "TCP ends without a Close: 1006",
    "broken off, 1006",
    [peerEnds, weEndTcp],
    brokenOff("remote")
  ),
  scripted(
    "fin-after-data",
    "7.1.5",
    "TCP ends after a message without a Close: the message, then 1006",
    "broken off, 1006",
    [send(text("last words")), peerEnds, weEndTcp],
    brokenOff("remote"),
    { messages: ["last words"] }
  ),
  scripted(
    "fin-in-frame",
    "7.1.5",
    "TCP ends inside a frame: 1006, and nothing of the frame",
    "broken off, 1006",
    [send(halfFrame), peerEnds, weEndTcp],
    brokenOff("remote", undefined, "the stream ended inside a frame")
  ),
  scripted(
    "fin-in-header",
    "7.1.5",
    "TCP ends inside a header: 1006",
    "broken off, 1006",
    [send(firstByte(op.binary)), peerEnds, weEndTcp],
    brokenOff("remote", undefined, "the stream ended inside a frame")
  ),
  scripted(
    "fin-in-message",
    "7.1.5",
    "TCP ends between the frames of a message: 1006, and nothing of the message",
    "broken off, 1006",
    [send(frame(op.text, "begun", { fin: false })), peerEnds, weEndTcp],
    brokenOff("remote")
  ),
  scripted(
    "fin-in-close",
    "7.1.5",
    "TCP ends inside a Close: 1006, whatever of the code was there",
    "broken off, 1006",
    [send((peer) => close(1000)(peer).subarray(0, -1)), peerEnds, weEndTcp],
    brokenOff("remote", undefined, "the stream ended inside a frame")
  ),
  scripted(
    "fin-after-ours",
    "7.1.4, 7.1.5",
    "TCP ends instead of an answer to our Close: 1006, not clean",
    "broken off, 1006",
    [closeNow(), see(close(1000)), peerEnds, weEndTcp],
    brokenOff("local", 1000)
  ),
  scripted(
    "fin-behind-close",
    "7.1.1",
    "a Close with the peer's FIN right behind it: answered all the same, and clean",
    "closed with 1000",
    [send(close(1000)), peerEnds, see(close(1000)), weEndTcp],
    closedByPeer(1000)
  ),
  scripted(
    "fin-behind-breach",
    "7.1.7",
    "a breach with the peer's FIN right behind it: the Close says what it was",
    "refused with 1002",
    [send(firstByte(5)), peerEnds, see(closeFor(offence.reservedOpcode(5))), weEndTcp],
    endingFor(offence.reservedOpcode(5))
  ),
  scripted(
    "reset",
    "7.1.5, 7.2.1",
    "a reset of TCP is told as what it is",
    "broken off, ECONNRESET",
    [send(text("last words")), quiet, peerResets],
    { _tag: "IoError", code: "ECONNRESET" },
    { messages: ["last words"] }
  )
]

const silence: ReadonlyArray<ConnectionCase> = [
  scripted(
    "no-answer",
    "7.1.1, 7.2.1",
    "our Close isn't answered: after closeTimeout TCP is dropped, 1006",
    "dropped in time",
    [closeNow(), see(close(1000)), quiet, timeRunsOut],
    brokenOff("local", 1000)
  ),
  scripted(
    "no-answer-but-data",
    "7.1.1, 7.2.1",
    "data instead of an answer doesn't prolong it",
    "dropped in time",
    [closeNow(), see(close(1000)), send(text("a"), ping("b"), halfFrame), quiet, timeRunsOut],
    brokenOff("local", 1000, "the stream ended inside a frame"),
    { messages: ["a"] }
  ),
  scripted(
    "no-end-of-tcp",
    "7.1.1",
    "after both Closes the peer leaves TCP open: after closeTimeout it is dropped, the end stays clean",
    "dropped in time",
    [send(close(1000)), see(close(1000)), timeRunsOut],
    closedByPeer(1000)
  ),
  scripted(
    "no-end-of-tcp-after-ours",
    "7.1.1",
    "so it is if the first Close was ours",
    "dropped in time",
    [closeNow(), see(close(1000)), send(close(1000)), timeRunsOut],
    closedByUs(1000, 1000)
  ),
  scripted(
    "no-end-of-tcp-after-failure",
    "7.1.7",
    "after a breach the peer leaves TCP open: after closeTimeout it is dropped",
    "dropped in time",
    [send(firstByte(6)), see(closeFor(offence.reservedOpcode(6))), timeRunsOut],
    endingFor(offence.reservedOpcode(6))
  )
]

const whoEndsTcp: ReadonlyArray<ConnectionCase> = [
  scripted(
    "server-ends-tcp",
    "7.1.1",
    "a server ends TCP right behind the Close that it answers with",
    "server first",
    [sendDeciding(close(1000)), see(close(1000)), weEndTcp],
    closedByPeer(1000),
    { roles: "server" }
  ),
  scripted(
    "server-ends-tcp-after-ours",
    "7.1.1",
    "a server that began ends TCP when the answer is there, not before",
    "server first",
    [closeNow(), see(close(1000)), quiet, sendDeciding(close(1000)), weEndTcp],
    closedByUs(1000, 1000),
    { roles: "server" }
  ),
  scripted(
    "client-waits",
    "7.1.1",
    "a client leaves TCP open after both Closes, until the server ends it",
    "server first",
    [sendDeciding(close(1000)), see(close(1000)), quiet, peerEnds, weEndTcp],
    closedByPeer(1000),
    { roles: "client" }
  ),
  scripted(
    "client-waits-after-ours",
    "7.1.1",
    "so does a client that began",
    "server first",
    [closeNow(), see(close(1000)), sendDeciding(close(1000)), quiet, peerEnds, weEndTcp],
    closedByUs(1000, 1000),
    { roles: "client" }
  )
]

export const closing = [
  ...legalCodes,
  ...illegalCodes,
  ...payloads,
  ...afterClose,
  ...afterFailure,
  ...ours,
  ...withoutClose,
  ...silence,
  ...whoEndsTcp
]
