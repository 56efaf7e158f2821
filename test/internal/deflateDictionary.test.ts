import { constants } from "node:zlib"
import { expect, it } from "@effect/vitest"
import { vi } from "vitest"
import { codecs, hex, joinedBytes, jsonText, noise, streaming, tail, takeover } from "../fixtures/deflating.js"

// zlib as Deno has it: a dictionary of raw DEFLATE is taken without a word, and not looked at.
vi.mock("node:zlib", async (original) => {
  const zlib = await original<typeof import("node:zlib")>()
  return {
    ...zlib,
    deflateRawSync: (...[input, options]: Parameters<typeof zlib.deflateRawSync>) =>
      zlib.deflateRawSync(input, { ...options, dictionary: undefined }),
    inflateRawSync: (...[input, options]: Parameters<typeof zlib.inflateRawSync>) =>
      zlib.inflateRawSync(input, { ...options, dictionary: undefined })
  }
})

const MiB = 2 ** 20
const utf8 = (text: string) => new TextEncoder().encode(text)
const hello = hex("f2 48 cd c9 c9 07 00")
const again = hex("f2 00 11 00 00")

it("what refers to an earlier message is inflated all the same (RFC 7692 7.2.3.2)", () => {
  const { server } = codecs(takeover)
  expect(server.decode(hello, MiB)).toEqual(utf8("Hello"))
  expect(server.decode(again, MiB)).toEqual(utf8("Hello"))
  expect(server.decode(again, MiB)).toEqual(utf8("Hello"))
})

it("what refers to before a final block is, too", () => {
  const final = hex("f3 48 cd c9 c9 07 00")
  expect(codecs().server.decode(joinedBytes(final, final, again), MiB)).toEqual(utf8("HelloHelloHello"))
})

it("what the window doesn't hold is refused still", () => {
  const refused = { _tag: "Breach", closeCode: 1007 }
  const { server } = codecs(takeover)
  expect(server.decode(again, MiB)).toMatchObject(refused)
  server.decode(hex("02 00"), MiB)
  expect(server.decode(again, MiB)).toMatchObject(refused)
  server.decode(hello, MiB)
  for (let end = 0; end < again.length - 1; end++)
    expect(server.decode(again.subarray(0, end), MiB)).toMatchObject(refused)
})

it("the limit counts the message alone, to the byte", () => {
  const { server } = codecs(takeover)
  server.decode(hello, MiB)
  expect(server.decode(again, 4)).toEqual({ _tag: "Excess", which: "message size", limit: 4, size: 5 })
  expect(server.decode(again, 5)).toEqual(utf8("Hello"))
  expect(server.decode(again, Number.POSITIVE_INFINITY)).toEqual(utf8("Hello"))
})

it("a conversation beyond the largest window is understood, and nothing of the window is kept with a message", async () => {
  const { server } = codecs(takeover)
  const sender = streaming()
  for (const size of [1, 100, 5000, 32_767, 32_768, 32_769, 70_000, 10, 5000]) {
    for (const message of [noise(size, size), utf8(jsonText(size))]) {
      await sender.write(message, constants.Z_SYNC_FLUSH)
      const decoded = server.decode(sender.take().slice(0, -tail.length), MiB)
      expect(decoded).toEqual(message)
      if ("buffer" in decoded) expect(decoded.buffer.byteLength).toBeLessThanOrEqual(2 * message.length)
    }
  }
})

it("what we send is valid: it refers to nothing before the message", () => {
  const { client, server } = codecs(takeover)
  const first = client.encode(utf8("Hello"))
  expect(client.encode(utf8("Hello"))).toEqual(first)
  for (let turn = 0; turn < 2; turn++) expect(server.decode(first, MiB)).toEqual(utf8("Hello"))
})
