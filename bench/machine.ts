// What the bench runs on, and what it needs.

import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import * as Os from "node:os"
import { join } from "node:path"
import { folder, root } from "./build.js"

/** The peers are dependencies of the bench alone, and come with its first run. */
export const installPeers = (): void => {
  if (existsSync(join(folder, "node_modules/.package-lock.json"))) return
  execFileSync("npm", ["ci", "--prefix", folder], { stdio: "inherit" })
}

/** How many files a process may have open; Node raises its limit to what is allowed. */
export const openFiles = (): number => {
  const limit = execFileSync("sh", ["-c", "ulimit -Hn"], { encoding: "utf8" }).trim()
  return limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit)
}

const versionOf = (name: string): string => {
  const places = [folder, root].map((place) => join(place, "node_modules", name, "package.json"))
  const found = places.find(existsSync)
  return found === undefined ? "not installed" : String(JSON.parse(readFileSync(found, "utf8")).version)
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly system: string
  /** Processes that wanted to run, on average of the last minute, when the bench began. */
  readonly load: number
  readonly revision: string
  readonly versions: Readonly<Record<string, string>>
}

export const machine = (): Machine => ({
  cpu: Os.cpus()[0]?.model.trim() ?? "unknown",
  cores: Os.cpus().length,
  memory: `${Math.round(Os.totalmem() / 2 ** 30)} GiB`,
  system: `${Os.type()} ${Os.release().replace(/[-+].*/, "")}`,
  load: loadAtStart,
  revision: revision(),
  versions: {
    node: process.versions.node,
    v8: process.versions.v8,
    ...Object.fromEntries(
      ["effect", "@effect/platform-node", "ws", "bufferutil", "faye-websocket", "undici", "bun"].map((name) => [
        name,
        versionOf(name)
      ])
    )
  }
})

const loadAtStart = Os.loadavg()[0] ?? Number.NaN

/** With a star if there were changes to it. */
const revision = (): string => {
  try {
    const git = (...args: ReadonlyArray<string>) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim()
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain", "src") === "" ? "" : "*")
  } catch {
    return "unknown"
  }
}
