import { describe, expect, it } from "@effect/vitest"
import { Arbitrary, Cause, Channel, Chunk, Effect, Exit, Option, Stream } from "effect"
import { Frame, type WebSocketError } from "effect-websocket"
import * as fc from "fast-check"
import { cutBy, everyCut, fromHex, join, parse, pattern, toHex, wire } from "./fixtures/bytes.js"

const roles = ["client", "server"] as const

/** A stream that arrives in just these chunks. */
const arriving = <A>(...chunks: ReadonlyArray<ReadonlyArray<A>>): Stream.Stream<A> =>
  Stream.fromChunks(...chunks.map((chunk) => Chunk.fromIterable(chunk)))

/** All that came before the end, and the end. */
const collect = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function* () {
    const seen: Array<A> = []
    const exit = yield* Effect.exit(Stream.runForEach(stream, (one) => Effect.sync(() => seen.push(one))))
    return { seen, exit }
  })

const failure = <A, E>(exit: Exit.Exit<A, E>): E | undefined =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

const inWords = ({ opcode, rsv, fin, payload }: Frame.Frame): string =>
  `${opcode} ${rsv} ${fin} ${Buffer.from(payload).toString("latin1")}`

const decoding = (options?: Frame.DecodeOptions) => Frame.decodeChannel<never, unknown>(options)

const three = [Frame.text("one"), Frame.ping("two"), Frame.make({ opcode: 2, fin: false, payload: pattern(200) })]

describe("encodeChannel", () => {
  it.effect.each(roles)("encodes each frame as a %s sends it, chunk by chunk", (role) =>
    Effect.gen(function* () {
      const [one = Frame.ping(), ...others] = three
      const chunks = yield* arriving([one], [], others).pipe(
        Stream.pipeThroughChannel(Frame.encodeChannel<never, unknown>(role)),
        Stream.chunks,
        Stream.runCollect
      )
      expect(Array.from(chunks, (chunk) => chunk.length)).toEqual([1, 2])
      const bytes = Array.from(Chunk.flatten(chunks))
      const found = bytes.flatMap((piece) => parse(piece))
      expect(found.map(({ opcode, rsv, fin, payload }) => ({ opcode, rsv, fin, payload }))).toEqual(three)
      expect(new Set(found.map(({ key }) => key)).size).toBe(role === "client" ? 3 : 1)
    })
  )

  it.effect("fails at a frame that must not be sent, after those before it, however they are chunked", () =>
    Effect.gen(function* () {
      const bad = Frame.ping(pattern(126))
      const [one = bad, two = bad] = three
      for (const chunks of [
        [[one, two, bad, one]],
        [[one], [two], [bad], [one]],
        [
          [one, two],
          [bad, one]
        ]
      ]) {
        const { seen, exit } = yield* collect(
          arriving(...chunks).pipe(Stream.pipeThroughChannel(Frame.encodeChannel<never, unknown>("server")))
        )
        expect(seen.map(toHex)).toEqual([wire(1, "one"), wire(9, "two")].map(toHex))
        expect(failure(exit)).toMatchObject({ _tag: "ProtocolError", side: "local", closeCode: 1002 })
      }
    })
  )
})

describe("decodeChannel", () => {
  it.effect("gives the same frames however the bytes are cut and chunked", () =>
    Effect.gen(function* () {
      const bytes = join(wire(1, "one"), wire(9, "", { key: 7 }), wire(2, pattern(130), { key: 0x89abcdef, rsv: 3 }))
      const expected = [Frame.text("one"), Frame.ping(), Frame.make({ opcode: 2, rsv: 3, payload: pattern(130) })].map(
        inWords
      )
      for (const pieces of everyCut(bytes)) {
        for (const chunks of [[pieces], pieces.map((piece) => [piece])]) {
          const { seen, exit } = yield* collect(
            arriving(...chunks.map((chunk) => chunk.map((piece) => piece.slice()))).pipe(
              Stream.pipeThroughChannel(decoding())
            )
          )
          expect(seen.map(inWords)).toEqual(expected)
          expect(Exit.isSuccess(exit)).toBe(true)
        }
      }
    })
  )

  it.effect("undoes encodeChannel, for any frames in any pieces", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(Arbitrary.make(Frame.Frame), { maxLength: 5 }),
          fc.array(fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 500, max: 70_000 })), { minLength: 1 }),
          fc.constantFrom(...roles),
          (frames, sizes, role) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const bytes = yield* Stream.fromIterable(frames).pipe(
                  Stream.pipeThroughChannel(Frame.encodeChannel<never, unknown>(role)),
                  Stream.runCollect
                )
                const again = yield* Stream.fromIterable(cutBy(join(...bytes), sizes)).pipe(
                  Stream.rechunk(3),
                  Stream.pipeThroughChannel(decoding({ role })),
                  Stream.runCollect
                )
                expect(Array.from(again, inWords)).toEqual(frames.map(inWords))
              })
            )
        ),
        { numRuns: 50 }
      )
    )
  )

  it.effect("emits chunks only when there is a frame in them", () =>
    Effect.gen(function* () {
      const chunks = yield* arriving(...Array.from(wire(1, "Hello"), (byte) => [Uint8Array.of(byte)])).pipe(
        Stream.pipeThroughChannel(decoding()),
        Stream.chunks,
        Stream.runCollect
      )
      expect(Array.from(chunks, (chunk) => chunk.length)).toEqual([1])
    })
  )

  it.effect("fails if the input ends inside a frame, after the frames before", () =>
    Effect.gen(function* () {
      const bytes = join(wire(1, "a"), wire(2, pattern(3), { key: 1 }))
      for (let end = 4; end < bytes.length; end++) {
        const { seen, exit } = yield* collect(
          arriving([bytes.slice(0, end)]).pipe(Stream.pipeThroughChannel(decoding()))
        )
        expect(seen).toEqual([Frame.text("a")])
        expect(failure(exit)).toMatchObject({
          _tag: "ProtocolError",
          side: "remote",
          rule: "the bytes ended inside a frame"
        })
      }
    })
  )

  it.effect("fails at what can't be a frame, after the frames before, and takes nothing behind it", () =>
    Effect.gen(function* () {
      for (const [bad, rule] of [
        [fromHex("83"), "opcode 0x3 is reserved (RFC 6455 5.2)"],
        [fromHex("897e"), "a control frame must carry at most 125 bytes of payload (RFC 6455 5.5)"],
        [wire(1, "", { key: 1 }), "a server must not mask any frame it sends (RFC 6455 5.1)"]
      ] as const) {
        for (const chunks of [
          [[join(wire(1, "a"), bad), wire(1, "b")]],
          [[join(wire(1, "a"), bad)], [wire(1, "b")]],
          [[wire(1, "a")], [join(bad, wire(1, "b"))]]
        ]) {
          const { seen, exit } = yield* collect(
            arriving(...chunks).pipe(Stream.pipeThroughChannel(decoding({ role: "server" })))
          )
          expect(seen).toEqual([Frame.text("a")])
          expect(failure(exit)).toMatchObject({ _tag: "ProtocolError", side: "remote", rule })
        }
      }
    })
  )

  it.effect("holds frames to a limit, by their declared length", () =>
    Effect.gen(function* () {
      const limited = (bytes: Uint8Array) =>
        collect(arriving([bytes]).pipe(Stream.pipeThroughChannel(decoding({ maxFrameSize: 5 }))))
      expect((yield* limited(wire(1, "12345"))).seen.length).toBe(1)
      expect(failure((yield* limited(wire(1, "", { length: 6n }))).exit)).toMatchObject({
        _tag: "PayloadTooLarge",
        which: "frame size",
        limit: 5,
        size: 6
      })
    })
  )

  it.effect("can be run twice: each run has a state of its own", () =>
    Effect.gen(function* () {
      const channel = decoding()
      const half = wire(1, "Hello").slice(0, 3)
      expect(Exit.isFailure((yield* collect(arriving([half]).pipe(Stream.pipeThroughChannel(channel)))).exit)).toBe(
        true
      )
      const { seen } = yield* collect(arriving([wire(1, "b")]).pipe(Stream.pipeThroughChannel(channel)))
      expect(seen).toEqual([Frame.text("b")])
    })
  )

  it.effect("takes Buffers, and doesn't hand them on", () =>
    Effect.gen(function* () {
      const buffer = Buffer.from(join(wire(1, "Hello", { key: 3 }), wire(2, pattern(10))))
      const { seen } = yield* collect(arriving([buffer]).pipe(Stream.pipeThroughChannel(decoding())))
      buffer.fill(0)
      expect(seen).toEqual([Frame.text("Hello"), Frame.binary(pattern(10))])
      expect(seen.map(({ payload }) => payload.constructor)).toEqual([Uint8Array, Uint8Array])
    })
  )
})

describe("both channels", () => {
  it.effect("let failures and defects from upstream pass", () =>
    Effect.gen(function* () {
      const encoding = yield* collect(
        Stream.concat(Stream.make(Frame.text("a")), Stream.fail("boom" as const)).pipe(
          Stream.pipeThroughChannelOrFail(Frame.encodeChannel<"boom", unknown>("server"))
        )
      )
      expect(encoding.seen.map(toHex)).toEqual([toHex(wire(1, "a"))])
      expect(failure(encoding.exit)).toBe("boom")
      const decodingFailed = yield* collect(
        Stream.concat(Stream.make(join(wire(1, "a"), fromHex("81"))), Stream.fail("boom" as const)).pipe(
          Stream.pipeThroughChannelOrFail(Frame.decodeChannel<"boom", unknown>())
        )
      )
      expect(decodingFailed.seen).toEqual([Frame.text("a")])
      expect(failure(decodingFailed.exit)).toBe("boom")
      const defect = Channel.failCause(Cause.die("defect"))
      for (const run of [
        Channel.runDrain(Channel.pipeTo(defect, Frame.encodeChannel<never, unknown>("server"))),
        Effect.asVoid(Channel.runDrain(Channel.pipeTo(defect, decoding())))
      ]) {
        const exit = yield* Effect.exit(run)
        expect(Exit.isFailure(exit) && Cause.dieOption(exit.cause)).toMatchObject({ value: "defect" })
      }
    })
  )

  it.effect("pass on what upstream ends with", () =>
    Effect.gen(function* () {
      const done = Channel.succeed("the end")
      expect(yield* Channel.runDrain(Channel.pipeTo(done, Frame.encodeChannel<never, string>("client")))).toBe(
        "the end"
      )
      expect(yield* Channel.runDrain(Channel.pipeTo(done, Frame.decodeChannel<never, string>()))).toBe("the end")
    })
  )
})

describe("duplex", () => {
  type Bytes = Chunk.Chunk<Uint8Array>

  const shout = (frame: Frame.Frame) => Frame.text(Buffer.from(frame.payload).toString().toUpperCase())

  /** A peer that answers each text frame with the same in capitals, over bytes. */
  const shouting = (role: Frame.Role) =>
    Frame.decodeChannel<WebSocketError.ProtocolError, unknown>({ role: role === "client" ? "server" : "client" }).pipe(
      Channel.mapOut((frames) => Chunk.map(frames, shout)),
      Channel.pipeTo(Frame.encodeChannel<WebSocketError.ProtocolError | WebSocketError.PayloadTooLarge, unknown>(role))
    )

  /** Bytes as they were. */
  const echo = Channel.identity<Bytes, WebSocketError.ProtocolError, unknown>()

  it.effect.each(roles)("speaks frames as a %s over a channel of bytes", (role) =>
    Effect.gen(function* () {
      const peer = shouting(role === "client" ? "server" : "client")
      for (const channel of [peer.pipe(Frame.duplex(role)), Frame.duplex(peer, role)]) {
        const { seen, exit } = yield* collect(
          arriving([Frame.text("one"), Frame.text("two")], [Frame.text("three")]).pipe(
            Stream.pipeThroughChannel(channel)
          )
        )
        expect(seen).toEqual(["ONE", "TWO", "THREE"].map(Frame.text))
        expect(Exit.isSuccess(exit)).toBe(true)
      }
    })
  )

  it.effect.each(roles)("refuses bytes that are masked as a %s's own", (role) =>
    Effect.gen(function* () {
      const { exit } = yield* collect(
        arriving([Frame.text("one")]).pipe(Stream.pipeThroughChannel(Frame.duplex(echo, role)))
      )
      expect(failure(exit)).toMatchObject({ _tag: "ProtocolError", side: "remote", closeCode: 1002 })
    })
  )

  it.effect("holds what comes to a limit, in both forms", () =>
    Effect.gen(function* () {
      const peer = shouting("server")
      const options = { maxFrameSize: 3 }
      for (const channel of [peer.pipe(Frame.duplex("client", options)), Frame.duplex(peer, "client", options)]) {
        const { seen, exit } = yield* collect(
          arriving([Frame.text("one"), Frame.text("four")]).pipe(Stream.pipeThroughChannel(channel))
        )
        expect(seen).toEqual([Frame.text("ONE")])
        expect(failure(exit)).toMatchObject({ _tag: "PayloadTooLarge", limit: 3, size: 4 })
      }
    })
  )

  it.effect("sends nothing that must not be sent", () =>
    Effect.gen(function* () {
      const { exit } = yield* collect(
        arriving([Frame.ping(pattern(126))]).pipe(Stream.pipeThroughChannel(Frame.duplex(echo, "client")))
      )
      expect(failure(exit)).toMatchObject({ _tag: "ProtocolError", side: "local" })
    })
  )
})
