import { describe, it } from "@effect/vitest"
import * as Frame from "effect-websocket/Frame"
import { FrameQueue } from "effect-websocket/internal/frameQueue"
import { expect } from "vitest"

describe("FrameQueue", () => {
  const part = (opcode: Frame.Opcode, payload: string, fin: boolean) => Frame.make({ opcode, payload, fin })

  it("gives frames in order, and weighs what it holds", () => {
    const queue = new FrameQueue()
    const frames = [Frame.text("a"), Frame.ping(), Frame.binary(new Uint8Array(1000))]
    for (const frame of frames) queue.push(frame)
    expect(queue.weight).toBeGreaterThan(1001)
    expect([queue.take(), queue.take(), queue.take(), queue.take()]).toEqual([...frames, undefined])
    expect(queue.weight).toBe(0)
    expect(queue.readable).toBe(false)
  })

  it("makes messages of frames, passing control frames over", () => {
    const queue = new FrameQueue()
    queue.push(part(Frame.Opcode.text, "he", false))
    queue.push(Frame.ping("x"))
    queue.push(part(Frame.Opcode.continuation, "llo", true))
    queue.push(Frame.binary(Uint8Array.of(1)))
    queue.push(Frame.pong())
    expect([queue.takeMessage(), queue.takeMessage(), queue.takeMessage()]).toEqual([
      "hello",
      Uint8Array.of(1),
      undefined
    ])
    expect(queue.weight).toBe(0)
  })

  it("keeps a character that is cut by fragments", () => {
    const queue = new FrameQueue()
    const [first = 0, second = 0] = new TextEncoder().encode("é")
    queue.push({ ...part(Frame.Opcode.text, "", false), payload: Uint8Array.of(first) })
    queue.push({ ...part(Frame.Opcode.continuation, "", true), payload: Uint8Array.of(second) })
    expect(queue.takeMessage()).toBe("é")
  })

  it("goes on with half a message when the other half is there", () => {
    const queue = new FrameQueue()
    queue.push(part(Frame.Opcode.text, "half", false))
    expect(queue.takeMessage()).toBeUndefined()
    queue.push(part(Frame.Opcode.continuation, " and half", true))
    expect(queue.takeMessage()).toBe("half and half")
  })

  it("takes messages as one frame each", () => {
    const queue = new FrameQueue()
    queue.pushMessage("text")
    queue.pushMessage(Uint8Array.of(1, 2))
    expect([queue.take(), queue.take()]).toEqual([Frame.text("text"), Frame.binary(Uint8Array.of(1, 2))])
  })

  it("holds nothing after clear, not even half a message", () => {
    const queue = new FrameQueue()
    queue.push(part(Frame.Opcode.text, "half", false))
    queue.takeMessage()
    queue.push(Frame.ping())
    queue.clear()
    expect([queue.readable, queue.weight]).toEqual([false, 0])
    queue.push(Frame.text("whole"))
    expect(queue.takeMessage()).toBe("whole")
  })
})
