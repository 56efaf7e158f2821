// `npm run bench`: us and our peers beside each other in one run, interleaved, medians of the rounds.
//
//   npm run bench -- [WORKLOAD...] [--servers NAME,...] [--rounds N] [--seconds S] [--quick] [--list]
//                    [--compare REVISION] [--write] [--page]
//
// A workload is any part of its name. `--servers run,loop,ws` measures these alone. `--compare` measures our forms as
// they are beside those of another revision. `--write` keeps the results and makes docs/performance.md of them;
// `--page` makes it anew of what was kept.

import { build } from "./build.js"
import { comparing } from "./compare.js"
import { isOurs } from "./kinds.js"
import { installPeers, openFiles } from "./machine.js"
import { Loader, type ServerKind } from "./processes.js"
import { writePage } from "./report/page.js"
import { keep, kept, type Measured, resultsOf } from "./report/results.js"
import { printed } from "./report/table.js"
import { settings } from "./settings.js"
import { workloads } from "./workloads/all.js"
import { Servers } from "./workloads/bench.js"

const wanted = workloads.filter(
  ({ full = false, group, name }) => settings.wants(`${group} ${name}`) && !(settings.quick && full)
)

const measureAll = async (
  kindsOf: (kinds: ReadonlyArray<ServerKind>) => ReadonlyArray<ServerKind>,
  built: (kind: ServerKind) => string,
  here: string,
  reference: (name: string) => string
): Promise<ReadonlyArray<Measured>> => {
  const measured: Array<Measured> = []
  const loader = Loader.start(here)
  const allowed = openFiles()
  try {
    for (const bench of wanted) {
      const { connections = 0, figures, group, name } = bench
      const kinds = kindsOf(bench.kinds)
      if (kinds.length === 0) continue
      if (connections + 500 > allowed) {
        console.log(`${name}: left out, as only ${allowed} files may be open (ulimit -n)\n`)
        continue
      }
      // Each workload has its own: what one leaves behind in a process isn't measured with the next.
      const servers = new Servers(built)
      try {
        const rounds = await bench.measure({ loader, ...settings, kinds, built, server: servers.get })
        const result = { group, name, figures, rounds }
        measured.push(result)
        console.log(printed(result, reference))
      } finally {
        await servers.stop()
      }
    }
  } finally {
    loader.stop()
  }
  return measured
}

if (settings.list) {
  for (const { kinds, name } of workloads) console.log(`${name.padEnd(36)} ${kinds.map(({ name }) => name).join(" ")}`)
} else if (settings.page) {
  writePage(kept())
} else {
  if (settings.write && !settings.complete) throw new Error("the page needs all workloads and all servers")
  installPeers()
  const here = await build("current")
  const chosen = (kinds: ReadonlyArray<ServerKind>) => kinds.filter(({ name }) => settings.wantsServer(name))
  if (settings.compare === undefined) {
    const measured = await measureAll(
      chosen,
      () => here,
      here,
      () => "ws"
    )
    const results = resultsOf(measured, settings)
    keep(results, settings.write)
    if (settings.write) writePage(results)
  } else {
    await comparing(settings.compare, async (revision, there) => {
      const both = (kinds: ReadonlyArray<ServerKind>) =>
        chosen(kinds)
          .filter(isOurs)
          .flatMap((kind) => [{ ...kind, name: `${kind.name} @${revision}`, revision }, kind])
      await measureAll(
        both,
        (kind) => (kind.revision === undefined ? here : there),
        here,
        (name) => `${name.replace(/ @.*/, "")} @${revision}`
      )
    })
  }
}
