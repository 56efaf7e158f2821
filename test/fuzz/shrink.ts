// A smaller input for which the condition still holds.

import type { Input } from "./stream.js"

const without = (input: Input, start: number, end: number): Input => ({
  ...input,
  bytes: new Uint8Array([...input.bytes.subarray(0, start), ...input.bytes.subarray(end)]),
  cuts: [...new Set(input.cuts.map((cut) => (cut <= start ? cut : Math.max(start, cut - (end - start)))))].filter(
    (cut) => cut > 0 && cut < input.bytes.length - (end - start)
  )
})

function* smaller(input: Input): Generator<Input> {
  const { bytes, cuts } = input
  if (cuts.length > 0) yield { ...input, cuts: [] }
  for (let size = 2 ** Math.ceil(Math.log2(bytes.length + 1)); size >= 1; size /= 2) {
    for (let end = bytes.length; end > 0; end -= size) yield without(input, Math.max(0, end - size), end)
  }
  for (const cut of cuts) yield { ...input, cuts: cuts.filter((other) => other !== cut) }
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== 0) yield { ...input, bytes: bytes.map((byte, index) => (index === at ? 0 : byte)) }
  }
}

/** Takes the first smaller input that will do, until there is none or it was asked often enough. */
export const shrink = async (input: Input, holds: (input: Input) => Promise<boolean>, most = 3000): Promise<Input> => {
  let found = input
  for (let asked = 0, more = true; more && asked < most; ) {
    more = false
    for (const candidate of smaller(found)) {
      if (++asked > most) break
      if (!(await holds(candidate))) continue
      found = candidate
      more = true
      break
    }
  }
  return found
}
