// What the dashboard shows of its own process.

import { monitorEventLoopDelay } from "node:perf_hooks"
import { Effect } from "effect"

/** The process at one moment; times are in milliseconds. */
export interface Sample {
  readonly at: number
  /** Processor time since the sample before, in percent of one core. */
  readonly cpu: number
  /** Memory in use, in MiB. */
  readonly memory: number
  /** The longest that anything had to wait for its turn since the sample before. */
  readonly delay: number
  /** Windows that show the dashboard. */
  readonly windows: number
}

/** Reads the gauges, until the scope closes. */
export const make = Effect.gen(function* () {
  const turns = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const histogram = monitorEventLoopDelay({ resolution: 10 })
      histogram.enable()
      return histogram
    }),
    (histogram) => Effect.sync(() => histogram.disable())
  )
  let before = { cpu: process.cpuUsage(), at: performance.now() }
  return (windows: number): Sample => {
    const now = { cpu: process.cpuUsage(), at: performance.now() }
    const used = now.cpu.user + now.cpu.system - before.cpu.user - before.cpu.system
    const elapsed = Math.max(1, now.at - before.at)
    before = now
    // Each wait includes the 10 ms of the timer that measures it.
    const delay = Math.max(0, turns.max / 1e6 - 10)
    turns.reset()
    return {
      at: Date.now(),
      cpu: round(used / 10 / elapsed),
      memory: round(process.memoryUsage.rss() / 1024 ** 2),
      delay: round(delay),
      windows
    }
  }
})

const round = (value: number) => Math.round(value * 10) / 10
