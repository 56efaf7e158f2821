// Two ends of a connection, as small as they can be told, and all that can happen to them.
//
// Between them are two wires, which lose nothing and keep the order, but take their time: what is on a wire is
// delivered at any later moment, or a first byte of it before the rest. Each end may send one message in two
// fragments, one ping, and a Close with a code of its own. The transport may bring one piece of nonsense, may end
// either wire, behind what is on it, and may cut both at any moment, so that what is on them is lost.

export type Side = "client" | "server"

export const sides = ["client", "server"] as const

export const other = (side: Side): Side => (side === "client" ? "server" : "client")

/** What an end says: a frame, or the end of its wire. A number is a Close with that code. */
export type Item = "begin" | "rest" | "ping" | "pong" | "nonsense" | "end" | number

/** What can happen. */
export type Action =
  | { readonly _tag: "begin" | "rest" | "ping" | "close"; readonly by: Side }
  | { readonly _tag: "nonsense" | "end" | "first byte" | "deliver"; readonly from: Side }
  | { readonly _tag: "cut" }

/** What an end reports. */
export type Outcome =
  | {
      readonly _tag: "Closed"
      readonly code: number
      readonly reason: string
      readonly sentCode: number | undefined
      readonly initiator: "local" | "remote"
      readonly clean: boolean
    }
  | { readonly _tag: "Failed"; readonly code: number }

export interface End {
  readonly sentCode: number | undefined
  readonly outcome: Outcome | undefined
  /** How far its own message is. */
  readonly message: "unsent" | "begun" | "sent"
  readonly pinged: boolean
  /** How far the peer's message is. */
  readonly incoming: "none" | "begun" | "delivered"
}

export interface State {
  readonly ends: Readonly<Record<Side, End>>
  /** What each has said, and the other has not heard. */
  readonly wires: Readonly<Record<Side, ReadonlyArray<Item>>>
  /** Whether some of the next item is delivered. */
  readonly torn: Readonly<Record<Side, boolean>>
  /** Nothing more goes on this wire. */
  readonly ended: Readonly<Record<Side, boolean>>
  readonly nonsense: boolean
}

/** What nonsense is answered with. */
export const broke = { code: 1002, rule: "opcode 0x3 is reserved (RFC 6455 5.2)" } as const

/** Each closes with a code of its own. */
export const codes: Readonly<Record<Side, number>> = { client: 1000, server: 4000 }

const fresh: End = { sentCode: undefined, outcome: undefined, message: "unsent", pinged: false, incoming: "none" }

export const initial: State = {
  ends: { client: fresh, server: fresh },
  wires: { client: [], server: [] },
  torn: { client: false, server: false },
  ended: { client: false, server: false },
  nonsense: false
}

export const isOpen = ({ outcome, sentCode }: End): boolean => outcome === undefined && sentCode === undefined

export const isOver = ({ ends }: State): boolean => sides.every((side) => ends[side].outcome !== undefined)

/** Whether an end has begun to close, or is over. */
export const isEnding = ({ ends }: State): boolean => sides.some((side) => !isOpen(ends[side]))

/** Something changes at an end, and it says something. */
const changed = (state: State, side: Side, end: Partial<End>, ...said: ReadonlyArray<Item>): State => {
  const ends = { ...state.ends, [side]: { ...state.ends[side], ...end } }
  const deaf = (each: Side) => ends[each].outcome !== undefined
  const on = (each: Side): ReadonlyArray<Item> => {
    // RFC 6455 5.5.1: nothing that follows a Close counts; so it may as well not be there.
    if (deaf(other(each))) return []
    // What is said into a wire that has ended is lost.
    return each === side && !state.ended[each] ? [...state.wires[each], ...said] : state.wires[each]
  }
  const wires = { client: on("client"), server: on("server") }
  const torn = { client: state.torn.client && !deaf("server"), server: state.torn.server && !deaf("client") }
  return { ...state, ends, wires, torn }
}

/** RFC 6455 7.1.5: a wire that ends without a Close. */
const broken = (state: State, side: Side): State => {
  const { outcome, sentCode } = state.ends[side]
  if (outcome !== undefined) return state
  const reason = state.torn[other(side)] ? "the stream ended inside a frame" : ""
  const initiator = sentCode === undefined ? "remote" : "local"
  return changed(state, side, { outcome: { _tag: "Closed", code: 1006, reason, sentCode, initiator, clean: false } })
}

const hears = (state: State, side: Side, item: Item): State => {
  const { sentCode } = state.ends[side]
  switch (item) {
    case "begin":
      return changed(state, side, { incoming: "begun" })
    case "rest":
      return changed(state, side, { incoming: "delivered" })
    case "ping":
      // RFC 6455 5.5.2: a pong, unless a Close was sent.
      return sentCode === undefined ? changed(state, side, {}, "pong") : state
    case "pong":
      return state
    case "end":
      return broken(state, side)
  }
  // RFC 6455 5.5.1 and 7.1.7: a Close is answered, and so is nonsense, unless a Close was sent before.
  const answer = item === "nonsense" ? broke.code : item
  const said = sentCode ?? answer
  const outcome: Outcome =
    item === "nonsense"
      ? { _tag: "Failed", code: broke.code }
      : {
          _tag: "Closed",
          code: item,
          reason: item === broke.code ? broke.rule : "",
          sentCode: said,
          initiator: sentCode === undefined ? "remote" : "local",
          clean: true
        }
  return changed(state, side, { sentCode: said, outcome }, ...(sentCode === undefined ? [answer] : []))
}

/** What follows from an action. */
export const next = (state: State, action: Action): State => {
  switch (action._tag) {
    case "begin":
      return changed(state, action.by, { message: "begun" }, "begin")
    case "rest":
      return changed(state, action.by, { message: "sent" }, "rest")
    case "ping":
      return changed(state, action.by, { pinged: true }, "ping")
    case "close":
      return changed(state, action.by, { sentCode: codes[action.by] }, codes[action.by])
    case "nonsense":
      return { ...changed(state, action.from, {}, "nonsense"), nonsense: true }
    case "end":
      return { ...changed(state, action.from, {}, "end"), ended: { ...state.ended, [action.from]: true } }
    case "first byte":
      // Its opcode says it all.
      if (state.wires[action.from][0] === "nonsense") return next(state, { _tag: "deliver", from: action.from })
      return { ...state, torn: { ...state.torn, [action.from]: true } }
    case "deliver": {
      const [item, ...rest] = state.wires[action.from]
      if (item === undefined) return state
      const taken = {
        ...state,
        torn: { ...state.torn, [action.from]: false },
        wires: { ...state.wires, [action.from]: rest }
      }
      return hears(taken, other(action.from), item)
    }
    case "cut": {
      const both = broken(broken(state, "client"), "server")
      return {
        ...both,
        wires: { client: [], server: [] },
        torn: { client: false, server: false },
        ended: { client: true, server: true }
      }
    }
  }
}

/** All that can happen now. */
export const actions = (state: State): ReadonlyArray<Action> => {
  const { ended, ends, nonsense, torn, wires } = state
  const possible: Array<Action> = []
  for (const side of sides) {
    const { message, pinged } = ends[side]
    if (isOpen(ends[side])) {
      if (message === "unsent") possible.push({ _tag: "begin", by: side })
      if (message === "begun") possible.push({ _tag: "rest", by: side })
      if (!pinged) possible.push({ _tag: "ping", by: side })
      possible.push({ _tag: "close", by: side })
    }
    if (!ended[side]) {
      if (!nonsense) possible.push({ _tag: "nonsense", from: side })
      possible.push({ _tag: "end", from: side })
    }
    const [head] = wires[side]
    if (head !== undefined) {
      possible.push({ _tag: "deliver", from: side })
      if (head !== "end" && !torn[side]) possible.push({ _tag: "first byte", from: side })
    }
  }
  if (!ended.client || !ended.server) possible.push({ _tag: "cut" })
  return possible
}
