// Lines in, lines out: on a terminal, where people type while messages arrive, and in a pipe.

import * as Readline from "node:readline"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { type Paint, paint } from "./format.js"

/** The program at the other end of the pipe reads no more, as `head` does: nothing is left to do. */
export class OutputClosed {
  readonly _tag = "OutputClosed"
}

/** Where the user is. */
export class Terminal extends Context.Tag("effect-websocket/cli/Terminal")<
  Terminal,
  {
    /** Whether a person types, rather than a program. */
    readonly interactive: boolean
    /** Whether a person reads. */
    readonly watched: boolean
    readonly paint: Paint
    /** What is typed, line by line, until the end of the input. */
    readonly lines: Stream.Stream<string>
    /** What the command is for: messages, figures. */
    readonly print: (text: string) => Effect.Effect<void, OutputClosed>
    /** What is to be known beside: to the standard error, so that it isn't in the way of a program. */
    readonly note: (text: string) => Effect.Effect<void>
    /** Shows a line in place of the one that was shown last; only where a person reads. */
    readonly live: (text: string) => Effect.Effect<void, OutputClosed>
  }
>() {}

const write = (stream: NodeJS.WriteStream, text: string): Effect.Effect<void, OutputClosed> =>
  Effect.async((resume) => {
    stream.write(text, (error) => resume(error ? Effect.fail(new OutputClosed()) : Effect.void))
  })

/** A stream without a listener for errors throws them at everybody. */
const tolerate = (stream: NodeJS.WriteStream): void => {
  stream.on("error", () => {})
}

export const layer: Layer.Layer<Terminal> = Layer.scoped(
  Terminal,
  Effect.gen(function* () {
    const { stderr, stdin, stdout } = process
    tolerate(stdout)
    tolerate(stderr)
    const interactive = stdin.isTTY === true && stdout.isTTY === true
    const colours = paint(stdout.isTTY === true && process.env["NO_COLOR"] === undefined)
    let prompt: Readline.Interface | undefined

    // Messages arrive while somebody types: the line that is typed makes way, and comes back below.
    const above = (text: string): string => (prompt === undefined ? `${text}\n` : `\r\u001b[K${text}\n`)
    const afterwards = Effect.sync(() => prompt?.prompt(true))

    const typed = Stream.asyncScoped<string>((emit) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const opened = Readline.createInterface({ input: stdin, output: stdout, prompt: colours.dim("> ") })
          opened.on("line", (line) => {
            void emit.single(line)
            opened.prompt()
          })
          opened.on("close", () => void emit.end())
          // While lines are edited, Ctrl-C is a key like others.
          opened.on("SIGINT", () => process.kill(process.pid, "SIGINT"))
          opened.prompt()
          prompt = opened
          return opened
        }),
        (opened) =>
          Effect.sync(() => {
            prompt = undefined
            opened.close()
            stdout.write("\r\u001b[K")
          })
      )
    )
    const piped = NodeStream.fromReadable(
      () => stdin,
      (error) => error
    ).pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.catchAll(() => Stream.empty)
    )

    return Terminal.of({
      interactive,
      watched: stdout.isTTY === true,
      paint: colours,
      lines: interactive ? typed : piped,
      print: (text) => Effect.zipRight(write(stdout, above(text)), afterwards),
      note: (text) =>
        Effect.ignore(Effect.zipRight(write(prompt === undefined ? stderr : stdout, above(text)), afterwards)),
      live: (text) => write(stdout, `\r\u001b[K${text}`)
    })
  })
)
