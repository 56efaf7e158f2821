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
  // Most connections have one reader, which waits once for each read. An array with an object each time cost a tenth of
  // what an echo of 16 bytes takes outside of the kernel.
  private first: Reader | undefined = undefined
  private wakeFirst: Wake | undefined = undefined
  private others: Array<Waiting> = nobody
  private enough = 8

  get some(): boolean {
    return this.first !== undefined
  }

  add(reader: Reader, wake: Wake): void {
    if (this.first === undefined || this.first === reader) {
      this.first = reader
      this.wakeFirst = wake
    } else {
      this.forget(reader)
      this.others.push({ reader, wake })
    }
  }

  wake(): void {
    const { others, wakeFirst } = this
    this.first = undefined
    this.wakeFirst = undefined
    this.others = nobody
    wakeFirst?.()
    for (const each of others) each.wake()
  }

  private forget(reader: Reader): void {
    const isOther = (each: Waiting) => each.reader !== reader
    if (this.others === nobody) this.others = []
    else if (this.others.length >= this.enough) {
      this.others = this.others.filter((each) => isOther(each) && each.reader.unsafePoll() === null)
      this.enough = Math.max(8, 2 * this.others.length)
    } else if (!this.others.every(isOther)) this.others = this.others.filter(isOther)
  }
}
