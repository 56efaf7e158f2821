import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, type Either, Option, Schema, type Sink, Stream } from "effect"
import {
  MessageCodec,
  type ReconnectingWebSocket,
  TypedWebSocket,
  type WebSocket,
  type WebSocketError
} from "effect-websocket"

// Nothing here runs: the compiler is the test. A line under @ts-expect-error that compiles is an error.

class Reading extends Context.Tag("Reading")<Reading, string>() {}
class Writing extends Context.Tag("Writing")<Writing, string>() {}

const reads = Schema.transformOrFail(Schema.String, Schema.String, {
  strict: true,
  decode: (text) => Effect.as(Reading, text),
  encode: Effect.succeed
})
const writes = Schema.transformOrFail(Schema.String, Schema.Number, {
  strict: true,
  decode: (text) => Effect.succeed(text.length),
  encode: (n) => Effect.as(Writing, String(n))
})

interface In {
  readonly _tag: "In"
  readonly at: Date
}
interface Out {
  readonly _tag: "Out"
  readonly n: number
}
const incoming = Schema.TaggedStruct("In", { at: Schema.DateFromString })
const outgoing = Schema.TaggedStruct("Out", { n: Schema.Number })

declare const socket: WebSocket.WebSocket
declare const feed: ReconnectingWebSocket.ReconnectingWebSocket<"refused">

type Ends = WebSocketError.WebSocketError

describe("TypedWebSocket: types", () => {
  it("flow from the schemas to every operation", () => {
    const check = () => {
      const typed = TypedWebSocket.make(socket, MessageCodec.json({ incoming, outgoing }))
      expectTypeOf(typed).toEqualTypeOf<TypedWebSocket.TypedWebSocket<In, Out>>()
      expectTypeOf(typed.receive).toEqualTypeOf<Effect.Effect<In, MessageCodec.DecodeError | Ends>>()
      expectTypeOf(typed.messages).toEqualTypeOf<Stream.Stream<In, MessageCodec.DecodeError | Ends>>()
      expectTypeOf(typed.sink).toEqualTypeOf<Sink.Sink<void, Out, never, MessageCodec.EncodeError | Ends>>()
      expectTypeOf(typed.send).parameter(0).toEqualTypeOf<Out>()
      expectTypeOf(typed.send({ _tag: "Out", n: 1 })).toEqualTypeOf<
        Effect.Effect<WebSocket.Sent, MessageCodec.EncodeError | Ends>
      >()
      expectTypeOf(typed.run(({ at }) => Effect.fail(at))).toEqualTypeOf<
        Effect.Effect<void, MessageCodec.DecodeError | Ends | Date>
      >()
    }
    expectTypeOf(check).returns.toBeVoid()
  })

  it("let nothing else be sent, and what is received be nothing else", () => {
    const check = () => {
      const typed = TypedWebSocket.make(socket, MessageCodec.msgPack({ incoming, outgoing }))
      // @ts-expect-error: a field is missing
      typed.send({ _tag: "Out" })
      // @ts-expect-error: a field is of another type
      typed.send({ _tag: "Out", n: "1" })
      // @ts-expect-error: that is what comes in
      typed.send({ _tag: "In", at: new Date() })
      // @ts-expect-error: one of them is no value
      typed.sendAll([{ _tag: "Out", n: 1 }, "text"])
      // @ts-expect-error: text is for the socket under it
      typed.send("text")
      // @ts-expect-error: a stream of something else
      Stream.run(Stream.make(1, 2), typed.sink)
      // @ts-expect-error: the handler expects something else
      typed.run((value: Out) => Effect.succeed(value))
      // @ts-expect-error: nothing of that name comes in
      typed.run((value) => Effect.succeed(value.n))
      // @ts-expect-error: an effect of something else
      const wrong: Effect.Effect<Out, unknown> = typed.receive
      return wrong
    }
    expectTypeOf(check).toBeFunction()
  })

  it("carry what the schemas need to the operations that use them, and to no others", () => {
    const check = () => {
      const typed = TypedWebSocket.make(socket, MessageCodec.json({ incoming: reads, outgoing: writes }))
      expectTypeOf(typed).toEqualTypeOf<TypedWebSocket.TypedWebSocket<string, number, Reading, Writing>>()
      expectTypeOf<Effect.Effect.Context<typeof typed.receive>>().toEqualTypeOf<Reading>()
      expectTypeOf<Stream.Stream.Context<typeof typed.messages>>().toEqualTypeOf<Reading>()
      expectTypeOf<Effect.Effect.Context<ReturnType<typeof typed.send>>>().toEqualTypeOf<Writing>()
      expectTypeOf<Effect.Effect.Context<ReturnType<typeof typed.sendAll>>>().toEqualTypeOf<Writing>()
      expectTypeOf(typed.sink).toEqualTypeOf<Sink.Sink<void, number, never, MessageCodec.EncodeError | Ends, Writing>>()
      expectTypeOf<Effect.Effect.Context<ReturnType<typeof typed.close>>>().toEqualTypeOf<never>()
      const run = typed.run(() => Effect.as(Writing, 1))
      expectTypeOf<Effect.Effect.Context<typeof run>>().toEqualTypeOf<Reading | Writing>()
      // @ts-expect-error: it can't run without what decoding needs
      Effect.runPromise(typed.receive)
    }
    expectTypeOf(check).returns.toBeVoid()
  })

  it("have no DecodeError over either, which is in the values then", () => {
    const check = () => {
      const typed = TypedWebSocket.make(socket, MessageCodec.either(MessageCodec.json({ incoming, outgoing })))
      expectTypeOf(typed.receive).toEqualTypeOf<Effect.Effect<Either.Either<In, MessageCodec.DecodeError>, Ends>>()
    }
    expectTypeOf(check).returns.toBeVoid()
  })

  it("are told apart by the subprotocol", () => {
    const check = () => {
      const versions = {
        v1: TypedWebSocket.make(MessageCodec.json({ incoming: Schema.String, outgoing: Schema.String })),
        v2: TypedWebSocket.make(MessageCodec.json({ incoming, outgoing }))
      }
      const { subprotocol, typed } = Option.getOrThrow(TypedWebSocket.choose(socket, versions))
      expectTypeOf(subprotocol).toEqualTypeOf<"v1" | "v2">()
      // @ts-expect-error: it isn't known yet which
      typed.send("text")
      if (subprotocol === "v1") {
        expectTypeOf(typed).toEqualTypeOf<TypedWebSocket.TypedWebSocket<string, string>>()
      } else {
        expectTypeOf(typed).toEqualTypeOf<TypedWebSocket.TypedWebSocket<In, Out>>()
      }
    }
    expectTypeOf(check).returns.toBeVoid()
  })

  it("keep the errors of a connection that reconnects", () => {
    const check = () => {
      const typed = TypedWebSocket.makeReconnecting(feed, MessageCodec.json({ incoming, outgoing }))
      expectTypeOf(typed.receive).toEqualTypeOf<Effect.Effect<In, "refused" | MessageCodec.DecodeError>>()
      expectTypeOf(typed.send).returns.toEqualTypeOf<
        Effect.Effect<ReconnectingWebSocket.Sent, "refused" | MessageCodec.EncodeError>
      >()
      // @ts-expect-error: nothing else
      typed.send(7)
    }
    expectTypeOf(check).returns.toBeVoid()
  })
})
