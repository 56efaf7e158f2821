// One input of the fuzzer, and the text form in which the corpus keeps it:
//
//   # why it is here
//   role server
//   limits 1048576 16384
//   deflate client_max_window_bits=9; client_no_context_takeover
//   verdict same
//   81 85 00 00 00 00
//   48 65 6c 6c 6f
//
// Each line of hex is one chunk; `limits` are the message size and the fragments;
// without `deflate` there is no compression; `verdict` is an allowance of
// compare.ts, or `same`.

import type { Role } from "../../src/protocol/frame.js"
import type { Extension } from "../../src/protocol/tokens.js"
import { formatExtensions, parseExtensions } from "../../src/protocol/tokens.js"

export interface Input {
  /** Who receives: a server is sent masked frames. */
  readonly role: Role
  readonly maxMessageSize: number
  readonly maxFragments: number
  /** What the opening handshake agreed on. */
  readonly deflate: Extension | undefined
  readonly bytes: Uint8Array
  readonly cuts: ReadonlyArray<number>
}

const name = "permessage-deflate"

const hex = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString("hex")
    .replace(/..(?=.)/g, "$& ")

export const print = (input: Input, verdict: string, why: string): string => {
  const ends = [...input.cuts, input.bytes.length]
  const parameters = input.deflate === undefined ? undefined : formatExtensions([input.deflate])
  return [
    ...why.split("\n").map((line) => `# ${line}`),
    `role ${input.role}`,
    `limits ${input.maxMessageSize} ${input.maxFragments}`,
    ...(typeof parameters === "string"
      ? [`deflate ${parameters.slice(name.length).replace(/^; /, "")}`.trimEnd()]
      : []),
    `verdict ${verdict}`,
    ...ends.map((end, index) => hex(input.bytes.subarray(input.cuts[index - 1] ?? 0, end))),
    ""
  ].join("\n")
}

export const parse = (text: string): { readonly input: Input; readonly verdict: string } => {
  let role: Role = "server"
  let limits: ReadonlyArray<number> = []
  let deflate: Extension | undefined
  let verdict = "same"
  const chunks: Array<Buffer> = []
  for (const line of text.split("\n")) {
    const [key, ...values] = line.split(" ")
    if (key === "#" || line === "") continue
    else if (key === "role") role = values[0] === "client" ? "client" : "server"
    else if (key === "verdict") verdict = values.join(" ")
    else if (key === "limits") limits = values.map(Number)
    else if (key === "deflate") {
      const parsed = parseExtensions([name, ...(values.length > 0 ? [values.join(" ")] : [])].join("; "))
      if ("_tag" in parsed) throw new Error(`no extension: ${line}`)
      deflate = parsed[0]
    } else chunks.push(Buffer.from(line.replaceAll(" ", ""), "hex"))
  }
  let end = 0
  const ends = chunks.map((chunk) => {
    end += chunk.length
    return end
  })
  const [maxMessageSize = 1_048_576, maxFragments = 16_384] = limits
  const bytes = new Uint8Array(Buffer.concat(chunks))
  return { verdict, input: { role, maxMessageSize, maxFragments, deflate, bytes, cuts: ends.slice(0, -1) } }
}
