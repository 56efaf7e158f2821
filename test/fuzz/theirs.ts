// The receiver of `ws`. It is given all bytes at once: how it takes cuts is not what is tested.

import { PerMessageDeflate, Receiver } from "ws"
import { latin1, type Observation } from "./observe.js"
import type { Input } from "./stream.js"

export const theirs = async (input: Input): Promise<Observation> => {
  const isServer = input.role === "server"
  const deflate = input.deflate === undefined ? undefined : codec(input.deflate, isServer, input.maxMessageSize)
  const receiver = new Receiver({
    isServer,
    maxPayload: input.maxMessageSize,
    maxFragments: input.maxFragments,
    extensions: deflate === undefined ? {} : { "permessage-deflate": deflate }
  })
  const heard: Array<string> = []
  let end = "open"
  receiver.on("message", (data: Buffer, binary: boolean) => {
    heard.push(binary ? `b${latin1(data)}` : `t${data.toString("utf8")}`)
  })
  receiver.on("ping", (data: Buffer) => heard.push(`i${latin1(data)}`))
  receiver.on("pong", (data: Buffer) => heard.push(`o${latin1(data)}`))
  receiver.on("conclude", (code: number, reason: Buffer) => {
    end = `closed ${code} ${reason.toString("utf8")}`
  })
  const error = await new Promise<Error | null | undefined>((answered) => {
    receiver.on("conclude", () => answered(undefined))
    // The stream's own queue is left out: it only adds ticks.
    receiver._write(Buffer.from(input.bytes), "utf8", answered)
  })
  if (error) end = `failed ${statusOf(error)}`
  deflate?.cleanup()
  return { heard, end }
}

const statusOf = (error: Error): unknown => {
  const status = Object.getOwnPropertySymbols(error).find(({ description }) => description === "status-code")
  return status === undefined ? error.message : Reflect.get(error, status)
}

const codec = (agreed: NonNullable<Input["deflate"]>, isServer: boolean, maxPayload: number): PerMessageDeflate => {
  const deflate = new PerMessageDeflate({ isServer, maxPayload })
  deflate.accept([Object.fromEntries(agreed.params.map(([key, value]) => [key, [value ?? true]]))])
  return deflate
}
