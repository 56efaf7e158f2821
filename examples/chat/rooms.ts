// The rooms: each exists while somebody is in it.

import { Context, Data, Effect, Layer, PubSub, RcMap, type Scope, Stream } from "effect"
import type { Event, Person, Reply } from "./protocol.js"

/** There is no place left: too many rooms, or too many people in the one asked for. */
export class Full extends Data.TaggedError("Full")<{ readonly message: string }> {}

/** A person's place in a room. */
export interface Seat {
  readonly say: (text: string) => Effect.Effect<void>
  /** What this person is to see, beginning with the welcome. */
  readonly replies: Stream.Stream<Reply>
}

const maxRooms = 1000
const maxPeople = 100

/** Events that a reader may lag behind before it misses the oldest. */
const backlog = 256

interface Numbered {
  readonly number: number
  readonly event: Event
}

const makeRoom = Effect.gen(function* () {
  // Sliding: to publish never waits, and who reads too slowly misses events, alone.
  const events = yield* Effect.acquireRelease(PubSub.sliding<Numbered>(backlog), PubSub.shutdown)
  const people = new Map<number, Person>()
  let number = 0
  const publish = (event: Event) => Effect.suspend(() => PubSub.publish(events, { number: ++number, event }))
  return {
    events,
    people,
    publish,
    /** The number of the latest event. */
    latest: () => number
  }
})

export class Rooms extends Context.Tag("chat/Rooms")<
  Rooms,
  {
    /** Takes a seat, until the scope closes. */
    readonly join: (room: string, name: string) => Effect.Effect<Seat, Full, Scope.Scope>
    /** The names of the rooms that exist. */
    readonly names: Effect.Effect<ReadonlyArray<string>>
  }
>() {}

export const layer = Layer.scoped(
  Rooms,
  Effect.gen(function* () {
    const rooms = yield* RcMap.make({ lookup: (_name: string) => makeRoom, capacity: maxRooms })
    let lastId = 0

    const join = (name: string, personName: string) =>
      Effect.gen(function* () {
        const room = yield* RcMap.get(rooms, name).pipe(
          Effect.catchTag("ExceededCapacityException", () => new Full({ message: "there are too many rooms" }))
        )
        if (room.people.size >= maxPeople) return yield* new Full({ message: "the room is full" })
        const you: Person = { id: ++lastId, name: personName }
        const queue = yield* PubSub.subscribe(room.events)
        yield* Effect.acquireRelease(
          Effect.suspend(() => {
            room.people.set(you.id, you)
            return room.publish({ type: "joined", person: you })
          }),
          () =>
            Effect.suspend(() => {
              room.people.delete(you.id)
              return room.publish({ type: "left", person: you })
            })
        )
        const welcomed = room.latest()
        const welcome: Reply = { type: "welcome", room: name, you, people: [...room.people.values()] }

        const later = Stream.fromQueue(queue).pipe(
          // What the welcome tells of already.
          Stream.dropWhile(({ number }) => number <= welcomed),
          Stream.mapAccum(welcomed, (last, { number, event }) => {
            const count = number - last - 1
            const missed: ReadonlyArray<Reply> =
              count === 0 ? [] : [{ type: "missed", count, people: [...room.people.values()] }]
            return [number, [...missed, event]]
          }),
          Stream.flattenIterables
        )
        return {
          say: (text: string) => room.publish({ type: "said", person: you, text }),
          replies: Stream.concat(Stream.make(welcome), later)
        }
      })

    return { join, names: RcMap.keys(rooms) }
  })
)
