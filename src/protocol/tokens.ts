/**
 * The grammar of header fields, character by character: tokens, field values,
 * comma lists, extension lists, hosts (RFC 9110 section 5.6, RFC 6455 section
 * 9.1). Each parser walks its text once, forwards, by a cursor and a table: no
 * regular expression whose running time an attacker could choose.
 */

/** A rule that was broken; nothing was produced. */
export interface Failure {
  readonly _tag: "Failure"
  readonly rule: string
}

export const failure = (rule: string): Failure => ({ _tag: "Failure", rule })

const tableOf = (characters: string): Uint8Array => {
  const table = new Uint8Array(256)
  for (const character of characters) table[character.charCodeAt(0)] = 1
  return table
}

const range = (first: number, last: number): string =>
  Array.from({ length: last - first + 1 }, (_, index) => String.fromCharCode(first + index)).join("")

const digits = "0123456789"
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/** 1 at the code of each character of a token (RFC 9110 5.6.2). */
export const tokenTable = tableOf(`${digits}${letters}!#$%&'*+-.^_\`|~`)

/** 1 at what a field value may hold: visible ASCII, obs-text, space, tab (RFC 9110 5.5). No other control, so no CR, LF or NUL. */
export const fieldTable = tableOf(`\t${range(0x20, 0x7e)}${range(0x80, 0xff)}`)

/** The part of `fieldTable` that is ASCII. */
export const asciiTable = tableOf(`\t${range(0x20, 0x7e)}`)

/** 1 at optional whitespace (RFC 9110 5.6.3). */
export const spaceTable = tableOf("\t ")

/**
 * 1 at what a request target may hold: visible ASCII without `#`. It is wider
 * than a URI, because browsers leave `|` and its like in a query unescaped; a
 * fragment is never part of a target (RFC 9112 3.2.1, RFC 6455 3).
 */
export const targetTable = tableOf(range(0x21, 0x7e).replace("#", ""))

// Upgrade lists protocols, `name["/"version]`, where the other fields list tokens (RFC 9110 7.8).
const protocolTable = tableOf(`${digits}${letters}!#$%&'*+-.^_\`|~/`)

// A registered name (RFC 3986 3.2.2) without `,`, which would hide a doubled field, and without
// percent-encoding, which no host on the web has (the URL standard forbids it).
const hostTable = tableOf(`${digits}${letters}-._~!$&'()*+;=`)
const addressTable = tableOf(`${digits}ABCDEFabcdef:.`)
const digitTable = tableOf(digits)
const base64Table = tableOf(`${digits}${letters}+/`)

/** 1 at what a URI's scheme consists of (RFC 3986 3.1). */
export const schemeTable = tableOf(`${digits}${letters}+-.`)

/** Whether each character stands in the table. True for an empty text. */
export const consistsOf = (text: string, table: Uint8Array): boolean => {
  for (let index = 0; index < text.length; index++) if (table[text.charCodeAt(index)] !== 1) return false
  return true
}

export const isToken = (text: string): boolean => text !== "" && consistsOf(text, tokenTable)

/** An origin-form target: a path, with or without a query. */
export const isTarget = (text: string): boolean => text.startsWith("/") && consistsOf(text, targetTable)

/**
 * Whether a text is base64 of exactly 16 bytes, as a key has to be (RFC 6455 4.1).
 * 16 bytes leave four bits of the last digit unused; only the encoding that
 * has zeros there is canonical (RFC 4648 3.5), which leaves it four digits.
 */
export const isKey = (text: string): boolean =>
  text.length === 24 &&
  text.endsWith("==") &&
  consistsOf(text.slice(0, 22), base64Table) &&
  "AQgw".includes(text.charAt(21))

const quote = 0x22
const comma = 0x2c
const semicolon = 0x3b
const equals = 0x3d
const backslash = 0x5c

/** A place in a text. Past the end a code is NaN, which stands in no table and equals nothing. */
class Cursor {
  private at = 0

  constructor(private readonly text: string) {}

  get done(): boolean {
    return this.at >= this.text.length
  }

  skipSpace(): void {
    while (spaceTable[this.text.charCodeAt(this.at)] === 1) this.at++
  }

  /** Steps over one character if it is this one. */
  eat(code: number): boolean {
    if (this.text.charCodeAt(this.at) !== code) return false
    this.at++
    return true
  }

  /** The longest run of characters of a table, perhaps empty. */
  run(table: Uint8Array): string {
    const start = this.at
    while (table[this.text.charCodeAt(this.at)] === 1) this.at++
    return this.text.slice(start, this.at)
  }

  /** A token, or a quoted string that is a token once unescaped; empty if neither is here. */
  value(): string {
    if (!this.eat(quote)) return this.run(tokenTable)
    let text = ""
    while (!this.eat(quote)) {
      this.eat(backslash)
      const code = this.text.charCodeAt(this.at)
      // A quoted value must be a token after unescaping (RFC 6455 9.1).
      if (tokenTable[code] !== 1) return ""
      text += String.fromCharCode(code)
      this.at++
    }
    return text
  }
}

const parseList = (value: string, table: Uint8Array): ReadonlyArray<string> | undefined => {
  const cursor = new Cursor(value)
  const elements: Array<string> = []
  for (;;) {
    cursor.skipSpace()
    const element = cursor.run(table)
    // A recipient must ignore empty elements (RFC 9110 5.6.1.2); the size of the head bounds how many there are.
    if (element !== "") elements.push(element)
    cursor.skipSpace()
    if (cursor.done) return elements
    if (!cursor.eat(comma)) return undefined
  }
}

/** The tokens of a comma list, in order. `[]` if there are none. */
export const parseTokens = (value: string): ReadonlyArray<string> | Failure =>
  parseList(value, tokenTable) ?? failure("a list holds something else than tokens and commas (RFC 9110 5.6.1)")

/** Whether a list such as Connection or Upgrade names `token`, which is written in lower case here and in any case there. */
export const hasToken = (value: string | undefined, token: string): boolean => {
  if (value === undefined) return false
  // A list of that alone, as it nearly always is, needn't be taken apart.
  if (value.length === token.length) return consistsOf(value, tokenTable) && value.toLowerCase() === token
  return parseList(value, protocolTable)?.some((element) => element.toLowerCase() === token) === true
}

/** An extension with its parameters in order, repeated ones included: what repetition means is the extension's to say. */
export interface Extension {
  readonly name: string
  readonly params: ReadonlyArray<readonly [name: string, value: string | undefined]>
}

const badExtensions = failure("Sec-WebSocket-Extensions isn't a list of extensions with parameters (RFC 6455 9.1)")

/** The extensions of a Sec-WebSocket-Extensions field, in order. `[]` if there are none. */
export const parseExtensions = (value: string): ReadonlyArray<Extension> | Failure => {
  const cursor = new Cursor(value)
  const extensions: Array<Extension> = []
  for (;;) {
    cursor.skipSpace()
    const name = cursor.run(tokenTable)
    cursor.skipSpace()
    if (name !== "") {
      const params = parseParams(cursor)
      if (params === undefined) return badExtensions
      extensions.push({ name, params })
    }
    if (cursor.done) return extensions
    if (!cursor.eat(comma)) return badExtensions
  }
}

const parseParams = (cursor: Cursor): Extension["params"] | undefined => {
  const params: Array<readonly [string, string | undefined]> = []
  while (cursor.eat(semicolon)) {
    cursor.skipSpace()
    const name = cursor.run(tokenTable)
    if (name === "") return undefined
    cursor.skipSpace()
    let value: string | undefined
    if (cursor.eat(equals)) {
      cursor.skipSpace()
      value = cursor.value()
      if (value === "") return undefined
      cursor.skipSpace()
    }
    params.push([name, value])
  }
  return params
}

/** Extensions as a field value. */
export const formatExtensions = (extensions: ReadonlyArray<Extension>): string | Failure => {
  for (const { name, params } of extensions) {
    const wellFormed =
      isToken(name) && params.every(([key, value]) => isToken(key) && (value === undefined || isToken(value)))
    if (!wellFormed)
      return failure("the name of an extension, and of its parameters and their values, is a token (RFC 6455 9.1)")
  }
  return extensions
    .map(({ name, params }) =>
      [name, ...params.map(([key, value]) => (value === undefined ? key : `${key}=${value}`))].join("; ")
    )
    .join(", ")
}

/** A host in lower case, with the port if one was written. */
export interface Host {
  readonly hostname: string
  readonly port: number | undefined
}

/** `host[:port]` as in a Host field; `undefined` if it isn't that, or is empty. An IPv6 address keeps its brackets. */
export const parseHost = (text: string): Host | undefined => {
  const bracketed = text.startsWith("[")
  const end = bracketed ? text.indexOf("]") + 1 : text.indexOf(":")
  const hostname = end <= 0 ? text : text.slice(0, end)
  const rest = text.slice(hostname.length)
  const wellFormed = bracketed
    ? hostname.length > 2 && hostname.endsWith("]") && consistsOf(hostname.slice(1, -1), addressTable)
    : hostname !== "" && consistsOf(hostname, hostTable)
  if (!wellFormed) return undefined
  if (rest !== "" && !rest.startsWith(":")) return undefined
  const port = rest.slice(1)
  if (port.length > 5 || !consistsOf(port, digitTable) || Number(port) > 65535) return undefined
  return { hostname: hostname.toLowerCase(), port: port === "" ? undefined : Number(port) }
}
