import { readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Ledger } from "../bench/soak/ledger.js"
import { growth, type State } from "../bench/soak/state.js"
import { tsx } from "./fixtures/process.js"

// What `npm run soak` does for a minute is done here for a moment, so that it stays able to run.

const chart = join(tmpdir(), `effect-websocket-soak-${process.pid}.svg`)

describe("npm run soak", () => {
  it.scopedLive(
    "loses, reorders and doubles nothing, comes back to where it was, and draws a chart",
    () =>
      Effect.gen(function* () {
        yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(chart, { force: true })))
        const soak = yield* tsx("bench/soak/main.ts", [], {
          SECONDS_: "2",
          CONNECTIONS: "50",
          LIFE: "500",
          SEED: "1",
          CHART: chart
        })
        const { code, stderr, stdout } = yield* soak.exit
        const printed = stdout.join("\n")
        expect({ code, wrong: printed.split("WRONG")[1], stderr }).toEqual({ code: 0, wrong: undefined, stderr: [] })
        for (const nothing of ["lost", "reordered", "duplicated", "damaged", "ended as they mustn't"]) {
          expect(printed).toMatch(new RegExp(`^${nothing} +0$`, "m"))
        }
        for (const behaviour of [
          "chatty",
          "mute",
          "slow",
          "huge",
          "compressed",
          "cut",
          "rude",
          "dismissed",
          "failed"
        ]) {
          expect(printed).toMatch(new RegExp(`^${behaviour} +[1-9]`, "m"))
        }
        // It sees fibers, or it couldn't see that they are gone.
        for (const side of ["server", "clients"]) {
          expect(printed).toMatch(new RegExp(`^most fibers: ${side} +[1-9]`, "m"))
        }
        expect(readFileSync(chart, "utf8")).toMatch(/^<svg [\s\S]*Connections[\s\S]*RSS, MiB[\s\S]*<\/svg>\n$/)
      }),
    120_000
  )
})

describe("the book of a connection", () => {
  const sent = (count: number) => {
    const ledger = new Ledger(() => 20)
    return { ledger, messages: Array.from({ length: count }, () => ledger.next()) }
  }
  const heard = (order: ReadonlyArray<number>, whole = true) => {
    const { ledger, messages } = sent(4)
    for (const number of order) ledger.receive(messages[number] ?? "nothing")
    return ledger.faults(whole)
  }
  const none = { lost: 0, reordered: 0, duplicated: 0, damaged: 0 }

  it("finds nothing wrong where each comes back once and in order", () => {
    expect(heard([0, 1, 2, 3])).toEqual(none)
  })

  it("counts what is missing, at the end only of a connection that stayed", () => {
    expect(heard([0, 2, 3])).toEqual({ ...none, lost: 1 })
    expect(heard([0, 1])).toEqual({ ...none, lost: 2 })
    expect(heard([0, 1], false)).toEqual(none)
    expect(heard([0, 2], false)).toEqual({ ...none, lost: 1 })
  })

  it("counts what comes late or twice", () => {
    expect(heard([0, 2, 1, 3])).toEqual({ ...none, reordered: 1 })
    expect(heard([0, 1, 1, 2, 3])).toEqual({ ...none, duplicated: 1 })
  })

  it("counts what comes back changed, or was never sent", () => {
    const { ledger, messages } = sent(1)
    ledger.receive(`${String(messages[0])}!`)
    ledger.receive("7:")
    expect(ledger.faults(true)).toEqual({ ...none, damaged: 2, lost: 1 })
  })
})

describe("what is back to where it was", () => {
  const mebibyte = 2 ** 20
  const before: State = {
    connections: 0,
    heap: 30 * mebibyte,
    rss: 200 * mebibyte,
    descriptors: 20,
    fibers: 1,
    resources: { Timeout: 1, PipeWrap: 3 }
  }

  it("may have some more memory, and nothing else", () => {
    expect(growth(before, { ...before, heap: 36 * mebibyte, rss: 290 * mebibyte })).toEqual([])
  })

  it.each<[string, Partial<State>]>([
    ["connections", { connections: 1 }],
    ["heap", { heap: 38 * mebibyte }],
    ["RSS", { rss: 300 * mebibyte }],
    ["descriptors", { descriptors: 21 }],
    ["fibers", { fibers: 2 }],
    ["Timeout", { resources: { Timeout: 2, PipeWrap: 3 } }],
    ["TCPSocketWrap", { resources: { Timeout: 1, PipeWrap: 3, TCPSocketWrap: 1 } }]
  ])("tells of more %s", (what, more) => {
    expect(growth(before, { ...before, ...more })).toEqual([expect.stringMatching(`^${what}: `)])
  })
})
