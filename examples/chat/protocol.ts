// What the page and the server say to each other: JSON, one value per text message.

import { Schema } from "effect"

export const maxNameLength = 32
export const maxTextLength = 2000

/** The name of a room, as it stands in the URL. */
export const RoomName = Schema.String.pipe(
  Schema.pattern(/^[a-z0-9-]{1,32}$/, { message: () => "a room is 1 to 32 of a-z, 0-9 and -" })
)

const trimmed = (what: string, most: number, forbidden: RegExp) =>
  Schema.Trim.pipe(
    Schema.filter((text) => text.length >= 1 && text.length <= most && !forbidden.test(text), {
      message: () => `a ${what} is 1 to ${most} printable characters`
    })
  )

/** A person's name, on one line. */
export const Name = trimmed("name", maxNameLength, /[\p{Cc}\p{Zl}\p{Zp}]/u)

/** What somebody says; may have several lines. */
export const Text = trimmed("text", maxTextLength, /[^\P{Cc}\n\t]/u)

export const Person = Schema.Struct({ id: Schema.Int, name: Schema.String })
export type Person = typeof Person.Type

/** From the page. */
export const Request = Schema.parseJson(Schema.Struct({ type: Schema.Literal("say"), text: Text }))

/** What happens in a room. */
export const Event = Schema.Union(
  Schema.Struct({ type: Schema.Literal("joined"), person: Person }),
  Schema.Struct({ type: Schema.Literal("left"), person: Person }),
  Schema.Struct({ type: Schema.Literal("said"), person: Person, text: Schema.String })
)
export type Event = typeof Event.Type

/** To the page: who is there at first, what happens then, and a gap where the page read too slowly. */
export const Reply = Schema.parseJson(
  Schema.Union(
    Schema.Struct({
      type: Schema.Literal("welcome"),
      room: RoomName,
      you: Person,
      people: Schema.Array(Person)
    }),
    Schema.Struct({ type: Schema.Literal("missed"), count: Schema.Int, people: Schema.Array(Person) }),
    ...Event.members
  )
)
export type Reply = typeof Reply.Type
