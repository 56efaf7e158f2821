import { compare, type Part } from "./compare.js"
import { copies } from "./copies.js"
import { frames } from "./frames.js"
import { hops } from "./hops.js"
import { masks } from "./masks.js"
import { text } from "./text.js"

const parts: ReadonlyArray<Part> = [...masks, ...text, ...frames, ...copies, ...hops]
const wanted = process.argv.slice(2)

console.log("nanoseconds, medians of 15 rounds in turn; * is what the library does")
for (const part of parts) {
  if (wanted.length === 0 || wanted.some((piece) => part.title.includes(piece))) await compare(part)
}
process.disconnect?.()
