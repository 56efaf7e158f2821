import { deflateRawSync } from "node:zlib"
import { describe, it } from "@effect/vitest"
import { Either } from "effect"
import * as Frame from "effect-websocket/Frame"
import { Engine } from "effect-websocket/internal/engine"
import { expect } from "vitest"
import { codecs } from "../fixtures/deflating.js"
import { unmetered } from "../fixtures/meter.js"
import { ScriptedFlow } from "../fixtures/scriptedFlow.js"

const mebibyte = 1024 * 1024

/** A flow that keeps what is put back, and delivers it when it is resumed. */
class PuttingBack extends ScriptedFlow {
  back = new Uint8Array(0)
  override unshift(bytes: Uint8Array = new Uint8Array(0)): void {
    if (this.resumed) throw new Error("unshift while resumed")
    this.back = new Uint8Array(bytes)
  }
}

describe("what one read of the socket inflates to", () => {
  it("is bounded by the receive buffer and the largest message, and nothing of it is lost", () => {
    const flow = new PuttingBack()
    const engine = new Engine(
      flow,
      {
        role: "server",
        maxMessageSize: mebibyte,
        maxFrameSize: mebibyte,
        maxFragments: 10,
        receiveBufferSize: 64 * 1024,
        sendBufferSize: 64 * 1024,
        fragmentSize: Number.POSITIVE_INFINITY,
        slowConsumer: "suspend",
        nextKey: () => 0,
        extension: codecs({ threshold: 0 }).server,
        meter: unmetered
      },
      () => {},
      () => {}
    )
    engine.start(new Uint8Array(0))
    // Zeros compress a thousandfold: each message is about 1 KiB on the wire.
    const payload = deflateRawSync(new Uint8Array(mebibyte), { finishFlush: 2 }).subarray(0, -4)
    const message = Either.getOrThrow(
      Frame.encode({ opcode: Frame.Opcode.binary, rsv: 4, fin: true, payload: new Uint8Array(payload) }, "client", 0)
    )
    const count = 60
    flow.back = new Uint8Array(Buffer.concat(Array.from({ length: count }, () => message)))
    let received = 0
    let reads = 0
    let most = 0
    while (flow.back.length > 0) {
      const bytes = flow.back
      flow.back = new Uint8Array(0)
      flow.handler.data(bytes)
      reads++
      most = Math.max(most, engine.weight)
      for (const taken of engine.takeAll()) received += taken.length
      expect(flow.resumed).toBe(true)
    }
    expect(received).toBe(count * mebibyte)
    expect(most).toBeLessThan(3 * mebibyte)
    expect(reads).toBeGreaterThan(count / 3)
  })
})
