// Bundles the library and the servers of the bench as plain JavaScript, since that is what is shipped: nothing is
// measured through a loader.

import { readdirSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { build as bundle, type Plugin } from "esbuild"

export const folder: string = dirname(fileURLToPath(import.meta.url))
export const root: string = dirname(folder)

/** The library's sources, of whichever revision. */
const library = (from: string): Plugin => ({
  name: "library",
  setup: ({ onResolve }) => {
    onResolve({ filter: /^effect-websocket$/ }, () => ({ path: join(from, "src/index.ts") }))
    onResolve({ filter: /^effect-websocket\// }, ({ path }) => ({
      path: join(from, "src", `${path.slice("effect-websocket/".length)}.ts`)
    }))
  }
})

const typescript = (path: string): ReadonlyArray<string> =>
  readdirSync(join(folder, path)).flatMap((name) => (name.endsWith(".ts") ? [join(folder, path, name)] : []))

/** Builds into dist/LABEL of this folder, from where the packages of the project and of the bench are found. */
export const build = async (label: string, from: string = root): Promise<string> => {
  const outdir = join(folder, "dist", label)
  await bundle({
    entryPoints: [
      ...typescript("servers"),
      ...typescript("clients"),
      join(folder, "loads/main.ts"),
      join(folder, "micro/main.ts"),
      join(folder, "broadcastServer.ts"),
      join(folder, "broadcastClients.ts")
    ],
    outbase: folder,
    outdir,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    packages: "external",
    plugins: [library(from)],
    sourcemap: "linked",
    logLevel: "warning"
  })
  return outdir
}
