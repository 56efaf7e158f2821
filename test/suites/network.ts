import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Layer, Scope } from "effect"
import * as Flow from "effect-websocket/Flow"
import { type ListenOptions, Network, type TlsClientOptions } from "effect-websocket/Network"
import { bytes, closed, ended, lawful, reading, settle } from "../fixtures/heard.js"
import { flowLaws, greet, type Joined } from "./flow.js"

/** What the suite needs to know of a network. */
export interface Subject<R> {
  readonly layer: Layer.Layer<Network | R>
  /** Where to listen: an address that is free each time. */
  readonly listenOn: () => ListenOptions
  /** How to connect to what listens there. */
  readonly tls?: TlsClientOptions | undefined
  /** Sockets and listeners that are open. */
  readonly openResources: Effect.Effect<number, never, R>
}

/** The laws of `Flow` and `Network`, which every network keeps. */
export const networkSuite = <R>(name: string, subject: Subject<R>): void => {
  const listenTo = (options: ListenOptions, onFlow: (flow: Flow.Flow) => void) =>
    Effect.flatMap(Network, ({ listen }) => listen(options, onFlow))
  const connectTo = (address: Flow.Address) =>
    Effect.flatMap(Network, ({ connect }) => connect({ address, tls: subject.tls }))

  /** A connection whose ends both live as long as the scope, and keep the laws. */
  const joinedWith = (breaches: Array<string>) =>
    Effect.gen(function* () {
      const accepted = yield* Deferred.make<Flow.Flow>()
      const listener = yield* listenTo(subject.listenOn(), (flow) => Deferred.unsafeDone(accepted, Exit.succeed(flow)))
      const client = yield* connectTo(listener.address)
      const server = yield* Effect.acquireRelease(Deferred.await(accepted), (flow) => Effect.sync(() => flow.destroy()))
      return { client: lawful(client, breaches), server: lawful(server, breaches) }
    })

  const untilReleased = (before: number) =>
    subject.openResources.pipe(
      Effect.tap(() => settle),
      Effect.repeat({ until: (open) => open <= before })
    )

  /** Runs a test, and checks that it leaves no socket and no listener. */
  const test = <E>(title: string, body: Effect.Effect<unknown, E, Network | R | Scope.Scope>) =>
    it.live(title, () =>
      Effect.gen(function* () {
        const before = yield* subject.openResources
        yield* Effect.scoped(body)
        yield* untilReleased(before)
      }).pipe(Effect.provide(subject.layer))
    )

  const law = <E>(title: string, body: (joined: Joined) => Effect.Effect<unknown, E, Network | R | Scope.Scope>) =>
    test(
      title,
      Effect.gen(function* () {
        const breaches: Array<string> = []
        yield* body(yield* joinedWith(breaches))
        yield* settle
        expect(breaches).toEqual([])
      })
    )

  describe(name, () => {
    flowLaws(law, subject.tls !== undefined)

    describe("connecting and listening", () => {
      test(
        "knows the addresses of both ends",
        Effect.gen(function* () {
          const options = subject.listenOn()
          const { client, server } = yield* joinedWith([])
          expect(server.localAddress).toEqual(client.remoteAddress)
          if (options.address._tag === "UnixAddress") return
          expect(server.remoteAddress).toEqual(client.localAddress)
          expect(client.remoteAddress).toMatchObject({ hostname: options.address.hostname })
          expect(client.remoteAddress).not.toMatchObject({ port: 0 })
        })
      )

      test(
        "a taken address fails with EADDRINUSE, and is free again when the scope has closed",
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const options = subject.listenOn()
          const { address, secure } = yield* Scope.extend(
            listenTo(options, () => {}),
            scope
          )
          expect(secure).toBe(subject.tls !== undefined)
          const error = yield* Effect.flip(listenTo({ ...options, address }, () => {}))
          expect(error).toMatchObject({
            _tag: "ListenError",
            code: "EADDRINUSE",
            address: Flow.formatAddress(address)
          })
          expect(error.detail).toContain("EADDRINUSE")
          yield* Scope.close(scope, Exit.void)
          yield* listenTo({ ...options, address }, () => {})
        })
      )

      test(
        "the end of a listener's scope refuses new flows and leaves the accepted ones alone",
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const accepted = yield* Deferred.make<Flow.Flow>()
          const { address } = yield* Scope.extend(
            listenTo(subject.listenOn(), (flow) => Deferred.unsafeDone(accepted, Exit.succeed(flow))),
            scope
          )
          const client = yield* connectTo(address)
          const server = yield* Effect.acquireRelease(Deferred.await(accepted), (flow) =>
            Effect.sync(() => flow.destroy())
          )
          yield* Scope.close(scope, Exit.void)
          const error = yield* Effect.flip(connectTo(address))
          expect(error).toMatchObject({ _tag: "ConnectError", reason: "tcp", address: Flow.formatAddress(address) })
          expect(["ECONNREFUSED", "ENOENT"]).toContain(error.code)
          const atClient = reading(client)
          server.write(bytes("still here"), false)
          yield* atClient.until(({ text }) => text() === "still here")
        })
      )

      test(
        "the end of the scope destroys the flow that was connected in it",
        Effect.gen(function* () {
          const accepted = yield* Deferred.make<Flow.Flow>()
          const { address } = yield* listenTo(subject.listenOn(), (flow) =>
            Deferred.unsafeDone(accepted, Exit.succeed(flow))
          )
          const scope = yield* Scope.make()
          const client = yield* Scope.extend(connectTo(address), scope)
          const server = yield* Effect.acquireRelease(Deferred.await(accepted), (flow) =>
            Effect.sync(() => flow.destroy())
          )
          yield* greet(client, server)
          const atServer = reading(server)
          const atClient = reading(client)
          yield* Scope.close(scope, Exit.void)
          yield* closed(atClient)
          yield* ended(atServer)
        })
      )

      test(
        "an attempt that is interrupted at any moment leaves nothing open",
        Effect.gen(function* () {
          const flows: Array<Flow.Flow> = []
          const { address } = yield* listenTo(subject.listenOn(), (flow) => flows.push(flow))
          for (let turns = 0; turns < 12; turns++) {
            const fiber = yield* Effect.fork(Effect.scoped(Effect.zipRight(connectTo(address), Effect.never)))
            for (let turn = 0; turn < turns; turn++) yield* Effect.promise(() => new Promise(setImmediate))
            yield* Fiber.interrupt(fiber)
          }
          yield* settle
          for (const flow of flows) flow.destroy()
        })
      )

      test(
        "many flows to one listener stay apart",
        Effect.gen(function* () {
          const { address } = yield* listenTo(subject.listenOn(), (flow) => {
            reading(flow, { data: (chunk) => void flow.write(chunk, false), end: () => flow.end() })
          })
          yield* Effect.forEach(
            Array.from({ length: 20 }, (_, index) => `flow ${index}`),
            (text) =>
              Effect.gen(function* () {
                const flow = yield* connectTo(address)
                const echo = reading(flow)
                flow.write(bytes(text), false)
                flow.end()
                yield* closed(echo)
                expect(echo.text()).toBe(text)
              }),
            { concurrency: "unbounded" }
          )
        })
      )
    })
  })
}
