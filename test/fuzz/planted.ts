// A bug that chance doesn't find: behind five bytes, each of which is looked at only if those before it are right. Run by
// guided.test.ts in a process of its own, since there is one measure of coverage in each. Prints the input that fails.

import { Coverage, explore } from "./guide.js"
import { secret } from "./plantedSecret.js"
import { Random } from "./random.js"

const blind = process.argv[2] === "blind"
const target = {
  name: "planted",
  seeds: [new Uint8Array(8)],
  words: [],
  maxSize: 12,
  judge: (input: Uint8Array) => (secret(input) ? "found" : undefined)
}
// Without a guide there is no code that would count.
const coverage = new Coverage(blind ? "/nowhere/" : "/plantedSecret")
const { count, failure } = await explore(target, coverage, [], new Random(6455), (tried) => tried < 200_000)
console.log(
  failure === undefined ? `nothing in ${count}` : `found ${Buffer.from(failure.input).toString("latin1")} in ${count}`
)
process.exit(0)
