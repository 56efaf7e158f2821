// First in, first out. What was taken is let go of at once, and costs the same however much waits.

const compactAt = 1024

export class Fifo<A> {
  private items: Array<A | undefined> = []
  private head = 0

  get length(): number {
    return this.items.length - this.head
  }

  push(item: A): void {
    this.items.push(item)
  }

  peek(): A | undefined {
    return this.items[this.head]
  }

  shift(): A | undefined {
    const item = this.items[this.head]
    if (item === undefined) return undefined
    this.items[this.head++] = undefined
    if (this.head === this.items.length) {
      this.clear()
    } else if (this.head >= compactAt && this.head * 2 >= this.items.length) {
      // One that never quite empties must not let the holes pile up in front.
      this.items = this.items.slice(this.head)
      this.head = 0
    }
    return item
  }

  /** Takes the first item that a condition holds for. */
  take(condition: (item: A) => boolean): A | undefined {
    const first = this.peek()
    if (first === undefined || condition(first)) return this.shift()
    const at = this.items.findIndex((item, index) => index >= this.head && item !== undefined && condition(item))
    return at < 0 ? undefined : this.items.splice(at, 1)[0]
  }

  clear(): void {
    this.items = []
    this.head = 0
  }
}
