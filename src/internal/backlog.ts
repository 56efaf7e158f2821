// What is counted of a connection's traffic.

/** What is counted, once for each read and each write, so that counting costs nothing per message. */
export interface Meter {
  readonly received: (messages: number, bytes: number) => void
  readonly sent: (messages: number, bytes: number) => void
  /** So many bytes more wait for a slow peer; fewer, if it is negative. */
  readonly queued: (change: number) => void
  /** The peer has taken what waited, or is gone: so much it was at the most. */
  readonly caughtUp: (peak: number) => void
}

/** Bytes that wait for a slow peer. */
export class Backlog {
  private bytes = 0
  /** The most since none waited. */
  private peak = 0

  constructor(private readonly meter: Meter) {}

  /** So many bytes wait now. */
  is(bytes: number): void {
    if (bytes === this.bytes) return
    this.meter.queued(bytes - this.bytes)
    this.bytes = bytes
    this.peak = Math.max(this.peak, bytes)
    if (bytes > 0) return
    this.meter.caughtUp(this.peak)
    this.peak = 0
  }
}
