// Packs what is built, and uses the tarball as its users will: linted, installed beside
// its peers in an empty project, imported by name, type-checked against, run as a command.
import assert from "node:assert/strict"
import { execFileSync, spawn, spawnSync } from "node:child_process"
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { createInterface } from "node:readline"
import manifest from "../package.json" with { type: "json" }
import { entries, install, nodeTypes, pack, peers, root, sources } from "./packed.js"

const temporary = mkdtempSync(join(tmpdir(), `${manifest.name}-`))
const consumer = join(temporary, "consumer")
const installed = join(consumer, "node_modules", manifest.name)

const bin = (name: string) => join(root, "node_modules/.bin", name)
const read = (command: string, args: ReadonlyArray<string>) =>
  execFileSync(command, args, { cwd: root, encoding: "utf8" })
const run = (command: string, args: ReadonlyArray<string>, cwd = root) => {
  const { status } = spawnSync(command, args, { cwd, stdio: "inherit" })
  assert.equal(status, 0, `${basename(command)} ${args.join(" ")} failed`)
}

const open = entries.map((entry) => manifest.name + entry.slice(1))
const closed = ["internal/x", "protocol/frame", "cli/main"].map((path) => `${manifest.name}/${path}`)

const checkContents = (tarball: string) => {
  const contents = read("tar", ["-tzf", tarball])
    .trim()
    .split("\n")
    .map((path) => path.replace(/^package\//, ""))
  const compiled = (name: string) => [".js", ".js.map", ".d.ts", ".d.ts.map"].map((ending) => `dist/${name}${ending}`)
  const wanted = [
    ...["CHANGELOG.md", "LICENSE", "README.md", "package.json"],
    ...["dist/cli/main.js", "dist/cli/licenses.txt"],
    ...sources.flatMap((name) => [`src/${name}.ts`, ...compiled(name)])
  ]
  const missing = wanted.filter((path) => !contents.includes(path))
  const unwanted = contents.filter((path) => !wanted.includes(path))
  assert.deepEqual({ missing, unwanted }, { missing: [], unwanted: [] })
}

const checkMaps = () => {
  for (const name of sources) {
    for (const ending of [".js.map", ".d.ts.map"]) {
      const map = join(installed, "dist", name + ending)
      const { sources: origins }: { readonly sources: ReadonlyArray<string> } = JSON.parse(readFileSync(map, "utf8"))
      for (const origin of origins) assert.ok(existsSync(join(dirname(map), origin)), `${map} points to ${origin}`)
    }
  }
}

const checkImports = () => {
  writeFileSync(
    join(consumer, "imports.js"),
    `import assert from "node:assert/strict"
for (const name of ${JSON.stringify(open)}) assert.ok(await import(name), name)
for (const name of ${JSON.stringify(closed)}) {
  await assert.rejects(import(name), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" }, name)
}
`
  )
  run(process.execPath, ["imports.js"], consumer)
}

const checkTypes = () => {
  const imports = open.map((name, index) => `export * as module${index} from "${name}"\n`)
  writeFileSync(join(consumer, "imports.ts"), imports.join(""))
  copyFileSync(join(root, "scripts/consumer.ts"), join(consumer, "consumer.ts"))
  const options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--types", "node"]
  run(bin("tsc"), [...options, "imports.ts", "consumer.ts"], consumer)
}

/** A server and a client, each as its user would start it. */
const checkCommand = async () => {
  const command = (args: ReadonlyArray<string>, input = "") => {
    const options = { cwd: consumer, encoding: "utf8", input, timeout: 30_000 } as const
    const { status, stderr, stdout } = spawnSync("npx", [manifest.name, ...args], options)
    assert.equal(status, 0, `${manifest.name} ${args.join(" ")} failed: ${stderr}`)
    return stdout
  }
  assert.equal(command(["--version"]).trim(), manifest.version)
  // Not through npx, which would have to hand the signal on.
  const server = spawn(join(consumer, "node_modules/.bin", manifest.name), ["listen", "0", "--json"])
  try {
    for await (const line of createInterface(server.stdout)) {
      const { type, url }: { readonly type: string; readonly url: string } = JSON.parse(line)
      if (type === "listening") {
        assert.equal(command(["connect", url], "hello\n"), "hello\n")
        break
      }
    }
  } finally {
    server.kill()
  }
}

try {
  const tarball = pack(temporary)
  checkContents(tarball)
  run(bin("publint"), ["run", tarball, "--strict"])
  run(bin("attw"), [
    tarball,
    "--profile",
    "esm-only",
    "--format",
    "table-flipped",
    "--no-summary",
    "--no-emoji",
    "--entrypoints",
    ...entries
  ])
  install(consumer, [tarball, ...peers, nodeTypes])
  checkMaps()
  checkImports()
  checkTypes()
  await checkCommand()
  console.log(`${basename(tarball)}: ${open.length} modules, checked`)
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
