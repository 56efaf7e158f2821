/**
 * Random bytes as an injected service: the operating system's for life, a
 * sequence that repeats for tests.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

/**
 * A source of random bytes. It is synchronous, because each frame that a client
 * sends takes a mask of its own from it.
 *
 * Whoever implements one for use outside of tests must keep it unpredictable: a
 * server that can foresee the masks can make a browser put bytes of its choice
 * on the wire, and so poison the cache of a proxy in between (RFC 6455 section
 * 10.3).
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The next 32 bits, as a whole number from 0 to 4294967295: one mask. */
  readonly uint32: () => number
  /** Overwrites all of `bytes`. */
  readonly fill: (bytes: Uint8Array) => void
}

/**
 * Where masks and keys come from. It needs no provision: without one it is
 * {@link secure}.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Handshake, Rng } from "effect-websocket"
 *
 * // the same key at each run
 * const key = Handshake.generateKey.pipe(Effect.provide(Rng.layerDeterministic(1)))
 * ```
 *
 * @since 0.1.0
 * @category tags
 */
export class Rng extends Context.Reference<Rng>()("effect-websocket/Rng", {
  defaultValue: (): Service => secure
}) {}

const fromUint32 = (uint32: () => number): Service => ({
  uint32,
  fill(bytes) {
    for (let offset = 0; offset < bytes.length; offset += 4) {
      const word = uint32()
      // A typed array ignores what is written past its end.
      for (let index = 0; index < 4; index++) bytes[offset + index] = word >>> (8 * index)
    }
  }
})

// 16 KiB are 4096 masks: asked for at once, the system's generator costs 1 to 2 nanoseconds for each; asked
// for each alone, about 2000 (Node 20).
const poolBytes = 16 * 1024

const makeSecure = (): Service => {
  const pool = new DataView(new ArrayBuffer(poolBytes))
  let next = poolBytes
  return fromUint32(() => {
    if (next === poolBytes) {
      globalThis.crypto.getRandomValues(new Uint8Array(pool.buffer))
      next = 0
    }
    const word = pool.getUint32(next)
    // What was handed out can't be read from this memory any more.
    pool.setUint32(next, 0)
    next += 4
    return word
  })
}

/**
 * The platform's cryptographically secure generator, behind a pool of 16 KiB
 * that is wiped as it is used.
 *
 * @since 0.1.0
 * @category constructors
 */
export const secure: Service = makeSecure()

/**
 * A sequence that the seed (a whole number; its lowest 32 bits count) determines,
 * for tests only: it is predictable, see {@link Service}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const deterministic = (seed: number): Service => {
  let state = seed >>> 0
  return fromUint32(() => {
    // A Weyl sequence, stirred by two multiplications so that neighbouring states look unrelated.
    state = (state + 0x9e3779b9) >>> 0
    let word = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35)
    return (word ^ (word >>> 16)) >>> 0
  })
}

/**
 * Provides a source of your own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (rng: Service): Layer.Layer<never> => Layer.succeed(Rng, rng)

/**
 * Provides a {@link deterministic} sequence, which starts anew each time the
 * layer is built. For tests only.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerDeterministic = (seed: number): Layer.Layer<never> => Layer.sync(Rng, () => deterministic(seed))
