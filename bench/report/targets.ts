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

export const targets: ReadonlyArray<Target> = [
  target("16 B:100:1", "handler", "ws", 1),
  target("16 B:100:1", "run", "ws", 1.15),
  target("16 B:100:1", "loop", "ws", 0.85),
  target("16 B:100:32", "run", "ws", 8),
  target("16 B:100:32", "loop", "ws", 5),
  target("16 B:100:32", "batch", "ws", 12),
  target("1 KiB text:100:32", "run", "ws", 5),
  target("1 KiB text:100:32", "loop", "ws", 4),
  target("1 KiB text:100:32", "batch", "ws", 6),
  target("64 KiB:100:1", "run", "ws", 3),
  target("64 KiB:100:1", "run", "ws+native", 1),
  target("64 KiB:100:1", "loop", "ws", 3),
  target("64 KiB:100:1", "run", "raw", 1 / 1.3),
  target("1 MiB:1:4", "run", "ws", 3),
  target("1 MiB:1:4", "run", "ws+native", 1.1),
  target("1 MiB:1:4", "loop", "ws", 3),
  target("1 MiB:1:4", "run", "raw", 1 / 1.3),
  target("deflate without takeover:100:32", "run", "ws", 3),
  target("deflate with takeover:100:32", "run", "ws", 2),
  target("broadcast 1 KiB:10000", "broadcast", "ws", 3),
  target("handshakes ws", "run", "ws", 1.5),
  target("idle heartbeat:10000", "run", "ws", 1),
  target("16 B:100:1", "run", "platform", 2),
  target("16 B:100:32", "run", "platform", 14)
]
