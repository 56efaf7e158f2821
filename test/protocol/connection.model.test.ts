// The state machine, two of them, against the model of `model.ts`.
//
// The walk visits every state that the model can reach, and does what leads there to two real machines: what these
// report, deliver and say has to be what the model tells, after each way into each state. The product of all that can
// happen is too large, so there are several walks, each with some of it. The numbers of states are asserted: whoever
// changes the model, or what a walk may do, has to look at them.
//
// The commands do the same at random, with payloads of any size that are delivered in pieces of any size.

import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Action, actions, initial, isEnding, isOver, next, other, type Side, type State, sides } from "./model.js"
import { Pair, seenOfModel } from "./modelPair.js"

// ----------------------------------------------------------------------- laws

/** What both ends have to agree on, in any state: the laws that are broken. */
const disagreements = (state: State): ReadonlyArray<string> =>
  sides.flatMap((side) => {
    const mine = state.ends[side]
    const theirs = state.ends[other(side)]
    const laws: Array<readonly [law: string, holds: boolean]> = [
      ["what is delivered was sent", mine.incoming !== "delivered" || theirs.message === "sent"]
    ]
    if (mine.outcome?._tag === "Closed") {
      const { clean, code, initiator, sentCode } = mine.outcome
      const both = clean && theirs.outcome?._tag === "Closed" && theirs.outcome.clean ? theirs.outcome : undefined
      laws.push(
        ["a code comes from the other's Close", code === (clean ? theirs.sentCode : 1006)],
        ["the code that was sent was sent", sentCode === mine.sentCode],
        [
          "what was sent before a Close is there",
          !clean || (mine.incoming === "delivered") === (theirs.message === "sent")
        ],
        ["one of them began", both === undefined || initiator === "local" || both.initiator === "local"]
      )
    }
    return laws.flatMap(([law, holds]) => (holds ? [] : [`${law}: ${JSON.stringify(state)}`]))
  })

/** What is on its way arrives, and who is over ends its wire; one wire first, whenever there is a choice. */
const settled = (state: State, first: Side): State => {
  for (;;) {
    const from = [first, other(first)].find((side) => state.wires[side].length > 0)
    const over = sides.find((side) => state.ends[side].outcome !== undefined && !state.ended[side])
    if (from !== undefined) state = next(state, { _tag: "deliver", from })
    else if (over !== undefined) state = next(state, { _tag: "end", from: over })
    else return state
  }
}

// ----------------------------------------------------------------------- walk

interface Visited {
  readonly state: State
  readonly from: Visited | undefined
  readonly by: Action | undefined
  /** Where it can lead to. */
  readonly to: Array<Visited>
}

const wayTo = ({ by, from }: Visited): ReadonlyArray<Action> =>
  from === undefined || by === undefined ? [] : [...wayTo(from), by]

/** All states that some kinds of actions lead to; `step` sees each way into each of them. */
const walk = (kinds: ReadonlyArray<Action["_tag"]>, step: (way: ReadonlyArray<Action>, state: State) => void) => {
  const root: Visited = { state: initial, from: undefined, by: undefined, to: [] }
  const visited = new Map([[JSON.stringify(initial), root]])
  // A map's values are told in the order of their coming, those too that come meanwhile.
  for (const here of visited.values()) {
    for (const by of actions(here.state)) {
      if (!kinds.includes(by._tag)) continue
      const state = next(here.state, by)
      const key = JSON.stringify(state)
      const there = visited.get(key) ?? { state, from: here, by, to: [] }
      visited.set(key, there)
      here.to.push(there)
      step([...wayTo(here), by], state)
    }
  }
  return [...visited.values()]
}

const walks: ReadonlyArray<readonly [what: string, kinds: ReadonlyArray<Action["_tag"]>, states: number]> = [
  ["messages, pings and closes", ["begin", "rest", "ping", "close", "deliver"], 5972],
  ["messages, closes and nonsense", ["begin", "rest", "close", "nonsense", "deliver"], 1590],
  ["messages and closes on wires that end", ["begin", "rest", "close", "end", "cut", "deliver"], 3280],
  [
    "messages and closes in pieces on wires that are cut",
    ["begin", "rest", "close", "cut", "deliver", "first byte"],
    1224
  ],
  ["pings, closes and nonsense on wires that end", ["ping", "close", "nonsense", "end", "cut", "deliver"], 4786]
]

describe("two machines are what the model is", () => {
  it.each(walks)("in every state that %s lead to, of which none is a dead end", (_, kinds, states) => {
    const visited = walk(kinds, (way, state) => {
      const pair = new Pair()
      for (const action of way) pair.do(action)
      if (pair.seen() !== seenOfModel(state)) {
        expect({ way, seen: JSON.parse(pair.seen()) }).toEqual({ way, seen: JSON.parse(seenOfModel(state)) })
      }
    })
    expect(visited.length).toBe(states)
    expect(visited.flatMap(({ state }) => disagreements(state))).toEqual([])
    // Once an end has begun to close, both come to an end by themselves.
    const ending = visited.filter(({ state }) => isEnding(state))
    expect(ending.filter(({ state }) => !sides.every((first) => isOver(settled(state, first))))).toEqual([])
    // And from everywhere there is a way to where both are over.
    const saved = new Set(visited.filter(({ state }) => isOver(state)))
    for (let before = -1; before < saved.size; ) {
      before = saved.size
      for (const each of visited) if (each.to.some((there) => saved.has(there))) saved.add(each)
    }
    expect(saved.size).toBe(states)
  })
})

// ------------------------------------------------------------------- commands

/** What a command works on. The model is replaced, for it doesn't change. */
interface Model {
  state: State
}

const compare = (model: Model, pair: Pair): void => {
  expect(JSON.parse(pair.seen())).toEqual(JSON.parse(seenOfModel(model.state)))
  expect(disagreements(model.state)).toEqual([])
}

/** Anything but a delivery: whatever can happen, one of it. */
const happening = fc.nat(1000).map((choice): fc.Command<Model, Pair> => {
  const chosen = ({ state }: Model): Action | undefined => {
    const all = actions(state).filter(({ _tag }) => _tag !== "deliver" && _tag !== "first byte")
    // The end of a wire ends so much that it is to be rare.
    const rare = all.filter(({ _tag }) => _tag === "cut" || _tag === "end")
    const often = all.filter((each) => !rare.includes(each))
    return choice < 900 && often.length > 0 ? often[choice % often.length] : rare[choice % Math.max(1, rare.length)]
  }
  return {
    check: (model) => chosen(model) !== undefined,
    run(model, pair) {
      const action = chosen(model)
      if (action === undefined) return
      model.state = next(model.state, action)
      pair.do(action)
      compare(model, pair)
    },
    toString: () => `happening(${choice})`
  }
})

/** A read of some size, of which the model is told how many items became whole. */
const reading = fc
  .record({
    from: fc.constantFrom(...sides),
    size: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 200_000 }))
  })
  .map(
    ({ from, size }): fc.Command<Model, Pair> => ({
      check: ({ state }) => state.wires[from].length > 0,
      run(model, pair) {
        const { torn, whole } = pair.read(from, size)
        for (let count = 0; count < whole; count++) model.state = next(model.state, { _tag: "deliver", from })
        if (torn && model.state.wires[from].length > 0) model.state = next(model.state, { _tag: "first byte", from })
        compare(model, pair)
      },
      toString: () => `reading(${from}, ${size})`
    })
  )

/** Payloads with a header of each size. */
const fragment = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.constantFrom(125, 126, 65_535, 65_536).map((size) => "x".repeat(size))
)

describe("two machines", () => {
  it("are what the model is, whatever the sizes of messages and reads", () => {
    let over = 0
    fc.assert(
      fc.property(
        fragment,
        fragment,
        fc.commands([happening, reading], { maxCommands: 60 }),
        (first, last, commands) => {
          const pair = new Pair([first, last])
          const model: Model = { state: initial }
          fc.modelRun(() => ({ model, real: pair }), commands)
          if (isOver(model.state)) over++
        }
      ),
      { numRuns: 500, seed: 86 }
    )
    expect(over).toBeGreaterThan(50)
  })
})
