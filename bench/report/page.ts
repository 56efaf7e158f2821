// docs/performance.md and its charts, made of what was measured.

import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../build.js"
import type { Figure } from "../workloads/bench.js"
import { type Chart, svg } from "./chart.js"
import { amount, figureOf, type Measured, type Results, ratioOf } from "./results.js"
import { times } from "./table.js"
import { targets } from "./targets.js"
import { groups, head, limits, names, profiles } from "./text.js"

const own: ReadonlySet<string> = new Set([
  "run",
  "handler",
  "gen",
  "loop",
  "batch",
  "stream",
  "suspending",
  "broadcast",
  "offer"
])

export const writePage = (results: Results): void => {
  const docs = join(root, "docs")
  const drawn = charts.flatMap(({ file, ...chart }) => {
    const groups = chart.groups(results)
    if (groups.length === 0) return []
    writeFileSync(join(docs, file), svg({ title: chart.title, subtitle: chart.subtitle, groups }))
    return [`![${chart.title}](./${file})`]
  })
  const parts = [
    head,
    machineOf(results),
    ...drawn,
    "## Targets",
    targetTable(results),
    ...Object.entries(groups).flatMap(([group, { text, title }]) => {
      const measured = results.measured.filter((each) => each.group === group)
      return measured.length === 0 ? [] : [`## ${title}`, text, ...tables(measured)]
    }),
    names,
    profiles,
    limits
  ]
  writeFileSync(join(docs, "performance.md"), `${parts.join("\n\n")}\n`)
}

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [
    row(head),
    `|---|${head
      .slice(1)
      .map(() => "---:|")
      .join("")}`,
    ...rows.map(row)
  ].join("\n")

const machineOf = ({ date, machine, rounds, seconds }: Results): string => {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`)
  return `Measured on ${date} at revision ${machine.revision}: ${machine.cores} cores of ${machine.cpu}, ${machine.memory}, ${machine.system}; ${versions.join(", ")}. Medians of ${rounds} rounds of ${seconds} s each. When it began, ${amount(machine.load)} other processes wanted to run.`
}

const targetTable = ({ measured }: Results): string =>
  table(
    ["workload", "form", "against", "target", "reached", ""],
    targets.map(({ against, obstacle, ratio, server, workload }) => {
      const found = measured.find(({ name }) => name === workload)
      const reached = found === undefined ? Number.NaN : ratioOf(found, server, against)
      const verdict = Number.isNaN(reached) ? "not measured" : reached >= ratio ? "yes" : (obstacle ?? "no")
      return [workload, server, against, times(ratio), times(reached), verdict]
    })
  )

/** One table for each figure of a group, workloads by servers; and one for all percentiles together. */
const tables = (measured: ReadonlyArray<Measured>): ReadonlyArray<string> => {
  const all = measured.flatMap((each) => each.figures.map((figure) => ({ each, figure })))
  const titles = [...new Set(all.map(({ figure }) => tableOf(figure)))]
  return titles.map((title) => {
    const rows = all.filter(({ figure }) => tableOf(figure) === title)
    const servers = [...new Set(rows.flatMap(({ each }) => Object.keys(each.rounds)))]
    return table(
      [title, ...servers],
      rows.map(({ each, figure }) => [
        isPercentile(figure) ? `${each.name}, ${figure.key}` : each.name,
        ...servers.map((server) => cell(each, server, figure))
      ])
    )
  })
}

const isPercentile = ({ key }: Figure): boolean => /^p[0-9]/.test(key)

const tableOf = (figure: Figure): string => (isPercentile(figure) ? "latency in µs" : figure.title)

/** A figure, and how many times better it is than that of `ws` if it is the one that servers are compared by. */
const cell = (measured: Measured, server: string, figure: Figure): string => {
  const value = amount(figureOf(measured, server, figure))
  const ratio = figure.key === measured.figures[0].key && server !== "ws" ? times(ratioOf(measured, server, "ws")) : ""
  return ratio === "" ? value : `${value} (${ratio})`
}

/** Bars of how many times better each is than `ws`. */
const comparedToWs = ({ measured }: Results, workloads: ReadonlyArray<string>): Chart["groups"] =>
  workloads.flatMap((workload) => {
    const found = measured.find(({ name }) => name === workload)
    if (found === undefined) return []
    const bars = Object.keys(found.rounds).flatMap((server) => {
      const value = ratioOf(found, server, "ws")
      return Number.isNaN(value) ? [] : [{ label: server, value, text: times(value), ours: own.has(server) }]
    })
    return bars.length === 0 ? [] : [{ name: workload, bars }]
  })

const memory = ({ measured }: Results): Chart["groups"] =>
  measured
    .filter(({ group }) => group === "idle")
    .map((each) => ({
      name: each.name,
      bars: Object.keys(each.rounds).map((label) => {
        const value = figureOf(each, label, each.figures[0])
        return { label, value, text: `${amount(value / 1024)} KiB`, ours: own.has(label) }
      })
    }))

const charts: ReadonlyArray<
  Omit<Chart, "groups"> & { readonly file: string; readonly groups: (results: Results) => Chart["groups"] }
> = [
  {
    file: "performance-echo.svg",
    title: "Echo: server CPU per message",
    subtitle: "times less than ws; size : connections : messages in flight on each; longer is better",
    groups: (results) =>
      comparedToWs(results, ["16 B:100:1", "16 B:100:32", "1 KiB text:100:32", "64 KiB:100:1", "1 MiB:1:4"])
  },
  {
    file: "performance-more.svg",
    title: "Compression, broadcast, handshakes: server CPU",
    subtitle: "times less than ws; longer is better",
    groups: (results) =>
      comparedToWs(results, [
        "deflate without takeover:100:32",
        "deflate with takeover:100:32",
        "broadcast 1 KiB:10000",
        "handshakes ws",
        "handshakes wss"
      ])
  },
  {
    file: "performance-idle.svg",
    title: "Memory of an idle connection",
    subtitle: "growth of the server's RSS, per connection, at 10,000; shorter is better",
    groups: memory
  }
]
