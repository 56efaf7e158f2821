import { describe, it } from "@effect/vitest"
import * as Frame from "effect-websocket/Frame"
import { FrameQueue } from "effect-websocket/internal/frameQueue"
import * as fc from "fast-check"
import { expect } from "vitest"

const { binary, continuation, text } = Frame.Opcode
const part = (opcode: Frame.Opcode, payload: string, fin = false) => Frame.make({ opcode, payload, fin })
const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString()

/** A queue with these frames, and what a piece is in words. */
const queueOf = (...frames: ReadonlyArray<Frame.Frame>) => {
  const queue = new FrameQueue()
  for (const frame of frames) queue.push(frame)
  return queue
}
const inWords = (piece: ReturnType<FrameQueue["takePiece"]>): string =>
  typeof piece === "object"
    ? `${piece.message} ${piece.text ? "text" : "bytes"} ${textOf(piece.bytes)}${piece.last ? "." : ""}`
    : String(piece)

describe("FrameQueue in pieces", () => {
  it("gives what is there of a message, frames joined, and whether more follows", () => {
    const queue = queueOf(part(text, "a"), part(continuation, "b"))
    expect(inWords(queue.takeFirstPiece())).toBe("1 text ab")
    expect(inWords(queue.takePiece(1))).toBe("undefined")
    queue.push(Frame.ping())
    expect(inWords(queue.takePiece(1))).toBe("undefined")
    queue.push(part(continuation, ""))
    expect(inWords(queue.takePiece(1))).toBe("1 text ")
    queue.push(part(continuation, "c", true))
    queue.push(part(binary, "d", true))
    expect(inWords(queue.takePiece(1))).toBe("1 text c.")
    expect(inWords(queue.takeFirstPiece())).toBe("2 bytes d.")
    expect(inWords(queue.takeFirstPiece())).toBe("undefined")
    expect(queue.weight).toBe(0)
  })

  it("begins with what an unlucky reader of whole messages had gathered", () => {
    const queue = queueOf(part(binary, "a"), part(continuation, "b"))
    expect(queue.takeMessage()).toBeUndefined()
    expect(inWords(queue.takeFirstPiece())).toBe("1 bytes ab")
    queue.push(part(continuation, "c", true))
    expect(inWords(queue.takePiece(1))).toBe("1 bytes c.")
  })

  it("gives that to a reader of frames, too, as one frame, though it is empty", () => {
    const queue = queueOf(part(text, "a"), part(continuation, "b"))
    expect(queue.takeMessage()).toBeUndefined()
    queue.push(part(continuation, "c", true))
    expect([queue.take(), queue.take(), queue.take()]).toEqual([
      part(text, "ab"),
      part(continuation, "c", true),
      undefined
    ])
    queue.push(part(binary, ""))
    expect(queue.takeMessage()).toBeUndefined()
    expect([queue.take(), queue.take()]).toEqual([part(binary, ""), undefined])
  })

  it("drops what is left of a message that was begun, whoever comes next, and whenever it comes", () => {
    const begun = {
      pieces: (queue: FrameQueue) => void queue.takeFirstPiece(),
      frames: (queue: FrameQueue) => void queue.take()
    }
    const next = {
      message: (queue: FrameQueue) => queue.takeMessage(),
      piece: (queue: FrameQueue) => {
        const piece = queue.takeFirstPiece()
        return piece === undefined ? undefined : textOf(piece.bytes)
      },
      frame: (queue: FrameQueue) => {
        const frame = queue.take()
        return frame === undefined ? undefined : textOf(frame.payload)
      }
    }
    for (const [how, begin] of Object.entries(begun)) {
      for (const [what, take] of Object.entries(next)) {
        if (how === "frames" && what === "frame") continue
        const queue = queueOf(part(text, "a"))
        begin(queue)
        queue.push(part(continuation, "b"))
        expect(take(queue)).toBeUndefined()
        expect(queue.weight).toBe(0)
        queue.push(part(continuation, "c"))
        queue.push(part(continuation, "d", true))
        queue.push(part(text, "next", true))
        expect(queue.takePiece(1)).toBe("skipped")
        expect(take(queue)).toBe("next")
      }
    }
  })

  it("gives control frames among what is dropped to a reader of frames", () => {
    const queue = queueOf(part(text, "a"))
    queue.takeFirstPiece()
    for (const frame of [part(continuation, "b"), Frame.ping("p"), part(continuation, "c", true)]) queue.push(frame)
    expect([queue.take(), queue.take()]).toEqual([Frame.ping("p"), undefined])
  })

  it("doesn't tell a reader of pieces that they were skipped when all was cleared", () => {
    const queue = queueOf(part(text, "a"))
    queue.takeFirstPiece()
    queue.push(part(continuation, "b"))
    queue.clear()
    expect(queue.takePiece(1)).toBeUndefined()
    expect(queue.weight).toBe(0)
  })

  it("agrees with the plainest model, in whatever ways it is used in turn", () => {
    const messages = fc.array(
      fc.record({ isText: fc.boolean(), parts: fc.array(fc.string({ maxLength: 3 }), { minLength: 1, maxLength: 4 }) }),
      { minLength: 1, maxLength: 8 }
    )
    const actions = fc.array(
      fc.constantFrom("arrive", "arrive", "arrive", "message", "first", "piece", "old", "frame", "control"),
      { maxLength: 60 }
    )
    fc.assert(
      fc.property(messages, actions, (sent, script) => {
        const queue = new FrameQueue()
        const coming = sent.flatMap(({ isText, parts }) =>
          parts.map((payload, index) =>
            part(index > 0 ? continuation : isText ? text : binary, payload, index === parts.length - 1)
          )
        )
        const model = new Model()
        let first = 0
        for (const action of script) {
          if (action === "arrive" || action === "control") {
            const frame = action === "control" ? Frame.ping() : coming.shift()
            if (frame === undefined) continue
            queue.push(frame)
            model.frames.push(frame)
          } else if (action === "message") {
            const message = queue.takeMessage()
            expect(typeof message === "object" ? textOf(message) : message).toBe(model.message())
          } else if (action === "first") {
            const piece = queue.takeFirstPiece()
            first = piece?.message ?? first
            expect(piece === undefined ? undefined : [textOf(piece.bytes), piece.last]).toEqual(model.first())
          } else if (action === "piece") {
            const piece = queue.takePiece(first)
            expect(typeof piece === "object" ? [textOf(piece.bytes), piece.last] : piece).toEqual(model.piece())
          } else if (action === "old") {
            expect(queue.takePiece(first - 1)).toBe("skipped")
          } else {
            const frame = queue.take()
            expect(frame === undefined ? undefined : [frame.opcode, textOf(frame.payload), frame.fin]).toEqual(
              model.frame()
            )
          }
          expect(queue.readable).toBe(model.frames.length > 0)
          expect(queue.weight).toBe(model.frames.reduce((sum, { payload }) => sum + payload.length + 64, 0))
        }
      }),
      { numRuns: 3000 }
    )
  })
})

/** The rules, written down once more, without a thought for cost. */
class Model {
  frames: Array<Frame.Frame> = []
  /** How the message under way is taken; what was gathered of it. */
  mode: "none" | "whole" | "pieces" | "frames" | "skip" = "none"
  gathered = ""
  opcode: number = text

  /** The next data frame. */
  private data(): Frame.Frame | undefined {
    for (;;) {
      const frame = this.frames.shift()
      if (frame === undefined || frame.opcode < Frame.Opcode.close) return frame
    }
  }

  private skip(): boolean {
    if (this.mode === "none" || this.mode === "whole") return true
    this.mode = "skip"
    for (;;) {
      const frame = this.data()
      if (frame === undefined) return false
      if (!frame.fin) continue
      this.mode = "none"
      return true
    }
  }

  /** Gathers what is there; answers whether there was anything, and the end. */
  private gather(): { readonly any: boolean; readonly end: boolean } {
    let any = false
    for (;;) {
      const frame = this.data()
      if (frame === undefined) return { any, end: false }
      any = true
      if (frame.opcode !== continuation) this.opcode = frame.opcode
      this.gathered += textOf(frame.payload)
      if (frame.fin) return { any, end: true }
    }
  }

  private flush(): string {
    const { gathered } = this
    this.gathered = ""
    return gathered
  }

  message(): string | undefined {
    if (!this.skip()) return undefined
    const { any, end } = this.gather()
    if (end) this.mode = "none"
    else if (any) this.mode = "whole"
    return end ? this.flush() : undefined
  }

  first(): [string, boolean] | undefined {
    if (!this.skip()) return undefined
    const had = this.mode === "whole"
    const { any, end } = this.gather()
    if (!had && !any) return undefined
    this.mode = end ? "none" : "pieces"
    return [this.flush(), end]
  }

  piece(): [string, boolean] | "skipped" | undefined {
    if (this.mode !== "pieces") return "skipped"
    const { any, end } = this.gather()
    if (!any) return undefined
    if (end) this.mode = "none"
    return [this.flush(), end]
  }

  frame(): [number, string, boolean] | undefined {
    if (this.mode === "whole") {
      this.mode = "frames"
      return [this.opcode, this.flush(), false]
    }
    for (;;) {
      const frame = this.frames.shift()
      if (frame === undefined) return undefined
      const { fin, opcode, payload } = frame
      if (opcode >= Frame.Opcode.close) return [opcode, textOf(payload), fin]
      const dropped: boolean = this.mode === "pieces" || this.mode === "skip"
      this.mode = fin ? "none" : dropped ? "skip" : "frames"
      if (!dropped) return [opcode, textOf(payload), fin]
    }
  }
}
