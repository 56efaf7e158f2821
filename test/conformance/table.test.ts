import { readFileSync, writeFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import { conformanceTable, topics } from "./table.js"

const path = new URL("../../docs/conformance.md", import.meta.url)

describe("the table of conformance", () => {
  it("is what the cases say", () => {
    const table = conformanceTable()
    if (process.env["CONFORMANCE"] === "write") writeFileSync(path, table)
    expect(readFileSync(path, "utf8") === table, "docs/conformance.md is old: npm run conformance").toBe(true)
  })

  it("names each case once", () => {
    const names = topics.flatMap(([topic, cases]) => cases.map(({ id }) => `${topic}/${id}`))
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([])
  })

  it("names a section for each case", () => {
    const sections = topics.flatMap(([, cases]) => cases.map(({ section }) => section))
    const wrong = sections.filter((section) => !/^(RFC \d{4} )?\d+(\.\d+)*(, (RFC \d{4} )?\d+(\.\d+)*)*$/.test(section))
    expect(wrong).toEqual([])
  })
})
