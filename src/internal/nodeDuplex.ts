// A Node stream over any flow: for what speaks to streams only, such as node:tls.

import { Duplex } from "node:stream"
import { type Flow, silent } from "../Flow.js"

type Written = (error?: Error | null) => void

/** Takes the flow over, and destroys it when the stream is destroyed. Half open, as flows are. */
export class FlowDuplex extends Duplex {
  private waiting: Written | undefined

  constructor(private readonly flow: Flow) {
    super()
    flow.attach({
      data: (bytes) => {
        if (!this.push(bytes)) flow.pause()
      },
      end: () => {
        this.push(null)
      },
      drain: () => this.written(),
      close: (error) => {
        this.destroy(error)
      }
    })
  }

  override _read(): void {
    this.flow.resume()
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, done: Written): void {
    // One chunk at a time: the stream holds the next one back until this one has left.
    this.waiting = done
    if (this.flow.write(chunk, false)) this.written()
  }

  override _final(done: Written): void {
    this.flow.end()
    done()
  }

  override _destroy(error: Error | null, done: Written): void {
    this.flow.attach(silent)
    this.flow.destroy()
    done(error)
  }

  private written(): void {
    const done = this.waiting
    this.waiting = undefined
    done?.()
  }
}
