// What a process holds, and whether it holds more than before.

import { readdirSync } from "node:fs"
import { Schema } from "effect"

export const State = Schema.Struct({
  connections: Schema.Number,
  /** Bytes in use in the heap and in buffers. */
  heap: Schema.Number,
  rss: Schema.Number,
  descriptors: Schema.Number,
  fibers: Schema.Number,
  /** Active timers and handles, by kind. */
  resources: Schema.Record({ key: Schema.String, value: Schema.Number })
})
export type State = Schema.Schema.Type<typeof State>

const collect = () => {
  if (globalThis.gc === undefined) throw new Error("run with --expose-gc")
  // The first finds the buffers that nobody holds, the second counts them as gone.
  globalThis.gc()
  globalThis.gc()
}

export const state = (connections: number, fibers: number, afterCollection: boolean): State => {
  if (afterCollection) collect()
  const { arrayBuffers, heapUsed, rss } = process.memoryUsage()
  const resources: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1
  return {
    connections,
    heap: heapUsed + arrayBuffers,
    rss,
    descriptors: readdirSync("/proc/self/fd").length,
    fibers,
    resources
  }
}

const mebibyte = 2 ** 20

/**
 * What may be more afterwards. The heap: a tenth, and 4 MiB for code that was compiled late. The RSS: a quarter,
 * and 48 MiB, since the allocator gives back what it likes, and a larger peak leaves more gaps.
 */
const allowed = {
  heap: (before: number) => before * 1.1 + 4 * mebibyte,
  rss: (before: number) => before * 1.25 + 48 * mebibyte
}

/** What is not back to where it was, in words. */
export const growth = (before: State, after: State): ReadonlyArray<string> => {
  const found: Array<string> = []
  const check = (what: string, was: number, is: number, most = was) => {
    if (is > most) found.push(`${what}: ${was} before, ${is} after`)
  }
  check("connections", before.connections, after.connections)
  check("heap", before.heap, after.heap, allowed.heap(before.heap))
  check("RSS", before.rss, after.rss, allowed.rss(before.rss))
  check("descriptors", before.descriptors, after.descriptors)
  check("fibers", before.fibers, after.fibers)
  for (const [kind, count] of Object.entries(after.resources)) check(kind, before.resources[kind] ?? 0, count)
  return found
}
