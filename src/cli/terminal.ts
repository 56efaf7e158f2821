// Lines in, lines out: on a terminal, where people type while messages arrive, and in a pipe.

import * as Readline from "node:readline"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { type Failure, isColoured, type Paint, paint, printable } from "./format.js"

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
    /** Whether a line that was shown can be shown anew, where it is. */
    readonly rewrites: boolean
    /** The colours of what is printed. */
    readonly paint: Paint
    /** What is typed, line by line, until the end of the input. */
    readonly lines: Stream.Stream<string>
    /** What the command is for: messages, figures. Text as a line, bytes as they are. */
    readonly print: (content: string | Uint8Array) => Effect.Effect<void, OutputClosed>
    /** What is to be known beside: to the standard error, so that it isn't in the way of a program. */
    readonly note: (text: string) => Effect.Effect<void>
    /** What went wrong; to the standard error, too. */
    readonly complain: (text: string) => Effect.Effect<void>
    /** Shows a line in place of the one that was shown last, until something else is printed. */
    readonly live: (text: string) => Effect.Effect<void, OutputClosed>
  }
>() {}

/** A failure as an event among the lines of JSON; people are told beside. */
export const showError = ({ _tag, message }: Failure) =>
  Effect.flatMap(Terminal, ({ print }) => print(JSON.stringify({ type: "error", error: _tag, message })))

const write = (stream: NodeJS.WriteStream, content: string | Uint8Array): Effect.Effect<void, OutputClosed> =>
  Effect.async((resume) => {
    stream.write(content, (error) => resume(error ? Effect.fail(new OutputClosed()) : Effect.void))
  })

// A full pipe is read up to 32 times, 2 MB, before anything else has its turn: with short lines that is a
// second in which nothing of the server is heard.
const turn = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

const up = (rows: number): string => (rows > 0 ? `\u001b[${rows}A` : "")
const clearLine = "\r\u001b[K"
const clearBelow = "\r\u001b[J"

export const layer: Layer.Layer<Terminal> = Layer.sync(Terminal, () => {
  const { env, stderr, stdin, stdout } = process
  // A stream without a listener for errors throws them at everybody.
  for (const stream of [stdout, stderr]) stream.on("error", () => {})
  const interactive = stdin.isTTY === true && stdout.isTTY === true
  let prompt: Readline.Interface | undefined
  let isLive = false

  const print = (content: string | Uint8Array): Effect.Effect<void, OutputClosed> =>
    Effect.suspend(() => {
      if (typeof content !== "string") return write(stdout, content)
      if (prompt !== undefined) return printAbove(prompt, content)
      const before = isLive ? clearLine : ""
      isLive = false
      return write(stdout, `${before}${content}\n`)
    })

  // Messages arrive while somebody types: what is typed makes way, and comes back below. When its
  // editor draws it again, it first goes up as many rows as the cursor stood below the first one.
  const printAbove = (typed: Readline.Interface, text: string) =>
    Effect.async<void, OutputClosed>((resume) => {
      const { rows } = typed.getCursorPos()
      stdout.write(`${up(rows)}${clearBelow}${text}\n${"\n".repeat(rows)}`, (error) =>
        resume(error ? Effect.fail(new OutputClosed()) : Effect.void)
      )
      // It has missed the rows that were pasted.
      Reflect.set(typed, "prevRows", rows)
      typed.prompt(true)
    })

  const beside = paint(isColoured(stderr, env))
  const tell = (text: string) =>
    Effect.suspend(() => {
      // Both are the same screen, where something may have to make way.
      if (stderr.isTTY && (prompt !== undefined || isLive)) return print(text)
      return write(stderr, `${text}\n`)
    }).pipe(Effect.ignore)

  const typed = Stream.asyncScoped<string>((emit) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const opened = Readline.createInterface({ input: stdin, output: stdout, prompt: outer.dim("> ") })
        const leave = () => {
          if (prompt === undefined) return
          const { rows } = opened.getCursorPos()
          prompt = undefined
          stdout.write(`${up(rows)}${clearBelow}`)
          opened.close()
        }
        opened.on("line", (line) => {
          void emit.single(line)
          opened.prompt()
        })
        opened.on("close", () => {
          leave()
          void emit.end()
        })
        // While lines are edited, Ctrl-C is a key like others.
        opened.on("SIGINT", () => process.kill(process.pid, "SIGINT"))
        opened.prompt()
        prompt = opened
        return leave
      }),
      (leave) => Effect.sync(leave)
    )
  )

  const piped = NodeStream.fromReadable(
    () => stdin,
    (error) => error
  ).pipe(
    Stream.tap(() => turn),
    Stream.decodeText(),
    Stream.splitLines,
    // An input that can't be read is at its end.
    Stream.catchAll(() => Stream.empty)
  )

  const outer = paint(isColoured(stdout, env))
  return Terminal.of({
    interactive,
    watched: stdout.isTTY === true,
    rewrites: stdout.isTTY === true && env["TERM"] !== "dumb",
    paint: outer,
    lines: interactive ? typed : piped,
    print,
    note: (text) => tell(beside.dim(printable(text))),
    complain: (text) => tell(beside.red(printable(text))),
    live: (text) =>
      Effect.suspend(() => {
        isLive = true
        // In one row, with room for the ^C that the terminal shows.
        return write(stdout, `${clearLine}${text.slice(0, Math.max(1, stdout.columns - 3))}`)
      })
  })
})
