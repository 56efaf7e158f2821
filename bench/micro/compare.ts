// Alternatives for one small thing, in turn, and a table of what each takes.

/** Does the thing so many times. */
export type Work = (times: number) => void | Promise<void>

export interface Part {
  readonly title: string
  /** Why the chosen one was chosen. */
  readonly why: string
  readonly columns: ReadonlyArray<string>
  /** For each alternative, what to do in each column; the library's own has a star. */
  readonly alternatives: Readonly<Record<string, ReadonlyArray<Work | undefined>>>
}

const rounds = 15
const roundMilliseconds = 8

/** So that no result is thrown away as one that nobody needs. */
export const sink: { value: unknown } = { value: undefined }

/** Does something synchronous again and again. */
export const repeat =
  (once: () => unknown): Work =>
  (times) => {
    let value: unknown
    for (let count = 0; count < times; count++) value = once()
    sink.value = value
  }

const elapsed = async (work: Work, times: number): Promise<number> => {
  const start = process.hrtime.bigint()
  await work(times)
  return Number(process.hrtime.bigint() - start)
}

/** How often it is to be done for a round. Warms up on the way. */
const timesOf = async (work: Work): Promise<number> => {
  let times = 1
  for (;;) {
    const nanoseconds = await elapsed(work, times)
    if (nanoseconds > roundMilliseconds * 1e6) return Math.ceil((times * roundMilliseconds * 1e6) / nanoseconds)
    times *= 2
  }
}

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

export const compare = async ({ alternatives, columns, title, why }: Part): Promise<void> => {
  const cells = Object.entries(alternatives).flatMap(([name, works]) =>
    works.flatMap((work, column) => (work === undefined ? [] : [{ name, column, work, times: 1, spent: [0] }]))
  )
  for (const cell of cells) {
    cell.times = await timesOf(cell.work)
    cell.spent.pop()
  }
  for (let round = 0; round < rounds; round++) {
    globalThis.gc?.()
    for (const cell of round % 2 === 0 ? cells : [...cells].reverse()) {
      cell.spent.push((await elapsed(cell.work, cell.times)) / cell.times)
    }
  }
  const width = Math.max(...Object.keys(alternatives).map(({ length }) => length), 24)
  console.log(`\n${title}\n${"".padEnd(width)}${columns.map((column) => column.padStart(12)).join("")}`)
  for (const name of Object.keys(alternatives)) {
    const line = columns.map((_, column) => {
      const cell = cells.find((cell) => cell.name === name && cell.column === column)
      return shown(cell === undefined ? Number.NaN : median(cell.spent)).padStart(12)
    })
    console.log(name.padEnd(width) + line.join(""))
  }
  console.log(`  ${why}`)
}

const shown = (nanoseconds: number): string =>
  Number.isNaN(nanoseconds) ? "" : nanoseconds < 100 ? nanoseconds.toFixed(1) : Math.round(nanoseconds).toString()
