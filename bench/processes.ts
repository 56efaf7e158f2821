// Processes of a bench, and what they answer.

import { type ChildProcess, fork } from "node:child_process"

export type Child = ChildProcess

/** Runs a file of this folder. */
export const spawn = (file: string, args: ReadonlyArray<string>): Child =>
  fork(new URL(file, import.meta.url), args, { execArgv: ["--import", "tsx"] })

/** The next message of a process. */
export const answer = <A>(child: Child, read: (message: unknown) => A | undefined): Promise<A> =>
  new Promise((resolve, reject) => {
    const onExit = (code: number | null) =>
      reject(new Error(`${child.spawnargs.slice(-2).join(" ")} ended with ${code}`))
    child.once("exit", onExit)
    child.once("message", (message) => {
      child.off("exit", onExit)
      const value = read(message)
      if (value === undefined) reject(new Error("an answer that wasn't expected"))
      else resolve(value)
    })
  })

export const field = (message: unknown, name: string): unknown =>
  typeof message === "object" && message !== null
    ? Object.entries(message).find(([key]) => key === name)?.[1]
    : undefined

export const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
