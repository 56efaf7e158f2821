// Processes of a bench, and what they answer.

import { type ChildProcess, type ForkOptions, fork as forkProcess } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { folder } from "./build.js"
import type { Opening, Order } from "./loads/main.js"
import type { ServerSettings } from "./servers/common.js"

export type { Opening } from "./loads/main.js"

export type Child = ChildProcess

/** Runs a file of this folder. */
export const spawn = (file: string, args: ReadonlyArray<string>): Child =>
  forkProcess(join(folder, file), args, { execArgv: ["--import", "tsx"] })

/** Runs what was built: not as this process was, whose loader must not be in there. */
export const fork = (file: string, args: ReadonlyArray<string>, options: ForkOptions = {}): Child =>
  forkProcess(file, args, { execArgv: [], ...options })

/** The next message of a process. */
export const answer = <A>(child: Child, read: (message: unknown) => A | undefined): Promise<A> =>
  new Promise((resolve, reject) => {
    const onExit = (code: number | null) =>
      reject(new Error(`${child.spawnargs.slice(1).join(" ")} ended with ${code}`))
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

const number = (message: unknown, name: string): number => {
  const value = field(message, name)
  if (typeof value !== "number") throw new Error(String(field(message, "error") ?? `no ${name}`))
  return value
}

export const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

/** Bun comes as a package for each platform; the script of its main package, where scripts may run, moves it there. */
const bun = (): string => {
  const packages = join(folder, "node_modules/@oven")
  const places = [
    ...readdirSync(packages).map((name) => join(packages, name, "bin/bun")),
    join(folder, "node_modules/bun/bin/bun.exe")
  ]
  const found = places.find(existsSync)
  if (found === undefined) throw new Error("Bun has no package for this platform")
  return found
}

/** A program of the bench that was built, and answers each question with one message. */
class Program {
  constructor(readonly child: Child) {
    // What it ends with is told to whoever waits for an answer.
    child.on("error", () => {})
  }

  async ask(question: object | string): Promise<unknown> {
    const answered = answer(this.child, (message) => message)
    this.child.send(question)
    const message = await answered
    const error = field(message, "error")
    if (error !== undefined) throw new Error(String(error))
    return message
  }

  stop(): void {
    this.child.kill("SIGKILL")
  }
}

/** How a server is started. */
export interface ServerKind {
  /** The name in tables. */
  readonly name: string
  /** The revision that it is built of, if not what is here. */
  readonly revision?: string | undefined
  /** The file, and the form that it is asked for. */
  readonly file: string
  readonly form?: string | undefined
  readonly runtime?: "bun" | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** What a process has used until now: microseconds of CPU time, bytes of memory. */
export interface Usage {
  readonly cpu: number
  readonly rss: number
  readonly heap: number
  /** The most that it ever had. */
  readonly maxRss: number
}

/** A server that is measured; or a client, whose port means nothing. */
export class Server extends Program {
  private constructor(
    child: Child,
    readonly kind: ServerKind,
    readonly port: number
  ) {
    super(child)
  }

  /** `built` is the folder of what was built. */
  static async start(built: string, kind: ServerKind, settings: ServerSettings = {}): Promise<Server> {
    const file = join(kind.file.endsWith(".mjs") ? folder : built, kind.file)
    const child = fork(file, [kind.form ?? "", JSON.stringify(settings)], {
      execArgv: kind.runtime === "bun" ? [] : ["--expose-gc"],
      ...(kind.runtime === "bun" ? { execPath: bun() } : {}),
      env: { ...process.env, ...kind.env },
      stdio: ["ignore", "inherit", "inherit", "ipc"]
    })
    return new Server(child, kind, await answer(child, (message) => number(message, "port")))
  }

  /** Lets it send messages to all of its connections, if it is one that does. */
  async publish(messages: number, size: number): Promise<{ readonly cpu: number }> {
    const cpu = field(await this.ask({ messages, size }), "cpu")
    return { cpu: number(cpu, "user") + number(cpu, "system") }
  }

  /** Waits until it has nothing more to do for the connections of the round before; at most some seconds. */
  async quiet(): Promise<Usage> {
    let before = await this.usage()
    for (let attempt = 0; attempt < 200; attempt++) {
      await sleep(20)
      const after = await this.usage()
      if (after.cpu - before.cpu < 2000) return after
      before = after
    }
    return before
  }

  /** What it has used so far; `collect` lets it collect garbage first. */
  async usage(question: "usage" | "collect" = "usage"): Promise<Usage> {
    const message = await this.ask(question)
    const cpu = field(message, "cpu")
    // What a runtime doesn't tell is null, as JSON has it.
    const memory = (name: string) => Number(field(message, name) ?? Number.NaN)
    return {
      cpu: number(cpu, "user") + number(cpu, "system"),
      rss: memory("rss"),
      heap: memory("heap"),
      maxRss: memory("maxRss")
    }
  }
}

export interface Load {
  readonly messages: number
  readonly seconds: number
  /** Microseconds of CPU time of the load generator itself. */
  readonly cpu: number
  readonly bytes: number
  readonly latencies: Readonly<Record<string, number>>
}

/** The process that makes the load. */
export class Loader extends Program {
  static start(built: string): Loader {
    return new Loader(fork(join(built, "loads/main.js"), []))
  }

  async open(opening: Opening): Promise<Session> {
    const opened = await this.order({ step: "open", opening })
    const session = number(opened, "session")
    return {
      port: number(opened, "port"),
      run: async (seconds) => loadOf(await this.order({ step: "run", session, seconds })),
      close: () => this.order({ step: "close", session })
    }
  }

  private order(order: Order): Promise<unknown> {
    return this.ask(order)
  }
}

/** Connections that are open. */
export interface Session {
  /** Where it listens, if it is one that does. */
  readonly port: number
  readonly run: (seconds: number) => Promise<Load>
  readonly close: () => Promise<unknown>
}

const loadOf = (message: unknown): Load => {
  const latencies = Object.entries(field(message, "latencies") ?? {}).map(([name, value]) => [name, Number(value)])
  return {
    messages: number(message, "messages"),
    seconds: number(message, "seconds"),
    cpu: number(message, "cpu"),
    bytes: Number(field(message, "bytes")),
    latencies: Object.fromEntries(latencies)
  }
}
