// What the library is to reach, as ratios to others in the same run; higher is better.

export interface Target {
  readonly workload: string
  readonly server: string
  readonly against: string
  readonly ratio: number
  /** What stands in the way, where it isn't reached. */
  readonly obstacle?: string | undefined
}

const target = (workload: string, server: string, against: string, ratio: number, obstacle?: string): Target => ({
  workload,
  server,
  against,
  ratio,
  obstacle
})

const external =
  'with the same build a process is fast or slow: in a slow one V8 marks all of its heap again and again, for memory that is dead; see "Large messages" below'

const zlib = "nearly all of it is zlib, and the ratio varies from run to run: 3.7 and 2.5 were seen on the same day"

export const targets: ReadonlyArray<Target> = [
  target("16 B:100:1", "handler", "ws", 1, "a generator of two steps is 1.4 microseconds of Effect's runtime"),
  target(
    "16 B:100:1",
    "suspending",
    "ws",
    1,
    "a fiber that yields, and is resumed by Effect's scheduler, for each message, and then waits for the next one"
  ),
  target(
    "16 B:100:1",
    "run",
    "ws",
    1.15,
    "nearly all of each message is the kernel and Node's sockets, for `ws` as for us: `raw+shared` is what can be won"
  ),
  target(
    "16 B:100:1",
    "loop",
    "ws",
    0.85,
    "a fiber that suspends and resumes for each message: two microseconds of Effect's runtime"
  ),
  target("16 B:100:32", "run", "ws", 8),
  target(
    "16 B:100:32",
    "handler",
    "ws",
    8,
    "a generator of two steps is 1.4 microseconds of Effect's runtime; `run` doesn't need one"
  ),
  target(
    "16 B:100:32",
    "loop",
    "ws",
    5,
    "`receive`, `send` and the generator's two steps are nine steps of Effect's runtime for each message, half a microsecond"
  ),
  target(
    "16 B:100:32",
    "batch",
    "ws",
    12,
    "a read, a write and a wake-up for 32 messages are most of it, and nearly all of that is the kernel's and Node's: see `raw`"
  ),
  target("1 KiB text:100:32", "run", "ws", 5),
  target("1 KiB text:100:32", "loop", "ws", 4, "as with 16 bytes: nine steps of Effect's runtime for each message"),
  target(
    "1 KiB text:100:32",
    "batch",
    "ws",
    6,
    "reached in other runs (10.0 was seen): memory for each message, and what collecting it costs"
  ),
  target("64 KiB:100:1", "run", "ws", 3, external),
  target("64 KiB:100:1", "run", "ws+native", 1, external),
  target("64 KiB:100:1", "loop", "ws", 3, external),
  target("64 KiB:100:1", "run", "raw", 1 / 1.3, external),
  target("1 MiB:1:4", "run", "ws", 3, external),
  target(
    "1 MiB:1:4",
    "run",
    "ws+native",
    1.1,
    `${external}; \`raw\`, which checks nothing, is 0.9 to 1.3 times \`ws+native\``
  ),
  target("1 MiB:1:4", "loop", "ws", 3, external),
  target("1 MiB:1:4", "run", "raw", 1 / 1.3, external),
  target("deflate without takeover:100:32", "run", "ws", 3, zlib),
  target("deflate with takeover:100:32", "run", "ws", 2, zlib),
  target(
    "broadcast 1 KiB:10000",
    "broadcast",
    "ws",
    3,
    "one write for each connection is nearly all of it: `raw` does nothing else, and is the limit; several messages in a turn share theirs"
  ),
  target(
    "handshakes ws",
    "run",
    "ws",
    1.5,
    "the write of the answer, Node's socket, and a fiber for the handler: see below"
  ),
  target(
    "idle heartbeat:10000",
    "run",
    "ws",
    1,
    "a fiber that waits, its stack and its context, and what it waits for: see below"
  ),
  target("16 B:100:1", "run", "platform", 2),
  target("16 B:100:32", "run", "platform", 14)
]
