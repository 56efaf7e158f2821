// What the protocol core answers instead of throwing.

/** A rule was broken: the code that the Close frame carries, and the rule in words. */
export interface Breach {
  readonly _tag: "Breach"
  readonly closeCode: number
  readonly rule: string
}

/** A limit was crossed. The close code is 1009. */
export interface Excess {
  readonly _tag: "Excess"
  readonly which: "message size" | "frame size" | "fragments per message"
  readonly limit: number
  readonly size: number
}

export type Violation = Breach | Excess

export const breach = (closeCode: number, rule: string): Breach => ({ _tag: "Breach", closeCode, rule })

export const excess = (which: Excess["which"], limit: number, size: number): Excess => ({
  _tag: "Excess",
  which,
  limit,
  size
})
