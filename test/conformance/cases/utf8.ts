// RFC 6455 8.1 and RFC 3629 4. A text of each class, legal ones cut at each byte, illegal ones refused at
// the first byte that no valid text could have.

import { close, closePayload, fragments, frame, hex, join, nothing, op, text } from "../bytes.js"
import type { ConnectionCase } from "../model.js"
import { accepted, closedByPeer, closes, refused } from "../model.js"
import * as offence from "../offences.js"

const decode = (bytes: Uint8Array): string => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)

const planes = Array.from({ length: 17 }, (_, plane) => plane * 0x10000)
const ofPoints = (...points: ReadonlyArray<number>) => Buffer.from(String.fromCodePoint(...points)).toString("hex")

const valid: ReadonlyArray<readonly [name: string, digits: string]> = [
  ["ASCII", "48656c6c6f"],
  ["NUL", "00"],
  ["DEL", "7f"],
  ["first of two bytes, U+0080", "c280"],
  ["last of two bytes, U+07FF", "dfbf"],
  ["first of three bytes, U+0800", "e0a080"],
  ["last below the surrogates, U+D7FF", "ed9fbf"],
  ["first above the surrogates, U+E000", "ee8080"],
  ["replacement character, U+FFFD", "efbfbd"],
  ["last of three bytes, U+FFFF, a non-character", "efbfbf"],
  ["first of four bytes, U+10000", "f0908080"],
  ["U+40000", "f1808080"],
  ["U+FFFFF", "f3bfbfbf"],
  ["first of the last plane, U+100000", "f4808080"],
  ["last of all, U+10FFFF", "f48fbfbf"],
  ["byte order mark at the start", "efbbbf61"],
  ["byte order mark alone", "efbbbf"],
  ["byte order mark inside", "61efbbbf62"],
  ["non-characters U+FDD0 to U+FDEF", ofPoints(...Array.from({ length: 32 }, (_, index) => 0xfdd0 + index))],
  [
    "the last two of each plane, non-characters",
    ofPoints(...planes.flatMap((plane) => [plane + 0xfffe, plane + 0xffff]))
  ],
  ["Greek with U+1F79", "cebae1bdb9cf83cebcceb5"],
  ["an emoji joined of several", Buffer.from("👩‍👩‍👧").toString("hex")]
]

const legal: ReadonlyArray<ConnectionCase> = valid.flatMap(([name, digits], index) => {
  const bytes = hex(digits)
  const content = decode(bytes)
  const cuts = Array.from({ length: bytes.length + 1 }, (_, at) => at)
  return [
    accepted(`valid-${index + 1}`, "8.1, RFC 3629 4", `valid in one frame: ${name}`, text(bytes), {
      messages: [content]
    }),
    accepted(
      `valid-${index + 1}-cut`,
      "5.4, 8.1",
      `valid however frames cut it, at each byte in turn: ${name}`,
      join(...cuts.flatMap((at) => fragments(op.text, bytes.subarray(0, at), bytes.subarray(at)))),
      { messages: cuts.map(() => content) }
    ),
    ...(bytes.length > 123
      ? []
      : [
          closes(
            `valid-${index + 1}-reason`,
            "5.5.1, 8.1",
            `valid as a close reason: ${name}`,
            close(1000, bytes),
            close(1000),
            closedByPeer(1000, content)
          )
        ])
  ]
})

/** What is illegal, as far as its first bad byte, and what may follow. */
const invalid: ReadonlyArray<readonly [name: string, bad: string, rest: string]> = [
  ["a continuation byte alone, 80", "80", ""],
  ["a continuation byte alone, BF", "bf", ""],
  ["continuation bytes only", "80", "bf80bf"],
  ["one continuation byte too many behind two bytes", "c28080", ""],
  ["one continuation byte too many behind three bytes", "e0a08080", ""],
  ["one continuation byte too many behind four bytes", "f090808080", ""],
  ["C0, an overlong form of NUL", "c0", "80"],
  ["C0, an overlong form of /", "c0", "af"],
  ["C1, overlong", "c1", "bf"],
  ["E0 80, an overlong form of NUL", "e080", "80"],
  ["E0 80, an overlong form of /", "e080", "af"],
  ["E0 9F, the last overlong form of three bytes", "e09f", "bf"],
  ["F0 80, an overlong form of NUL", "f080", "8080"],
  ["F0 80, an overlong form of /", "f080", "80af"],
  ["F0 8F, the last overlong form of four bytes", "f08f", "bfbf"],
  ["ED A0, the first surrogate, U+D800", "eda0", "80"],
  ["ED AD, a surrogate, U+DB7F", "edad", "bf"],
  ["ED AF, the last high surrogate, U+DBFF", "edaf", "bf"],
  ["ED B0, the first low surrogate, U+DC00", "edb0", "80"],
  ["ED BF, the last surrogate, U+DFFF", "edbf", "bf"],
  ["a pair of surrogates, as CESU-8 has it", "eda0", "bdedb8a0"],
  ["F4 90, the first above U+10FFFF", "f490", "8080"],
  ["F4 BF, above U+10FFFF", "f4bf", "bfbf"],
  ["F5, above U+10FFFF", "f5", "808080"],
  ["F7, above U+10FFFF", "f7", "bfbfbf"],
  ["F8, of a form with five bytes", "f8", "88808080"],
  ["FB, of a form with five bytes", "fb", "bfbfbfbf"],
  ["FC, of a form with six bytes", "fc", "8480808080"],
  ["FD, of a form with six bytes", "fd", "bfbfbfbfbf"],
  ["FE", "fe", ""],
  ["FF", "ff", ""],
  ["two bytes, the second is ASCII", "c241", ""],
  ["two bytes, the second is a first byte", "dfdf", ""],
  ["three bytes, the second is ASCII", "e141", "80"],
  ["three bytes, the third is ASCII", "e18041", ""],
  ["three bytes, the third is a first byte", "efbfc2", "80"],
  ["four bytes, the second is ASCII", "f141", ""],
  ["four bytes, the third is ASCII", "f18041", ""],
  ["four bytes, the fourth is ASCII", "f1808041", ""],
  ["four bytes, the fourth is a first byte", "f48fbff4", ""],
  ["valid, then a surrogate, then valid", "cebae1bdb9cf83cebcceb5eda0", "80656469746564"],
  ["valid, then above U+10FFFF, then valid", "cebae1bdb9cf83cebcceb5f490", "8080656469746564"]
]

const illegal: ReadonlyArray<ConnectionCase> = invalid.flatMap(([name, digits, following], index) => {
  const bad = hex(digits)
  const all = hex(digits + following)
  const good = bad.subarray(0, bad.length - 1)
  const id = `invalid-${index + 1}`
  return [
    refused(
      `${id}-first-byte`,
      "8.1",
      `refused at the first bad byte of a frame that goes on: ${name}`,
      frame(op.text, bad, { declares: 100 }),
      offence.invalidText
    ),
    refused(
      `${id}-whole`,
      "8.1",
      `refused in a frame that is whole: ${name}`,
      frame(op.text, bad, { declares: all.length }),
      offence.invalidText,
      { ignored: (peer) => text(all)(peer).subarray(text(bad)(peer).length) }
    ),
    refused(
      `${id}-fragment`,
      "5.4, 8.1",
      `refused where the bad byte begins a new frame: ${name}`,
      frame(op.continuation, bad.subarray(bad.length - 1), { declares: 70_000, fin: false }),
      offence.invalidText,
      { before: [frame(op.text, good, { fin: false }), nothing] }
    ),
    refused(
      `${id}-reason`,
      "5.5.1, 8.1",
      `refused as a close reason: ${name}`,
      frame(op.close, closePayload(1000, all)),
      offence.invalidReason
    )
  ]
})

const cutShort = ["c2", "df", "e0", "e0a0", "ed9f", "efbf", "f0", "f090", "f09080", "f48fbf", "616263e282"]

const truncated: ReadonlyArray<ConnectionCase> = cutShort.flatMap((digits) => {
  const bytes = hex(digits)
  const id = `truncated-${digits}`
  const spelled = digits.toUpperCase()
  return [
    refused(
      `${id}-one-frame`,
      "8.1",
      `a message that ends inside a code point is refused at its last byte: ${spelled}`,
      text(bytes),
      offence.invalidText
    ),
    refused(
      `${id}-last-frame`,
      "5.4, 8.1",
      `so it is if its last frame does: ${spelled}`,
      frame(op.continuation, bytes.subarray(bytes.length - 1)),
      offence.invalidText,
      { before: [frame(op.text, bytes.subarray(0, bytes.length - 1), { fin: false }), nothing] }
    ),
    refused(
      `${id}-empty-last-frame`,
      "5.4, 8.1",
      `so it is if its last frame is empty: ${spelled}`,
      frame(op.continuation, ""),
      offence.invalidText,
      { before: [frame(op.text, bytes, { fin: false }), nothing] }
    ),
    refused(
      `${id}-reason`,
      "5.5.1, 8.1",
      `a close reason that ends inside a code point is refused: ${spelled}`,
      frame(op.close, closePayload(1000, bytes)),
      offence.invalidReason
    )
  ]
})

const scope: ReadonlyArray<ConnectionCase> = [
  accepted(
    "binary-is-not-text",
    "5.6, 8.1",
    "bytes that aren't UTF-8 are legal in a binary message",
    frame(op.binary, hex("c080fffe")),
    {
      messages: [hex("c080fffe")]
    }
  ),
  refused(
    "state-starts-anew",
    "8.1",
    "a code point doesn't reach from one message into the next",
    join(text("ok"), frame(op.text, hex("80"), { declares: 2 })),
    offence.invalidText,
    { messages: ["ok"] }
  ),
  refused(
    "late-in-a-long-frame",
    "8.1",
    "a bad byte behind 70000 good ones is refused without the rest of the frame",
    frame(op.text, new Uint8Array(Buffer.concat([Buffer.alloc(70_000, "a"), hex("c1")])), { declares: 1_000_000 }),
    offence.invalidText
  )
]

export const utf8Cases = [...legal, ...illegal, ...truncated, ...scope]
