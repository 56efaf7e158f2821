import { describe, expect, it } from "@effect/vitest"
import { compare, word } from "./compare.js"
import { fuzzGrammar } from "./grammar.js"
import { fuzzHeads } from "./heads.js"
import { same } from "./observe.js"
import { type Ours, ours } from "./ours.js"
import { corpus, judge, run } from "./run.js"
import { parse, print } from "./stream.js"

// The same streams each time; `npm run fuzz` tries new ones.
const seed = 6455

describe("beside the receiver of ws", () => {
  it.each(corpus())("%s means the same to both, or differs for the reason it names", async (_, { input, verdict }) => {
    expect((await judge(input)).map(word)).toEqual([verdict, verdict])
  })

  it("six thousand streams mean the same to both, but for what docs/fuzzing.md allows", async () => {
    const { streams, verdicts, failure } = await run(seed, 6000)
    expect(failure).toBeUndefined()
    expect(streams).toBe(6000)
    // Most streams show no difference at all, and each allowance was needed.
    expect(verdicts.get("same")).toBeGreaterThan(5000)
    expect([...verdicts.keys()].sort()).toEqual([
      "compressed size",
      "final block",
      "fragments",
      "minimal length",
      "same",
      "sooner",
      "top bit",
      "whole blocks",
      "whole message"
    ])
  })

  const valid = corpus().flatMap(([, file]) => (file.verdict === "same" ? [file.input] : []))
  const failing = (code: number, rule: string) => (got: Ours) => ({ ...got, end: `failed ${code}`, rule })
  const wrong: ReadonlyArray<readonly [string, (got: Ours) => Ours]> = [
    ["loses what it heard last", (got) => ({ ...got, heard: got.heard.slice(0, -1) })],
    ["hears something twice", (got) => ({ ...got, heard: [...got.heard, ...got.heard.slice(-1)] })],
    ["changes a content", (got) => ({ ...got, heard: got.heard.map((event) => `${event}!`) })],
    ["takes any end for none", (got) => ({ ...got, end: "open" })],
    ["says another code", (got) => ({ ...got, end: got.end.replace(/100./, "1011") })],
    ["fails for no reason", failing(1002, "opcode 0x3 is reserved (RFC 6455 5.2)")],
    ["claims invalid text", failing(1007, "a text message must be UTF-8 (RFC 6455 8.1)")],
    ["claims a length that isn't minimal", failing(1002, "must be encoded in the fewest bytes")],
    ["claims a top bit", failing(1002, "the top bit of a 64-bit payload length must be 0 (RFC 6455 5.2)")],
    ["claims too many fragments", failing(1009, "fragments per message")],
    ["claims broken blocks", failing(1007, "a compressed message must be whole blocks of DEFLATE")]
  ]

  it.each(wrong)("no allowance covers a receiver that %s", async (_, change) => {
    const verdicts: Array<string> = []
    for (const input of valid) {
      const real = ours(input, true)
      const changed = change(real)
      if (same(real, changed)) continue
      verdicts.push(word(await compare(input, true, (asked, frames) => change(ours(asked, frames)))))
    }
    expect(verdicts).toContain("different")
    expect(new Set(verdicts).size).toBe(1)
  })

  it("an input is read from the corpus as it was written", () => {
    for (const [, { input, verdict }] of corpus()) {
      expect(parse(print(input, verdict, "why"))).toEqual({ input, verdict })
    }
  })
})

describe("beside node:http", () => {
  it("heads that both accept mean the same to both, and we accept no others", async () => {
    const { count, accepted, failure } = await fuzzHeads(seed, 5000)
    expect(failure).toBeUndefined()
    expect(count).toBe(5000)
    expect(accepted).toBeGreaterThan(1000)
  })
})

describe("single values", () => {
  it("frames and extension lists of any kind are decoded or refused by their rules, and nothing throws", async () => {
    const { count, accepted, failure } = await fuzzGrammar(seed, 20_000)
    expect(failure).toBeUndefined()
    expect(count).toBe(20_000)
    expect(accepted).toBeGreaterThan(1000)
  })
})
