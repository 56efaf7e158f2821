// docs/conformance.md, from the cases.

import { choices, type Deviation, deviations } from "./deviations.js"
import type { Named, Roles } from "./model.js"
import { connectionTopics, openingTopics } from "./topics.js"

const titles: ReadonlyMap<string, string> = new Map([
  ["request", "Opening handshake: what a server makes of a request"],
  ["response", "Opening handshake: what a client makes of a response"],
  ["own-request", "Opening handshake: what a client asks for"],
  ["framing", "Framing"],
  ["masking", "Masking"],
  ["reserved", "Reserved bits and opcodes"],
  ["control", "Control frames"],
  ["fragmentation", "Fragmentation"],
  ["utf8", "UTF-8"],
  ["closing", "Closing"]
])

/** The cases by topic, in the order of the document. */
export const topics: ReadonlyArray<readonly [topic: string, cases: ReadonlyArray<Named>]> = [
  ...Object.entries(openingTopics),
  ...connectionTopics
]

// What would end a cell, or be read as markup, is escaped.
const cell = (content: string) => content.replace(/[|\\`*_<>[\]]/g, "\\$&")

const roleOf = (roles: Roles) => (roles === "both" ? "server, client" : roles)

const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`

const tableOf = (topic: string, cases: ReadonlyArray<Named>): ReadonlyArray<string> => [
  `## ${titles.get(topic) ?? topic}`,
  "",
  `${cases.length} cases.`,
  "",
  row(["id", "section", "rule", "role", "outcome"]),
  row(["---", "---", "---", "---", "---"]),
  ...cases.map(({ id, section, rule, roles, outcome }) =>
    row([`\`${topic}/${id}\``, cell(section), cell(rule), roleOf(roles), cell(outcome)])
  ),
  ""
]

const listOf = (title: string, intro: string, list: ReadonlyArray<Deviation>): ReadonlyArray<string> => [
  `## ${title}`,
  "",
  intro,
  "",
  ...list.flatMap(({ section, says, ours, why }) => [`- **${section}**: ${says} *Here:* ${ours} *Why:* ${why}`]),
  ""
]

/** The whole document. */
export const conformanceTable = (): string => {
  const all = topics.flatMap(([, cases]) => cases)
  return [
    "# Conformance",
    "",
    "Written by `npm run conformance` from the cases in `test/conformance`; a test fails if the two differ.",
    "",
    `${all.length} cases, each a rule of an RFC: raw bytes go to our server or our client, and what comes back is compared`,
    "byte by byte, with what the application is told, and with who ends TCP. Each runs in memory and over TCP, with its",
    "bytes sent at once and one by one. In the second way a case that is refused must be refused at the last of the bytes",
    "it sends, and not before: a wrong frame before its payload, invalid UTF-8 at its first bad byte.",
    "",
    "Sections are those of RFC 6455, unless another document is named. Outcomes: `ok` means that the connection works on",
    "(a closing handshake shows it), `refused with N` that a Close with this code, or an HTTP response with this status,",
    "came back with the reason, and that we ended TCP.",
    "",
    ...topics.flatMap(([topic, cases]) => tableOf(topic, cases)),
    ...listOf("Deviations", "What an RFC asks for with MUST or SHOULD, and we don't do:", deviations),
    ...listOf("Choices", "What the documents leave open, and how it is here:", choices)
  ].join("\n")
}
