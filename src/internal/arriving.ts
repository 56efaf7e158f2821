// A flow that has come in, until its request is read. Most of what a server is asked for needs no
// fiber: to read a request in one took a fifth of a handshake.

import type * as Clock from "effect/Clock"
import * as Flow from "../Flow.js"
import { type Complete, type HeadReader, type Refusal, type RequestHead, refusalOf } from "../protocol/head.js"
import type { IoError } from "../WebSocketError.js"
import { Timer } from "./timers.js"

/** What came of it: the request, a refusal of what is none, or nothing, since the client went. */
export type Arrived = Complete<RequestHead> | Refusal | IoError | undefined

export class Arrival extends Timer implements Flow.Handler {
  /** The reader copies what it keeps. */
  readonly borrows = true

  constructor(
    clock: Clock.Clock,
    readonly flow: Flow.Flow,
    /** What counts it out again. */
    readonly leaves: Array<() => void>,
    private readonly reader: HeadReader<RequestHead>,
    timeout: number,
    private readonly arrived: (what: Arrived, arrival: Arrival) => void
  ) {
    super(clock)
    this.begin(timeout)
    flow.attach(this)
    flow.resume()
  }

  data(bytes: Uint8Array): void {
    const read = this.reader.push(bytes)
    if (read !== undefined) this.settle(read)
  }

  end(): void {
    this.settle(undefined)
  }

  drain(): void {}

  close(error: IoError | undefined): void {
    this.settle(error)
  }

  look(): undefined {
    this.settle(refusalOf(408, "no whole request came in time"))
  }

  private settle(what: Arrived): void {
    if (this.stopped) return
    this.stop()
    this.arrived(what, this)
  }

  /** Lets go of it, since the server ends. */
  cancel(): void {
    this.stop()
    this.release()
    for (const leave of this.leaves) leave()
    this.flow.destroy()
  }

  /** Leaves the flow paused, for whoever goes on with it. */
  release(): void {
    this.flow.pause()
    this.flow.attach(Flow.silent)
  }
}
