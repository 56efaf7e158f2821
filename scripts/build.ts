// Builds the library into dist, the command into dist/cli, and the examples, as plain
// JavaScript that imports the library by name, into dist/examples.
import { spawnSync } from "node:child_process"
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { build, type Metafile, type Plugin } from "esbuild"
import manifest from "../package.json" with { type: "json" }

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))))

const tsc = (project: string) => {
  const { status } = spawnSync("node_modules/.bin/tsc", ["--project", project], { stdio: "inherit" })
  if (status !== 0) process.exit(1)
}

// The command is in dist/cli as its source is in src/cli, so that the way to the library's own
// modules is the same, and there is no second copy of them.
const library: Plugin = {
  name: "library",
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\.\/\w+\.js$/ }, ({ importer, path }) =>
      dirname(importer) === resolve("src/cli") ? { path, external: true } : undefined
    )
}

/** The packages that a part of the bundle comes from. */
const bundledPackages = ({ outputs }: Metafile): ReadonlyArray<string> => {
  const parts = Object.values(outputs).flatMap(({ inputs }) => Object.entries(inputs))
  const files = parts.flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [file] : []))
  return [...new Set(files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []))].sort()
}

const licenceOf = (directory: string): string => {
  const { name, version } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"))
  const file = readdirSync(directory).find((file) => /^licen[cs]e(\.\w+)?$/i.test(file))
  if (file === undefined) throw new Error(`${name} is bundled, and has no licence`)
  return `${name} ${version}\n\n${readFileSync(join(directory, file), "utf8").trim()}\n`
}

/** Bundles what only the command needs, so that nobody has to install it with the library. */
const buildCommand = async () => {
  const outfile = "dist/cli/main.js"
  const { metafile } = await build({
    entryPoints: ["src/cli/main.ts"],
    absWorkingDir: process.cwd(),
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    // With the peers that the library has anyway.
    external: Object.keys(manifest.peerDependencies),
    plugins: [library],
    metafile: true,
    legalComments: "none",
    logLevel: "warning"
  })
  chmodSync(outfile, 0o755)
  const licences = bundledPackages(metafile).map(licenceOf)
  writeFileSync(
    "dist/cli/licenses.txt",
    `What main.js contains beside its own code:\n\n${licences.join(`\n${"-".repeat(80)}\n\n`)}`
  )
}

rmSync("dist", { recursive: true, force: true })
tsc("tsconfig.build.json")
await buildCommand()
// Resolves "effect-websocket" through the package's own exports, so it needs the line above.
tsc("tsconfig.examples.json")
cpSync("examples", "dist/examples", {
  recursive: true,
  filter: (file) => statSync(file).isDirectory() || !/\.[cm]?tsx?$/.test(file)
})
