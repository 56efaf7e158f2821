// The processes of a soak: how they are started, asked and how they answer.

import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Schema } from "effect"

/** Runs a file of this folder, which tells its port or the like in its first message. */
export class Child<First> {
  private constructor(
    private readonly child: ChildProcess,
    readonly first: First
  ) {}

  static async start<First>(
    file: string,
    args: ReadonlyArray<string>,
    schema: Schema.Schema<First>
  ): Promise<Child<First>> {
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), args, {
      execArgv: ["--expose-gc", "--import", "tsx"],
      stdio: ["ignore", "inherit", "inherit", "ipc"]
    })
    try {
      return new Child(child, await answer(child, schema))
    } catch (error) {
      child.kill("SIGKILL")
      throw error
    }
  }

  /** Asks a question; there is one at a time. */
  async ask<A>(question: object | string, schema: Schema.Schema<A>): Promise<A> {
    const answered = answer(this.child, schema)
    this.child.send(question)
    return answered
  }

  stop(): void {
    this.child.kill("SIGKILL")
  }
}

const answer = <A>(child: ChildProcess, schema: Schema.Schema<A>): Promise<A> =>
  new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`${child.spawnargs.join(" ")} ended with ${code}`))
    child.once("exit", onExit)
    child.once("message", (message) => {
      child.off("exit", onExit)
      try {
        resolve(Schema.decodeUnknownSync(schema)(message))
      } catch (error) {
        reject(error)
      }
    })
  })

/** In a child: tells something to its parent. */
export const tell = (message: object): void => {
  process.send?.(message)
}

/** In a child: answers what the parent asks, and ends with it. */
export const answering = (reply: (question: unknown) => Promise<object> | object): void => {
  process.on("disconnect", () => process.exit(0))
  process.on("message", (question) => {
    Promise.resolve(reply(question)).then(tell, (error: unknown) => {
      console.error(error)
      process.exit(1)
    })
  })
}

export const number = (name: string, otherwise: number): number => {
  const value = Number(process.env[name] || otherwise)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is a whole number`)
  return value
}

export const Port = Schema.Struct({ port: Schema.Number })
