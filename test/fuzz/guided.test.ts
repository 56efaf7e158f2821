import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { tsx } from "../fixtures/process.js"
import { corpusOf, replay } from "./guided.js"
import { type ServerTarget, serverTarget } from "./serverTarget.js"
import { targets } from "./targets.js"

// What the guide has found so far, on the code of today; `npm run fuzz` goes on from there.

describe("the corpus that coverage has led to", () => {
  it.each(targets.map((target) => [target.name, target] as const))(
    "of %s shows nothing wrong",
    async (name, target) => {
      expect(corpusOf(name).length).toBeGreaterThan(10)
      expect(await replay(target)).toEqual([])
    }
  )

  describe("of a server over a socket", () => {
    let server: ServerTarget | undefined
    beforeAll(async () => {
      server = await serverTarget()
    })
    afterAll(async () => {
      expect(await server?.stop()).toBeUndefined()
    })

    it("shows nothing wrong, and leaves it without a connection", async () => {
      expect(corpusOf("server").length).toBeGreaterThan(10)
      expect(server === undefined ? "no server" : await replay(server)).toEqual([])
    }, 60_000)
  })

  it("would not be known to be empty of bugs if the guide couldn't find one: it does, where chance doesn't", () => {
    const run = (how: string) =>
      Effect.scoped(
        Effect.flatMap(tsx("test/fuzz/planted.ts", [how]), (child) =>
          Effect.map(child.line(/^(found|nothing).*/), ([line]) => line)
        )
      )
    return Effect.gen(function* () {
      expect(yield* run("guided")).toContain("found RFC64")
      expect(yield* run("blind")).toContain("nothing in 200")
    }).pipe(Effect.runPromise)
  }, 480_000)
})
