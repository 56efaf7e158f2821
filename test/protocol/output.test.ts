import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Output } from "../../src/protocol/output.js"
import { join, parse, pattern, toHex, utf8, wire } from "../fixtures/bytes.js"

/** Lengths around every place where the code changes its mind. */
const sizes = fc.oneof(
  { weight: 6, arbitrary: fc.nat(40) },
  { weight: 3, arbitrary: fc.constantFrom(23, 24, 25, 31, 32, 33, 124, 125, 126, 127) },
  { weight: 2, arbitrary: fc.integer({ min: 100, max: 4000 }) },
  { weight: 1, arbitrary: fc.constantFrom(5461, 5462, 16_383, 16_384, 16_385, 65_521, 65_522, 65_535, 65_536, 70_000) }
)
const units = fc.constantFrom(
  "a",
  "\u007f",
  "\u0080",
  "é",
  "\u07ff",
  "\u0800",
  "€",
  "\uffff",
  "😀",
  "\ud83d",
  "\ude00",
  "aé€😀"
)
const texts = fc.oneof(
  fc.tuple(units, sizes).map(([unit, size]) => unit.repeat(Math.ceil(size / unit.length)).slice(0, size)),
  fc.tuple(fc.nat(30), units).map(([before, unit]) => "x".repeat(before) + unit)
)
const keys = fc.option(fc.integer({ min: 0, max: 0xffff_ffff }), { nil: undefined })

type Command =
  | { readonly _tag: "text"; readonly content: string; readonly key: number | undefined }
  | { readonly _tag: "binary"; readonly size: number; readonly key: number | undefined }
  | { readonly _tag: "frame"; readonly size: number; readonly fin: boolean; readonly key: number | undefined }
  | { readonly _tag: "take" | "clear" }

const commands = fc.oneof(
  { weight: 4, arbitrary: fc.record({ _tag: fc.constant("text" as const), content: texts, key: keys }) },
  { weight: 3, arbitrary: fc.record({ _tag: fc.constant("binary" as const), size: sizes, key: keys }) },
  {
    weight: 2,
    arbitrary: fc.record({ _tag: fc.constant("frame" as const), size: sizes, fin: fc.boolean(), key: keys })
  },
  { weight: 3, arbitrary: fc.constant({ _tag: "take" as const }) },
  { weight: 1, arbitrary: fc.constant({ _tag: "clear" as const }) }
)

/** An output, and beside it what the plainest encoder makes of the same commands. */
class Writer {
  readonly output = new Output()
  private waiting: Array<Uint8Array> = []
  /** What was handed out, with what it has to be, for ever. */
  private readonly taken: Array<{ readonly pieces: ReadonlyArray<Uint8Array>; readonly expected: Uint8Array }> = []

  run(command: Command): void {
    switch (command._tag) {
      case "text":
        this.output.text(command.content, command.key)
        this.waiting.push(wire(1, utf8(command.content), { key: command.key }))
        break
      case "binary":
        this.output.binary(pattern(command.size), command.key)
        this.waiting.push(wire(2, pattern(command.size), { key: command.key }))
        break
      case "frame": {
        const { fin, size, key } = command
        this.output.frame(fin, 5, 0, pattern(size), key)
        this.waiting.push(wire(0, pattern(size), { fin, rsv: 5, key }))
        break
      }
      case "take":
        this.taken.push({ pieces: this.output.take(), expected: join(...this.waiting) })
        this.waiting = []
        break
      case "clear":
        this.output.clear()
        this.waiting = []
    }
    expect(this.output.size).toBe(join(...this.waiting).length)
  }

  check(): void {
    for (const { pieces, expected } of this.taken) expect(Buffer.compare(join(...pieces), expected)).toBe(0)
  }
}

const written = (output: Output): Uint8Array => join(...output.take())

describe("outputs", () => {
  it("that are written to in turn give what the plainest encoder gives, and never touch what was handed out", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(2), commands), { minLength: 5, maxLength: 40 }), (script) => {
        const writers = [new Writer(), new Writer(), new Writer()]
        for (const [index, command] of script) writers[index]?.run(command)
        for (const writer of writers) {
          writer.run({ _tag: "take" })
          writer.check()
        }
      }),
      { numRuns: 400 }
    )
  })

  it("use up a slab one after the other, without an overlap", () => {
    const first = new Output()
    const second = new Output()
    const pieces: Array<Uint8Array> = []
    for (let turn = 0; turn < 50; turn++) {
      for (const output of [first, second]) {
        output.text(`turn ${turn}`, undefined)
        pieces.push(...output.take())
      }
    }
    const buffers = new Set(pieces.map(({ buffer }) => buffer))
    expect(buffers.size).toBeLessThanOrEqual(2)
    for (const buffer of buffers) {
      let end = 0
      for (const piece of pieces.filter((one) => one.buffer === buffer)) {
        expect(piece.byteOffset).toBeGreaterThanOrEqual(end)
        end = piece.byteOffset + piece.length
      }
    }
  })

  it("that are open at the same time don't share a slab", () => {
    const first = new Output()
    const second = new Output()
    for (let turn = 0; turn < 20; turn++) {
      first.text("first", turn)
      second.text("second", turn)
    }
    expect(parse(written(first)).map(({ payload }) => Buffer.from(payload).toString())).toEqual(Array(20).fill("first"))
    expect(parse(written(second)).map(({ payload }) => Buffer.from(payload).toString())).toEqual(
      Array(20).fill("second")
    )
  })
})

describe("an output", () => {
  it("puts the small frames of a turn in one piece, in order", () => {
    const output = new Output()
    for (let index = 0; index < 100; index++) output.text(String(index), undefined)
    const pieces = output.take()
    // A slab may end on the way.
    expect(pieces.length).toBeLessThanOrEqual(2)
    expect(parse(join(...pieces)).map(({ payload }) => Buffer.from(payload).toString())).toEqual(
      Array.from({ length: 100 }, (_, index) => String(index))
    )
    expect(output.size).toBe(0)
    expect(output.take()).toEqual([])
  })

  it("sends a large unmasked payload without a copy, between its neighbours", () => {
    const output = new Output()
    const large = pattern(16_384)
    const larger = pattern(70_000)
    output.text("before", undefined)
    output.binary(large, undefined)
    output.frame(false, 0, 1, larger, undefined)
    output.text("after", undefined)
    const pieces = output.take()
    expect(pieces.filter((piece) => piece === large || piece === larger)).toEqual([large, larger])
    expect(toHex(join(...pieces))).toBe(
      toHex(join(wire(1, "before"), wire(2, large), wire(1, larger, { fin: false }), wire(1, "after")))
    )
  })

  it("copies a smaller one, and any that it masks, so that the caller's bytes stay as they are", () => {
    for (const [size, key] of [
      [0, undefined],
      [10, 0x01020304],
      [16_383, undefined],
      [16_384, 0x01020304],
      [200_000, 0xfffefdfc]
    ] as const) {
      const output = new Output()
      const payload = pattern(size)
      output.binary(payload, key)
      const pieces = output.take()
      expect(pieces.map(({ buffer }) => buffer)).not.toContain(payload.buffer)
      expect(Buffer.compare(join(...pieces), wire(2, payload, { key }))).toBe(0)
      expect(Buffer.compare(payload, pattern(size))).toBe(0)
    }
  })

  it.each([
    ["ASCII", "x"],
    ["the last of ASCII", "\u007f"],
    ["the first beyond ASCII", "\u0080"],
    ["two bytes", "é"],
    ["three bytes", "€"],
    ["four bytes", "😀"],
    ["lone surrogates", "\udc00"]
  ])("writes text of %s at every length where the header grows or the way of writing changes", (_, unit) => {
    const lengths = [
      0, 1, 2, 12, 23, 24, 25, 41, 42, 62, 63, 124, 125, 126, 127, 1000, 5461, 5462, 21_845, 65_535, 65_536
    ]
    for (const length of lengths) {
      for (const key of [undefined, 0x0a0b0c0d]) {
        const output = new Output()
        const all = ["in front", unit.repeat(length / unit.length), "behind"]
        for (const one of all) output.text(one, key)
        const expected = join(...all.map((one) => wire(1, one, { key })))
        expect(output.size).toBe(expected.length)
        expect(Buffer.compare(written(output), expected)).toBe(0)
      }
    }
  })

  it("replaces lone surrogates by U+FFFD", () => {
    const output = new Output()
    output.text("a\ud800b", undefined)
    output.text("\udfff", undefined)
    expect(toHex(written(output))).toBe("810561efbfbd62 8103efbfbd".replaceAll(" ", ""))
  })

  it("uses a list again that was given back, and keeps what was left behind of it", () => {
    const output = new Output()
    output.frame(true, 0, 2, pattern(20_000), undefined)
    const [first, rest] = [output.take(15_000), output.size]
    output.giveBack(first)
    expect(first).toEqual([])
    expect(output.size).toBe(rest)
    const second = output.take()
    expect(second.reduce((size, piece) => size + piece.length, 0)).toBe(rest)
    output.giveBack(second)
    output.frame(true, 0, 2, pattern(20_000), undefined)
    expect(output.take()).toBe(second)
  })

  it("drops what waits when it is cleared, and goes on", () => {
    const output = new Output()
    output.text("lost", undefined)
    output.binary(pattern(20_000), undefined)
    output.clear()
    expect(output.size).toBe(0)
    output.text("kept", undefined)
    expect(toHex(written(output))).toBe(toHex(wire(1, "kept")))
  })
})
