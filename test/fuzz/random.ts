// Random numbers from a seed: the same seed gives the same run on every machine.

export class Random {
  private state: number

  constructor(seed: number) {
    // Neighbouring seeds must not give neighbouring streams.
    this.state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 0
    this.uint32()
    this.uint32()
  }

  uint32(): number {
    this.state = (this.state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }

  /** 0 to `below` - 1. */
  int(below: number): number {
    return this.uint32() % below
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.uint32() % n === 0
  }

  pick<A>(values: readonly [A, ...ReadonlyArray<A>]): A {
    return values[this.int(values.length)] ?? values[0]
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at++) bytes[at] = this.uint32()
    return bytes
  }

  /** Places to cut `length` bytes at, ascending; perhaps none, perhaps every one. */
  cuts(length: number): ReadonlyArray<number> {
    if (length < 2) return []
    const cuts = new Set<number>()
    switch (this.int(8)) {
      case 0:
      case 1:
        break
      case 2:
        if (length <= 600) for (let at = 1; at < length; at++) cuts.add(at)
        break
      default:
        for (let count = 1 + this.int(6); count > 0; count--) cuts.add(1 + this.int(length - 1))
    }
    return [...cuts].sort((a, b) => a - b)
  }
}

/** Cuts bytes into chunks of their own memory, as a socket would bring them. */
export const split = (bytes: Uint8Array, cuts: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const ends = [...cuts, bytes.length]
  let start = 0
  return ends.map((end) => {
    const chunk = bytes.slice(start, end)
    start = end
    return chunk
  })
}
