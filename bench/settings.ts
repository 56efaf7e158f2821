// What is measured, and how long: from the command line.

import { parseArgs } from "node:util"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    servers: { type: "string" },
    rounds: { type: "string" },
    seconds: { type: "string" },
    quick: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    compare: { type: "string" },
    page: { type: "boolean", default: false },
    list: { type: "boolean", default: false }
  }
})

export interface Settings {
  readonly rounds: number
  /** Of one measurement. */
  readonly seconds: number
  readonly quick: boolean
  readonly write: boolean
  /** Make the page of what was written before. */
  readonly page: boolean
  readonly list: boolean
  /** A revision to compare with. */
  readonly compare: string | undefined
  /** Whether all workloads and servers were asked for. */
  readonly complete: boolean
  /** Whether a workload was asked for: any part of its name will do. */
  readonly wants: (workload: string) => boolean
  /** Whether a server was asked for: its whole name. */
  readonly wantsServer: (server: string) => boolean
}

const servers = values.servers?.split(",")

export const settings: Settings = {
  rounds: Number(values.rounds ?? process.env["BENCH_ROUNDS"] ?? (values.quick ? 3 : 5)),
  seconds: Number(values.seconds ?? process.env["BENCH_SECONDS"] ?? (values.quick ? 0.15 : 0.3)),
  quick: values.quick,
  write: values.write,
  page: values.page,
  list: values.list,
  compare: values.compare,
  complete: positionals.length === 0 && servers === undefined,
  wants: (workload) => positionals.length === 0 || positionals.some((part) => workload.includes(part)),
  wantsServer: (server) => servers === undefined || servers.includes(server)
}
