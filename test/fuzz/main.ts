// The long mode: `npm run fuzz`. Taken from the environment:
//
//   FUZZ_SECONDS   how long to run (60); 0 is without a limit
//   FUZZ_STREAMS   how many streams at most (without a limit)
//   SEED           where to start (the time)
//   FUZZ_CORPUS    "write": what the guide has found new is added to its corpus
//
// Exits 1 with the smallest input it finds for a disagreement.

import { word } from "./compare.js"
import { fuzzGrammar } from "./grammar.js"
import { runGuided } from "./guided.js"
import { fuzzHeads } from "./heads.js"
import { corpus, judge, run } from "./run.js"

const number = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] || otherwise)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is a whole number`)
  return value
}

const seconds = number("FUZZ_SECONDS", 60) || Number.POSITIVE_INFINITY
const most = number("FUZZ_STREAMS", Number.MAX_SAFE_INTEGER)
const seed = number("SEED", Date.now() % 2 ** 31) | 0

const fail = (what: string): never => {
  console.error(what)
  process.exit(1)
}

console.log(`SEED=${seed}`)
for (const [name, { input, verdict: expected }] of corpus()) {
  for (const verdict of await judge(input)) {
    if (word(verdict) !== expected) fail(`corpus/${name}: ${word(verdict)} ${"why" in verdict ? verdict.why : ""}`)
  }
}

const start = performance.now()
const elapsed = () => (performance.now() - start) / 1000
let told = 0
const report = await run(seed, most, (streams) => {
  if (elapsed() >= told + 10) {
    told = elapsed()
    console.log(`${streams} streams, ${Math.round(streams / told)} per second`)
  }
  return elapsed() < seconds * 0.4
})
console.log(
  `${report.streams} streams, ${report.bytes} bytes, ${Math.round(report.streams / elapsed())} streams per second`
)
for (const [verdict, count] of [...report.verdicts].sort(([, a], [, b]) => b - a)) console.log(`  ${verdict}: ${count}`)
if (report.failure !== undefined) fail(report.failure)

const smaller = Math.min(most, 1e6)
for (const [name, fuzz] of [
  ["heads", fuzzHeads],
  ["values", fuzzGrammar]
] as const) {
  const began = elapsed()
  const { count, accepted, failure } = await fuzz(seed, smaller, () => elapsed() - began < Math.max(1, seconds * 0.1))
  console.log(
    `${count} ${name}, ${accepted} of them accepted by both, ${Math.round(count / (elapsed() - began))} per second`
  )
  if (failure !== undefined) fail(failure)
}

// The rest of the time is the guide's, a sixth of it for each target.
const share = Number.isFinite(seconds) ? Math.max(1, (seconds - elapsed()) / 6) : 600
const keep = process.env["FUZZ_CORPUS"] === "write"
const failure = await runGuided(seed, share, keep, ({ corpus, count, features, name, seconds }) =>
  console.log(
    `${name}: ${count} inputs, ${Math.round(count / seconds)} per second; ${corpus.length} of them cover ${features}`
  )
)
if (failure !== undefined) fail(failure)
// Node's HTTP server of the comparison has no end of its own.
process.exit(0)
