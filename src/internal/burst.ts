// When what is sent outside of a read leaves: not before fibers have gone on that yield, or wait for each other.

/** Who has something to write. */
interface Writer {
  /** Writes it. */
  uncork(): void
}

/**
 * Effect's scheduler runs fibers that yield, or that others wake, in one microtask after the other, and a promise takes up to
 * three. A write for each of them is what a message would cost: of 32 that come at once, each echoed after a
 * yield, one takes 5 us in place of 20.
 */
const quietTurns = 4

/**
 * A fiber that computes yields after some 2,000 steps, half a millisecond, and the event loop may not turn for a second.
 * What is sent meanwhile doesn't wait for that.
 */
const mostTurns = 64

const settled = Promise.resolve()

class Burst {
  private writers: Array<Writer> = []
  private turns = 0
  private quiet = 0

  /** Has it written, soon. */
  add(writer: Writer): void {
    this.quiet = 0
    if (this.writers.push(writer) === 1) this.nextTurn()
  }

  /** One of those who were added has more to write. */
  goOn(): void {
    this.quiet = 0
  }

  private nextTurn(): void {
    settled.then(this.turn)
  }

  private readonly turn = (): void => {
    this.turns++
    this.quiet++
    if (this.quiet <= quietTurns && this.turns < mostTurns) {
      this.nextTurn()
      return
    }
    const { writers } = this
    this.writers = []
    this.turns = 0
    for (const writer of writers) {
      try {
        writer.uncork()
      } catch (defect) {
        // A stream that throws, though none should, is one connection's trouble: the others are written all the same.
        Promise.reject(defect)
      }
    }
  }
}

/** One for all connections: what a message to each of them costs is one chain of microtasks. */
export const burst = new Burst()
