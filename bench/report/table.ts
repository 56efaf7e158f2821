// A workload's results for a terminal.

import { amount, figureOf, type Measured, ratioOf } from "./results.js"

/** `reference` tells what a server is compared with. */
export const printed = (measured: Measured, reference: (server: string) => string): string => {
  const { figures, name, rounds } = measured
  const [first, ...more] = figures
  const rows = Object.keys(rounds).map((server) => [
    server,
    amount(figureOf(measured, server, first)),
    times(ratioOf(measured, server, reference(server))),
    ...more.map((figure) => amount(figureOf(measured, server, figure)))
  ])
  const head = ["", first.title, "times better", ...more.map(({ title }) => title)]
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0), 8))
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(10) : cell.padStart(widths[column] ?? 0))).join("  ")
  return [name, line(head), ...rows.map(line), ""].join("\n")
}

export const times = (ratio: number): string => (Number.isFinite(ratio) ? `${ratio.toFixed(2)} x` : "")
