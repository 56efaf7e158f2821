// Our state machine, with what it sends checked on the way.

import { deflate } from "../../src/internal/deflate.js"
import { Connection } from "../../src/protocol/connection.js"
import type { MessageExtension } from "../../src/protocol/extension.js"
import * as Wire from "../../src/protocol/frame.js"
import { latin1, type Observation } from "./observe.js"
import { split } from "./random.js"
import type { Input } from "./stream.js"
import { walk } from "./walk.js"

export interface Ours extends Observation {
  /** The rule that was broken, if one was. */
  readonly rule: string
  /** How many bytes had been given when there was an outcome. */
  readonly consumed: number
}

/** `frames` has frames delivered instead of messages; they are put together here. */
export const ours = (input: Input, frames: boolean): Ours => {
  const heard: Array<string> = []
  const fragments: Array<Uint8Array> = []
  let opcode = 0
  const connection = new Connection(
    input.role,
    { maxMessageSize: input.maxMessageSize, maxFrameSize: input.maxMessageSize, maxFragments: input.maxFragments },
    {
      message: (message) => heard.push(typeof message === "string" ? `t${message}` : `b${latin1(message)}`),
      frame: (frame) => {
        if (frame.opcode === Wire.close) return
        if (frame.opcode === Wire.ping) heard.push(`i${latin1(frame.payload)}`)
        else if (frame.opcode === Wire.pong) heard.push(`o${latin1(frame.payload)}`)
        else {
          if (frame.opcode !== Wire.continuation) opcode = frame.opcode
          fragments.push(frame.payload)
          if (!frame.fin) return
          const whole = Buffer.concat(fragments.splice(0))
          heard.push(opcode === Wire.text ? `t${whole.toString("utf8")}` : `b${latin1(whole)}`)
        }
      },
      closing() {},
      pong: (payload) => {
        if (!frames) heard.push(`o${latin1(payload)}`)
      }
    },
    () => 0x01020304,
    codec(input)
  )
  connection.delivery = frames ? "frames" : "messages"
  let consumed = 0
  for (const chunk of split(input.bytes, input.cuts)) {
    consumed += chunk.length
    connection.receive(chunk)
    if (connection.outcome !== undefined) break
  }
  const { outcome } = connection
  const oversized = heard.find((event) => event.length - 1 > Math.max(125, input.maxMessageSize))
  if (oversized !== undefined) throw new Error(`a message of ${oversized.length - 1} was delivered`)
  const pongs = checkSent(connection)
  if (frames) {
    const pings = heard.filter((event) => event.startsWith("i")).map((event) => event.slice(1))
    if (pings.join() !== pongs.join()) throw new Error(`pings ${pings.join()} were answered by ${pongs.join()}`)
  } else {
    heard.push(...pongs.map((pong) => `i${pong}`))
  }
  if (outcome === undefined) return { heard, end: "open", rule: "", consumed }
  if (outcome._tag === "Closed") return { heard, end: `closed ${outcome.code} ${outcome.reason}`, rule: "", consumed }
  const { violation } = outcome
  return violation._tag === "Breach"
    ? { heard, end: `failed ${violation.closeCode}`, rule: violation.rule, consumed }
    : { heard, end: "failed 1009", rule: violation.which, consumed }
}

/** Pings stand at the end of what `ours` heard without `frames`: where among the messages they came isn't told. */
export const pingsLast = ({ heard, end }: Observation): Observation => ({
  heard: [...heard.filter((event) => !event.startsWith("i")), ...heard.filter((event) => event.startsWith("i"))],
  end
})

/** Only pongs and at most one Close at the end may have been sent; answers the pongs. */
const checkSent = (connection: Connection): ReadonlyArray<string> => {
  const sent = new Uint8Array(Buffer.concat(connection.output.take()))
  const { frames, partial } = walk(sent)
  const { outcome } = connection
  const last = frames.at(-1)
  const close = last?.opcode === Wire.close ? last : undefined
  const pongs = close === undefined ? frames : frames.slice(0, -1)
  const wellFormed =
    partial === undefined &&
    frames.every(({ fin, rsv, masked }) => fin && rsv === 0 && masked === (connection.role === "client")) &&
    pongs.every(({ opcode }) => opcode === Wire.pong)
  if (!wellFormed) throw new Error(`sent ${Buffer.from(sent).toString("hex")}`)
  const code =
    close === undefined || close.payload.length === 0 ? undefined : Buffer.from(close.payload).readUInt16BE(0)
  const due =
    outcome?._tag === "Closed"
      ? outcome.code === 1005
        ? undefined
        : outcome.code
      : outcome?.violation._tag === "Breach"
        ? outcome.violation.closeCode
        : 1009
  if ((close === undefined) !== (outcome === undefined))
    throw new Error("a Close is due with the outcome, and only then")
  if (outcome !== undefined && code !== due) throw new Error(`the Close says ${code} instead of ${due}`)
  return pongs.map(({ payload }) => latin1(payload))
}

/** The codec that the agreed parameters lead to, by way of the negotiation itself. */
const codec = ({ role, deflate: agreed }: Input): MessageExtension | undefined => {
  if (agreed === undefined) return undefined
  const has = (key: string) => agreed.params.some(([name]) => name === key)
  const support = deflate({
    serverNoContextTakeover: has("server_no_context_takeover"),
    clientNoContextTakeover: has("client_no_context_takeover")
  })
  const made = role === "server" ? support.accept(agreed)?.extension : support.confirm(agreed)
  if (made === undefined || typeof made === "string") throw new Error(`no agreement: ${JSON.stringify(agreed)}`)
  return made
}
