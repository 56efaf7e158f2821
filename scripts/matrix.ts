// Runs the built package and the test suite on other runtimes, each as npm has it, and prints a table.
//
// `npm run matrix` takes all of them, `npm run matrix -- node@22 bun` two. What begins with "test/" is what
// to run instead of all tests; what begins with "-" goes to Vitest.
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join, relative } from "node:path"
import { transformSync } from "esbuild"
import manifest from "../package.json" with { type: "json" }
import { entries, install, pack, peers, root } from "./packed.js"

const args = process.argv.slice(2)
const names = args.filter((arg) => !/^(-|test\/)/.test(arg))
const only = args.filter((arg) => arg.startsWith("test/"))
const flags = args.filter((arg) => arg.startsWith("-"))

const temporary = mkdtempSync(join(tmpdir(), `${manifest.name}-`))
const consumer = join(temporary, "consumer")
const alone = ["--maxWorkers", "1", "--minWorkers", "1"]

// Not supported, so this is what may run there: the rest starts commands, browsers and proxies. A file that
// hangs there takes the others of its run along; so each file is a run of its own, which is ended.
const elsewhere = ["test/protocol/", "test/internal/", "test/client/", "test/NodeNetwork", "test/WebSocket"]
const wholeLimit = 150 * 60_000
const fileLimit = 10 * 60_000

interface Runtime {
  readonly name: string
  readonly directory: string
  /** What starts a script. */
  readonly command: ReadonlyArray<string>
}

/** Fetches the package that holds the binary for this machine; those that people install fetch it in a script. */
const fetched = (name: string): Runtime => {
  const [kind = "", version = "latest"] = name.split("@")
  const system = `${process.platform}-${process.arch}`
  const known: Record<string, { readonly holder: string; readonly start: ReadonlyArray<string> }> = {
    node: { holder: `node-${system}`, start: ["bin/node"] },
    bun: { holder: `@oven/bun-${system}`, start: ["bin/bun", "--bun"] },
    deno: { holder: `@deno/${system}${process.platform === "linux" ? "-glibc" : ""}`, start: ["deno", "run", "-A"] }
  }
  const {
    holder,
    start: [binary = "", ...options]
  } = known[kind] ?? { holder: "", start: [] }
  if (holder === "") throw new Error(`${name} is none of ${Object.keys(known).join(", ")}`)
  const directory = join(temporary, name)
  install(directory, [`${holder}@${version}`])
  return { name, directory, command: [join(directory, "node_modules", holder, binary), ...options] }
}

/** Runs a script to its end, or that of its time, on a runtime that everything it starts finds first. */
const run = (runtime: Runtime, script: ReadonlyArray<string>, cwd: string, limit: number): Promise<Ended> => {
  const [binary = "", ...start] = runtime.command
  const env = { ...process.env, NO_COLOR: "1", PATH: `${dirname(binary)}${delimiter}${process.env["PATH"]}` }
  // In a group of its own: what it started ends with it.
  const child = spawn(binary, [...start, ...script], { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-20_000)
    })
  }
  const end = () => {
    if (child.pid !== undefined) {
      try {
        process.kill(-child.pid, "SIGKILL")
      } catch {
        // It had ended.
      }
    }
  }
  const timer = setTimeout(end, limit)
  return new Promise((resolve, reject) => {
    child.on("error", reject)
    child.on("exit", (code) => {
      clearTimeout(timer)
      end()
      resolve({ code, output })
    })
  })
}

interface Ended {
  /** Null if it was ended. */
  readonly code: number | null
  readonly output: string
}

/** The package is imported and spoken with, and its command started. */
const smoke = async (runtime: Runtime): Promise<string> => {
  const modules = entries.map((entry) => manifest.name + entry.slice(1))
  const command = join("node_modules", manifest.name, manifest.bin["effect-websocket"])
  for (const script of [
    ["smoke.js", ...modules],
    [command, "--version"]
  ]) {
    const { code, output } = await run(runtime, script, consumer, 60_000)
    if (code !== 0) return `fails: ${output.trim().split("\n").slice(-3).join(" ")}`
  }
  return "works"
}

interface Results {
  passed: number
  skipped: number
  readonly failed: Array<Failure>
}

interface Failure {
  readonly file: string
  /** Empty if it was none of them: something in loading, or in a hook. */
  readonly test: string
  readonly why: string
}

/** Also what failed at first, but not alone. */
interface Outcome extends Results {
  readonly again: ReadonlyArray<Failure>
}

/** Vitest's own report of a run. */
interface Report {
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly status: string
      readonly fullName: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

// Vitest has no other words for a test that timed out, where it takes the stack for the message.
const firstLine = (text: string | undefined) =>
  (text ?? "").split("\n")[0]?.replace("Error: STACK_TRACE_ERROR", "timed out").slice(0, 200)

const vitest = async (runtime: Runtime, options: ReadonlyArray<string>, limit: number): Promise<Results> => {
  const report = join(runtime.directory, "report.json")
  rmSync(report, { force: true })
  // JSON alone: printing what differs in an error takes other runtimes minutes.
  const script = ["node_modules/vitest/vitest.mjs", "run", "--reporter=json", `--outputFile=${report}`]
  const { code, output } = await run(runtime, [...script, ...flags, ...options], root, limit)
  const results: Results = { passed: 0, skipped: 0, failed: [] }
  if (!existsSync(report)) {
    const why = code === null ? `not at its end after ${limit / 60_000} minutes` : (firstLine(output.trim()) ?? "")
    results.failed.push({ file: options.at(-1) ?? "the suite", test: "", why })
    return results
  }
  const { testResults }: Report = JSON.parse(readFileSync(report, "utf8"))
  for (const { assertionResults, message, name, status } of testResults) {
    const file = relative(root, name)
    let failed = 0
    for (const { failureMessages, fullName, status } of assertionResults) {
      if (status === "passed") results.passed++
      else if (status !== "failed") results.skipped++
      else failed = results.failed.push({ file, test: fullName, why: `${firstLine(failureMessages[0])}` })
    }
    if (status === "failed" && failed === 0) results.failed.push({ file, test: "", why: `${firstLine(message)}` })
  }
  return results
}

/** All tests in one run, and then, each alone, the files in which some failed: a busy machine fails tests, too. */
const onNode = async (runtime: Runtime): Promise<Outcome> => {
  const results = await vitest(runtime, only, wholeLimit)
  const files = [...new Set(results.failed.map(({ file }) => file))].filter(existsSync)
  const kept = results.failed.filter(({ file }) => !files.includes(file))
  const again: Array<Failure> = []
  for (const file of files) {
    const { failed } = await vitest(runtime, [...alone, file], wholeLimit)
    const still = new Set(failed.map(({ test }) => test))
    again.push(...results.failed.filter((failure) => failure.file === file && !still.has(failure.test)))
    kept.push(...failed)
  }
  const passed = results.passed + again.filter(({ test }) => test !== "").length
  return { passed, skipped: results.skipped, failed: kept, again }
}

const onAnother = async (runtime: Runtime): Promise<Outcome> => {
  const wanted = only.length > 0 ? only : elsewhere
  const files = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .map((name) => join("test", name))
    .filter((name) => name.endsWith(".test.ts") && wanted.some((start) => name.startsWith(start)))
  const all: Results = { passed: 0, skipped: 0, failed: [] }
  for (const file of files.sort()) {
    const { failed, passed, skipped } = await vitest(runtime, [...alone, "--testTimeout", "30000", file], fileLimit)
    all.passed += passed
    all.skipped += skipped
    all.failed.push(...failed)
  }
  return { ...all, again: [] }
}

const versions = async (runtime: Runtime): Promise<{ readonly own: string; readonly openssl: string }> => {
  const kind = runtime.name.split("@")[0] ?? ""
  const script = join(temporary, "versions.mjs")
  writeFileSync(script, "import process from 'node:process'\nconsole.log(JSON.stringify(process.versions))\n")
  const { output } = await run(runtime, [script], root, 60_000)
  const all: Record<string, string> = JSON.parse(output.trim().split("\n").at(-1) ?? "")
  // The others name the one that they take after.
  return { own: `${kind} ${all[kind]}`, openssl: kind === "node" ? (all["openssl"] ?? "-") : "-" }
}

const rows = [
  "| runtime | OpenSSL | package | passed | of them only alone | skipped | failed | minutes |",
  "|---|---|---|---:|---:|---:|---:|---:|"
]
const failures: Array<string> = []

try {
  install(consumer, [pack(temporary), ...peers])
  const source = readFileSync(join(root, "scripts/smoke.ts"), "utf8")
  writeFileSync(join(consumer, "smoke.js"), transformSync(source, { loader: "ts", target: "es2022" }).code)
  for (const name of names.length > 0 ? names : ["node@20", "node@22", "node@24", "node@latest", "bun", "deno"]) {
    const began = Date.now()
    const runtime = fetched(name)
    const { openssl, own } = await versions(runtime)
    const used = await smoke(runtime)
    const supported = name.startsWith("node")
    const { again, failed, passed, skipped } = await (supported ? onNode : onAnother)(runtime)
    const minutes = Math.ceil((Date.now() - began) / 60_000)
    const cells = [own, openssl, used, passed, again.length, skipped, failed.length, minutes]
    rows.push(`| ${cells.join(" | ")} |`)
    const told = ({ file, test, why }: Failure) => `- ${own}, ${file}: ${test === "" ? "" : `${test}: `}${why}`
    failures.push(...again.map((failure) => `${told(failure)} (not when alone)`), ...failed.map(told))
    // Each at once, in case that the rest doesn't come to its end.
    console.log(rows.at(-1))
    if (supported && (failed.length > 0 || used !== "works")) process.exitCode = 1
    rmSync(runtime.directory, { recursive: true, force: true })
  }
} finally {
  rmSync(temporary, { recursive: true, force: true })
  console.log(`\n${[...rows, "", ...failures].join("\n")}`)
}
