// The servers that are measured beside each other.

import type { ServerKind } from "./processes.js"

const ours = (form: string): ServerKind => ({ name: form, file: "servers/ours.js", form })

/** Lets glibc keep what is freed. By itself it gives much of it back to the system; ours teaches it not to (nodeMemory.ts). */
const kept = { MALLOC_TRIM_THRESHOLD_: String(64 * 2 ** 20), MALLOC_MMAP_THRESHOLD_: String(32 * 2 ** 20) }

export const kinds: ReadonlyArray<ServerKind> = [
  ours("run"),
  ours("handler"),
  ours("gen"),
  ours("loop"),
  ours("batch"),
  ours("stream"),
  ours("suspending"),
  { name: "ws", file: "servers/ws.js", env: { WS_NO_BUFFER_UTIL: "1" } },
  { name: "ws+native", file: "servers/ws.js" },
  { name: "ws+kept", file: "servers/ws.js", env: { WS_NO_BUFFER_UTIL: "1", ...kept } },
  { name: "platform", file: "servers/platform.js" },
  { name: "faye", file: "servers/faye.mjs" },
  { name: "bun", file: "servers/bun.mjs", runtime: "bun" },
  { name: "raw", file: "servers/raw.js" },
  { name: "raw+shared", file: "servers/raw.js", form: "shared" }
]

/** Whether it is the library that is measured. */
export const isOurs = ({ file, form }: ServerKind): boolean =>
  /ours|broadcastServer/.test(file) && form !== "ws" && form !== "raw"

export const kindsNamed = (...names: ReadonlyArray<string>): ReadonlyArray<ServerKind> =>
  kinds.filter(({ name }) => names.includes(name))

/** What comes back from an echo server: `raw` doesn't unmask. */
export const echoOf = ({ file }: ServerKind): "bytes" | "echo" => (file === "servers/raw.js" ? "bytes" : "echo")
