import { readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as library from "effect-websocket"
import manifest from "../package.json" with { type: "json" }
import lock from "../package-lock.json" with { type: "json" }

const typescript = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(directory, name))
    .sort()

const importsOf = (file: string): ReadonlyArray<string> =>
  [...readFileSync(file, "utf8").matchAll(/^(?:(?:import|export|\}) .*?from|import) "([^"]+)"$/gm)].map(
    ([, name = ""]) => name
  )

const packageOf = (name: string) =>
  name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/")

describe("the package", () => {
  it("has no dependencies, only peers, which it is developed with", () => {
    expect(Object.keys(manifest)).not.toContain("dependencies")
    expect(Object.keys(manifest)).not.toContain("optionalDependencies")
    expect(Object.keys(manifest.devDependencies)).toEqual(
      expect.arrayContaining(Object.keys(manifest.peerDependencies))
    )
  })

  const command = join("src", "cli", "")
  const foreignIn = (files: ReadonlyArray<string>) =>
    files
      .flatMap(importsOf)
      .filter((name) => !name.startsWith(".") && !name.startsWith("node:"))
      .map(packageOf)

  it("imports nothing but itself, its peers and the platform", () => {
    const foreign = foreignIn(typescript("src").filter((file) => !file.startsWith(command)))
    expect(foreign.length).toBeGreaterThan(0)
    expect(Object.keys(manifest.peerDependencies)).toEqual(expect.arrayContaining(foreign))
  })

  it("imports one more package in its command, which is bundled into it", () => {
    const foreign = foreignIn(typescript(command))
    expect(foreign).toContain("@effect/cli")
    expect([...Object.keys(manifest.peerDependencies), "@effect/cli"]).toEqual(expect.arrayContaining(foreign))
  })

  it("imports nothing of its command, which isn't there in what is published", () => {
    const imported = typescript("src")
      .filter((file) => !file.startsWith(command))
      .flatMap(importsOf)
    expect(imported.filter((name) => name.includes("/cli/"))).toEqual([])
    expect(manifest.files).toContain("!src/cli")
    expect(manifest.exports).toMatchObject({ "./cli/*": null })
  })

  it("runs no script of its own when it is installed", () => {
    const hooks = ["preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare"]
    expect(Object.keys(manifest.scripts).filter((name) => hooks.includes(name))).toEqual([])
  })

  it("is published for all, with a statement of where it was built", () => {
    expect(manifest.publishConfig).toEqual({ access: "public", provenance: true })
    expect(manifest).not.toHaveProperty("private")
  })

  it("publishes what is built, its sources and its changelog, and nothing else", () => {
    expect(manifest.files).toEqual(["dist", "!dist/examples", "src", "!src/cli", "CHANGELOG.md"])
    expect(manifest).not.toHaveProperty("bundleDependencies")
  })

  it("offers each public module in its index under the module's own name", () => {
    const modules = readdirSync("src")
      .filter((name) => name.endsWith(".ts") && name !== "index.ts")
      .map((name) => basename(name, ".ts"))
    expect(Object.keys(library).sort()).toEqual(modules.sort())
  })

  it("describes its version in the changelog", () => {
    expect(readFileSync("CHANGELOG.md", "utf8")).toMatch(new RegExp(`^## ${manifest.version}\\b`, "m"))
  })

  it("keeps every file within 500 lines", () => {
    const lines = (file: string) => readFileSync(file, "utf8").split("\n").length - 1
    const files = ["src", "test", "examples", "bench", "scripts"].flatMap(typescript)
    expect(files.filter((file) => lines(file) > 500)).toEqual([])
  })
})

describe("the lockfile", () => {
  it("names no host to install from", () => {
    expect(JSON.stringify(lock)).not.toMatch(/"resolved":|registry/)
  })

  it("has a hash for each package, but for binaries of other platforms", () => {
    const packages = Object.entries(lock.packages).filter(([path]) => path !== "")
    expect(packages.length).toBeGreaterThan(100)
    const without = packages.filter(([, entry]) => !("integrity" in entry))
    expect(without.filter(([, entry]) => !("optional" in entry && "cpu" in entry)).map(([path]) => path)).toEqual([])
  })

  it("holds exact versions of what is developed with", () => {
    const versions = Object.values(manifest.devDependencies)
    expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
  })

  it("lets no package run a script when it is installed", () => {
    const scripted = Object.entries(lock.packages)
      .filter(([, entry]) => "hasInstallScript" in entry)
      .map(([path]) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length))
    // Whatever npm makes of them: it ignores all scripts, and each of these by name.
    expect(readFileSync(".npmrc", "utf8")).toMatch(/^ignore-scripts=true$/m)
    expect(Object.entries(manifest.allowScripts)).toEqual(scripted.sort().map((name) => [name, false]))
  })

  it("is of the version and the dependencies of the manifest", () => {
    const { version, devDependencies, peerDependencies } = lock.packages[""]
    expect({ version, devDependencies, peerDependencies }).toEqual({
      version: manifest.version,
      devDependencies: manifest.devDependencies,
      peerDependencies: manifest.peerDependencies
    })
  })
})
