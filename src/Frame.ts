/**
 * Frames as values: what they are, how they are built, and how they become bytes
 * and back: as plain functions, as a Schema, and as Channels over byte streams.
 *
 * A connection is rarely used on this level; it is for protocol tools, proxies and
 * tests. The codec knows the layout and the rules of a single frame; what frames
 * mean together (fragments, closing) is the connection's business.
 *
 * @see RFC 6455 section 5.2
 * @since 0.1.0
 */
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as CloseCode from "./CloseCode.js"
import { Assembly } from "./protocol/assembly.js"
import { closePayload } from "./protocol/close.js"
import { Decoder } from "./protocol/decoder.js"
import * as Wire from "./protocol/frame.js"
import { mask as maskInPlace } from "./protocol/mask.js"
import { type Breach, breach, excess, type Violation } from "./protocol/violation.js"
import { secure } from "./Rng.js"
import { PayloadTooLarge, ProtocolError } from "./WebSocketError.js"

/**
 * The opcodes by name. The values that are missing are reserved, and are refused
 * wherever a frame is read.
 *
 * @see RFC 6455 section 11.8
 * @since 0.1.0
 * @category models
 */
export const Opcode = {
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa
} as const

/**
 * @since 0.1.0
 * @category models
 */
export type Opcode = Wire.OpcodeValue

/**
 * The two ends of a connection: a `client` masks what it sends, a `server` doesn't.
 *
 * @since 0.1.0
 * @category models
 */
export type Role = Wire.Role

/**
 * A frame.
 *
 * - `opcode`: see {@link Opcode}
 * - `rsv`: the bits RSV1 to RSV3 as one number, 0 to 7; RSV1 is 4. All 0 unless an
 *   extension was negotiated.
 * - `fin`: whether it is the last of its message
 * - `payload`: never masked here; at most 125 bytes in a control frame
 *
 * @since 0.1.0
 * @category models
 */
export type Frame = Wire.Frame

/**
 * A frame as a Schema; its arbitrary makes valid frames of all kinds.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Frame: Schema.Schema<Frame> = Schema.Struct({
  opcode: Schema.Literal(Opcode.continuation, Opcode.text, Opcode.binary, Opcode.close, Opcode.ping, Opcode.pong),
  rsv: Schema.Int.pipe(Schema.between(0, 7)),
  fin: Schema.Boolean,
  payload: Schema.Uint8ArrayFromSelf
}).pipe(
  Schema.filter((frame) => check(frame)?.rule, {
    arbitrary: () => (fc) =>
      fc.oneof(
        fc.record({
          opcode: fc.constantFrom(Opcode.continuation, Opcode.text, Opcode.binary),
          rsv: fc.integer({ min: 0, max: 7 }),
          fin: fc.boolean(),
          payload: fc.oneof(
            fc.uint8Array({ maxLength: 200 }),
            // The lengths at which the header grows.
            fc.constantFrom(125, 126, 127, 0xffff, 0x1_0000).map((length) => new Uint8Array(length).fill(0xa5))
          )
        }),
        fc.record({
          opcode: fc.constantFrom(Opcode.close, Opcode.ping, Opcode.pong),
          rsv: fc.integer({ min: 0, max: 7 }),
          fin: fc.constant(true),
          payload: fc.uint8Array({ maxLength: Wire.maxControlPayload })
        })
      )
  })
)

const encoder = new TextEncoder()
const empty = new Uint8Array(0)

const bytesOf = (payload: string | Uint8Array | undefined): Uint8Array =>
  payload === undefined ? empty : typeof payload === "string" ? encoder.encode(payload) : payload

/**
 * Builds a frame. By default it is the last of its message, without RSV bits, and
 * empty; the opcode is `text`, or `binary` if the payload is bytes.
 *
 * Nothing is judged here, so that a test can build what is wrong: {@link encode}
 * and `sendFrame` refuse what must not be sent.
 *
 * @example
 * ```ts
 * import { Frame } from "effect-websocket"
 *
 * console.log(Frame.format(Frame.make({ payload: "hello" }))) // text fin, 5 bytes
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: {
    readonly opcode?: Opcode | undefined
    readonly rsv?: number | undefined
    readonly fin?: boolean | undefined
    readonly payload?: string | Uint8Array | undefined
  } = {}
): Frame => ({
  opcode: options.opcode ?? (options.payload instanceof Uint8Array ? Opcode.binary : Opcode.text),
  rsv: options.rsv ?? 0,
  fin: options.fin ?? true,
  payload: bytesOf(options.payload)
})

/**
 * A whole text message.
 *
 * @since 0.1.0
 * @category constructors
 */
export const text = (payload: string): Frame => make({ payload })

/**
 * A whole binary message.
 *
 * @since 0.1.0
 * @category constructors
 */
export const binary = (payload: Uint8Array): Frame => make({ payload })

/**
 * @since 0.1.0
 * @category constructors
 */
export const ping = (payload?: string | Uint8Array): Frame => make({ opcode: Opcode.ping, payload })

/**
 * @since 0.1.0
 * @category constructors
 */
export const pong = (payload?: string | Uint8Array): Frame => make({ opcode: Opcode.pong, payload })

/**
 * A Close frame; without a code an empty one, and then the reason doesn't count.
 * As with {@link make}, nothing is judged here.
 *
 * @see RFC 6455 section 5.5.1
 * @since 0.1.0
 * @category constructors
 */
export const close = (code?: number, reason = ""): Frame =>
  make({ opcode: Opcode.close, payload: closePayload(code, reason) })

const opcodeNames: Readonly<Record<Opcode, keyof typeof Opcode>> = {
  0: "continuation",
  1: "text",
  2: "binary",
  8: "close",
  9: "ping",
  10: "pong"
}

/**
 * A frame in one line, without its payload: `text fin, 5 bytes`.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = ({ opcode, rsv, fin, payload }: Frame): string =>
  `${opcodeNames[opcode]}${fin ? " fin" : ""}${rsv === 0 ? "" : ` rsv=${rsv}`}, ${payload.length} bytes`

/**
 * Masks bytes, or unmasks them: the same operation. Answers a copy. The key is a
 * 32-bit number whose most significant byte is the first on the wire.
 *
 * @see RFC 6455 section 5.3
 * @since 0.1.0
 * @category encoding
 */
export const mask: {
  (key: number): (bytes: Uint8Array) => Uint8Array
  (bytes: Uint8Array, key: number): Uint8Array
} = dual(2, (bytes: Uint8Array, key: number): Uint8Array => {
  const masked = new Uint8Array(bytes)
  maskInPlace(masked, 0, masked.length, key, 0)
  return masked
})

const check = (frame: Frame): Breach | undefined =>
  // A number with other bits than these three would run over FIN.
  (frame.rsv & 7) !== frame.rsv
    ? breach(CloseCode.protocolError, "rsv must be a whole number from 0 to 7 (RFC 6455 5.2)")
    : (Wire.checkStart(frame.fin, frame.opcode) ?? Wire.checkLength(frame.opcode, frame.payload.length))

const where = "the bytes of a frame"

/** `local` is a frame of ours that must not be sent, `remote` bytes that are no frame. */
const protocolError = (side: "local" | "remote", { rule, closeCode }: Breach): ProtocolError =>
  new ProtocolError({ side, rule, closeCode, address: where })

/**
 * The bytes of a frame as the given role sends it: masked from a client, plain
 * from a server.
 *
 * The key that a client's frame is masked with is random unless given. `Left` if
 * no endpoint may send such a frame: a reserved opcode, `rsv` out of its range, or a
 * control frame that is fragmented or longer than 125 bytes.
 *
 * @example
 * ```ts
 * import { Either } from "effect"
 * import { Frame } from "effect-websocket"
 *
 * const bytes = Either.getOrThrow(Frame.encode(Frame.text("Hello"), "server"))
 * console.log(bytes) // 81 05 48 65 6c 6c 6f
 * ```
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (frame: Frame, role: Role, key?: number): Either.Either<Uint8Array, ProtocolError> => {
  const malformed = check(frame)
  return malformed === undefined
    ? Either.right(toBytes(frame, role, key))
    : Either.left(protocolError("local", malformed))
}

const toBytes = (frame: Frame, role: Role, key?: number): Uint8Array =>
  Wire.encodeFrame(frame, role === "client" ? (key ?? secure.uint32()) : undefined)

/**
 * @since 0.1.0
 * @category models
 */
export interface DecodeOptions {
  /** Who sent the bytes; masked frames from a server are refused, and unmasked ones from a client. Default: either. */
  readonly role?: Role | undefined
  /** Largest payload accepted, in bytes, judged by the declared length. Default: no limit but memory. */
  readonly maxFrameSize?: number | undefined
}

/**
 * Reads the frame at the beginning of some bytes, and tells how many of them it
 * took; `None` if more bytes are needed. The bytes are not changed.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (
  bytes: Uint8Array,
  options: DecodeOptions = {}
): Either.Either<Option.Option<{ readonly frame: Frame; readonly size: number }>, ProtocolError | PayloadTooLarge> => {
  const header = new Wire.Header()
  const malformed = Wire.readHeader(bytes, 0, bytes.length, maskedFrom(options.role), header)
  const violation = judge(header, malformed, options.maxFrameSize)
  if (violation !== undefined) return Either.left(fromViolation(violation))
  const size = header.size + header.length
  if (header.known < Wire.Known.all || bytes.length < size || !Wire.isOpcode(header.opcode)) {
    return Either.right(Option.none())
  }
  const payload = new Uint8Array(bytes.subarray(header.size, size))
  if (header.masked) maskInPlace(payload, 0, payload.length, header.key, 0)
  return Either.right(
    Option.some({ frame: { opcode: header.opcode, rsv: header.rsv, fin: header.fin, payload }, size })
  )
}

const maskedFrom = (role: Role | undefined): boolean | undefined => (role === undefined ? undefined : role === "client")

/** The first rule that is broken, in the order in which the decoder comes upon them. */
const judge = (header: Wire.Header, malformed: Breach | undefined, limit: number | undefined): Violation | undefined =>
  (header.known >= Wire.Known.start ? Wire.checkStart(header.fin, header.opcode) : undefined) ??
  malformed ??
  (header.known >= Wire.Known.length ? judgeLength(header.length, limit) : undefined)

const judgeLength = (length: number, limit = Number.MAX_SAFE_INTEGER): Violation | undefined =>
  length > limit ? excess("frame size", limit, length) : undefined

const fromViolation = (violation: Violation): ProtocolError | PayloadTooLarge =>
  violation._tag === "Breach"
    ? protocolError("remote", violation)
    : new PayloadTooLarge({ which: violation.which, limit: violation.limit, size: violation.size, address: where })

const schemaFor = (role: Role): Schema.Schema<Frame, Uint8Array> =>
  Schema.transformOrFail(Schema.Uint8ArrayFromSelf, Schema.typeSchema(Frame), {
    strict: true,
    decode: (bytes, _, ast) =>
      Either.match(decode(bytes, { role }), {
        onLeft: (error) => ParseResult.fail(new ParseResult.Type(ast, bytes, error.message)),
        onRight: (decoded) =>
          Option.isSome(decoded) && decoded.value.size === bytes.length
            ? ParseResult.succeed(decoded.value.frame)
            : ParseResult.fail(new ParseResult.Type(ast, bytes, "the bytes are not exactly one frame"))
      }),
    // What must not be sent is no value of the target schema.
    encode: (frame) => ParseResult.succeed(toBytes(frame, role))
  })

/**
 * One frame as its bytes, as a server sends it: not masked.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FromBytes: Schema.Schema<Frame, Uint8Array> = schemaFor("server")

/**
 * One frame as its bytes, as a client sends it: masked, each time with another key.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FromMaskedBytes: Schema.Schema<Frame, Uint8Array> = schemaFor("client")

/**
 * A channel from frames to the bytes that the given role sends.
 *
 * @since 0.1.0
 * @category channels
 */
export const encodeChannel = <IE = never, Done = unknown>(
  role: Role
): Channel.Channel<Chunk.Chunk<Uint8Array>, Chunk.Chunk<Frame>, IE | ProtocolError, IE, Done, Done> => {
  const loop: Channel.Channel<
    Chunk.Chunk<Uint8Array>,
    Chunk.Chunk<Frame>,
    IE | ProtocolError,
    IE,
    Done,
    Done
  > = Channel.readWithCause({
    onInput: (frames: Chunk.Chunk<Frame>) => {
      const bytes: Array<Uint8Array> = []
      for (const frame of frames) {
        const encoded = encode(frame, role)
        // The frames before it leave, however they are chunked.
        if (Either.isLeft(encoded)) return Channel.zipRight(writeAll(bytes), Channel.fail(encoded.left))
        bytes.push(encoded.right)
      }
      return Channel.zipRight(writeAll(bytes), loop)
    },
    onFailure: Channel.failCause,
    onDone: Channel.succeed
  })
  return loop
}

const writeAll = <A>(all: Array<A>): Channel.Channel<Chunk.Chunk<A>> =>
  all.length === 0 ? Channel.void : Channel.write(Chunk.unsafeFromArray(all))

/**
 * A channel from bytes, cut anywhere, to frames. It fails at the first byte that
 * can't be part of a frame, and if the input ends inside of one. The bytes are
 * unmasked in place.
 *
 * @since 0.1.0
 * @category channels
 */
export const decodeChannel = <IE = never, Done = unknown>(
  options: DecodeOptions = {}
): Channel.Channel<Chunk.Chunk<Frame>, Chunk.Chunk<Uint8Array>, IE | ProtocolError | PayloadTooLarge, IE, Done, Done> =>
  Channel.suspend(() => {
    const collector = new Collector(options.maxFrameSize)
    const decoder = new Decoder(maskedFrom(options.role), collector)
    const loop: Channel.Channel<
      Chunk.Chunk<Frame>,
      Chunk.Chunk<Uint8Array>,
      IE | ProtocolError | PayloadTooLarge,
      IE,
      Done,
      Done
    > = Channel.readWithCause({
      onInput: (chunks: Chunk.Chunk<Uint8Array>) => {
        let violation: Violation | undefined
        for (const bytes of chunks) violation ??= decoder.push(bytes)
        const frames = writeAll(collector.frames.splice(0))
        return Channel.zipRight(frames, violation === undefined ? loop : Channel.fail(fromViolation(violation)))
      },
      onFailure: Channel.failCause,
      onDone: (done: Done) =>
        decoder.atBoundary ? Channel.succeed(done) : Channel.fail(protocolError("remote", endedInside))
    })
    return loop
  })

const endedInside = breach(CloseCode.protocolError, "the bytes ended inside a frame")

/** Makes frames of what the decoder finds. */
class Collector {
  readonly frames: Array<Frame> = []
  private frame: Omit<Frame, "payload" | "opcode"> & { readonly opcode: number } = { opcode: 0, rsv: 0, fin: true }
  private readonly payload = new Assembly()

  constructor(private readonly maxFrameSize: number | undefined) {}

  frameStarts(): undefined {
    return undefined
  }

  frameDeclares(_opcode: number, length: number): Violation | undefined {
    return judgeLength(length, this.maxFrameSize)
  }

  frameBegins(fin: boolean, rsv: number, opcode: number): void {
    this.frame = { fin, rsv, opcode }
  }

  framePayload(bytes: Uint8Array, start: number, end: number, left: number): undefined {
    this.payload.append(bytes, start, end, left, true)
    const { opcode, rsv, fin } = this.frame
    if (left === 0 && Wire.isOpcode(opcode)) this.frames.push({ opcode, rsv, fin, payload: this.payload.take() })
    return undefined
  }
}

/**
 * Makes a two-way channel of bytes one of frames: what is written to it is encoded
 * as the given role sends it, what comes from it is decoded as the other role's.
 *
 * @since 0.1.0
 * @category channels
 */
export const duplex: {
  (
    role: Role,
    options?: Pick<DecodeOptions, "maxFrameSize">
  ): <OE, IE, OD, ID, R>(
    self: Channel.Channel<Chunk.Chunk<Uint8Array>, Chunk.Chunk<Uint8Array>, OE, IE | ProtocolError, OD, ID, R>
  ) => Channel.Channel<Chunk.Chunk<Frame>, Chunk.Chunk<Frame>, OE | ProtocolError | PayloadTooLarge, IE, OD, ID, R>
  <OE, IE, OD, ID, R>(
    self: Channel.Channel<Chunk.Chunk<Uint8Array>, Chunk.Chunk<Uint8Array>, OE, IE | ProtocolError, OD, ID, R>,
    role: Role,
    options?: Pick<DecodeOptions, "maxFrameSize">
  ): Channel.Channel<Chunk.Chunk<Frame>, Chunk.Chunk<Frame>, OE | ProtocolError | PayloadTooLarge, IE, OD, ID, R>
} = dual(
  (args) => Channel.isChannel(args[0]),
  <OE, IE, OD, ID, R>(
    self: Channel.Channel<Chunk.Chunk<Uint8Array>, Chunk.Chunk<Uint8Array>, OE, IE | ProtocolError, OD, ID, R>,
    role: Role,
    options: Pick<DecodeOptions, "maxFrameSize"> = {}
  ): Channel.Channel<Chunk.Chunk<Frame>, Chunk.Chunk<Frame>, OE | ProtocolError | PayloadTooLarge, IE, OD, ID, R> =>
    encodeChannel<IE, ID>(role).pipe(
      Channel.pipeTo(self),
      Channel.pipeTo(decodeChannel<OE, OD>({ ...options, role: role === "client" ? "server" : "client" }))
    )
)
