// What the clients are told to do.

import { settings } from "../servers/common.js"

if (settings.client === undefined) throw new Error("nowhere to connect to")

export const plan = settings.client

const content = Buffer.alloc(plan.size, "quick brown foxes, ")

/** One that is sent. */
export const message: string | Uint8Array = plan.text ? content.toString("latin1") : new Uint8Array(content)

/** A round of them. */
export const messages: ReadonlyArray<string | Uint8Array> = Array.from({ length: plan.each }, () => message)
