// Numbers by chance that the same seed gives again.

export interface Random {
  /** Below a limit. */
  readonly below: (limit: number) => number
  readonly between: (least: number, most: number) => number
}

export const random = (seed: number): Random => {
  let state = seed | 0
  // mulberry32: one word of state is enough for dice.
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return { below, between: (least, most) => least + below(most - least + 1) }
}
