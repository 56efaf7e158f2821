// What a process of the load generator does when it is told to.

/** Connections that are open, and what can be done with them again and again. */
export interface Session {
  /** For whoever is to connect to it. */
  readonly port?: number | undefined
  readonly run: (seconds: number) => Promise<Ran>
  readonly close: () => void
}

export interface Ran {
  /** All that came back, until the last one had. */
  readonly messages: number
  readonly seconds: number
  /** Bytes that came back, where their number is of interest. */
  readonly bytes?: number | undefined
  /** Microseconds from sending to the echo, where they were measured. */
  readonly latencies?: Readonly<Record<string, number>> | undefined
}

/**
 * Rounds of messages, on many connections at once: each goes on when its last round has come back, until the
 * time is over. A run is over when nothing is under way any more, so that what a server used for it is known exactly.
 */
export class Rounds {
  private messages = 0
  private running = false
  private busy = 0
  private finish = () => {}
  private failed: Error | undefined

  /** A round has come back, of so many messages. */
  back(messages: number, again: () => void): void {
    this.messages += messages
    if (this.running) again()
    else if (--this.busy === 0) this.finish()
  }

  /** Something went wrong. Means nothing between two runs. */
  fail(message: string): void {
    if (this.busy === 0) return
    this.failed ??= new Error(message)
    this.finish()
  }

  async run(seconds: number, senders: ReadonlyArray<() => void>): Promise<Ran> {
    this.messages = 0
    this.running = true
    this.busy = senders.length
    const over = new Promise<void>((resolve) => {
      this.finish = resolve
    })
    const start = performance.now()
    for (const send of senders) send()
    const timer = setTimeout(() => {
      this.running = false
    }, seconds * 1000)
    await over
    clearTimeout(timer)
    this.busy = 0
    if (this.failed !== undefined) throw this.failed
    return { messages: this.messages, seconds: (performance.now() - start) / 1000 }
  }
}

/** Of times in milliseconds, in microseconds. */
export const percentiles = (times: ReadonlyArray<number>): Readonly<Record<string, number>> => {
  const sorted = Float64Array.from(times).sort()
  const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 1000
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), "p99.9": at(0.999) }
}
