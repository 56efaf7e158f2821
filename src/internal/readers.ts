// Who waits for something to be received.

export type Wake = () => void

/** Who waits: a fiber, of which is to be known whether it still can. */
export interface Reader {
  readonly unsafePoll: () => unknown
}

interface Waiting {
  readonly reader: Reader
  readonly wake: Wake
}

/** Never pushed into. */
const nobody: Array<Waiting> = []

/**
 * Readers to be woken, all at once. One that was interrupted isn't taken out, which would cost each wait more than the
 * wait itself: to wake it does nothing, it is replaced when it waits again, and it is dropped when it is over.
 */
export class Readers {
  private waiting = nobody
  private enough = 8

  get some(): boolean {
    return this.waiting.length > 0
  }

  add(reader: Reader, wake: Wake): void {
    if (this.waiting.length > 0) this.forget(reader)
    // One that is pushed into makes room for seventeen, and most connections have one reader.
    if (this.waiting.length === 0) this.waiting = [{ reader, wake }]
    else this.waiting.push({ reader, wake })
  }

  wake(): void {
    const { waiting } = this
    this.waiting = nobody
    for (const each of waiting) each.wake()
  }

  private forget(reader: Reader): void {
    const isOther = (each: Waiting) => each.reader !== reader
    if (this.waiting.length < this.enough) {
      if (!this.waiting.every(isOther)) this.waiting = this.waiting.filter(isOther)
      return
    }
    this.waiting = this.waiting.filter((each) => isOther(each) && each.reader.unsafePoll() === null)
    this.enough = Math.max(8, 2 * this.waiting.length)
  }
}
