#!/usr/bin/env node
// The command `effect-websocket`.

import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import manifest from "../../package.json" with { type: "json" }
import { connect } from "./connect.js"
import { describe, exitCodeOf, exitCodes, isFailure } from "./format.js"
import { commandHelp, type Knowledge, knowledgeOf, programHelp } from "./help.js"
import { listen } from "./listen.js"
import { ping } from "./ping.js"
import * as Terminal from "./terminal.js"

const name = "effect-websocket"

/** Ends the process with a code; what there was to say is said. */
class ExitWith {
  readonly _tag = "ExitWith"
  constructor(readonly code: number) {}
}

const command = Command.make(name).pipe(Command.withSubcommands([connect, listen, ping]))

const run = Command.run(command, { name, version: manifest.version })

const config = CliConfig.make({ isCaseSensitive: true, showBuiltIns: false })

const commands: ReadonlyArray<readonly [name: string, knowledge: Knowledge]> = [
  ["connect", knowledgeOf(Command.getHelp(connect, config))],
  ["listen", knowledgeOf(Command.getHelp(listen, config))],
  ["ping", knowledgeOf(Command.getHelp(ping, config))]
]

/** The help that a command line asks for, if it does. */
const helpFor = (args: ReadonlyArray<string>): string | undefined => {
  if (args.length > 0 && !args.includes("--help") && !args.includes("-h")) return undefined
  const asked = commands.find(([name]) => name === args[0])
  return asked === undefined
    ? programHelp(name, "WebSockets from the command line.", commands)
    : commandHelp(`${name} ${asked[0]}`, asked[1])
}

const perform = Effect.gen(function* () {
  const help = helpFor(process.argv.slice(2))
  if (help === undefined) return yield* run(process.argv)
  const { print } = yield* Terminal.Terminal
  yield* print(help)
})

const fail = (text: string, code: number) =>
  Effect.flatMap(Terminal.Terminal, ({ complain }) => Effect.zipRight(complain(text), Effect.fail(new ExitWith(code))))

const main = perform.pipe(
  Effect.catchIf(isFailure, (failure) => fail(describe(failure), exitCodeOf(failure))),
  Effect.catchTags({
    OutputClosed: () => Effect.void,
    BadInput: ({ message }) => fail(message, exitCodes.wrong),
    Unanswered: ({ message }) => fail(message, exitCodes.unanswered)
  })
)

let signalled: number = exitCodes.interrupted
process.once("SIGTERM", () => {
  signalled = exitCodes.terminated
})
// When the terminal is closed, the server is to be told, too.
process.once("SIGHUP", () => process.kill(process.pid, "SIGTERM"))

main.pipe(
  Effect.provide(Layer.mergeAll(Terminal.layer, NodeContext.layer, Layer.succeed(CliConfig.CliConfig, config))),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => {
      if (Exit.isSuccess(exit)) return onExit(0)
      if (Cause.isInterruptedOnly(exit.cause)) return onExit(signalled)
      const failure = Cause.squash(exit.cause)
      if (failure instanceof ExitWith) return onExit(failure.code)
      // What is wrong with a command line was told already.
      if (Cause.isDie(exit.cause)) console.error(Cause.pretty(exit.cause))
      onExit(exitCodes.wrong)
    }
  })
)
