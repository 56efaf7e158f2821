import { execFile } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { promisify } from "node:util"
import { beforeAll, describe, expect, it } from "@effect/vitest"

// Every ts fence of the documentation and of the docstrings is type-checked with the
// project's own options; those marked "ts run", and the docstring examples that print,
// are executed as well.

const run = promisify(execFile)
const folder = ".docs-examples"
// All of them start at once. It is there for one that never ends, not for a busy machine.
const runLimit = 90_000

interface Example {
  readonly file: string
  /** Of the opening fence, counted from 1. */
  readonly line: number
  readonly code: ReadonlyArray<string>
  readonly runs: boolean
}

const under = (directory: string, extension: string): ReadonlyArray<string> =>
  existsSync(directory)
    ? readdirSync(directory, { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(extension))
        .map((name) => join(directory, name))
        .sort()
    : []

const files = [...["README.md", "ARCHITECTURE.md"].filter(existsSync), ...under("docs", ".md"), ...under("src", ".ts")]

const prints = (code: string) => code.includes("console.log") && !code.includes("NodeRuntime")

const examplesOf = (file: string): ReadonlyArray<Example> => {
  const docstrings = file.endsWith(".ts")
  const lines = readFileSync(file, "utf8").split("\n")
  const examples: Array<Example> = []
  for (let at = 0; at < lines.length; at++) {
    const fence = (docstrings ? /^(\s*\* ?)```ts\b(.*)$/ : /^(\s*)```ts\b(.*)$/).exec(lines[at] ?? "")
    if (fence === null) continue
    const [, indent = "", flags = ""] = fence
    const line = at + 1
    const code: Array<string> = []
    while (++at < lines.length && !/^\s*(\* ?)?```\s*$/.test(lines[at] ?? "")) {
      code.push((lines[at] ?? "").slice(indent.length))
    }
    examples.push({
      file,
      line,
      code,
      runs: flags.trim() === "run" || (docstrings && prints(code.join("\n")))
    })
  }
  return examples
}

const examples = files.flatMap(examplesOf)
const documented = files.filter((file) => examples.some((example) => example.file === file))

const pathOf = ({ file, line }: Pick<Example, "file" | "line">) =>
  join(folder, `${file.replaceAll(/[\\/]/g, "+")}.${line}.ts`)

/** What the compiler says, by the file that holds the example, at the line it has there. */
const check = async (): Promise<ReadonlyArray<string>> => {
  const { stdout } = await run("node_modules/.bin/tsc", ["--project", folder, "--pretty", "false"]).catch(
    (failure: { readonly stdout?: string }) => {
      // the compiler found something, as opposed to: it did not run
      if (failure.stdout) return { stdout: failure.stdout }
      throw failure
    }
  )
  const origin = new Map(examples.map((example) => [pathOf(example), example.file]))
  return stdout
    .split(/\n(?=\S)/)
    .filter((diagnostic) => diagnostic.trim() !== "")
    .map((diagnostic) =>
      diagnostic.trimEnd().replace(/^(.+?)\((\d+),\d+\): /, (_, path: string, line: string) => {
        return `${origin.get(join(path)) ?? path}:${line}: `
      })
    )
}

describe("the examples in the documentation", () => {
  let diagnostics: ReadonlyArray<string> = []

  beforeAll(async () => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder)
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: "../tsconfig.json",
        compilerOptions: { noUnusedLocals: false },
        include: [],
        files: examples.map((example) => basename(pathOf(example)))
      })
    )
    for (const example of examples) {
      // as many empty lines as stand above it, so that the compiler's line numbers are those of the documentation
      writeFileSync(pathOf(example), "\n".repeat(example.line) + example.code.join("\n"))
    }
    diagnostics = await check()
  }, 120_000)

  it("are there", () => {
    expect(examples.length).toBeGreaterThan(0)
  })

  it.each(documented)("in %s compile", (file) => {
    expect(diagnostics.filter((diagnostic) => diagnostic.startsWith(`${file}:`))).toEqual([])
  })

  it("make the compiler complain about nothing else", () => {
    const own = (diagnostic: string) => documented.some((file) => diagnostic.startsWith(`${file}:`))
    expect(diagnostics.filter((diagnostic) => !own(diagnostic))).toEqual([])
  })

  describe.concurrent("run to their end", () => {
    for (const example of examples.filter(({ runs }) => runs)) {
      it(`${example.file}:${example.line}`, { timeout: 2 * runLimit }, async () => {
        await run(process.execPath, ["--import", "tsx", pathOf(example)], {
          timeout: runLimit,
          killSignal: "SIGKILL"
        }).catch((failure: { readonly killed: boolean }) => {
          throw failure.killed ? new Error(`still ran after ${runLimit} ms`, { cause: failure }) : failure
        })
      })
    }
  })
})
