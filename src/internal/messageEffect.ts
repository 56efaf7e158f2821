// Effects that are done already are Eithers, and are looked into instead of run: a value that a
// schema decodes at once costs no step of the fiber. Their types say nothing of the other side.

import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"

export const hasSucceeded = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Either.Right<never, A> =>
  Either.isEither(effect) && Either.isRight(effect)

export const hasFailed = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Either.Left<E, never> =>
  Either.isEither(effect) && Either.isLeft(effect)

export const mapFailure = <A, E, R, E2>(
  effect: Effect.Effect<A, E, R>,
  f: (failure: E) => E2
): Effect.Effect<A, E2, R> =>
  hasSucceeded(effect) ? effect : hasFailed(effect) ? Either.left(f(effect.left)) : Effect.mapError(effect, f)

export const andThen = <A, E, R, B, E2, R2>(
  effect: Effect.Effect<A, E, R>,
  f: (value: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2, R | R2> =>
  hasSucceeded(effect) ? f(effect.right) : hasFailed(effect) ? effect : Effect.flatMap(effect, f)

/** What was made of items, and the failure that ended it, if one did. */
export interface Collected<out B, out E> {
  readonly values: Array<B>
  readonly failure: Option.Option<E>
}

/** Applies an effect to items in order, until one fails, in one step as far as the effects are done already. */
export const collect = <A, B, E, R>(
  items: Iterable<A>,
  f: (item: A) => Effect.Effect<B, E, R>
): Effect.Effect<Collected<B, E>, never, R> =>
  Effect.suspend(() => {
    const iterator = items[Symbol.iterator]()
    const values: Array<B> = []
    const end = (failure: Option.Option<E>) => Effect.succeed({ values, failure })
    const go = (): Effect.Effect<Collected<B, E>, never, R> => {
      for (let next = iterator.next(); next.done !== true; next = iterator.next()) {
        const effect = f(next.value)
        if (hasSucceeded(effect)) values.push(effect.right)
        else if (hasFailed(effect)) return end(Option.some(effect.left))
        else {
          return Effect.matchEffect(effect, {
            onFailure: (error) => end(Option.some(error)),
            onSuccess: (value) => {
              values.push(value)
              return go()
            }
          })
        }
      }
      return end(Option.none())
    }
    return go()
  })
