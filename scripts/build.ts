// Builds the library into dist, and the examples, as plain JavaScript that imports
// the library by name, into dist/examples.
import { spawnSync } from "node:child_process"
import { cpSync, rmSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { fileURLToPath } from "node:url"

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))))

const tsc = (project: string) => {
  const { status } = spawnSync("node_modules/.bin/tsc", ["--project", project], { stdio: "inherit" })
  if (status !== 0) process.exit(1)
}

rmSync("dist", { recursive: true, force: true })
tsc("tsconfig.build.json")
// Resolves "effect-websocket" through the package's own exports, so it needs the line above.
tsc("tsconfig.examples.json")
cpSync("examples", "dist/examples", {
  recursive: true,
  filter: (file) => statSync(file).isDirectory() || !/\.[cm]?tsx?$/.test(file)
})
