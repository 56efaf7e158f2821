// What a receiver made of a stream, in a form that can be compared.

/** `t` text, `b` binary, `i` ping, `o` pong, each with its content. */
export type Heard = ReadonlyArray<string>

export interface Observation {
  readonly heard: Heard
  /** `open`, `closed CODE REASON` or `failed CODE`. */
  readonly end: string
}

export const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1")

export const same = (left: Observation, right: Observation): boolean =>
  left.end === right.end && sameHeard(left.heard, right.heard)

export const sameHeard = (left: Heard, right: Heard): boolean =>
  left.length === right.length && left.every((event, index) => event === right[index])
