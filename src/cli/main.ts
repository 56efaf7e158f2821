#!/usr/bin/env node
// The command `effect-websocket`.

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
import { listen } from "./listen.js"
import { ping } from "./ping.js"
import * as Terminal from "./terminal.js"

/** Ends the process with a code; what there was to say is said. */
class ExitWith {
  readonly _tag = "ExitWith"
  constructor(readonly code: number) {}
}

const command = Command.make("effect-websocket").pipe(
  Command.withDescription("WebSockets from the command line"),
  Command.withSubcommands([connect, listen, ping])
)

const run = Command.run(command, { name: "effect-websocket", version: manifest.version })

const main = Effect.flatMap(Terminal.Terminal, ({ note, paint }) =>
  run(process.argv).pipe(
    Effect.catchIf(isFailure, (failure) =>
      Effect.zipRight(note(paint.red(describe(failure))), Effect.fail(new ExitWith(exitCodeOf(failure))))
    ),
    Effect.catchTags({
      OutputClosed: () => Effect.void,
      Unanswered: () => Effect.fail(new ExitWith(exitCodes.unanswered)),
      BadLine: ({ message }) => Effect.zipRight(note(paint.red(message)), Effect.fail(new ExitWith(1)))
    })
  )
)

/** The code of a process that was ended by Ctrl-C. */
const interrupted = 130

main.pipe(
  Effect.provide(Layer.merge(Terminal.layer, NodeContext.layer)),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => {
      if (Exit.isSuccess(exit)) return onExit(0)
      if (Cause.isInterruptedOnly(exit.cause)) return onExit(interrupted)
      const failure = Cause.squash(exit.cause)
      if (failure instanceof ExitWith) return onExit(failure.code)
      // The usage was shown already if it was the command line.
      if (Cause.isDie(exit.cause)) console.error(Cause.pretty(exit.cause))
      onExit(1)
    }
  })
)
