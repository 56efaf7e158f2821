// What was measured, as it is kept.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { folder } from "../build.js"
import { type Machine, machine } from "../machine.js"
import { median } from "../processes.js"
import type { Bench, Figure, Rounds } from "../workloads/bench.js"

export interface Measured extends Pick<Bench, "figures" | "group" | "name"> {
  readonly rounds: Rounds
}

export interface Results {
  readonly date: string
  readonly machine: Machine
  readonly rounds: number
  readonly seconds: number
  readonly measured: ReadonlyArray<Measured>
}

export const resultsOf = (
  measured: ReadonlyArray<Measured>,
  { rounds, seconds }: Pick<Results, "rounds" | "seconds">
): Results => ({ date: new Date().toISOString().slice(0, 10), machine: machine(), rounds, seconds, measured })

const performance = join(folder, "results/performance.json")

/** Keeps the last results, and those that the page is made of. */
export const keep = (results: Results, page: boolean): void => {
  mkdirSync(join(folder, "results"), { recursive: true })
  writeFileSync(page ? performance : join(folder, "results/latest.json"), `${JSON.stringify(rounded(results))}\n`)
}

export const kept = (): Results => JSON.parse(readFileSync(performance, "utf8"))

/** With as many digits as mean something. */
const rounded = (results: Results): unknown =>
  JSON.parse(JSON.stringify(results, (_, value) => (typeof value === "number" ? Number(value.toPrecision(5)) : value)))

/** The median of a figure, in the unit of its title. */
export const figureOf = ({ rounds }: Measured, server: string, { key, unit }: Figure): number =>
  median((rounds[server] ?? []).flatMap((round) => finite(round[key]))) * unit

/**
 * How many times better a server is than another, by what they are compared by: the median of the rounds' ratios, for
 * what disturbs a round disturbs both.
 */
export const ratioOf = ({ figures: [figure], rounds }: Measured, server: string, other: string): number => {
  const ratios = (rounds[server] ?? []).flatMap((round, index) => {
    const [mine, theirs] = [finite(round[figure.key]), finite(rounds[other]?.[index]?.[figure.key])]
    const ratio = Number(theirs[0] ?? Number.NaN) / Number(mine[0] ?? Number.NaN)
    return finite(figure.better === "less" ? ratio : 1 / ratio)
  })
  return median(ratios)
}

const finite = (value: number | null | undefined): ReadonlyArray<number> =>
  typeof value === "number" && Number.isFinite(value) ? [value] : []

export const amount = (value: number): string =>
  Number.isFinite(value)
    ? value >= 1000
      ? Math.round(value).toLocaleString("en-US")
      : value >= 100
        ? value.toFixed(0)
        : value >= 10
          ? value.toFixed(1)
          : value.toFixed(2)
    : ""
