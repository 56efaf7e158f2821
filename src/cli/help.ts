// The help of a command within 80 columns: what @effect/cli knows of it, without the lines it repeats for each option.

import type { HelpDoc } from "@effect/cli/HelpDoc"
import type { Span } from "@effect/cli/HelpDoc/Span"

const width = 80
const indent = 2
const column = 28

const textOf = (span: Span): string => {
  switch (span._tag) {
    case "Text":
    case "URI":
      return span.value
    case "Sequence":
      return textOf(span.left) + textOf(span.right)
    default:
      return textOf(span.value)
  }
}

const partsOf = (doc: HelpDoc): ReadonlyArray<HelpDoc> =>
  doc._tag === "Sequence" ? [...partsOf(doc.left), ...partsOf(doc.right)] : doc._tag === "Empty" ? [] : [doc]

const paragraphsOf = (doc: HelpDoc): ReadonlyArray<string> =>
  partsOf(doc).flatMap((part) => (part._tag === "Paragraph" ? [textOf(part.value)] : []))

/** `(-H, --header name: value)...` without what only marks it as optional, or as repeatable. */
const nameOf = (span: Span): string => {
  const name = textOf(span).replace(/\.\.\.$/, "")
  const [, inner = name] = /^\((.*)\)$/.exec(name) ?? []
  // Where long names begin, whether or not there is a short one.
  return inner.startsWith("--") ? `    ${inner}` : inner.replace(/^(<.*>)$/, "$1")
}

/** Words in lines of at most `room` characters. */
const wrap = (text: string, room: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > room) {
      lines.push(line)
      line = word
    } else line = line === "" ? word : `${line} ${word}`
  }
  return [...lines, line]
}

const entry = (name: string, description: string): ReadonlyArray<string> => {
  const [first = "", ...rest] = wrap(description, width - column)
  const margin = " ".repeat(column)
  const start = " ".repeat(indent) + name
  return start.length + 2 <= column
    ? [start.padEnd(column) + first, ...rest.map((line) => margin + line)]
    : [start, ...[first, ...rest].map((line) => margin + line)]
}

/** A name and what it means. */
export interface Entry {
  readonly name: string
  readonly description: string
}

/** What @effect/cli knows of a command. */
export interface Knowledge {
  readonly description: string
  /** Its arguments, whose names are in angle brackets, and its options. */
  readonly entries: ReadonlyArray<Entry>
}

export const knowledgeOf = (help: HelpDoc): Knowledge => ({
  description: paragraphsOf(help).join(" "),
  entries: partsOf(help).flatMap((part) =>
    part._tag === "DescriptionList"
      ? part.definitions.map(([span, doc]) => ({
          name: nameOf(span),
          // The first paragraph is the kind of its value, which its name tells already.
          description: paragraphsOf(doc)[1] ?? ""
        }))
      : []
  )
})

const page = (usage: string, description: string, entries: ReadonlyArray<Entry>): ReadonlyArray<string> => [
  `Usage: ${usage}`,
  "",
  ...wrap(description, width),
  "",
  ...entries.flatMap(({ description, name }) => entry(name, description))
]

/** The help of a command. */
export const commandHelp = (command: string, { description, entries }: Knowledge): string => {
  const names = entries.map(({ name }) => name).filter((name) => name.startsWith("<"))
  return page([command, "[options]", ...names].join(" "), description, entries).join("\n")
}

/** The help of the program that the commands belong to. */
export const programHelp = (
  program: string,
  description: string,
  commands: ReadonlyArray<readonly [name: string, knowledge: Knowledge]>
): string => {
  const entries = commands.map(([name, { description }]) => ({ name, description }))
  const options = [
    { name: "-h, --help", description: "This help, or that of the command before it" },
    { name: "    --version", description: "The version" },
    { name: "    --completions shell", description: "A completion script for sh, bash, fish or zsh" }
  ]
  return [
    ...page(`${program} <command> [options] ...`, description, entries),
    "",
    ...options.flatMap(({ description, name }) => entry(name, description))
  ].join("\n")
}
