// Reads of bytes by index.

/**
 * The element at an index that the caller knows to be in bounds. The compiler
 * types every indexed read as possibly undefined; this is the one place where
 * that is set aside, since a check per byte would have no branch to test.
 */
export const byteAt = (bytes: { readonly [index: number]: number }, index: number): number => bytes[index] as number

/** The same bytes as a plain Uint8Array: the `slice` of a Buffer, Node's subclass, is a view where it has to be a copy. */
export const plain = (bytes: Uint8Array): Uint8Array =>
  bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)

// V8 keeps so much of a typed array beside the object itself: no memory of its own to ask for, and to give back.
export const smallCopy = 64

/** A copy of `bytes[start..end)`. */
export const copyOf = (bytes: Uint8Array, start: number, end: number): Uint8Array => {
  const size = end - start
  const at = bytes.byteOffset + start
  // Unlike that of an array, the `slice` of a buffer doesn't clear the memory first.
  if (size > smallCopy) return new Uint8Array(bytes.buffer.slice(at, at + size))
  const copy = new Uint8Array(size)
  for (let index = 0; index < size; index++) copy[index] = byteAt(bytes, start + index)
  return copy
}

/** What is needed of Node's Buffer, which other platforms don't have; `Array` is named since some property must be known to be there. */
export interface Allocator {
  readonly Buffer?: { readonly allocUnsafeSlow: (size: number) => Uint8Array<ArrayBuffer> }
  readonly Array: unknown
}

/**
 * Memory that may hold anything, for whoever fills it before anybody else sees it: to clear it first takes a tenth of
 * the time of an echo of 64 KiB.
 */
export const uninitialized = (size: number, { Buffer }: Allocator = globalThis): Uint8Array<ArrayBuffer> =>
  Buffer === undefined || size <= smallCopy ? new Uint8Array(size) : new Uint8Array(Buffer.allocUnsafeSlow(size).buffer)

/** An unsigned 32-bit integer in network order. */
export const uint32At = (bytes: Uint8Array, at: number): number =>
  ((byteAt(bytes, at) << 24) | (byteAt(bytes, at + 1) << 16) | (byteAt(bytes, at + 2) << 8) | byteAt(bytes, at + 3)) >>>
  0

export const writeUint32 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

/** Pieces of `size` bytes altogether, in one piece; without a copy if there is just one. */
export const concat = (parts: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const [only] = parts
  if (parts.length === 1 && only !== undefined) return only
  const all = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
