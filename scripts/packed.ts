// The package as npm packs it, and a project that it is installed into.
import assert from "node:assert/strict"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import manifest from "../package.json" with { type: "json" }

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** All modules that are compiled, without their endings. */
export const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.startsWith("cli/"))
  .map((name) => name.slice(0, -".ts".length))

/** The public ones, as `exports` calls them. */
export const entries = sources
  .filter((name) => !name.includes("/"))
  .map((name) => (name === "index" ? "." : `./${name}`))

/** Packs what is built, and answers the tarball. */
export const pack = (directory: string): string => {
  const options = ["pack", "--silent", "--ignore-scripts", "--pack-destination", directory]
  return join(directory, execFileSync("npm", options, { cwd: root, encoding: "utf8" }).trim())
}

/** Makes an empty project, and installs packages there without running their scripts. */
export const install = (directory: string, packages: ReadonlyArray<string>): void => {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
  const options = ["--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"]
  const { status } = spawnSync("npm", ["install", ...options, ...packages], { cwd: directory, stdio: "inherit" })
  assert.equal(status, 0, `npm install ${packages.join(" ")} failed`)
}

const {
  "@effect/platform": platform,
  "@effect/platform-node": node,
  "@types/node": types,
  effect
} = manifest.devDependencies

export const peers = [`effect@${effect}`, `@effect/platform@${platform}`, `@effect/platform-node@${node}`]
export const nodeTypes = `@types/node@${types}`
