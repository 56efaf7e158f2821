// Runs inputs until a budget is spent or a disagreement is found.

import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { compare, type Verdict, word } from "./compare.js"
import { generate } from "./generate.js"
import { shrink } from "./shrink.js"
import { type Input, parse, print } from "./stream.js"

export const corpusFolder = fileURLToPath(new URL("corpus/", import.meta.url))

export const corpus = (): ReadonlyArray<readonly [name: string, file: ReturnType<typeof parse>]> =>
  readdirSync(corpusFolder)
    .filter((name) => name.endsWith(".hex"))
    .sort()
    .map((name) => [name, parse(readFileSync(corpusFolder + name, "utf8"))])

export interface Report {
  readonly streams: number
  readonly bytes: number
  /** How many streams had which verdict; agreement is `same`. */
  readonly verdicts: ReadonlyMap<string, number>
  /** Of the first disagreement, if there was one: the smallest input that shows it, as a corpus file. */
  readonly failure: string | undefined
}

/** The verdicts with messages and with frames delivered. */
export const judge = async (input: Input): Promise<ReadonlyArray<Verdict>> => [
  await compare(input, false),
  await compare(input, true)
]

// One in so many: inflating is slow on both sides.
const deflateEvery = 16

export const inputOf = (seed: number, index: number): Input =>
  generate((seed + Math.imul(index, 0x9e3779b1)) | 0, index % deflateEvery === 0)

/** Runs streams `0..count` of a seed, as long as `goOn` says so. */
export const run = async (
  seed: number,
  count: number,
  goOn: (streams: number) => boolean = () => true
): Promise<Report> => {
  const verdicts = new Map<string, number>()
  let bytes = 0
  let streams = 0
  for (; streams < count && goOn(streams); streams++) {
    const input = inputOf(seed, streams)
    // The order of pings shows in one half of the streams, the path of whole messages in the other.
    const frames = (streams & 1) === 1
    const verdict = await compare(input, frames)
    const key = word(verdict)
    verdicts.set(key, (verdicts.get(key) ?? 0) + 1)
    bytes += input.bytes.length
    if (verdict._tag === "Different") {
      const smallest = await shrink(input, async (candidate) => (await compare(candidate, frames))._tag === "Different")
      const last = await compare(smallest, frames)
      const why = last._tag === "Different" ? last.why : verdict.why
      return {
        streams: streams + 1,
        bytes,
        verdicts,
        failure: print(smallest, "same", `seed ${seed}, stream ${streams}\n${why}`)
      }
    }
    // Streams leave work for the next turn behind them.
    if (streams % 256 === 0) await new Promise(setImmediate)
  }
  return { streams, bytes, verdicts, failure: undefined }
}
