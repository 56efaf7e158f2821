// What a handler needs, in a scope of its own that most handlers never ask for.

import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/**
 * Services with a scope over them. The scope is made when it is first asked for, and the services aren't copied
 * unless somebody goes through all of them: together that is half a kilobyte of each quiet connection.
 */
export class Services implements Map<string, unknown> {
  readonly [Symbol.toStringTag] = "Services"
  private copied: Map<string, unknown> | undefined = undefined
  /** The scope, if it was asked for. */
  scope: Scope.CloseableScope | undefined = undefined

  constructor(private readonly shared: ReadonlyMap<string, unknown>) {}

  /** As a context. */
  static over<R>(context: Context.Context<R>): readonly [Services, Context.Context<R | Scope.Scope>] {
    const services = new Services(context.unsafeMap)
    return [services, Context.unsafeMake(services)]
  }

  get(key: string): unknown {
    if (this.copied !== undefined) return this.copied.get(key)
    if (key !== Scope.Scope.key) return this.shared.get(key)
    this.scope ??= Effect.runSync(Scope.make())
    return this.scope
  }

  has(key: string): boolean {
    return this.copied?.has(key) ?? (key === Scope.Scope.key || this.shared.has(key))
  }

  private get all(): Map<string, unknown> {
    this.copied ??= new Map(this.shared).set(Scope.Scope.key, this.get(Scope.Scope.key))
    return this.copied
  }

  get size(): number {
    return this.all.size
  }

  set(key: string, value: unknown): this {
    this.all.set(key, value)
    return this
  }

  delete(key: string): boolean {
    return this.all.delete(key)
  }

  clear(): void {
    this.all.clear()
  }

  forEach(each: (value: unknown, key: string, map: Map<string, unknown>) => void): void {
    for (const [key, value] of this.all) each(value, key, this)
  }

  entries(): MapIterator<[string, unknown]> {
    return this.all.entries()
  }

  keys(): MapIterator<string> {
    return this.all.keys()
  }

  values(): MapIterator<unknown> {
    return this.all.values()
  }

  [Symbol.iterator](): MapIterator<[string, unknown]> {
    return this.all.entries()
  }
}
