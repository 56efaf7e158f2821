// Fuzzing guided by coverage: an input that makes the library's code run in a way that none before did is kept,
// and further ones are made of those that were kept. Coverage is V8's own, by blocks, in this process.

import { type Profiler, Session } from "node:inspector"
import { setFlagsFromString } from "node:v8"
import { mutate, smallest } from "./mutate.js"
import type { Random } from "./random.js"

export interface Target {
  readonly name: string
  /** To begin with, where the corpus has nothing. */
  readonly seeds: ReadonlyArray<Uint8Array>
  /** What stands in such inputs. */
  readonly words: ReadonlyArray<Uint8Array>
  readonly maxSize: number
  /** Whether inputs may be judged side by side. */
  readonly parallel?: boolean | undefined
  /** What is wrong with what was made of an input. What it throws is wrong, too. */
  readonly judge: (input: Uint8Array) => string | undefined | Promise<string | undefined>
}

export interface Found {
  /** How many inputs were tried. */
  readonly count: number
  /** The inputs that cover all that was covered, as few as it takes one by one. */
  readonly corpus: ReadonlyArray<Uint8Array>
  /** How much was covered: characters of code, and how often blocks ran by orders of magnitude. */
  readonly features: number
  /** The smallest input that fails, and how. */
  readonly failure: { readonly input: Uint8Array; readonly why: string } | undefined
}

/** How often a block ran, as far as that makes a difference. */
const magnitude = (count: number): number => (count < 4 ? count : 2 + Math.min(6, Math.floor(Math.log2(count))))

/** Measures what runs of the scripts whose URL holds `within`. One for each process, beside nobody else who does. */
export class Coverage {
  private readonly session = new Session()

  constructor(private readonly within: string) {
    // Optimized code doesn't count its calls: what runs often would seem not to run at all.
    setFlagsFromString("--no-opt")
    setFlagsFromString("--no-maglev")
    this.session.connect()
    this.session.post("Profiler.enable")
    this.session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true })
    this.take()
  }

  /** What has run since it was last asked. */
  take(): ReadonlyArray<Profiler.ScriptCoverage> {
    let scripts: ReadonlyArray<Profiler.ScriptCoverage> = []
    this.session.post("Profiler.takePreciseCoverage", (_, taken) => {
      scripts = taken.result.filter(({ url }) => url.includes(this.within))
    })
    return scripts
  }

  stop(): void {
    this.session.disconnect()
  }
}

/** All that was covered so far. */
class Covered {
  /** For each function, which of its characters have run, and how often each block has, as bits. */
  private readonly functions = new Map<string, { readonly run: Uint8Array; readonly often: Uint16Array }>()
  /** How many characters, and orders of magnitude of blocks. */
  size = 0

  /** Adds what has run, and with `counts` how often; tells whether any of it is new. */
  add(scripts: ReadonlyArray<Profiler.ScriptCoverage>, counts: boolean): boolean {
    const before = this.size
    for (const { functions, scriptId } of scripts) {
      for (const { ranges } of functions) this.addFunction(scriptId, ranges, counts)
    }
    return this.size > before
  }

  private addFunction(script: string, ranges: ReadonlyArray<Profiler.CoverageRange>, counts: boolean): void {
    const [whole] = ranges
    if (whole === undefined || whole.count === 0) return
    const { endOffset, startOffset } = whole
    const length = endOffset - startOffset
    const key = `${script} ${startOffset} ${endOffset}`
    const known = this.functions.get(key) ?? { run: new Uint8Array(length), often: new Uint16Array(length) }
    this.functions.set(key, known)
    // A block inside of another one is told after it, and only where it ran more or less often.
    const ran = new Uint8Array(length)
    for (const range of ranges) {
      const from = range.startOffset - startOffset
      ran.fill(range.count > 0 ? 1 : 0, from, range.endOffset - startOffset)
      const bit = 1 << magnitude(range.count)
      const had = known.often[from] ?? 0
      if (!counts || range.count === 0 || (had & bit) !== 0) continue
      known.often[from] = had | bit
      this.size++
    }
    for (let at = 0; at < length; at++) {
      if (ran[at] === 0 || known.run[at] === 1) continue
      known.run[at] = 1
      this.size++
    }
  }
}

const batchSize = 64

/** What is wrong with an input for a target. */
export const judgement = async ({ judge }: Target, input: Uint8Array): Promise<string | undefined> => {
  try {
    // Whatever is done to it, the input stays as it is.
    return await judge(input.slice())
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error)
  }
}

/** Tries the corpus, and then what is made of it, as long as `goOn` says so. */
export const explore = async (
  target: Target,
  coverage: Coverage,
  corpus: ReadonlyArray<Uint8Array>,
  random: Random,
  goOn: (count: number) => boolean
): Promise<Found> => {
  const covered = new Covered()
  // What batches have covered as wholes: what is new there is looked for one by one.
  const glanced = new Covered()
  const pool: Array<Uint8Array> = []
  let count = 0
  const attempt = async (input: Uint8Array): Promise<string | undefined> => {
    coverage.take()
    const wrong = await judgement(target, input)
    if (covered.add(coverage.take(), true)) pool.push(input)
    return wrong
  }
  const failed = async (input: Uint8Array): Promise<Found> => {
    const least = await smallest(input, async (candidate) => (await judgement(target, candidate)) !== undefined)
    const why = (await judgement(target, least)) ?? "it failed once, and not again"
    return { count, corpus: pool, features: covered.size, failure: { input: least, why } }
  }
  // The short ones first, so that what they cover isn't covered by longer ones.
  for (const input of [...target.seeds, ...corpus].sort((a, b) => a.length - b.length)) {
    count++
    if ((await attempt(input)) !== undefined) return failed(input)
  }
  const pick = (): Uint8Array => {
    // What was found last leads on more often than what is known for long.
    const recent = random.oneIn(2) ? Math.max(0, pool.length - 16) : 0
    return pool[recent + random.int(Math.max(1, pool.length - recent))] ?? new Uint8Array(0)
  }
  for (let batches = 0; goOn(count); batches++) {
    const inputs = Array.from({ length: batchSize }, () => mutate(random, pick(), pick(), target.words, target.maxSize))
    count += inputs.length
    coverage.take()
    const wrong: Array<string | undefined> = []
    if (target.parallel === true) wrong.push(...(await Promise.all(inputs.map((input) => judgement(target, input)))))
    else for (const input of inputs) wrong.push(await judgement(target, input))
    const bad = inputs.find((_, index) => wrong[index] !== undefined)
    if (bad !== undefined) return failed(bad)
    // Asking costs more than most inputs do. So a batch is looked at as a whole, and one by one if there was
    // something new, or now and then, since a block that runs more often than ever shows only there.
    if (!glanced.add(coverage.take(), false) && batches % 32 !== 0) continue
    for (const input of inputs) if ((await attempt(input)) !== undefined) return failed(input)
    // Some targets never leave the turn, and what they have begun must come to its end.
    await new Promise(setImmediate)
  }
  return { count, corpus: pool, features: covered.size, failure: undefined }
}

/** The inputs of a corpus without which something would not be covered, the shortest first. */
export const minimal = async (
  target: Target,
  coverage: Coverage,
  corpus: ReadonlyArray<Uint8Array>
): Promise<ReadonlyArray<Uint8Array>> => {
  const covered = new Covered()
  const kept: Array<Uint8Array> = []
  for (const input of [...corpus].sort((a, b) => a.length - b.length)) {
    coverage.take()
    await judgement(target, input)
    if (covered.add(coverage.take(), true)) kept.push(input)
  }
  return kept
}
