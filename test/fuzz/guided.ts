// The corpus that the guide has gathered, and the runs that begin from it.

import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Coverage, explore, type Found, judgement, minimal, type Target } from "./guide.js"
import { Random } from "./random.js"
import { serverTarget } from "./serverTarget.js"
import { targets } from "./targets.js"

const fileOf = (name: string): string => fileURLToPath(new URL(`corpus/guided/${name}.txt`, import.meta.url))

const isComment = (line: string): boolean => line === "" || line.startsWith("#")

const linesOf = (name: string): ReadonlyArray<string> =>
  existsSync(fileOf(name)) ? readFileSync(fileOf(name), "utf8").trim().split("\n") : []

/** The inputs of a target: a line of hex for each, behind what is told about it. */
export const corpusOf = (name: string): ReadonlyArray<Uint8Array> =>
  linesOf(name)
    .filter((line) => !isComment(line))
    .map((line) => new Uint8Array(Buffer.from(line, "hex")))

const hex = (input: Uint8Array): string => Buffer.from(input).toString("hex")

/** Writes the corpus anew. What has a comment was found to fail once, and stays first for good. */
const write = (name: string, inputs: ReadonlyArray<Uint8Array>): void => {
  const lines = linesOf(name)
  const kept = lines.flatMap((line, index) => {
    const before = lines[index - 1]
    return !isComment(line) && before?.startsWith("#") ? [before, line] : []
  })
  const all = inputs.map(hex).filter((line) => line !== "" && !kept.includes(line))
  writeFileSync(fileOf(name), `${[...kept, ...new Set(all)].join("\n")}\n`)
}

/** What is wrong with an input of the corpus. */
export const replay = async (target: Target): Promise<ReadonlyArray<string>> => {
  const wrong: Array<string> = []
  for (const input of [...target.seeds, ...corpusOf(target.name)]) {
    const why = await judgement(target, input)
    if (why !== undefined) wrong.push(`${hex(input)}\n${why}`)
  }
  return wrong
}

export interface Run extends Found {
  readonly name: string
  readonly seconds: number
}

/** So many connections at most, whatever time there is: each takes a port for a minute. */
const maxConnections = 15_000

/** Runs all targets, each for so many seconds, and tells of each. Answers what failed, as a line for the corpus. */
export const runGuided = async (
  seed: number,
  seconds: number,
  keep: boolean,
  told: (run: Run) => void
): Promise<string | undefined> => {
  const coverage = new Coverage("/src/")
  const server = await serverTarget()
  try {
    for (const target of [...targets, server]) {
      const start = performance.now()
      const elapsed = () => (performance.now() - start) / 1000
      const most = target === server ? maxConnections : Number.POSITIVE_INFINITY
      const goOn = (count: number) => elapsed() < seconds && count < most
      const found = await explore(target, coverage, corpusOf(target.name), new Random(seed), goOn)
      told({ ...found, name: target.name, seconds: elapsed() })
      const { failure } = found
      if (failure !== undefined) {
        const why = failure.why.split("\n").map((line) => `  ${line}`)
        return `for corpus/guided/${target.name}.txt:\n# seed ${seed}\n${hex(failure.input)}\n${why.join("\n")}`
      }
      if (keep) write(target.name, await minimal(target, coverage, found.corpus))
    }
    const wrong = await server.stop()
    return wrong === undefined ? undefined : `the server, at the end: ${wrong}`
  } finally {
    coverage.stop()
  }
}
