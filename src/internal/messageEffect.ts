// Effects that are done already are Eithers, and are looked into instead of run: a value that a
// schema decodes at once costs no step of the fiber. Their types say nothing of the other side.

import * as Effect from "effect/Effect"
import * as Either from "effect/Either"

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
