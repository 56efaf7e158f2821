import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import { describe, expect, it } from "@effect/vitest"
import { connect } from "effect-websocket/cli/connect"
import { commandHelp, knowledgeOf, programHelp } from "effect-websocket/cli/help"
import { listen } from "effect-websocket/cli/listen"
import { ping } from "effect-websocket/cli/ping"

const config = CliConfig.make({ showBuiltIns: false })
const commands = [
  ["connect", knowledgeOf(Command.getHelp(connect, config))],
  ["listen", knowledgeOf(Command.getHelp(listen, config))],
  ["ping", knowledgeOf(Command.getHelp(ping, config))]
] as const

const longest = (text: string) => Math.max(...text.split("\n").map(({ length }) => length))

describe("the help", () => {
  for (const [name, knowledge] of commands) {
    it(`of ${name} fits into 80 columns, and describes each option`, () => {
      const help = commandHelp(`effect-websocket ${name}`, knowledge)
      expect(longest(help)).toBeLessThanOrEqual(80)
      expect(help).toMatch(new RegExp(`^Usage: effect-websocket ${name} \\[options\\] <(url|port)>\n\n[A-Z]`))
      expect(knowledge.entries.length).toBeGreaterThan(8)
      expect(help).toMatch(/ --json +Speak JSON/)
      for (const { description, name } of knowledge.entries) {
        expect(description, name).toMatch(/^\S.{10}/)
        expect(help).toContain(`\n  ${name}`)
      }
    })
  }

  it("aligns long names whether or not there is a short one", () => {
    const names = commands.flatMap(([, { entries }]) => entries.map(({ name }) => name))
    expect(names).toEqual(expect.arrayContaining(["-H, --header name: value", "    --ca file", "-j, --json", "<url>"]))
  })

  it("of all fits into 80 columns, and tells what each command is for", () => {
    const help = programHelp("effect-websocket", "About.", commands)
    expect(longest(help)).toBeLessThanOrEqual(80)
    for (const [name] of commands) expect(help).toMatch(new RegExp(`^  ${name} +[A-Z]`, "m"))
  })

  it("gives a name too long for its column a line of its own", () => {
    const name = "x".repeat(30)
    const help = commandHelp("c", { description: "d", entries: [{ name, description: "word ".repeat(20).trim() }] })
    expect(help.split("\n").slice(4)).toEqual([
      `  ${name}`,
      `${" ".repeat(28)}${"word ".repeat(10).trim()}`,
      `${" ".repeat(28)}${"word ".repeat(10).trim()}`
    ])
  })
})
