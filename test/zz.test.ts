import { it } from "vitest"
import zlib, { constants as c } from "node:zlib"
import { codecs, jsonText, takeover, noise } from "./fixtures/deflating.js"
const best = (n: number, f: () => void) => { let b = Infinity; for (let r = 0; r < 40; r++) { const t = process.hrtime.bigint(); for (let i = 0; i < n; i++) f(); b = Math.min(b, Number(process.hrtime.bigint() - t) / n / 1000) } return b.toFixed(1) }
it("bench", async () => {
  const out: string[] = []
  for (const size of [100, 1024, 16384, 300 * 1024]) {
    const m = new TextEncoder().encode(jsonText(size))
    const n = size > 10000 ? 10 : 100
    const a = codecs(), t = codecs(takeover)
    const p = a.client.encode(m)
    out.push(`${size}: ratio ${(p.length / size).toFixed(2)} encode ${best(n, () => a.client.encode(m))} decode ${best(n, () => a.server.decode(p, 1e9))} takeover encode ${best(n, () => t.client.encode(m))}`)
    for (const level of [1, 3, 6, 9] as const) { const l = codecs({ level }); out.push(`   level ${level}: ${best(n, () => l.client.encode(m))} us, ratio ${(l.client.encode(m).length / size).toFixed(3)}`) }
    // plain decode w/o the ending trick
    const q = Buffer.concat([p, Buffer.from([0, 0, 255, 255])])
    out.push(`   inflate bare sync flush ${best(n, () => zlib.inflateRawSync(q, { finishFlush: c.Z_SYNC_FLUSH }))}`)
  }
  // streams
  const m = Buffer.from(jsonText(1024))
  const d = zlib.createDeflateRaw({ level: 1 }); const inf = zlib.createInflateRaw(); inf.resume(); d.resume()
  let b1 = Infinity, b2 = Infinity
  const chunk = zlib.deflateRawSync(m, { finishFlush: c.Z_FULL_FLUSH })
  for (let r = 0; r < 30; r++) {
    let t0 = process.hrtime.bigint()
    for (let i = 0; i < 50; i++) await new Promise<void>((res) => { d.write(m); d.flush(c.Z_SYNC_FLUSH, () => res()) })
    b1 = Math.min(b1, Number(process.hrtime.bigint() - t0) / 50e3)
    t0 = process.hrtime.bigint()
    for (let i = 0; i < 50; i++) await new Promise<void>((res) => { inf.write(chunk); inf.flush(c.Z_SYNC_FLUSH, () => res()) })
    b2 = Math.min(b2, Number(process.hrtime.bigint() - t0) / 50e3)
  }
  out.push(`streams: deflate ${b1.toFixed(1)} inflate ${b2.toFixed(1)}`)
  // takeover: steady state with inflate
  { const t = codecs(takeover); const msgs = Array.from({ length: 400 }, (_, i) => new TextEncoder().encode(jsonText(1024, i * 7))); const ps = msgs.map((x) => t.client.encode(x)); out.push(`takeover ratio ${(ps.slice(50).reduce((s, x) => s + x.length, 0) / 350 / 1024).toFixed(3)}`); const t0 = process.hrtime.bigint(); for (const x of ps) t.server.decode(x, 1e9); out.push(`takeover decode avg ${(Number(process.hrtime.bigint() - t0) / 400e3).toFixed(1)}`)}
  // memory
  const gc = globalThis.gc
  for (const [name, options] of [["default", {}], ["takeover 15", takeover], ["takeover 10", { ...takeover, clientMaxWindowBits: 10, serverMaxWindowBits: 10 }], ["server only", { serverNoContextTakeover: false }]] as const) {
    gc?.(); const before = process.memoryUsage()
    const kept = Array.from({ length: 1000 }, () => codecs(options))
    const big = noise(40_000)
    for (const k of kept) { k.server.decode(k.client.encode(big), 1e9); k.client.decode(k.server.encode(big), 1e9) }
    gc?.(); await new Promise((r) => setTimeout(r, 50)); gc?.()
    const after = process.memoryUsage()
    out.push(`${name}: per end arrayBuffers ${((after.arrayBuffers - before.arrayBuffers) / 2000).toFixed(0)} heap ${((after.heapUsed - before.heapUsed) / 2000).toFixed(0)} external ${((after.external - before.external) / 2000).toFixed(0)}`)
    if (kept.length === 0) throw 1
  }
  console.log(out.join("\n"), !!gc)
}, 120000)
