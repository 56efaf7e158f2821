import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Scope } from "effect"
import { Services } from "effect-websocket/internal/services"

class Count extends Context.Tag("test/Count")<Count, number>() {}
class Text extends Context.Tag("test/Text")<Text, string>() {}

const given = () => Services.over(Context.make(Count, 1))

describe("services with a scope of their own", () => {
  it.effect("are those that were given, and a scope that is made when it is asked for", () =>
    Effect.gen(function* () {
      const [services, context] = given()
      expect(Context.get(context, Count)).toBe(1)
      expect(services.scope).toBeUndefined()
      const scope = yield* Effect.provide(Effect.scope, context)
      expect(scope).toBe(services.scope)
      expect(Context.get(context, Scope.Scope)).toBe(scope)
      expect(scope).not.toBe(given()[1].unsafeMap.get(Scope.Scope.key))
      const ended: Array<string> = []
      yield* Effect.provide(
        Effect.addFinalizer(() => Effect.sync(() => ended.push("ended"))),
        context
      )
      if (services.scope !== undefined) yield* Scope.close(services.scope, Exit.void)
      expect(ended).toEqual(["ended"])
    })
  )

  it("can be added to and merged, which leaves the ones that were given alone", () => {
    const shared = Context.make(Count, 1)
    const [services, context] = Services.over(shared)
    const more = Context.add(context, Text, "two")
    expect([Context.get(more, Count), Context.get(more, Text)]).toEqual([1, "two"])
    expect(Context.get(more, Scope.Scope)).toBe(services.scope)
    expect(shared.unsafeMap.size).toBe(1)
    expect(Context.getOption(Context.omit(Count)(context), Count)._tag).toBe("None")
  })

  it("are a map in all that a map can do", () => {
    const [services] = given()
    expect([services.has(Count.key), services.has(Scope.Scope.key), services.has(Text.key)]).toEqual([
      true,
      true,
      false
    ])
    expect(services.size).toBe(2)
    expect([...services.keys()]).toEqual([Count.key, Scope.Scope.key])
    expect([...services.values()]).toEqual([1, services.scope])
    expect([...services.entries()]).toEqual([...services])
    const seen: Array<unknown> = []
    services.forEach((value, key, map) => void seen.push([key, value, map === services]))
    expect(seen).toEqual([...services].map(([key, value]) => [key, value, true]))
    services.set(Text.key, "two")
    expect([services.get(Text.key), services.has(Text.key)]).toEqual(["two", true])
    expect([services.delete(Text.key), services.has(Text.key)]).toEqual([true, false])
    services.clear()
    expect([services.size, services.has(Count.key)]).toEqual([0, false])
  })

  it.effect("go on to the fibers that are forked with them, and back", () =>
    Effect.gen(function* () {
      const [services, context] = given()
      const child = yield* Effect.provide(Effect.fork(Effect.zip(Count, Effect.scope)), context)
      expect(yield* Fiber.join(child)).toEqual([1, services.scope])
    })
  )
})
