import { afterAll, describe, it } from "@effect/vitest"
import { Effect, ManagedRuntime, type Scope, TestContext } from "effect"
import type { Role } from "effect-websocket/Frame"
import type { Network } from "effect-websocket/Network"
import type { ConnectionCase, Named, Roles } from "./model.js"
import type { Cut, Net, RawNetwork } from "./peer.js"
import { runConnection } from "./run.js"
import { runOwnRequest, runRequest, runResponse } from "./runOpening.js"
import { connectionTopics, openingTopics } from "./topics.js"

const rolesOf = (roles: Roles): ReadonlyArray<Role> => (roles === "both" ? ["server", "client"] : [roles])

const cuts = ["whole", "byte by byte"] as const

// The clock of a test costs more than the rest of a case, so only a case that lets time pass has one.
const onClock = <E, R>(timed: boolean, body: Effect.Effect<void, E, R>): Effect.Effect<void, E, R> =>
  timed ? Effect.provide(body, TestContext.TestContext) : body

const letsTimePass = ({ steps }: ConnectionCase): boolean => steps.some(({ _tag }) => _tag === "TimeRunsOut")

/** All cases on a network, each in its roles, its bytes sent at once and one by one. */
export const conformanceSuite = ({ name, layer }: Net): void => {
  const runtime = ManagedRuntime.make(layer)
  afterAll(() => runtime.dispose())

  const test = (
    named: Named,
    role: Role,
    timed: boolean,
    run: (cut: Cut) => Effect.Effect<void, never, Network | RawNetwork | Scope.Scope>
  ) =>
    it(`${named.id}, ${role}: ${named.rule} (${named.section})`, () =>
      runtime.runPromise(Effect.forEach(cuts, (cut) => onClock(timed, Effect.scoped(run(cut))), { discard: true })))

  for (const [topic, cases] of connectionTopics) {
    describe(`${topic}, ${name}`, () => {
      for (const each of cases) {
        for (const role of rolesOf(each.roles)) {
          test(each, role, letsTimePass(each), (cut) => runConnection(each, role, cut))
        }
      }
    })
  }
  describe(`request, ${name}`, () => {
    for (const each of openingTopics.request) test(each, "server", each.stops === true, (cut) => runRequest(each, cut))
  })
  describe(`response, ${name}`, () => {
    for (const each of openingTopics.response) {
      test(each, "client", each.behind === "silence", (cut) => runResponse(each, cut))
    }
  })
  describe(`own-request, ${name}`, () => {
    for (const each of openingTopics["own-request"]) test(each, "client", false, () => runOwnRequest(each))
  })
}
