// Mutation tests of src/protocol by Stryker, which isn't a dependency: it is installed into a copy of the project.
// `npm run mutation` tries all files, `npm run mutation -- ip socks` these two, each with its own tests, and
// `npm run mutation -- connection:1-200` these lines; with `--all` every test of the protocol runs against them.
// Needs Node 22. docs/mutation.md explains what survives.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Schema from "effect/Schema"
import manifest from "../package.json" with { type: "json" }

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const copy = join(tmpdir(), `${manifest.name}-mutation`)

/** The tests of a file where they aren't just those of its own name. */
const others: Record<string, ReadonlyArray<string>> = {
  connection: ["connection.*"],
  sender: ["sender", "connection.send", "connection.frames", "connection.extension", "prepared"]
}

const Report = Schema.parseJson(
  Schema.Struct({
    files: Schema.Record({
      key: Schema.String,
      value: Schema.Struct({
        mutants: Schema.Array(
          Schema.Struct({
            status: Schema.String,
            mutatorName: Schema.String,
            replacement: Schema.optional(Schema.String),
            location: Schema.Struct({ start: Schema.Struct({ line: Schema.Number, column: Schema.Number }) })
          })
        )
      })
    })
  })
)

const run = (command: string, args: ReadonlyArray<string>) => {
  const { status } = spawnSync(command, args, { cwd: copy, stdio: ["ignore", "ignore", "inherit"] })
  assert.equal(status, 0, `${command} ${args.join(" ")} failed in ${copy}`)
}

const prepare = () => {
  assert(Number.parseInt(process.versions.node, 10) >= 22, "Stryker needs Node 22 or later")
  mkdirSync(copy, { recursive: true })
  for (const part of ["src", "test"]) rmSync(join(copy, part), { recursive: true, force: true })
  for (const part of [
    "package.json",
    "package-lock.json",
    ".npmrc",
    "tsconfig.json",
    "vitest.config.ts",
    "src",
    "test"
  ])
    cpSync(join(root, part), join(copy, part), { recursive: true })
  // A property that fails needn't look for a smaller example.
  writeFileSync(
    join(copy, "mutation.setup.ts"),
    `import * as fc from "fast-check"\nfc.configureGlobal({ endOnFailure: true })\n`
  )
  if (existsSync(join(copy, "node_modules/@stryker-mutator/core"))) return
  run("npm", ["ci", "--ignore-scripts"])
  const packages = ["core", "vitest-runner"].map((name) => `@stryker-mutator/${name}@10`)
  run("npm", ["install", "--no-save", "--ignore-scripts", ...packages])
}

const mutate = (name: string, lines: string | undefined, tests: ReadonlyArray<string>) => {
  const include = tests.map((test) => `test/protocol/${test}.test.ts`)
  // The tests of the protocol use nothing of @effect/vitest but what vitest has, and it takes longer to load than they run.
  writeFileSync(
    join(copy, "vitest.mutation.config.ts"),
    `import base from "./vitest.config.js"
export default {
  resolve: { alias: [{ find: /^@effect\\/vitest$/, replacement: "vitest" }, ...base.resolve.alias] },
  test: { ...base.test, include: ${JSON.stringify(include)}, setupFiles: ["mutation.setup.ts"], testTimeout: 600_000 }
}`
  )
  const config = {
    testRunner: "vitest",
    plugins: ["@stryker-mutator/vitest-runner"],
    vitest: { configFile: "vitest.mutation.config.ts", related: false },
    mutate: [`src/protocol/${name}.ts${lines === undefined ? "" : `:${lines}`}`],
    coverageAnalysis: "perTest",
    concurrency: 1,
    timeoutMS: 90_000,
    timeoutFactor: 4,
    dryRunTimeoutMinutes: 30,
    reporters: ["json"],
    jsonReporter: { fileName: "report.json" },
    // Stryker reads it through a function that TypeScript 7 no longer has, unless it doesn't exist.
    tsconfigFile: "absent.json",
    disableTypeChecks: true
  }
  writeFileSync(join(copy, "stryker.config.json"), JSON.stringify(config))
  run("npx", ["stryker", "run"])
  const { files } = Schema.decodeSync(Report)(readFileSync(join(copy, "report.json"), "utf8"))
  const mutants = Object.values(files).flatMap((file) => file.mutants)
  const count = (...statuses: ReadonlyArray<string>) => mutants.filter(({ status }) => statuses.includes(status)).length
  const [killed, late, alive] = [count("Killed"), count("Timeout"), count("Survived", "NoCoverage")]
  const score = ((100 * (killed + late)) / (killed + late + alive)).toFixed(2)
  console.log(
    `| \`${name}.ts\`${lines === undefined ? "" : ` ${lines}`} | ${mutants.length} | ${killed} | ${late} | ${alive} | ${score} % |`
  )
  for (const { location, mutatorName, replacement = "", status } of mutants) {
    if (status === "Killed") continue
    console.log(`  ${status} ${location.start.line}:${location.start.column} ${mutatorName}: ${replacement}`)
  }
}

const names = process.argv.slice(2).filter((argument) => !argument.startsWith("--"))
const all = readdirSync(join(root, "src/protocol")).map((file) => file.replace(/\.ts$/, ""))
prepare()
for (const file of names.length === 0 ? all : names) {
  const [name = file, lines] = file.split(":")
  mutate(name, lines, process.argv.includes("--all") ? ["*"] : (others[name] ?? [`${name}*`]))
}
