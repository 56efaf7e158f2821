// How much of a turn of the event loop one connection may take.
//
// What reads from a socket goes on while there is more, up to 32 times in a row. A peer that floods would so keep all others
// waiting: for 55,000 messages of 32 bytes at a time, which take some 40 ms.

/** Bytes that are worked on in a turn, before others have theirs. */
const mostInTurn = 256 * 1024

/** What a message costs beyond its bytes, in bytes of a large one. */
const messageCost = 256

// A read below this is all that there was, so that only larger ones need be counted.
const largeRead = 8 * 1024

/** Turns of the event loop in which somebody read much. */
let turns = 0
let counting = false

const nextTurn = (): void => {
  counting = false
  turns++
}

export class Share {
  private turn = -1
  private used = 0

  /** Counts a read; whether there should be no other in this turn. */
  isUsedUp(bytes: number, messages: number): boolean {
    if (bytes < largeRead) return false
    if (!counting) {
      counting = true
      setImmediate(nextTurn)
    }
    if (this.turn !== turns) this.used = 0
    this.turn = turns
    this.used += bytes + messages * messageCost
    return this.used >= mostInTurn
  }
}
