// Another revision of the library, checked out beside this one for as long as it is measured.

import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { build, root } from "./build.js"

const git = (...args: ReadonlyArray<string>): string =>
  execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim()

/** Builds a revision's library with the bench as it is here, and tells the revision's short name and where it was built. */
export const comparing = async (
  revision: string,
  use: (revision: string, built: string) => Promise<void>
): Promise<void> => {
  const short = git("rev-parse", "--short", `${revision}^{commit}`)
  const parent = mkdtempSync(join(tmpdir(), "effect-websocket-bench-"))
  const tree = join(parent, short)
  try {
    git("worktree", "add", "--quiet", "--detach", tree, short)
    const built = await build(short, tree)
    try {
      await use(short, built)
    } finally {
      rmSync(built, { recursive: true, force: true })
    }
  } finally {
    git("worktree", "remove", "--force", tree)
    rmSync(parent, { recursive: true, force: true })
  }
}
