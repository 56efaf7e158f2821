import { existsSync, readdirSync, readFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"

// The table of SECURITY.md names each of the tests beside it: the advisory, a colon, and the sentence that holds here.

const folder = "test/security"
const policy = readFileSync("SECURITY.md", "utf8")
const rows = policy
  .slice(policy.indexOf("| advisory |"))
  .split("\n")
  .slice(2)
  .map((line) => line.slice(2, -2).split(" | "))
  .filter((cells) => cells.length === 3)

const promised = rows.flatMap(([advisory = "", , held = ""]) =>
  held.startsWith("Can't happen: ")
    ? []
    : held.split("<br>").map((sentence) => {
        const [, text = sentence, file = ""] = /^(.*) \(\[\w+\]\((.*)\)\)$/.exec(sentence) ?? []
        return { title: `${advisory}: ${text}`, file }
      })
)

const files = readdirSync(folder).filter((name) => name.endsWith(".test.ts") && name !== "table.test.ts")
const sources = files.map((name) => ({ file: `${folder}/${name}`, text: readFileSync(`${folder}/${name}`, "utf8") }))
const tests = sources.flatMap(({ file, text }) =>
  [...text.matchAll(/\battack(?:OnRoutes)?\(\s*"([^"]+)"/g)].map(([, title = ""]) => ({ title, file }))
)

describe("the table of advisories in SECURITY.md", () => {
  it("names tests that are there, in the files that it names", () => {
    expect(promised.length).toBeGreaterThan(40)
    const inTests = tests.map(({ file, title }) => `${file} ${title}`)
    expect(promised.filter(({ file, title }) => !inTests.includes(`${file} ${title}`))).toEqual([])
  })

  it("names each test that is there, once", () => {
    const inTable = promised.map(({ file, title }) => `${file} ${title}`)
    expect(tests.map(({ file, title }) => `${file} ${title}`).sort()).toEqual(inTable.sort())
    // No test is defined in another way, which would be overlooked here.
    for (const { file, text } of sources) {
      const calls = text.match(/\battack(?:OnRoutes)?\(/g)?.length ?? 0
      expect([file, calls]).toEqual([file, tests.filter((test) => test.file === file).length])
      expect(text).toContain('import { describe } from "@effect/vitest"\n')
      expect(text).not.toMatch(/testsOn|testInMemory|\btest\b.* from/)
    }
  })

  it("says of each advisory what went wrong and what holds", () => {
    for (const cells of rows) expect(cells.map((cell) => cell.trim().length > 5)).toEqual([true, true, true])
    const advisories = rows.map(([advisory]) => advisory)
    expect(new Set(advisories).size).toBe(advisories.length)
  })

  it("stands among links that lead somewhere", () => {
    const links = [...policy.matchAll(/\]\(([^)#]+)\)/g)].map(([, link = ""]) => link)
    expect(links.filter((link) => !existsSync(link))).toEqual([])
  })
})
